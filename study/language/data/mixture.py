"""Prompted examples: the T0 mixture, rendered and tokenised into `ExampleShards`.

Owns which rows each template gets and with which rate it is sampled; the files are `examples`'. A
task of the mixture is one template of one data set, as in t-zero's tasks.py: a data set of n
training rows under k templates gives each of them `cap // k` rows where n > cap, else all n, and
tasks are sampled in proportion to those numbers. A template that does not apply to every row keeps
its rate.

A row that lacks what a template reads is left out of that template and counted by reason, as in a
suite; a template that every row of a data set lacks something for is refused. An answer need not be
one of a template's choices: finetuning on free answers is what some of them are for.

Nothing is cut: shards hold examples of any length, and `ExampleShards.within` leaves out, and
counts, what exceeds a run's limits.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from study.language.data.examples import ExampleShards as ExampleShards
from study.language.data.examples import ExampleTask, write_examples
from study.language.data.tokenizer import Tokenizer, count_lost
from study.language.prompts import templates as prompts
from study.language.values.corpus import Mixture, PromptedTask
from study.sources import content, split, typed_rows
from study.sources.formats import Row

Progress = Callable[[dict], None]
Part = Literal["train", "held_out"]
BATCH = 512


def template_rows(rows: int, *, templates: int, cap: int) -> int:
    """Rows that each template of a data set gets (t-zero, tasks.py)."""
    if rows <= cap:
        return rows
    if cap < templates:
        raise ValueError(f"cap {cap} is less than the {templates} templates of one data set")
    return cap // templates


@dataclass(frozen=True, kw_only=True, eq=False)
class Spooled:
    """The rows of one prompted task, read once and kept in a file: part, number, key and row a
    line.
    """

    task: PromptedTask
    templates: tuple[prompts.Template, ...]
    path: Path
    train: tuple[str, ...]
    held_out: tuple[str, ...]

    def rows(self, part: Part) -> Iterator[tuple[int, str, Row]]:
        """(number in the source from 1, key, row) of one part, in the source's order: that of
        `keys`.
        """
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                where, number, key, row = line.split("\t", 3)
                if where == part:
                    yield int(number), key, typed_rows.loads(row)

    def keys(self, part: Part) -> tuple[str, ...]:
        return self.train if part == "train" else self.held_out


def spool(
    mixture: Mixture,
    directory: Path,
    *,
    access: content.Access,
    progress: Progress = lambda _: None,
) -> list[Spooled]:
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
            spread = split.Spread()
            for number, row in content.numbered(task.rows, access=access):
                if spread.rows % BATCH == 0:
                    progress({"stage": "rows", "task": task.name, "rows": spread.rows})
                try:
                    key, said = content.row_key(row), split.split_key(row, task.rows)
                    line = typed_rows.dumps(row)
                except ValueError as error:
                    place = f"source {task.rows.uri!r}, row {number}"
                    raise ValueError(f"task {task.name!r}: {place}: {error}") from error
                spread.add(said)
                held = split.share(said, salt="held_out") < mixture.held_out
                part: Part = "held_out" if held else "train"
                parts[part].append(key)
                file.write(f"{part}\t{number}\t{key}\t{line}\n")
        if mixture.held_out and spread.is_coarse:
            if split.declared(task.rows):
                spread.tell(task.rows)
            else:
                parts = _split_by_what_is_read(task, templates, path, held_out=mixture.held_out)
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


def _split_by_what_is_read(
    task: PromptedTask,
    templates: Sequence[prompts.Template],
    path: Path,
    *,
    held_out: float,
) -> dict[Part, list[str]]:
    """The spool anew, by all that the task's templates read; the keys of each part."""
    columns = split.columns_read(
        text for each in templates for text in (each.jinja, each.answer_choices or "")
    )
    spread = split.Spread()
    parts: dict[Part, list[str]] = {"train": [], "held_out": []}
    aside = path.with_suffix(".aside")
    with path.open(encoding="utf-8") as old, aside.open("w", encoding="utf-8") as new:
        for line in old:
            _, number, key, row = line.split("\t", 3)
            read = split.read_key(typed_rows.loads(row), columns)
            spread.add(read)
            part: Part = "held_out" if split.share(read, salt="held_out") < held_out else "train"
            parts[part].append(key)
            new.write(f"{part}\t{number}\t{key}\t{row}")
    aside.replace(path)
    spread.tell(task.rows)
    return parts


