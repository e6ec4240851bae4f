"""What a suite of language is made of: the options of the scoring rule, tasks and labels. No torch.

Owns frozen values and their legal ranges; `study.language.scores` computes what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from study.runs.legal import within
from study.runs.source import Source
from study.runs.suite import ScoringRule, Task


@dataclass(frozen=True, kw_only=True)
class Scoring(ScoringRule):
    """The options of the one scoring rule that can change an answer.
    `study.language.values.conventions` names the combinations that mean this project's, lm-eval's
    and the paper's convention.

    end_of_sequence: the target ends in an end of sequence, which is scored (T0-Eval does, EAI-Eval
    does not).
    truncation: which side of a context that is too long is cut (counted in the result, never
    silent).
    encoding: `apart` tokenises context and target each alone, so that a target has the same tokens
    after every context. `joint` tokenises the two as one text and takes as the target what is left
    after as many tokens as the context has alone (lm-eval's causal models); an encoder-decoder has
    two texts and encodes apart always.
    spaces: what stands at the end of a context: `move` takes spaces, `move_whitespace` any white
    space (lm-eval's) over to the target's beginning, `keep` leaves it.
    start: what an empty context means. `always`: the model's start token stands before every
    context, and alone before a target without one. `empty`: a prefix token (beginning of sequence,
    or the end where there is none) is the context where there is none, and nothing stands before
    another (lm-eval's). The models of this study put their start token in front of either, as their
    `forward` does; an encoder reads the prefix token.
    special_tokens: `none`, or what the `tokenizer` itself adds: to context and joint text, or to an
    encoder's text (lm-eval's). Never to a target.
    length: what `max_length` limits: the `total` of context, target and end of sequence, or what is
    `read`, which a target's last token is not and which counts an encoder's and a decoder's side
    apart (lm-eval's). An end of sequence then has no room of its own, and a target behind which it
    does not fit is never the answer where it is scored.
    windows: what a window of a long document has as its context: `half` of a window, or the last
    `token` before it (lm-eval's).
    """

    end_of_sequence: bool
    truncation: Literal["left", "right"]
    encoding: Literal["apart", "joint"] = "apart"
    spaces: Literal["move", "move_whitespace", "keep"] = "move"
    start: Literal["always", "empty"] = "always"
    special_tokens: Literal["none", "tokenizer"] = "none"
    length: Literal["total", "read"] = "total"
    windows: Literal["half", "token"] = "half"

    def __post_init__(self) -> None:
        for name, declared in _LEGAL_SCORING.items():
            if getattr(self, name) not in declared:
                raise ValueError(
                    f"Scoring.{name} is {getattr(self, name)!r}; legal: {', '.join(declared)}"
                )


_LEGAL_SCORING = {
    "truncation": ("left", "right"),
    "encoding": ("apart", "joint"),
    "spaces": ("move", "move_whitespace", "keep"),
    "start": ("always", "empty"),
    "special_tokens": ("none", "tokenizer"),
    "length": ("total", "read"),
    "windows": ("half", "token"),
}
Metric = Literal["rank", "rank_contexts", "rank_all", "greedy", "greedy_any", "rolling"]
Preparation = Literal["", "race", "mathqa"]
"""What is done to a row before a template reads it (`study.language.prompts.rows`)."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The column of the answer, and what it may hold.

    form: `class`, an index or one of `classes`, names in the order of their indices; `text` and
    `number`, which a mirror may hold as the other; `any`, only that it is there. A row without a
    label, as hidden test splits have, is refused.
    """

    column: str
    form: Literal["class", "text", "number", "any"]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if bool(self.classes) != (self.form == "class"):
            raise ValueError(
                f"Labels of {self.column!r}: form {self.form!r} with classes {self.classes}; "
                "legal: classes for the form `class` alone"
            )


@dataclass(frozen=True, kw_only=True)
class SuiteTask(Task):
    """One data set of a suite.

    metric: `rank` (argmax of summed log-likelihood over answer choices), `rank_contexts` (argmax
        over the template's choices as contexts, before one ending), `rank_all` (`rank`, and a
        question counts when all of its rows do), `greedy` (exact match of the greedy answer),
        `greedy_any` (of any of the template's choices) or `rolling` (bits per byte of whole
        documents; no templates).
    chance: the accuracy of guessing, in [0, 1]; 0 for greedy and rolling.
    role: `headline` counts in the suite's score; `probe` and `stretch` are shown beside it.
    labels: checked, and class names become indices; None takes the rows as they are.
    question: for `rank_all`, the columns (`idx.question` is one inside another) whose equal values
        make rows one question.
    """

    name: str
    rows: Source
    templates: Source | None
    template_names: tuple[str, ...]
    metric: Metric
    chance: float
    role: Literal["headline", "probe", "stretch"]
    labels: Labels | None = None
    question: tuple[str, ...] = ()
    preparation: Preparation = ""

    def __post_init__(self) -> None:
        within(self, "chance", low=0.0, high=1.0)
        if (self.templates is None) != (self.metric == "rolling"):
            raise ValueError(
                f"SuiteTask {self.name!r}: `rolling` has no templates, "
                "every other metric needs them"
            )
        if bool(self.question) != (self.metric == "rank_all"):
            raise ValueError(
                f"SuiteTask {self.name!r}: the columns of a question are {self.question}; legal: "
                "some for `rank_all`, none for every other metric"
            )

    @property
    def measure(self) -> str:
        return "bits per byte" if self.metric == "rolling" else "accuracy"

    @property
    def at_chance(self) -> float:
        return self.chance

    @property
    def is_headline(self) -> bool:
        return self.role == "headline" and self.metric != "rolling"

    @property
    def shown_as(self) -> str:
        return self.role

    @property
    def scored_by(self) -> str:
        return self.metric
