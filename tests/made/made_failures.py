"""One of two ranks, of which rank 1 ends as it is told while rank 0 waits for it.

Not a test module.

    python tests/made/made_failures.py raise|kill|interrupt|hang|late|none FILE

hang: rank 0 is in no collective when rank 1 fails. late: both were told to stop, and rank 0 takes
longer to end than a rank has that hangs.
"""

import os
import signal
import sys
import time
from pathlib import Path

from study.train import ranks as ranks_module
from study.train.ranks import place
from study.train.rendezvous import join
from study.train.signals import EXIT_CODE, Interrupted


def main(how, file):
    directory = Path(os.environ["STUDY_RENDEZVOUS"])
    if how in ("hang", "late"):
        ranks_module.GRACE_SECONDS = 0.5
    last_words = file.with_suffix(".failed").write_text
    with join(place(), directory=directory, device="cpu", last_words=last_words) as ranks:
        assert ranks.broadcast(["a", ranks.rank]) == ["a", 0]
        assert ranks.sum(1.0, ranks.rank) == (2.0, 1.0)
        assert ranks.any(ranks.rank == 1)
        assert not ranks.any(False)
        if not ranks.first:
            file.write_text("")
            match how:
                case "raise" | "hang":
                    raise ValueError("bad row")
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "interrupt" | "late":
                    raise Interrupted("told to stop")
        elif how == "hang":
            time.sleep(60)
        elif how == "late":
            time.sleep(3)
            file.with_suffix(".saved").write_text("")
            raise Interrupted("told to stop")
        ranks.barrier()


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except Interrupted:
        sys.exit(EXIT_CODE)
