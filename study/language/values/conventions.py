"""The named combinations of scoring options: whose convention a score follows. No torch.

Owns the names that results and reports print, and which `study.runs.suite.Scoring` each of them
means.

| option           | study   | lm_eval           | paper   |
|------------------|---------|-------------------|---------|
| encoding         | apart   | joint             | apart   |
| spaces           | move    | move_whitespace   | move    |
| start            | always  | empty             | always  |
| special_tokens   | none    | tokenizer         | none    |
| length           | total   | read              | total   |
| windows          | half    | token             | half    |
| truncation       | left    | left              | right   |
| end of sequence  | open    | not scored        | open    |

`lm_eval` is what `HFLM` of lm-eval 0.4.13 computes: `_encode_pair`, `loglikelihood` and
`_loglikelihood_tokens`, for causal models and, where `joint` and `windows` mean nothing, for
sequence-to-sequence models. Four things differ on purpose. A special token is never read out of
text: a document that spells one is spelled. Where no token of a joint encoding is left for the
target, the pair is encoded apart, and where no token of a target is left or a target is longer
than the limit, it is invalid; `HFLM` ends in an assertion at each of them. A context of white space
alone is an empty one. A target has the tokens of running text: what a causal model's tokenizer puts
after every text is left out, and what one puts before every text is not put before the target of
an encoder-decoder. A rolled document keeps what the tokenizer puts before it, after the prefix
token, as in `HFLM`; under every other combination no text begins twice.

`paper` is Wang et al. 2022: contexts and targets are encoded apart and the first tokens of a
context that is too long are kept. T0-Eval scores the end of sequence and EAI-Eval does not, so that
this is a choice within the convention, as it is within this project's.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Literal

from study.language.values.suite import Scoring

Convention = Literal["study", "lm_eval", "paper", "own"]

STUDY = Scoring(end_of_sequence=True, truncation="left")
PAPER = Scoring(end_of_sequence=True, truncation="right")
LM_EVAL = Scoring(
    end_of_sequence=False,
    truncation="left",
    encoding="joint",
    spaces="move_whitespace",
    start="empty",
    special_tokens="tokenizer",
    length="read",
    windows="token",
)
CONVENTIONS: dict[str, Scoring] = {"study": STUDY, "lm_eval": LM_EVAL, "paper": PAPER}


def convention(scoring: Scoring) -> Convention:
    """Whose convention these options are; `own` where they are nobody's."""
    for name, options in CONVENTIONS.items():
        asked = options if name == "lm_eval" else replace(options, end_of_sequence=False)
        given = scoring if name == "lm_eval" else _without_end(scoring)
        if given == asked:
            return name  # type: ignore[return-value]
    return "own"


def _without_end(scoring: Scoring) -> Scoring:
    return replace(scoring, end_of_sequence=False)


def options(scoring: Scoring) -> dict[str, object]:
    """What keys a score: the options that are not at their defaults, so that an option that is
    added later leaves the names of older scores as they are.
    """
    return {
        each.name: getattr(scoring, each.name)
        for each in fields(scoring)
        if each.name in ("end_of_sequence", "truncation")
        or getattr(scoring, each.name) != each.default
    }
