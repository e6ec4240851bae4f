"""Tokenised prompted examples on disk: two `TokenShards` side by side, grouped by task.

Owns the files and the selection by length; which examples there are is `mixture`'s affair.

    inputs/ targets/   one document an example, in the same order; tasks lie end to end
    manifest.json      digests of both, and name, rate and number of examples of each task
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from study.language.data.shards import (
    FORMAT,
    TokenShards,
    file_digest,
    read_manifest,
    write_manifest,
    write_shards,
)


class ExampleShards:
    """Tokenised (inputs, targets), grouped by task. Targets end in an end of sequence, inputs do
    not.
    """

    def __init__(
        self,
        *,
        inputs: TokenShards,
        targets: TokenShards,
        tasks: Sequence[str],
        rates: np.ndarray,
        order: np.ndarray,
        starts: np.ndarray,
    ) -> None:
        self._inputs = inputs
        self._targets = targets
        self.tasks = list(tasks)
        self.rates = rates
        self._order = order
        self._starts = starts

    @classmethod
    def open(cls, directory: Path) -> ExampleShards:
        directory = Path(directory)
        manifest = read_manifest(directory, form="examples")
        inputs = TokenShards.open(directory / "inputs")
        targets = TokenShards.open(directory / "targets")
        for shards, name in ((inputs, "inputs"), (targets, "targets")):
            if shards.digest != manifest[name]:
                raise ValueError(f"{shards.directory / 'manifest.json'}: does not fit {directory}")
        counts = [task["examples"] for task in manifest["tasks"]]
        if not inputs.num_documents == targets.num_documents == sum(counts):
            raise ValueError(f"{directory / 'manifest.json'}: does not fit its shards")
        return cls(
            inputs=inputs,
            targets=targets,
            tasks=[task["name"] for task in manifest["tasks"]],
            rates=_normalised([task["rate"] for task in manifest["tasks"]]),
            order=np.arange(inputs.num_documents),
            starts=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
        )

    @property
    def num_examples(self) -> int:
        return len(self._order)

    @property
    def digest(self) -> str:
        """sha256 (hex) of the manifest of all examples; a selection by `within` keeps it."""
        return file_digest(self._inputs.directory.parent / "manifest.json")

    @property
    def input_lengths(self) -> np.ndarray:
        return self._inputs.lengths[self._order]

    @property
    def target_lengths(self) -> np.ndarray:
        return self._targets.lengths[self._order]

    def example(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """int32 inputs and targets."""
        if not 0 <= index < self.num_examples:
            raise IndexError(f"example {index} of {self.num_examples}")
        stored = int(self._order[index])
        return self._inputs.document(stored), self._targets.document(stored)

    def task(self, index: int) -> int:
        """The task that an example belongs to."""
        if not 0 <= index < self.num_examples:
            raise IndexError(f"example {index} of {self.num_examples}")
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def examples_of(self, task: int) -> range:
        return range(int(self._starts[task]), int(self._starts[task + 1]))

    def verify(self) -> None:
        self._inputs.verify()
        self._targets.verify()

    def within(self, inputs: int, targets: int) -> tuple[ExampleShards, dict[str, int]]:
        """The examples of at most `inputs` and `targets` tokens, and how many were left out by
        which limit. Tasks that lose every example lose their rate.
        """
        long_inputs = self.input_lengths > inputs
        long_targets = self.target_lengths > targets
        kept = ~(long_inputs | long_targets)
        counts = {
            "kept": int(kept.sum()),
            "inputs_too_long": int(long_inputs.sum()),
            "targets_too_long": int((long_targets & ~long_inputs).sum()),
        }
        if self.num_examples and not kept.any():
            raise ValueError(
                f"no example has at most {inputs} inputs and {targets} targets; the shortest have "
                f"{int(self.input_lengths.min())} and {int(self.target_lengths.min())}"
            )
        cumulative = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])
        starts = cumulative[self._starts]
        rates = np.where(np.diff(starts) > 0, self.rates, 0.0)
        selected = ExampleShards(
            inputs=self._inputs,
            targets=self._targets,
            tasks=self.tasks,
            rates=_normalised(rates),
            order=self._order[kept],
            starts=starts,
        )
        return selected, counts


def _normalised(rates: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(rates, dtype=np.float64)
    total = values.sum()
    return values / total if total > 0 else values


@dataclass(frozen=True, kw_only=True)
class ExampleTask:
    """A task to write: its name, its unnormalised rate and its (inputs, targets) as token ids."""

    name: str
    rate: float
    examples: Iterable[tuple[list[int], list[int]]]


def write_examples(
    directory: Path, tasks: Iterable[ExampleTask], *, vocab_size: int
) -> ExampleShards:
    """Write every task's examples in order. Targets wait in a spool: a shard is one stream."""
    directory.mkdir(parents=True, exist_ok=True)
    written: list[dict] = []
    spool = directory / "targets.spool"
    with spool.open("w", encoding="utf-8") as file:

        def inputs() -> Iterator[np.ndarray]:
            for task in tasks:
                count = 0
                for ids, target in task.examples:
                    file.write(json.dumps(target) + "\n")
                    count += 1
                    yield np.asarray(ids, dtype=np.int64)
                written.append({"name": task.name, "examples": count, "rate": task.rate})

        first = write_shards(directory / "inputs", inputs(), vocab_size)
    with spool.open(encoding="utf-8") as file:
        targets = (np.asarray(json.loads(line), dtype=np.int64) for line in file)
        second = write_shards(directory / "targets", targets, vocab_size)
    spool.unlink()
    for task in written:
        # a task without one example cannot be sampled
        task["rate"] = task["rate"] if task["examples"] else 0.0
    write_manifest(
        directory,
        {
            "format": FORMAT,
            "form": "examples",
            "inputs": first.digest,
            "targets": second.digest,
            "tasks": written,
        },
    )
    return ExampleShards.open(directory)
