"""A real worker process for the launcher's tests, whose runs do what their slugs say.

Not a test module. It serves the real protocol with `study.launch.worker.serve` and works in real
run directories, under real leases and signals; only the training is left out.

    python tests/made/made_worker.py
"""

import os
import signal
import sys
import time

import study.domains  # noqa: F401  the kinds of a run file
from study.launch.worker import serve
from study.store.publish import publish_directory
from study.train.signals import handling_signals

STEP_SECONDS = 0.04
SLOW_STEPS = 40


def execute(run, *, store, execution, report):
    with handling_signals() as stop, store.claim(run) as (directory, lease):
        if directory.done() is not None and {*directory.kept()} <= {*directory.steps()}:
            return
        with open(store.root / "order.txt", "a") as file:
            file.write(f"{run.slug} {os.getpid()} {os.environ['OMP_NUM_THREADS']}\n")
        for needed in run.parents:
            if store.existing(needed).done() is None:
                raise ValueError(f"{run.slug} was started before {needed.slug} was done")
        word = run.slug.partition("-")[0]
        match word:
            case "fail":
                raise ValueError("this run was told to fail")
            case "crash":
                print("last words before the crash", file=sys.stderr, flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(9)
            case "noted":
                directory.fail("another rank failed")
                os._exit(1)
            case "noisy":
                print('{"event": "end", "outcome": "failed", "message": "not a message"}')
                os.write(1, b"straight to the descriptor\n")
            case "unsealed":
                return
        steps = SLOW_STEPS if word == "slow" else 2
        start = directory.latest() or 0
        for step in range(start + 1, steps + 1):
            if stop.requested:
                publish_directory(directory.checkpoint_path(step - 1), _write)
            stop.check(f"step {step}")
            time.sleep(STEP_SECONDS if word == "slow" else 0)
            with open(directory.events, "a") as file:
                file.write(f'{{"event":"step","step":{step},"loss":1.5}}\n')
            report({"event": "step", "step": step, "loss": 1.5})
        lease.check()
        for step in directory.kept():
            publish_directory(directory.checkpoint_path(step), _write)
        directory.seal({"loss_tokens": 123})


def _write(folder):
    (folder / "weights").write_text("w")


if __name__ == "__main__":
    kinds = ("Corpus", "Pretrain", "Adapt", "Finetune", "Evaluation")
    sys.exit(serve(dict.fromkeys(kinds, execute)))
