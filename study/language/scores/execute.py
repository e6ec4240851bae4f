"""Executes the runs that train nothing: zero-shot evaluations and external checkpoints.

Owns what a score is keyed by and how it is published. The key is a digest of the weights, the
tokenizer, every question as asked, the scoring options and the scorer's version; so a checkpoint
that was overwritten in place, or a task whose rows changed, never finds an old answer.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib import metadata
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import torch
from lm_eval.evaluator import evaluate as lm_eval_evaluate
from lm_eval.tasks import TaskManager

from kernels import backend
from study.language.scores import contamination, items
from study.language.scores import tasks as suites
from study.language.scores.encode import marks_version
from study.language.scores.lm import StudyLM
from study.language.scores.score import SCORER_VERSION
from study.language.scores.subjects import Opened, external_directory, open_external, open_run
from study.language.scores.tasks import Prompts
from study.language.values.conventions import convention, options
from study.language.values.stages import External, scored
from study.runs.execution import Execution
from study.runs.node import Evaluation
from study.show.terminal import log_warning
from study.sources.content import Access
from study.sources.weight_files import PRECISION
from study.store.directory import CorruptError, RunDirectory, Store
from study.store.items import is_published, publish
from study.train import signals

Report = Callable[[dict[str, Any]], None]


def execute(
    run: Evaluation | External,
    *,
    store: Store,
    execution: Execution,
    report: Report = lambda _: None,
) -> None:
    """Score (or check) and seal; nothing where these very scores are there already."""

    def warn(message: str) -> None:
        log_warning(message)
        report({"event": "warning", "message": message})

    with signals.handling_signals() as stop, store.claim(run, waiting=warn) as (directory, lease):
        torch.set_num_threads(execution.threads)
        backend.use(execution.kernels)
        match run:
            case External():
                summary = _check(run, execution=execution)
            case Evaluation():

                def watch(done: int, asked: int) -> None:
                    stop.check(f"scoring {run.slug!r}")
                    report({"event": "stage", "stage": "scoring", "done": done, "total": asked})

                summary = _evaluate(
                    run, directory, store=store, execution=execution, watch=watch, warn=warn
                )
            case _:
                raise ValueError(f"{type(run).__name__}; legal: Evaluation, External")
        lease.check()
        if _sealed(directory, warn=warn) != summary:
            directory.seal(summary)


def score_digest(opened: Opened, *, prompts: Sequence[Prompts], run: Evaluation) -> str:
    """What a score depends on, as one name."""
    form = {
        "weights": opened.weights,
        "tokenizer": opened.tokenizer.digest,
        "tasks": suites.digest(prompts),
        "scoring": options(run.suite.scoring),
        "scorer": SCORER_VERSION,
        "max_length": opened.subject.max_length,
    }
    if opened.was_as_stored:  # those numbers were others, and are not to be found
        form["precision"] = PRECISION
    marks = marks_version(
        opened.tokenizer, architecture=opened.subject.architecture, scoring=run.suite.scoring
    )
    form |= {"marks": marks} if marks > 1 else {}
    return hashlib.sha256(json.dumps(form, sort_keys=True).encode()).hexdigest()


def evaluate(
    opened: Opened, *, prompts: Sequence[Prompts], run: Evaluation
) -> tuple[Any, pa.Table, dict[str, dict[str, int]]]:
    """(lm-eval's results, per-item scores, by task what tokens made of its items' text)."""
    lm = StudyLM(opened.subject, tokenizer=opened.tokenizer, scoring=run.suite.scoring)
    with _quiet_lm_eval():
        # Not `simple_evaluate`: around this very call it runs pip and nvidia-smi to describe the
        # machine, which took longer than scoring a small model; provenance.json has that.
        tasks = TaskManager(include_defaults=False).load(
            [suites.lm_eval_task(each) for each in prompts]
        )
        results = cast(Any, lm_eval_evaluate)(lm=lm, task_dict=tasks, bootstrap_iters=0)
    assert results is not None
    counts = {
        each.name: lm.borders(item.pairs for item in each.items)
        | lm.losses(item.pairs or item.inputs for item in each.items)
        for each in prompts
    }
    return results, items.collect(prompts, lm=lm, run=run.run.id), counts


def _evaluate(
    run: Evaluation,
    directory: RunDirectory,
    *,
    store: Store,
    execution: Execution,
    watch: Callable[[int, int], None],
    warn: Callable[[str], None],
) -> dict[str, Any]:
    access = Access(data_dirs=execution.data_dirs, cache=execution.cache, offline=execution.offline)
    prompts = suites.build(run.suite, access=access)
    opened = open_run(scored(run), run.step, store=store, execution=execution)
    opened = replace(opened, subject=replace(opened.subject, watch=watch))
    digest = score_digest(opened, prompts=prompts, run=run)
    final = directory.scores(digest)
    if not is_published(final, warn=warn):
        begun = time.monotonic()
        results, table, found = evaluate(opened, prompts=prompts, run=run)
        account = _account(run, opened, prompts=prompts, results=results, table=table)
        for name, counts in found.items():
            account["tasks"][name] |= counts
            if counts["unknown"]:
                warn(
                    f"{run.suite.name!r}, {name!r}: {counts['unknown']} items hold letters that "
                    "the tokenizer has no token for"
                )
        account["seconds"] = time.monotonic() - begun
        publish(table, account, final)

    def progress(documents: int) -> None:
        watch(documents, 0)

    for problem in contamination.ensure(
        run, tasks=suites.digest(prompts), store=store, access=access, watch=progress
    ):
        log_warning(problem)
    seal = {"kind": "Evaluation", "scores": digest, "weights": opened.weights}
    return seal | ({"precision": PRECISION} if isinstance(run.run, External) else {})


def _sealed(directory: RunDirectory, *, warn: Callable[[str], None]) -> dict[str, Any] | None:
    """The seal, or None where there is none that can be read."""
    try:
        return directory.done()
    except CorruptError as error:
        warn(f"the seal is written again: {error}")
        return None


def _check(run: External, *, execution: Execution) -> dict[str, Any]:
    opened = open_external(run, execution=execution)
    directory = external_directory(run, execution=execution)
    return {
        "kind": "External",
        "weights": opened.weights,
        "tokenizer": opened.tokenizer.digest,
        "precision": PRECISION,
        "stored": list(opened.stored),
        "left_out": list(opened.left_out),
        "tokenizer_cures": list(opened.tokenizer.trial.cures),
        # the scoring protocol asks for less than a torch module
        "parameters": sum(each.numel() for each in opened.subject.model.parameters()),  # type: ignore[attr-defined]
        "files": sorted(path.name for path in directory.iterdir() if path.is_file()),
    }


def _account(
    run: Evaluation, opened: Opened, *, prompts: Sequence[Prompts], results: Any, table: pa.Table
) -> dict[str, Any]:
    """results.json: what lm-eval aggregated, and everything a reader needs to trust it."""
    return {
        "run": run.id,
        "scored_run": run.run.id,
        "suite": run.suite.name,
        "architecture": opened.subject.architecture,
        "scoring": asdict(run.suite.scoring),
        "convention": convention(run.suite.scoring),
        "scorer_version": SCORER_VERSION,
        "forward_positions": asdict(opened.subject.work),
        "max_length": opened.subject.max_length,
        "precision": PRECISION,
        "stored": list(opened.stored),
        "digests": {
            "weights": opened.weights,
            "tokenizer": opened.tokenizer.digest,
            "tasks": suites.digest(prompts),
        },
        "tokenizer_cures": list(opened.tokenizer.trial.cures),
        "lm_eval": metadata.version("lm-eval"),
        # what the suite's score is the mean of, and what it lacks
        "headline": [task.name for task in run.suite.headline],
        "holes": [asdict(hole) for hole in run.suite.holes],
        "tasks": {
            each.name: {
                "task": each.task.name,
                "template": each.template,
                "metric": each.task.metric,
                "items": len(each.items),
                "skipped": each.skipped,
                "skipped_first": each.first,
                "twins": each.twins,
                "chance_of_choices": suites.chance_of(each),
                "lm_eval": _numbers(results["results"][each.name]),
            }
            | _counts(table, each)
            for each in prompts
        },
    }


def _counts(table: pa.Table, prompts: Prompts) -> dict[str, int]:
    own = table.filter(
        (pc.field("task") == prompts.task.name) & (pc.field("template") == prompts.template)
    )
    return {
        "truncated": sum(1 for value in own["truncated"].to_pylist() if value),
        "ties": sum(1 for value in own["tie"].to_pylist() if value),
        "invalid": sum(1 for value in own["valid"].to_pylist() if not value),
    }


def _numbers(result: dict[str, Any]) -> dict[str, float]:
    """lm-eval names a metric `NAME,FILTER`; the only filter here is `none`."""
    return {
        name.removesuffix(",none"): float(value)
        for name, value in result.items()
        if name.endswith(",none")
        and not name.removesuffix(",none").endswith("_stderr")
        # bits per byte of documents with letters that have no token
        and math.isfinite(value)
    }


@contextmanager
def _quiet_lm_eval():
    """Its notes on every task (no file to cite, default arguments) are not about our questions."""
    logger = logging.getLogger("lm_eval")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
