"""One of several ranks that train small models without files, case after case in one start.

Not a test module: `test_sharded` starts it once a world size, since a start takes seconds.

    STUDY_RENDEZVOUS=... RANK=0 WORLD_SIZE=2 LOCAL_RANK=0 python tests/made/made_ranks.py CASES OUT
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import tiny_runs
import torch

from study.language.layout import Segment, layout
from study.language.losses import TokenLosses
from study.language.model.build import build
from study.nn.stack import recompute_layers
from study.runs.execution import Execution
from study.runs.training import Adafactor, Muon
from study.train import checkpoint
from study.train.checkpoint import Progress
from study.train.engine import TorchEngine
from study.train.loop import Plan, train
from study.train.ranks import place, single_process
from study.train.rendezvous import join
from study.train.signals import Stop

ROWS = 5
SHAPE = replace(tiny_runs.MODEL, vocab_size=64, positions="t5_bias", tied=False)
RECIPES = {
    "Adafactor": Adafactor(
        learning_rate=0.01, decay_rate=0.8, clip_threshold=1.0, weight_decay=0.1
    ),
    "Muon": Muon(
        learning_rate=0.02,
        momentum=0.95,
        weight_decay=0.1,
        adamw=tiny_runs.training(1).optimizer,
    ),
}


class Batches:
    """Five rows of unequal loss counts, one without any; a pure function of the step."""

    def __init__(self, architecture):
        self.architecture = architecture

    def batch(self, step):
        rng = np.random.default_rng(step)
        draw = lambda n: rng.integers(2, 60, n, dtype=np.int32)  # noqa: E731
        counts = [(3 * row, 20 - 3 * row) for row in range(ROWS - 1)] + [(20, 0)]
        rows = [(Segment(inputs=draw(a), targets=draw(b)),) for a, b in counts]
        return layout(rows, architecture=self.architecture, **self._lengths())

    def _lengths(self):
        if self.architecture == "encoder_decoder":
            return {"length": 20, "source_length": 20}
        return {"length": 20}


class Callbacks:
    def __init__(self, save):
        self.stop = Stop()
        self.steps, self.validations, self.save = [], [], save

    def step(self, event):
        self.steps.append(event)

    def validation(self, event):
        self.validations.append(event)


def case(name, *, architecture="causal_decoder", zero=None, steps=6, **changes):
    """What one case asks for, as JSON values. recipe: of the optimiser, AdamW by default.
    training: changes of the tiny one. save_at, start: step and directory of a checkpoint.
    """
    values = {
        "name": name,
        "architecture": architecture,
        "zero": zero,
        "steps": steps,
        "recipe": None,
        "training": {},
        "micro_batch": None,
        "recompute": "off",
        "save_at": None,
        "save_to": None,
        "start": None,
    }
    assert not set(changes) - set(values), "a case has these keys alone"
    return values | changes


def run_case(one, ranks):
    """Train one case; what every step said."""
    training = tiny_runs.training(one["steps"], **one["training"])
    if one["recipe"]:
        training = replace(training, optimizer=RECIPES[one["recipe"]])
    execution = Execution(ranks=ranks.world, zero=one["zero"], micro_batch=one["micro_batch"])
    shape = replace(SHAPE, architecture=one["architecture"])
    model = build(shape, dropout=training.dropout, seed=3)
    progress = Progress()
    if one["start"]:
        start = Path(one["start"])
        weights = checkpoint.read_tensors(start / "model.safetensors")
        checkpoint.load_weights(model, tensors=weights)
        progress = checkpoint.read_state(start, run="r")
    if one["recompute"] == "on":
        recompute_layers(model)
    if one["zero"] is None:
        engine = TorchEngine(TokenLosses(model, training=training), training=training)
    else:
        from study.train.sharded import ShardedEngine

        engine = ShardedEngine(
            TokenLosses(model, training=training),
            training=training,
            execution=execution,
            ranks=ranks,
        )
    if one["start"]:
        engine.read_optimizer(start)

    def save(progress):
        directory = Path(one["save_to"])
        directory.mkdir(parents=True, exist_ok=True)
        engine.write(directory)
        if ranks.first:
            checkpoint.write_state(directory, run="r", progress=progress)

    callbacks = Callbacks(save)
    batches = Batches(one["architecture"])
    last = train(
        engine,
        batches=batches,
        validation=[batches.batch(100)],
        plan=Plan(
            training=training,
            seed=5,
            first_step=0,
            schedule_before=0,
            last=one["steps"],
            validate_at=frozenset({one["steps"]}),
            keep=frozenset({one["save_at"]} if one["save_at"] else ()),
            checkpoint_seconds=1e9,
            micro_batch=one["micro_batch"],
            ranks=ranks,
        ),
        progress=progress,
        callbacks=callbacks,
    )
    return {
        "steps": callbacks.steps,
        "validation": callbacks.validations[-1]["loss"],
        "progress": asdict(last),
    }


def alone_case(one):
    """The same in this process, in plain torch."""
    return run_case(one | {"zero": None}, single_process())


def start_ranks(world, arguments, *, directory, **environment):
    """Start every rank of a script; the processes."""
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=os.environ
            | {"STUDY_RENDEZVOUS": str(directory), "OMP_NUM_THREADS": "1"}
            | {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]


def main():
    torch.set_num_threads(1)
    here = place()
    cases = json.loads(Path(sys.argv[1]).read_text())
    with join(here, directory=Path(os.environ["STUDY_RENDEZVOUS"]), device="cpu") as ranks:
        found = {one["name"]: run_case(one, ranks) for one in cases}
    if ranks.first:
        Path(sys.argv[2]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    # As the commands end: once in some dozens of starts gloo's threads end a process that tears
    # itself down by "terminate called without an active exception".
    os._exit(0)