def rendered(
    task: Spooled, template: prompts.Template, *, part: Part, cap: int
) -> Iterator[prompts.Rendered | prompts.Skipped]:
    """One template's share of one data set's rows, in the rows' order."""
    keys = task.keys(part)
    number = template_rows(len(keys), templates=len(task.templates), cap=cap)
    chosen = _chosen(keys, number, salt=template.id)
    for position, (at, key, row) in enumerate(task.rows(part)):
        if position not in chosen:
            continue
        where = f"{task.task.rows.uri}, row {at}"
        try:
            outcome = template.outcome(row, key=key)
        except ValueError as error:
            raise ValueError(f"task {task.task.name!r}: {where}: {error}") from error
        if isinstance(outcome, prompts.Skipped):
            outcome = replace(outcome, detail=f"{where}: {outcome.detail}")
        yield outcome


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

    def shard_tasks() -> Iterator[ExampleTask]:
        for task in tasks:
            for template in task.templates:
                name = f"{task.task.name}/{template.name}"
                entry: dict = {"task": name, "rows": 0, "examples": 0, "skipped": {}}
                account.append(entry)
                progress({"stage": "tokenise", "part": part, "task": name})
                yield ExampleTask(
                    name=name,
                    rate=float(
                        template_rows(len(task.train), templates=len(task.templates), cap=cap)
                    ),
                    examples=_tokenised(
                        rendered(task, template, part=part, cap=cap),
                        tokenizer=tokenizer,
                        entry=entry,
                        progress=progress,
                    ),
                )

    shards = write_examples(directory, shard_tasks(), vocab_size=tokenizer.vocab_size)
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
    outcomes: Iterable[prompts.Rendered | prompts.Skipped],
    *,
    tokenizer: Tokenizer,
    entry: dict,
    progress: Progress,
) -> Iterator[tuple[list[int], list[int]]]:
    skipped: Counter[str] = Counter()
    batch: list[prompts.Rendered] = []
    for outcome in outcomes:
        entry["rows"] += 1
        if isinstance(outcome, prompts.Skipped):
            skipped[outcome.reason] += 1
            if outcome.reason != "not_applicable":
                entry.setdefault("skipped_first", {}).setdefault(outcome.reason, outcome.detail)
            continue
        batch.append(outcome)
        if len(batch) == BATCH:
            progress({"stage": "tokenise", "task": entry["task"], "examples": entry["examples"]})
            yield from _encoded(batch, tokenizer, entry)
            entry["examples"] += len(batch)
            batch = []
    yield from _encoded(batch, tokenizer, entry)
    entry["examples"] += len(batch)
    entry["skipped"] = dict(sorted(skipped.items()))


def _encoded(
    examples: Sequence[prompts.Rendered], tokenizer: Tokenizer, entry: dict
) -> list[tuple[list[int], list[int]]]:
    found = encode_examples(examples, tokenizer)
    texts = [each.inputs + prompts.join_target(each.inputs, each.targets) for each in examples]
    rows = [[*prompt, *target[:-1]] for prompt, target in found]
    count_lost(entry, tokenizer, texts=texts, rows=rows)
    return found


def encode_examples(
    examples: Sequence[prompts.Rendered], tokenizer: Tokenizer
) -> list[tuple[list[int], list[int]]]:
    """Token ids of prompts and answers, which have the tokens of running text and end in an end of
    sequence.
    """
    inputs = tokenizer.encode_batch([each.inputs for each in examples])
    targets = tokenizer.encode_continuations(
        [prompts.join_target(each.inputs, each.targets) for each in examples],
        after=[each.inputs for each in examples],
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
                f"{dict(reasons) or 'nothing was read'}{_first(entries)}"
            )
        for entry in entries:
            # all of a hidden split, where another template reads no label
            lacking = {"missing", "unlabelled"} & entry["skipped"].keys()
            other = entry["skipped"].keys() - {"missing", "unlabelled", "not_applicable"}
            if lacking and not other and not entry["examples"]:
                raise ValueError(
                    f"{entry['task']!r} keeps no row; skipped: {entry['skipped']}"
                    f"{_first([entry])}; legal: rows with labels (a train split), or "
                    "template_names without it"
                )


def _first(entries: Sequence[dict]) -> str:
    """The first row that was skipped for each reason."""
    found: dict[str, str] = {}
    for entry in entries:
        found = entry.get("skipped_first", {}) | found
    return f"; first: {'; '.join(found.values())}" if found else ""
