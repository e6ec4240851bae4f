"""Texts that continue prompts, as lm-eval's tasks ask for them: those of `HFLM` of lm-eval 0.4.13.

Owns the room for a prompt, batches and what is counted. Limits, stop strings and their names are
read by lm-eval's own functions, and tokens are chosen by transformers' `generate()` with the
settings that lie beside the weights, as `HFLM` does with one prompt a batch; so beams, penalties
and sampling are those of `HFLM` too, sampling after the same seed. Prompts of a batch have equal
lengths: padding could be seen by a model that counts positions.

- An answer has at most `max_gen_toks` tokens (or `max_new_tokens`, `max_tokens`,
  `max_completion_tokens`; 256 where nothing is said). A decoder's prompt has what is left of
  `max_length`; without any left the request is refused. An encoder-decoder's prompt has all of it,
  and under `Scoring.length` `read` the answer as many tokens more as the prompt has, which is what
  HFLM computes.
- A prompt that is too long loses tokens on the side that `Scoring.truncation` names, and is
  counted; never what the rule puts first (`study.language.scores.score`).
- An answer ends before the first stop string, or at an end of sequence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.models.utils_hf import stop_sequences_criteria
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.utils import GenerationMixin

from study.language.data.tokenizer import Tokenizer
from study.language.huggingface.base import StudyModel
from study.language.layout import PAD
from study.language.scores.encode import encode
from study.language.scores.score import Subject, begin, truncate
from study.language.values.suite import Scoring

MAX_NEW_TOKENS = 256
"""HFLM's, where a task names no limit."""

