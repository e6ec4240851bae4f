"""A domain that nothing in the project knows: points, and a line that is to give their sum.

Its scores are no shares: errors at two distances under two amounts of noise, as a mean, a ratio of
sums, a percentile of all items, and a number made of both distances.

Whoever uses it registers it by the fixture `toy` of its own, since domains are known to a process.
"""

import hashlib
import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from study.costs.counted import counted
from study.runs import domain
from study.runs.cells import CellKey
from study.runs.domain import Cost, Domain, ValidationTarget
from study.runs.measure import Derived, Measure
from study.runs.node import Continue, ModelShape, Objective, Prepared, Train
from study.runs.source import Source
from study.runs.suite import ScoringRule, Task
from study.store import items
from study.store.directory import RunDirectory
from study.store.publish import MANIFEST
from study.store.weights import digest_of_names
from study.train import checkpoint
from study.train.learner import Inheritance, Losses

POINTS = Source(uri="file://points.txt", digest="sha256:1", text_field="", where=(), part=None)


@dataclass(frozen=True, kw_only=True)
class Points(Prepared):
    slug: str = field(metadata={"identity": False})
    files: tuple[Source, ...]
    count: int = 64


@dataclass(frozen=True, kw_only=True)
class Line(ModelShape):
    width: int


@dataclass(frozen=True, kw_only=True)
class Squares(Objective):
    scale: float


@dataclass(frozen=True, kw_only=True)
class Judged(Task):
    """A task whose scores another run gives."""

    name: str
    judge: Train


@dataclass(frozen=True, kw_only=True)
class Nearest(ScoringRule):
    neighbours: int


@dataclass(frozen=True, kw_only=True)
class Sums(Task):
    """Points at this distance, some of them several times."""

    name: str
    distance: float
    of: str = "error"
    counts: bool = True

    @property
    def measure(self):
        return self.of

    @property
    def is_headline(self):
        return self.counts


@dataclass(frozen=True, kw_only=True, eq=False)
class PointsBatch:
    inputs: np.ndarray
    targets: np.ndarray
    counted: bool = True

    @property
    def num_rows(self):
        return len(self.inputs)

    @property
    def loss_tokens(self):
        return self.num_rows if self.counted else 0

    @property
    def content_tokens(self):
        return self.num_rows

    def rows(self, low, high):
        return replace(self, inputs=self.inputs[low:high], targets=self.targets[low:high])

    def without_loss(self):
        return replace(self, counted=False)

    def digest(self):
        found = hashlib.sha256(self.inputs.tobytes() + self.targets.tobytes())
        return found.hexdigest()[:16]


def prepare(data, directory, *, store, access, progress, warn):
    progress({"stage": "points", "done": 0, "total": data.count})
    draw = np.random.default_rng(0)
    np.save(directory / "points.npy", draw.normal(size=(data.count, 4)))
    warn("points are made up")
    return {"points": data.count}


def build(shape):
    return nn.Sequential(nn.Linear(4, shape.width), nn.Linear(shape.width, 1))


class LineLearner:
    """`study.train.learner.Learner`."""

    def __init__(self, run, *, store):
        store.finished(run.data)
        torch.manual_seed(run.seed)
        self.model = build(run.model)
        self.width = run.model.width
        self._points = np.load(store.directory(run.data) / "data" / "points.npy")
        self._run, self._checked = run, False
        self.validation = [self._batch(self._points[-8:])]

    def _batch(self, points):
        return PointsBatch(inputs=points, targets=points.sum(-1, keepdims=True))

    def batch(self, step):
        draw = np.random.default_rng((self._run.seed, step))
        return self._batch(draw.permutation(self._points)[: self._run.training.batch_size])

    def losses(self, batch, *, device):
        found = self.model(torch.tensor(batch.inputs, dtype=torch.float32, device=device))
        wanted = torch.tensor(batch.targets, dtype=torch.float32, device=device)
        loss = self._run.objective.scale * (found - wanted).square().sum() * float(batch.counted)
        size = 1e-3 * found.square().sum() * float(batch.counted)
        return Losses(total=loss + size, parts={"loss": loss, "size": size})

    def compile(self, wrap):
        self.model = wrap(self.model)

    def write(self, directory):
        (directory / "config.json").write_text(json.dumps(asdict(self._run.model)))

    def begin(self, parent):
        weights = checkpoint.read_tensors(parent / "model.safetensors")
        checkpoint.load_weights(self.model, tensors=weights)
        entries = [{"name": name, "action": "copied"} for name in weights]
        return Inheritance(table="all copied", entries=entries)

    def check(self, *, execution, ranks, warn):
        self._checked = True

    def summary(self):
        return {"points": len(self._points), "checked": self._checked}


