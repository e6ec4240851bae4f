"""One of two ranks, of which rank 1 ends as it is told while rank 0 waits for it.

Not a test module.

    python tests/made/made_failures.py raise|kill|interrupt|none FILE
"""

import os
import signal
import sys
from pathlib import Path

from study.train.ranks import place
from study.train.rendezvous import join
from study.train.signals import EXIT_CODE, Interrupted


def main(how, file):
    directory = Path(os.environ["STUDY_RENDEZVOUS"])
    with join(place(), directory=directory, device="cpu") as ranks:
        assert ranks.broadcast(["a", ranks.rank]) == ["a", 0]
        assert ranks.sum(1.0, ranks.rank) == (2.0, 1.0)
        assert ranks.any(ranks.rank == 1)
        assert not ranks.any(False)
        if not ranks.first:
            file.write_text("")
            match how:
                case "raise":
                    raise ValueError("bad row")
                case "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "interrupt":
                    raise Interrupted("told to stop")
        ranks.barrier()


if __name__ == "__main__":
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except Interrupted:
        sys.exit(EXIT_CODE)
