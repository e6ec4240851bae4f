"""Prompted examples: the T0 mixture, rendered and tokenised into `ExampleShards`.

Owns which rows each template gets, with which rate it is sampled, and the files of tokenised
examples. A task of the mixture is one template of one data set, as in t-zero's tasks.py: a data set
of n training rows under k templates gives each of them `cap // k` rows where n > cap, else all n,
and tasks are sampled in proportion to those numbers. A template that does not apply to every row
keeps its rate.

Nothing is cut: shards hold examples of any length, and `ExampleShards.within` leaves out, and
counts, what exceeds a run's limits.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from study import prompts
from study.data import sources
from study.data.readers import Row
from study.data.shards import (
    FORMAT,
    TokenShards,
    file_digest,
    read_manifest,
    write_manifest,
    write_shards,
)
from study.data.tokenizer import Tokenizer
from study.run import Mixture, PromptedTask

Progress = Callable[[dict], None]
Part = Literal["train", "held_out"]
BATCH = 512


# ---- shards of examples ------------------------------------------------------------------------


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
class _Task:
    name: str
    rate: float
    examples: Iterable[tuple[list[int], list[int]]]


def _write(directory: Path, tasks: Iterable[_Task], *, vocab_size: int) -> ExampleShards:
    """Inputs and targets are written in two passes over one spool, since a shard is one stream."""
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


# ---- building ----------------------------------------------------------------------------------


def template_rows(rows: int, *, templates: int, cap: int) -> int:
    """Rows that each template of a data set gets (t-zero, tasks.py)."""
    if rows <= cap:
        return rows
    if cap < templates:
        raise ValueError(f"cap {cap} is less than the {templates} templates of one data set")
    return cap // templates


@dataclass(frozen=True, kw_only=True, eq=False)
class Spooled:
    """The rows of one prompted task, read once and kept in a file: part, key and row a line."""

    task: PromptedTask
    templates: tuple[prompts.Template, ...]
    path: Path
    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def rows(self, part: Part) -> Iterator[tuple[str, Row]]:
        """(key, row) of one part, in the source's order: that of `keys`."""
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                where, key, row = json.loads(line)
                if where == part:
                    yield key, row

    def keys(self, part: Part) -> tuple[str, ...]:
        return self.train if part == "train" else self.held_out


def spool(mixture: Mixture, directory: Path, *, access: sources.Access) -> list[Spooled]:
    """Read every task's rows and templates once."""
    names = [task.name for task in mixture.tasks]
    if len(set(names)) != len(names):
        raise ValueError(f"a mixture names a task twice: {', '.join(names)}")
    directory.mkdir(parents=True, exist_ok=True)
    spooled = []
    for index, task in enumerate(mixture.tasks):
        templates = prompts.load_templates(task.templates, access=access, names=task.template_names)
        path = directory / f"{index}.jsonl"
        parts: dict[Part, list[str]] = {"train": [], "held_out": []}
        with path.open("w", encoding="utf-8") as file:
            for row in sources.rows(task.rows, access=access):
                key = sources.row_key(row)
                held = sources.share(key, salt="held_out") < mixture.held_out
                part: Part = "held_out" if held else "train"
                parts[part].append(key)
                file.write(json.dumps([part, key, row], default=sources.plain) + "\n")
        if not parts["train"]:
            raise ValueError(f"task {task.name!r}: {task.rows.uri!r} gives no training rows")
        spooled.append(
            Spooled(
                task=task,
                templates=tuple(templates),
                path=path,
                train=tuple(parts["train"]),
                held_out=tuple(parts["held_out"]),
            )
        )
    return spooled


def rendered(
    task: Spooled, template: prompts.Template, *, part: Part, cap: int
) -> Iterator[prompts.Rendered | prompts.Skipped]:
    """One template's share of one data set's rows, in the rows' order."""
    keys = task.keys(part)
    number = template_rows(len(keys), templates=len(task.templates), cap=cap)
    chosen = _chosen(keys, number, salt=template.id)
    for position, (key, row) in enumerate(task.rows(part)):
        if position in chosen:
            yield template.outcome(row, key=key)