_OURS = (
    "input_ids", "attention_mask", "pad_token_id", "stopping_criteria", "use_cache",
    "num_return_sequences", "return_dict_in_generate",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Continued:
    """A continuation, and how many tokens its prompt lost."""

    text: str
    truncated: int


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """One request's place, and the tokens that its model reads."""

    place: int
    tokens: tuple[int, ...]
    truncated: int


def continuations(
    subject: Subject,
    requests: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    tokenizer: Tokenizer,
    scoring: Scoring,
) -> list[Continued]:
    """Of each (prompt, generation options), in the order asked."""
    groups: dict[str, list[int]] = {}
    for place, (_, options) in enumerate(requests):
        groups.setdefault(json.dumps(options, sort_keys=True, default=str), []).append(place)
    read = encode([text for text, _ in requests], tokenizer=tokenizer, scoring=scoring)
    work: list[tuple[_How, list[_Asked]]] = []
    for members in groups.values():
        how = _How.read(requests[members[0]][1])
        # HFLM's order, in which sampled tokens are drawn.
        ordered = sorted(members, key=lambda place: (-len(read[place]), requests[place][0]))
        asked = [
            _asked(place, tuple(read[place]), subject=subject, scoring=scoring, limit=how.limit)
            for place in ordered
        ]
        work.append((how, asked))
    found: dict[int, Continued] = {}
    for how, asked in work:  # everything is refused before anything is computed
        for batch in _batches(asked, subject=subject, how=how):
            subject.watch(len(found), len(requests))
            texts = _texts(batch, subject=subject, how=how, tokenizer=tokenizer, scoring=scoring)
            for each, text in zip(batch, texts, strict=True):
                found[each.place] = Continued(text=text, truncated=each.truncated)
    return [found[place] for place in range(len(requests))]


@dataclass(frozen=True, kw_only=True)
class _How:
    """Generation options as lm-eval reads them. rest: for `generate()`."""

    until: tuple[str, ...]
    limit: int
    rest: Mapping[str, Any]

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> _How:
        given = {name: value for name, value in options.items() if value is not None}
        until = given.get("until", [])
        given["until"] = list(until) if isinstance(until, (list, tuple)) else [until]
        odd = [mark for mark in given["until"] if not isinstance(mark, str)]
        if odd:
            raise ValueError(f"until holds {odd[0]!r}; legal: stop strings")
        read: dict[str, Any] = dict(normalize_gen_kwargs(given, MAX_NEW_TOKENS))
        until, limit = tuple(read.pop("until")), read.pop("max_gen_toks")
        if own := sorted(set(read) & set(_OURS)):
            raise ValueError(f"generation options {', '.join(own)} are no task's; legal: without")
        if limit < 1:
            raise ValueError(f"a limit of {limit} tokens to generate; legal: at least 1")
        if not read["do_sample"]:
            read.pop("temperature", None)
        elif not read.setdefault("temperature", 0.0) > 0.0:
            raise ValueError(
                f"do_sample with temperature {read['temperature']}; legal: a temperature above 0, "
                "or do_sample false"
            )
        return cls(until=until, limit=limit, rest=read)

    def alone(self, model: Any) -> bool:
        """Whether prompts have to be continued one by one, to give what HFLM gives for one."""
        beams = self.rest.get("num_beams", model.generation_config.num_beams)
        return bool(self.rest["do_sample"]) or (beams or 1) > 1


def _asked(
    place: int, tokens: tuple[int, ...], *, subject: Subject, scoring: Scoring, limit: int
) -> _Asked:
    room = subject.max_length
    if subject.architecture != "encoder_decoder":
        room -= limit
        if room < 1:
            raise ValueError(
                f"{limit} tokens to generate leave no room for a prompt in max_length "
                f"{subject.max_length}; legal: max_gen_toks below {subject.max_length}"
            )
    whole = begin(subject, tokens, scoring=scoring)
    first = whole[: len(whole) - len(tokens)]
    kept, lost = truncate(tokens, room - len(first), scoring)
    return _Asked(place=place, tokens=first + kept, truncated=lost)


def _batches(asked: Sequence[_Asked], *, subject: Subject, how: _How) -> Iterator[list[_Asked]]:
    """Of equal lengths, as many as a pass may have."""
    alone = how.alone(_generator(subject))
    batch: list[_Asked] = []
    for each in asked:
        size = (len(each.tokens) + how.limit) * (len(batch) + 1)
        other = batch and len(batch[0].tokens) != len(each.tokens)
        if batch and (alone or other or size > subject.batch_tokens):
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


def _texts(
    batch: Sequence[_Asked], *, subject: Subject, how: _How, tokenizer: Tokenizer, scoring: Scoring
) -> list[str]:
    model = _generator(subject)
    split = subject.architecture == "encoder_decoder"
    rows = [each.tokens for each in batch]
    # A decoder of the study begins with a start token of its own, and so with nothing at all.
    ids = torch.tensor([row or (PAD,) for row in rows], device=subject.device)
    mask = torch.tensor([[1] * len(row) or [0] for row in rows], device=subject.device)
    rest = dict(how.rest)
    # HFLM counts an encoder-decoder's tokens, and looks for stop strings, from its source's length.
    begun = 1 if split and scoring.length == "total" else ids.shape[1]
    longest = rest.pop("max_length", begun + how.limit)
    end = tokenizer._fast.decode([subject.ids.end], skip_special_tokens=False)
    until = handle_stop_sequences(list(how.until), eos=end)
    with torch.inference_mode():
        grown = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_length=longest,
            stopping_criteria=_stops(until, tokenizer, begin=begun, rows=len(batch)),
            pad_token_id=subject.ids.end,
            use_cache=model.config.use_cache if isinstance(model, StudyModel) else True,
            **rest,
        ).tolist()
    own = grown if split else [row[ids.shape[1] :] for row in grown]
    return [
        postprocess_generated_text(tokenizer.decode(row), stop=until, think_end_token=None)
        for row in own
    ]


def _generator(subject: Subject) -> Any:
    """The model of transformers behind a subject."""
    model: Any = subject.model
    found = model if isinstance(model, GenerationMixin) else getattr(model, "model", None)
    if not isinstance(found, GenerationMixin):
        raise ValueError(f"a {type(model).__name__} can't generate; legal: a model of transformers")
    return found


class _Stops(StoppingCriteria):
    """lm-eval's criteria, of which each row ends by its own."""

    def __init__(self, criteria: Sequence[Any]) -> None:
        self.criteria = criteria

    def __call__(self, input_ids: Tensor, scores: Any, **rest: Any) -> Any:
        for each in self.criteria:
            each(input_ids, scores)
        done = zip(*(each.done_tracker for each in self.criteria), strict=True)
        return torch.tensor([any(row) for row in done], device=input_ids.device)


@dataclass(frozen=True)
class _Coder:
    """As much of transformers' tokenizer as lm-eval's criteria call."""

    tokenizer: Tokenizer

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return self.tokenizer.encode(text)

    def batch_decode(self, rows: Tensor) -> list[str]:
        return self.tokenizer._fast.decode_batch(rows.tolist(), skip_special_tokens=False)


def _stops(
    until: list[str], tokenizer: Tokenizer, *, begin: int, rows: int
) -> StoppingCriteriaList:
    coder: Any = _Coder(tokenizer)
    return StoppingCriteriaList([_Stops(stop_sequences_criteria(coder, until, begin, rows))])