class Names:
    def __init__(self, runs):
        self.widths = sorted({run.model.width for run in runs if isinstance(run, Train)})

    def size(self, run):
        return f"width {run.model.width}"

    def key(self, run, step, *, tokens=None):
        scale = run.objective.scale
        name = "line" if scale == 1 else f"line x{scale:g}"
        return CellKey(lineage=(name,), tokens=tokens or step)

    def cell(self, run):
        return "line" if isinstance(run, Train | Continue) else ""


def cost(run):
    """By no formula: the domain hands over its model and a batch of one step."""
    steps, rows = run.training.steps, run.training.batch_size
    step = counted(
        (run.model, rows),
        model=lambda: build(run.model),
        loss=lambda model, device: model(torch.zeros(rows, 4, device=device)).square().sum(),
    )
    return Cost(
        parameters=step.parameters,
        tokens=steps * rows,
        loss_tokens=None,
        flops=steps * step.flops,
    )


NOISE = (0.0, 0.5)
POINTS_SCORED = 30


def score(run, *, store, execution, report=lambda _: None):
    """One row a point under each noise; the points are the same for every run."""
    with store.claim(run, waiting=print) as (directory, _):
        place = RunDirectory(store.directory(run.run)).checkpoint(run.step)
        model = build(run.run.model)
        weights = checkpoint.read_tensors(place / "model.safetensors")
        checkpoint.load_weights(model, tensors=weights)
        rows = [row for task in run.suite.tasks for row in _rows(model, task)]
        files = json.loads((place / MANIFEST).read_text())["files"]
        digest = digest_of_names({name: each["sha256"] for name, each in files.items()})
        results = {
            "scorer_version": 1,
            "scoring": asdict(run.suite.scoring),
            "digests": {"weights": digest, "tasks": "sums"},
        }
        items.publish(pa.Table.from_pylist(rows), results, directory.scores(digest))
        directory.seal({"kind": "Evaluation", "scores": digest, "weights": digest})


def _rows(model, task):
    draw = np.random.default_rng(5)
    points = task.distance * draw.normal(size=(POINTS_SCORED, 4))
    for noise in NOISE:
        seen = torch.tensor(points + noise * draw.normal(size=points.shape), dtype=torch.float32)
        with torch.no_grad():
            found = model(seen)[:, 0].double().numpy()
        for index, (value, wanted) in enumerate(zip(found, points.sum(1), strict=True)):
            yield {
                "task": task.name,
                "condition": f"noise {noise:g}",
                "index": index,
                "group": index // 2,
                "valid": True,
                "error": float((value - wanted) ** 2),
                "square": float(wanted**2),
                "pair": [float(value), float(wanted)],
            }


def ninetieth(columns):
    return float(np.quantile(columns["error"], 0.9))


def distance_of_means(columns):
    means = np.mean(columns["pair"], axis=0)
    return float(abs(means[0] - means[1]))


def _unused(*_, **__):
    raise AssertionError("nothing here is forecast")


TOY = Domain(
    name="toy",
    values=(Points, Line, Squares, Judged, Sums, Nearest),
    prepare=prepare,
    learner=LineLearner,
    score=score,
    footprint=_unused,
    cost=cost,
    names=Names,
    traits=lambda run: {"mixer": "mean"},
    validation_target=lambda run: ValidationTarget(form=[run.data.id], description="squares"),
    measures=(
        Measure(name="error", columns=("error",), better="lower", items="points"),
        Measure(
            name="relative error",
            columns=("error", "square"),
            aggregation="ratio",
            better="lower",
            note="Squared errors over squares.",
        ),
        Measure(
            name="90th percentile",
            columns=("error",),
            aggregation="set",
            of=ninetieth,
            better="lower",
        ),
        Measure(
            name="distance of means",
            columns=("pair",),
            aggregation="set",
            of=distance_of_means,
            better="lower",
            resampled=False,
        ),
        Derived(
            name="far less near",
            tasks=("near", "far"),
            of=lambda scores: scores["far"] - scores["near"],
            better="lower",
        ),
    ),
)


@contextmanager
def registered():
    """The toy among the domains, inside the block."""
    tables = (domain._domains, domain._owners, domain._costs)
    before = [dict(each) for each in tables]
    domain.register(TOY)
    try:
        yield TOY
    finally:
        for table, old in zip(tables, before, strict=True):
            table.clear()
            table.update(old)
        domain.forget_resolved()


def train(slug="small", *, training, width=8, scale=1.0, seed=3):
    return Train(
        slug=slug,
        data=Points(slug="points", files=(POINTS,)),
        model=Line(width=width),
        objective=Squares(scale=scale),
        training=training,
        seed=seed,
    )


def continued(parent, *, step=2, **changes):
    values = {
        "slug": "further",
        "parent": parent,
        "parent_step": step,
        "data": parent.data,
        "model": parent.model,
        "objective": parent.objective,
        "training": parent.training,
        "optimizer_state": "inherited",
        "schedule_start": "continued",
        "seed": 3,
    }
    return Continue(**values | changes)