def _chosen(keys: Sequence[str], number: int, *, salt: str) -> Container[int]:
    """Positions of `number` rows. Each template draws its own, so that together they cover more of
    the data set.
    """
    if number >= len(keys):
        return range(len(keys))

    def draw(position: int) -> tuple[bytes, int]:
        return hashlib.sha256(f"{salt}\0{keys[position]}".encode()).digest(), position

    return set(sorted(range(len(keys)), key=draw)[:number])


def build_examples(
    tasks: Sequence[Spooled],
    directory: Path,
    *,
    tokenizer: Tokenizer,
    part: Part,
    cap: int,
    progress: Progress,
) -> dict:
    """Write one part (`train` or `held_out`); returns its account, template by template."""
    account: list[dict] = []

    def shard_tasks() -> Iterator[_Task]:
        for task in tasks:
            for template in task.templates:
                name = f"{task.task.name}/{template.name}"
                entry: dict = {"task": name, "rows": 0, "examples": 0, "skipped": {}}
                account.append(entry)
                progress({"stage": "tokenise", "part": part, "task": name})
                yield _Task(
                    name=name,
                    rate=float(
                        template_rows(len(task.train), templates=len(task.templates), cap=cap)
                    ),
                    examples=_tokenised(
                        rendered(task, template, part=part, cap=cap), tokenizer, entry
                    ),
                )

    shards = _write(directory, shard_tasks(), vocab_size=tokenizer.vocab_size)
    if part == "train":
        _refuse_empty(tasks, account)
    for entry, rate in zip(account, shards.rates, strict=True):
        entry["rate"] = float(rate)
    return {
        "examples": shards.num_examples,
        "tokens": int(shards.input_lengths.sum() + shards.target_lengths.sum()),
        "target_tokens": int(shards.target_lengths.sum()),
        "longest_inputs": int(shards.input_lengths.max(initial=0)),
        "longest_targets": int(shards.target_lengths.max(initial=0)),
        "tasks": account,
        "digest": shards.digest,
    }


def _tokenised(
    outcomes: Iterable[prompts.Rendered | prompts.Skipped], tokenizer: Tokenizer, entry: dict
) -> Iterator[tuple[list[int], list[int]]]:
    skipped: Counter[str] = Counter()
    batch: list[prompts.Rendered] = []
    for outcome in outcomes:
        entry["rows"] += 1
        if isinstance(outcome, prompts.Skipped):
            skipped[outcome.reason] += 1
            continue
        batch.append(outcome)
        if len(batch) == BATCH:
            yield from encode_examples(batch, tokenizer)
            entry["examples"] += len(batch)
            batch = []
    yield from encode_examples(batch, tokenizer)
    entry["examples"] += len(batch)
    entry["skipped"] = dict(sorted(skipped.items()))


def encode_examples(
    examples: Sequence[prompts.Rendered], tokenizer: Tokenizer
) -> list[tuple[list[int], list[int]]]:
    """Token ids of prompts and answers; answers end in an end of sequence."""
    inputs = tokenizer.encode_batch([each.inputs for each in examples])
    targets = tokenizer.encode_batch(
        [prompts.join_target(each.inputs, each.targets) for each in examples]
    )
    return [
        (prompt, [*target, tokenizer.eos]) for prompt, target in zip(inputs, targets, strict=True)
    ]


def _refuse_empty(tasks: Sequence[Spooled], account: Sequence[dict]) -> None:
    for task in tasks:
        entries = [e for e in account if e["task"].startswith(f"{task.task.name}/")]
        if not any(entry["examples"] for entry in entries):
            reasons = sum((Counter(entry["skipped"]) for entry in entries), Counter())
            raise ValueError(
                f"task {task.task.name!r}: no template applies to any row; skipped: "
                f"{dict(reasons) or 'nothing was read'}"
            )
