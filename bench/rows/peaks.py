"""Peak memory of one piece of work, in a process of its own (`python -m bench.rows.peaks`).

`KIND SIZE` prints the bytes by which the process's resident memory peaks above what it holds before
the work; a small piece of the same work has loaded libraries and code. Linux only: the kernel's
high-water mark is set back in between, since imports reach higher than much of the work.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SMALL = 256
"""Length or number of what is done first."""


def _training(mixer: str) -> Callable[[int], object]:
    from bench.rows.kernels import model_of
    from study.language.model.build import build
    from study.language.model.timing import row

    model = build(model_of(mixer), dropout=0.0, seed=0)

    def step(length: int) -> None:
        model.hidden(row(model_of(mixer), length)).square().mean().backward()

    return step


def _evaluation() -> Callable[[int], object]:
    import numpy as np
    import torch

    from bench.rows.corpora import decoder
    from study.language.model.build import build
    from study.language.scores.score import Request, Subject, score
    from study.language.values.conventions import STUDY

    shape = decoder(width=128, layers=4)
    subject = Subject(
        model=build(shape, dropout=0.0, seed=0).eval(),
        architecture="causal_decoder",
        max_length=256,
        batch_tokens=4096,
    )

    def answer(count: int) -> None:
        rng = np.random.default_rng(0)
        context = [int(token) for token in rng.integers(2, 4000, 100)]
        requests = [
            Request(context=[2 + n % 4000, 2 + n // 4000, *context], targets=[[5, 6], [7]])
            for n in range(count)
        ]
        with torch.no_grad():
            score(subject, requests, scoring=STUDY)

    return answer


def _planning() -> Callable[[int], object]:
    from bench.rows.commands import demo_runs
    from study.runs.plan import close

    return lambda count: close(demo_runs(count))


KINDS = ("attention", "monarch", "ssd", "evaluation", "planning")


def grown(kind: str, size: int) -> int:
    """Bytes, measured here."""
    work = {"evaluation": _evaluation, "planning": _planning}.get(kind)
    run = work() if work is not None else _training(kind)
    run(SMALL)
    Path("/proc/self/clear_refs").write_text("5")
    before = _kilobytes("VmRSS")
    run(size)
    return (_kilobytes("VmHWM") - before) * 1024


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def apart(kind: str, size: int) -> int:
    """Bytes, measured in a process of its own with an allocator that gives memory back at once."""
    environment = {
        "MALLOC_ARENA_MAX": "1",
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "bench.rows.peaks", kind, str(size)],
        cwd=Path(__file__).parents[2],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(grown(sys.argv[1], int(sys.argv[2])))
