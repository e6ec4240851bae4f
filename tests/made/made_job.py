"""A job whose runs do what their slugs say, in a process of its own.

Not a test module.

    python made_job.py RUN_DIRECTORY EXECUTION.json [--code DIRECTORY]
"""

import os
import sys
from pathlib import Path

from made_worker import execute

import study.domains  # noqa: F401  the kinds of a run file
from study.launch.cluster.job import execute_directory

if __name__ == "__main__":
    directory, execution, *rest = sys.argv[1:]
    try:
        code = execute_directory(
            Path(directory),
            execution=Path(execution),
            code=Path(rest[1]) if rest else None,
            executors={"Pretrain": execute},
        )
    except ValueError as error:
        print(error, file=sys.stderr)
        code = 2
    sys.stderr.flush()
    os._exit(code)
