"""One of two ranks of a job, whose mirror takes long in the end, or never comes back.

Not a test module. slow: rank 0's mirror is closed long after rank 1 has ended. hangs: rank 0's
mirror takes a step and does not return, and rank 1 fails after that step.

    STUDY_RENDEZVOUS=... RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 \
        python tests/made/made_rank_ends.py slow|hangs RUN_DIRECTORY EXECUTION.json
"""

import os
import sys
import time
from pathlib import Path

import study.domains  # noqa: F401  the kinds of a run file
from study.commands.execute import executors
from study.launch.cluster.job import execute_directory
from study.train import ranks
from study.train.callbacks import AssistantCallbacks
from study.train.mirror import Mirror


def _hang(mirror, event, fields):
    if event == "step":
        time.sleep(600)


def _fail(callbacks, event):
    raise ValueError("bad row")


def main(how, directory, execution):
    ranks.GRACE_SECONDS = 0.5
    match how:
        case "slow":
            Mirror.close = lambda mirror: time.sleep(4 * (ranks.POLL_SECONDS + ranks.GRACE_SECONDS))
        case "hangs":
            Mirror.log = _hang
            AssistantCallbacks.step = _fail
    return execute_directory(directory, execution=execution, code=None, executors=executors())


if __name__ == "__main__":
    code = main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    sys.stderr.flush()
    os._exit(code)
