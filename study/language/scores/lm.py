"""lm-eval's `LM` over any model of the study, in its registry as `study`.

Owns rolling windows and lm-eval's command line; scores are those of `study.language.scores.score`,
continuations those of `study.language.scores.generate`. lm-eval finds no plug-ins, so whoever wants
`--model study` must have imported this module:

    study lm-eval run --model study --model_args run=runs/DIRECTORY --tasks TASK

`model_args`: `run`, a run's directory (its last checkpoint) or a directory with config.json,
model.safetensors and tokenizer.json, of this project or another; `convention`, whose scoring
options to begin with (`study`, `lm_eval`, `paper`: see `study.language.values.conventions`), and
any single one of them (`end_of_sequence`, False but for the convention `paper`, `truncation`,
`encoding`, …); `max_length`, `batch_tokens`, `device`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import lm_eval.models  # noqa: F401  registers lm-eval's own; else `study` alone would be known
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from study.language.data.tokenizer import PAD, Lost, Tokenizer
from study.language.scores.encode import Encoded, encode, encode_pairs
from study.language.scores.generate import continuations
from study.language.scores.score import Request, Scored, Subject, score
from study.language.values.conventions import CONVENTIONS, STUDY
from study.language.values.suite import Scoring
from study.show.terminal import log_warning
from study.sources.weight_files import PRECISION


class StudyLM(LM):
    """One model under one scoring rule; `study.language.scores.encode` says how texts become its
    tokens.
    """

    def __init__(self, subject: Subject, *, tokenizer: Tokenizer, scoring: Scoring) -> None:
        super().__init__()
        self.subject = subject
        self.tokenizer = tokenizer
        self.scoring = scoring
        self._device = subject.device
        self._scored: dict[tuple[str, str], tuple[Scored, Encoded]] = {}
        self._rolled: dict[str, tuple[float, int]] = {}
        self._generated = 0
        self._cut: Counter[int] = Counter()  # prompts by the tokens that they lost
        self._lost: dict[str, Lost] = {}

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> StudyLM:
        from lm_eval.utils import simple_parse_args_string

        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> StudyLM:
        from study.language.scores.subjects import open_directory

        single = tuple(each.name for each in fields(Scoring))
        legal = ("run", "convention", *single, "max_length", "batch_tokens", "device")
        unknown = sorted(set(arg_dict) - set(legal))
        if unknown or "run" not in arg_dict:
            raise ValueError(
                f"model_args {', '.join(unknown) or 'without run'}; legal: run=DIRECTORY, "
                f"{', '.join(legal[1:])}"
            )
        options = {
            name: arg_dict[name] for name in ("max_length", "batch_tokens") if name in arg_dict
        }
        opened = open_directory(
            Path(str(arg_dict["run"])),
            device=_device(arg_dict.get("device"), (additional_config or {}).get("device")),
            **options,
        )
        name = arg_dict.get("convention", "study")
        if name not in CONVENTIONS:
            raise ValueError(f"convention={name}; legal: {', '.join(CONVENTIONS)}")
        # lm-eval's own tasks never ask for an end of sequence.
        begun = CONVENTIONS[name] if name != "study" else replace(STUDY, end_of_sequence=False)
        scoring = replace(begun, **{each: arg_dict[each] for each in single if each in arg_dict})
        return cls(opened.subject, tokenizer=opened.tokenizer, scoring=scoring)

    def scored(self, context: str, continuation: str) -> Scored:
        """What `loglikelihood` found for this pair: both end-of-sequence answers, truncation."""
        return self._scored[context, continuation][0]

    def encoded(self, context: str, continuation: str) -> Encoded:
        """The tokens that were scored for this pair, and what became of its border."""
        return self._scored[context, continuation][1]

    def borders(self, items: Iterable[Sequence[tuple[str, str]]]) -> dict[str, int]:
        """Of these items' (context, continuation) pairs, in how many items a token goes across the
        border of one, and in how many a continuation was encoded apart for it
        (`study.language.scores.encode`).
        """
        counts = {"spanning": 0, "reencoded": 0}
        for pairs in items:
            own = [self.encoded(*pair) for pair in pairs]
            counts["spanning"] += any(each.spanning for each in own)
            counts["reencoded"] += any(each.reencoded for each in own)
        return counts

    def losses(self, items: Iterable[Sequence[tuple[str, str]] | str]) -> dict[str, int]:
        """Of these items' pairs, or documents: how many hold letters that have no token, and how
        many are another text when their tokens are decoded.
        """
        counts = {"unknown": 0, "altered": 0}
        for item in items:
            if isinstance(item, str):
                own = [self._lost[item]]
            else:
                own = [self.encoded(*pair).lost for pair in item]
            counts["unknown"] += any(each.unknown for each in own)
            counts["altered"] += any(each.altered for each in own)
        return counts

    def rolled(self, text: str) -> tuple[float, int]:
        """What `loglikelihood_rolling` found for this document, and its tokens."""
        return self._rolled[text]

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Invalid targets (see `study.language.scores.score`) get minus infinity, so that none wins
        a ranking.
        """
        pairs = list(dict.fromkeys(_texts(request) for request in requests))
        new = [pair for pair in pairs if pair not in self._scored]
        self._scored.update(zip(new, self._score(new), strict=True))
        answers = []
        for request in requests:
            found = self._scored[_texts(request)][0]
            value = found.log_likelihood(self.scoring) if found.valid else float("-inf")
            answers.append((value, found.greedy(self.scoring)))
        return answers

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Each document alone, each token once, without end of sequence.

        A document is score(previous window, next window), under every architecture: its first
        window is scored after an empty context, and every later one after the tokens that come
        before it, as many as `Scoring.windows` says. Under `half` a later token sees at least half
        a window. An empty context is what language models of the causal decoder train on; prefix
        and encoder-decoder models never train without one.

        A document with letters that have no token gets minus infinity: those letters would cost
        next to nothing, and bits per byte would be too few.
        """
        windows: list[Request] = []
        owners: list[int] = []
        room = self._window()
        documents = encode(
            [_texts(request)[0] for request in requests],
            tokenizer=self.tokenizer,
            scoring=self.scoring,
        )
        texts = [_texts(request)[0] for request in requests]
        self._lost.update(zip(texts, self.tokenizer.lost(texts, documents), strict=True))
        before = max(room // 2, 1) if self.scoring.windows == "half" else 1
        # Said, not left to the rule, so that a document's own first token is never taken for it.
        first = [self.subject.ids.prefix] if self.scoring.start == "empty" else []
        for index, tokens in enumerate(documents):
            rolled = get_rolling_token_windows(
                tokens, prefix_token=PAD, max_seq_len=room, context_len=before
            )
            for place, pair in enumerate(rolled):
                context, target = make_disjoint_window(pair)
                windows.append(Request(context=context if place else first, targets=[target]))
                owners.append(index)
        totals, counts = [0.0] * len(requests), [0] * len(requests)
        for index, found in zip(
            owners, score(self.subject, windows, scoring=self.scoring), strict=True
        ):
            if not found[0].valid:
                raise ValueError(f"document {index} has a log-likelihood that is not finite")
            totals[index] += found[0].target_log_likelihood
            counts[index] += found[0].tokens
        for index, text in enumerate(texts):
            if self._lost[text].unknown:
                totals[index] = float("-inf")
            self._rolled[text] = (totals[index], counts[index])
        return totals

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Continuations, as `study.language.scores.generate` says."""
        found = continuations(
            self.subject,
            [_texts(request) for request in requests],
            tokenizer=self.tokenizer,
            scoring=self.scoring,
        )
        self._generated += len(found)
        self._cut += Counter(each.truncated for each in found if each.truncated)
        return [each.text for each in found]

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        raise ValueError(
            "chat templates are not rendered here; legal: without --apply_chat_template (a system "
            "instruction stands before a prompt as it is)"
        )

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.digest

    def cut(self) -> dict[str, dict[str, int]]:
        """By kind of request: how many were asked, how many contexts lost tokens to the length
        limit, and how many tokens.
        """
        scored = [each.truncated for each, _ in self._scored.values()]
        lost = [count for count in scored if count]
        return {
            "loglikelihood": {"asked": len(scored), "cut": len(lost), "tokens": sum(lost)},
            "generate_until": {
                "asked": self._generated,
                "cut": self._cut.total(),
                "tokens": sum(size * count for size, count in self._cut.items()),
            },
        }

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval's command line keeps beside its results; asked when everything is done."""
        for kind, counts in self.cut().items():
            if counts["cut"]:
                log_warning(
                    f"{kind}: {counts['cut']} of {counts['asked']} contexts lost "
                    f"{counts['tokens']} tokens on the {self.scoring.truncation} to the limit of "
                    f"{self.subject.max_length}"
                )
        return {
            "model_dtype": PRECISION,
            "max_length": self.subject.max_length,
            "scoring": asdict(self.scoring),
            "cut": self.cut(),
        }

    def _window(self) -> int:
        """Tokens of a rolling window, of which lm-eval's hold one more than asked for."""
        if self.scoring.length == "read":
            return self.subject.max_length
        # A decoder's limit has the end of sequence as well, and what is put before a context.
        return self.subject.max_length - 2

    def _score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[Scored, Encoded]]:
        encoded = encode_pairs(
            pairs,
            tokenizer=self.tokenizer,
            architecture=self.subject.architecture,
            scoring=self.scoring,
        )
        requests = [Request(context=each.context, targets=[each.target]) for each in encoded]
        found = score(self.subject, requests, scoring=self.scoring)
        return [(each[0], own) for each, own in zip(found, encoded, strict=True)]


register_model("study")(StudyLM)


def forward_lm_eval(argv: Sequence[str]) -> None:
    """lm-eval's own command line with `--model study` known to it."""
    from lm_eval.__main__ import cli_evaluate

    before = sys.argv
    sys.argv = ["study lm-eval", *argv]
    try:
        cli_evaluate()
    finally:
        sys.argv = before


def _device(own: Any, command: Any) -> str:
    """`model_args` decide; lm-eval's command line says `cuda` where nobody asked for anything."""
    if own:
        return str(own)
    return str(command) if command and torch.cuda.is_available() else "cpu"


def _texts(request: Instance) -> tuple[Any, Any]:
    """The request's text, and what follows it or how to go on; None for rolling."""
    args: tuple[Any, ...] = request.args
    return args[0], args[1] if len(args) > 1 else None
