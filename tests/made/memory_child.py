"""A rank that takes two steps and tells how far its memory grew; not a test module.

    python memory_child.py MEASURE.json     -> one line of JSON on standard output, of rank 0

Growth is the high-water mark of resident memory over what the idle process has after steps of a
tiny model, which load every library that the real one uses. Several ranks are told their place by
the environment (`study.train.ranks`).
"""

import json
import os
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import study.domains  # noqa: F401  the kinds of a run file
from study.language.layout import Segment, layout
from study.language.losses import TokenLosses
from study.language.model.build import build
from study.nn.stack import recompute_layers
from study.runs.decode import decode
from study.runs.execution import Execution
from study.train.engine import TorchEngine
from study.train.ranks import place, single_process
from study.train.rendezvous import join


def resident(name):
    """Bytes of `VmRSS` or `VmHWM`."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")


def rows(run):
    draw = np.random.default_rng(0)
    length = run.objective.length
    return layout(
        [
            (
                Segment(
                    inputs=np.empty(0, dtype=np.int32),
                    targets=draw.integers(2, run.model.vocab_size, length, dtype=np.int32),
                ),
            )
            for _ in range(run.training.batch_size)
        ],
        architecture=run.model.architecture,
    )


def engine(run, *, execution, ranks):
    model = build(run.model, dropout=0.0, seed=0)
    if execution.activation_checkpointing == "on":
        recompute_layers(model)
    if execution.zero is None:
        return TorchEngine(TokenLosses(model, training=run.training), training=run.training)
    from study.train.sharded import ShardedEngine

    return ShardedEngine(
        TokenLosses(model, training=run.training),
        training=run.training,
        execution=execution,
        ranks=ranks,
    )


def steps(run, *, execution, ranks, count):
    moved, batch = engine(run, execution=execution, ranks=ranks), rows(run)
    share = batch.num_rows // ranks.world
    own = range(ranks.rank * share, (ranks.rank + 1) * share, execution.micro_batch)
    for _ in range(count):
        for low in own:
            part = batch.rows(low, low + execution.micro_batch)
            moved.forward_backward(part, denominator=float(batch.loss_tokens))
        moved.step(1.0)


def main(path):
    asked = json.loads(Path(path).read_text())
    run = decode(asked["run"], name="asked")
    execution = Execution(**asked["execution"])
    torch.set_num_threads(1)
    here = place()
    group = nullcontext(single_process())
    if here is not None:
        group = join(here, directory=Path(os.environ["STUDY_RENDEZVOUS"]), device="cpu")
    with group as ranks:
        small = replace(
            run,
            model=replace(run.model, d_model=64, heads=1, layers=1, d_ff=64, vocab_size=64),
            objective=replace(run.objective, length=16),
        )
        steps(small, execution=replace(execution, micro_batch=1), ranks=ranks, count=2)
        idle = resident("VmRSS")
        steps(run, execution=execution, ranks=ranks, count=2)
        if ranks.first:
            print(json.dumps({"idle": idle, "growth": resident("VmHWM") - idle}), flush=True)
        ranks.barrier()


if __name__ == "__main__":
    main(sys.argv[1])
