"""A launcher process for the tests that signal and kill it.

Not a test module.

    python tests/made/made_launcher.py SWEEP STORE WORKERS
"""

import sys
from pathlib import Path

from study.launch.local import run_plan
from study.runs.execution import Execution
from study.runs.plan import load_sweep
from study.store.directory import Store

if __name__ == "__main__":
    worker = Path(__file__).with_name("made_worker.py")
    outcome = run_plan(
        load_sweep(sys.argv[1]),
        store=Store(sys.argv[2]),
        execution=Execution(),
        workers=int(sys.argv[3]),
        command=(sys.executable, str(worker)),
        on_event=lambda event: print(event.what, event.run.slug, event.message, flush=True),
    )
    sys.exit(outcome.exit_code)
