"""A process that takes two steps and tells how far its memory grew; not a test module.

    python memory_child.py MEASURE.json     -> one line of JSON on standard output

Growth is the high-water mark of resident memory over what the idle process has after a step of a
tiny model, which loads every library that the real one uses.
"""

import json
import os
import sys
from pathlib import Path


def resident(name):
    """Bytes of `VmRSS` or `VmHWM`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


def steps(run, *, micro_batch, count):
    import numpy as np
    import torch

    from study.engine import TorchEngine
    from study.layout import Segment, layout
    from study.model import build

    engine = TorchEngine(build(run.model, dropout=0.0, seed=0), training=run.training)
    draw = np.random.default_rng(0)
    length = run.objective.length
    rows = [
        (
            Segment(
                inputs=np.empty(0, dtype=np.int32),
                targets=draw.integers(2, run.model.vocab_size, length, dtype=np.int32),
            ),
        )
        for _ in range(run.training.batch_size)
    ]
    batch = layout(rows, architecture=run.model.architecture)
    torch.manual_seed(0)
    for _ in range(count):
        for low in range(0, batch.num_rows, micro_batch):
            engine.forward_backward(
                batch.rows(low, low + micro_batch), denominator=float(batch.loss_tokens)
            )
        engine.step(1.0)


def main(path):
    from dataclasses import replace

    import torch

    from study.decode import decode

    asked = json.loads(Path(path).read_text())
    run = decode(asked["run"], name="asked")
    torch.set_num_threads(1)
    small = replace(
        run,
        model=replace(run.model, d_model=64, heads=1, layers=1, d_ff=64, vocab_size=64),
        objective=replace(run.objective, length=16),
    )
    steps(small, micro_batch=1, count=2)
    idle = resident("VmRSS")
    steps(run, micro_batch=asked["micro_batch"], count=2)
    print(json.dumps({"idle": idle, "growth": resident("VmHWM") - idle}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
