"""Learning rates chosen from a finished sweep: per lineage, with equal trials, on the cell's own
held-out loss.

Owns the choice and its file. Several seeds of a rate are one loss, their mean. A rate at the edge
of its grid is refused, since the best may lie outside. Losses of different objectives are never
compared with each other. The file holds every trial, so that a reader can redo the choice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from study.language.values.model import Model
from study.language.values.stages import Stage, lineage, model_of
from study.runs.node import Run, root
from study.store.publish import publish_file

if TYPE_CHECKING:
    from study.store.directory import Store


class RateError(ValueError):
    """The trials do not allow a choice."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One learning rate of one lineage and the held-out loss it ended at (nats a loss token).

    path: the lineage, after its model's size where a sweep has several.
    """

    path: str
    seed: int
    learning_rate: float
    loss: float


def trials(runs: Iterable[Run], *, store: Store) -> tuple[Trial, ...]:
    """The finished trained runs as trials. Raises RateError that names a run that is not done."""
    found = []
    trained = [run for run in runs if isinstance(run, Stage)]
    several = len({size(model_of(run)) for run in trained}) > 1
    for run in trained:
        done = store.existing(run).done()
        if done is None:
            raise RateError(f"{run.slug} is not done: run the sweep first")
        if done["validation_loss"] is None:
            raise RateError(f"{run.slug} has no held-out loss: its corpus holds nothing out")
        found.append(
            Trial(
                path=path_of(run, several=several),
                seed=root(run).seed,
                learning_rate=run.training.optimizer.learning_rate,
                loss=done["validation_loss"],
            )
        )
    return tuple(found)


def size(model: Model) -> str:
    """How the file names a model's size."""
    return f"{model.layers} layers, width {model.d_model}"


def path_of(run: Stage, *, several: bool) -> str:
    """A run's key in the file; `several`: the sweep searches more than one size."""
    path = " > ".join(lineage(run))
    return f"{size(model_of(run))}: {path}" if several else path


def of_size(chosen: Mapping[str, float], model: Model) -> dict[str, float]:
    """The choices of one size of a file that holds several, by lineage alone."""
    prefix = f"{size(model)}: "
    return {
        path.removeprefix(prefix): rate for path, rate in chosen.items() if path.startswith(prefix)
    }


def choose_into(file: Path, *, runs: Iterable[Run], store: Store) -> tuple[Trial, ...]:
    """Choose from the sweep's finished runs and write the file; the trials it was chosen from."""
    found = trials(runs, store=store)
    save(file, found=found)
    return found


def choose(found: Iterable[Trial]) -> dict[str, float]:
    """The best rate of every lineage by its mean loss over seeds, whatever the trials' order.

    Raises RateError for a loss that is no number, a trial that is there twice, rates of a lineage
    that were not tried on the same seeds, unequal numbers of trials, or a best rate at an edge. Of
    rates that are equally good the smallest is chosen, and none where one of them is at an edge.
    """
    groups: dict[str, dict[float, dict[int, float]]] = {}
    for trial in found:
        seeds = groups.setdefault(trial.path, {}).setdefault(trial.learning_rate, {})
        named = f"{trial.path}: rate {trial.learning_rate:g} on seed {trial.seed}"
        if not math.isfinite(trial.loss):
            raise RateError(f"{named} has the loss {trial.loss}; legal: a number")
        if trial.seed in seeds:
            raise RateError(f"{named} was tried twice: {seeds[trial.seed]:g} and {trial.loss:g}")
        seeds[trial.seed] = trial.loss
    for path, grid in groups.items():
        if len({frozenset(seeds) for seeds in grid.values()}) > 1:
            each = "; ".join(f"{rate:g} on {_listed(grid[rate])}" for rate in sorted(grid))
            raise RateError(f"{path}: its rates were tried on different seeds: {each}")
    # stages are searched one after the other, so equality is asked among lineages of one depth
    by_depth: dict[int, dict[tuple[int, int], str]] = {}
    for path, grid in groups.items():
        tried = len(grid), len(next(iter(grid.values())))
        by_depth.setdefault(path.count(">"), {}).setdefault(tried, path)
    for sizes in by_depth.values():
        if len(sizes) > 1:
            each = "; ".join(
                f"{path} {rates} rates on {seeds} seeds" for (rates, seeds), path in sizes.items()
            )
            raise RateError(f"unequal numbers of trials among compared cells: {each}")
    return {path: _best(path, grid) for path, grid in groups.items()}


def _best(path: str, grid: Mapping[float, Mapping[int, float]]) -> float:
    # summed exactly, so that the order of the trials decides nothing
    losses = {rate: math.fsum(seeds.values()) / len(seeds) for rate, seeds in grid.items()}
    best = [rate for rate in sorted(losses) if losses[rate] == min(losses.values())]
    if len(losses) > 1 and {min(losses), max(losses)} & {*best}:
        raise RateError(
            f"{path}: the best rate {_listed(best)} is at the edge of its grid "
            f"({', '.join(f'{rate:g}: {losses[rate]:.4f}' for rate in sorted(losses))}); "
            "widen the grid of every cell of the stage"
        )
    return best[0]


def _listed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in sorted(values))


def save(file: Path, *, found: Iterable[Trial]) -> None:
    """Write the choice and its trials (rate, seed, loss), keeping what the file holds for other
    lineages.
    """
    found = tuple(found)
    content = json.loads(file.read_text()) if file.exists() else {"rates": {}, "trials": {}}
    content["rates"] |= choose(found)
    for path in {trial.path for trial in found}:
        mine = sorted((t.learning_rate, t.seed, t.loss) for t in found if t.path == path)
        content["trials"][path] = [[rate, seed, round(loss, 6)] for rate, seed, loss in mine]
    publish_file(file, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def load(file: Path) -> Mapping[str, float]:
    """The chosen rate of every lineage that has one; empty where no choice was made yet."""
    return json.loads(file.read_text())["rates"] if file.exists() else {}
