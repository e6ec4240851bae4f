"""The data sets of the published suites: their names in 2022 and today, splits and labels.

Owns where each data set's rows are, and why that is another place than the paper's: the hub moved
data sets without an owner under their owners' names, and `datasets` 4 and later runs no loading
script, so what was read by one is dead under its old path (lm-evaluation-harness#3171). Which suite
asks which of them is `study.language.suites.t0`'s and `study.language.suites.eai`'s affair. No
torch.

In a local mirror each split is one file, in the schema of the hub's rows:

    DIR/NAME[/SUBSET]/SPLIT.jsonl       such as DIR/super_glue/cb/validation.jsonl
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from study.language.values.suite import Labels

State = Literal["same", "moved", "copied", "script", "on request"]
"""same: the hub's path still holds. moved: it is now under its owner's name. copied: another
repository's Parquet copy. script: read by a script only, unless the hub converted it. on request:
on no hub."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """One data set (and subset, "" where it has none).

    name, subset: promptsource's directory or the harness's name, and the mirror's. paper: the path
    at the time of the paper. hub, config: today's, "" where there is none. splits: the legal ones;
    hidden: those of them without labels. labels: None where the text itself is the answer.
    """

    name: str
    subset: str
    paper: str
    hub: str
    config: str
    splits: tuple[str, ...]
    hidden: tuple[str, ...]
    labels: Labels | None
    state: State
    reason: str

    @property
    def key(self) -> str:
        return f"{self.name}/{self.subset}" if self.subset else self.name

    def check_split(self, split: str) -> None:
        """Raises ValueError naming the legal splits."""
        legal = [each for each in self.splits if each not in self.hidden]
        message = f"{self.key}: split {split!r}; legal: {', '.join(legal)}"
        if split in self.hidden:
            raise ValueError(f"{message} (the labels of {split!r} are hidden)")
        if split not in self.splits:
            raise ValueError(message)

    def file(self, split: str) -> str:
        """The split's file below a mirror's directory."""
        self.check_split(split)
        return f"{self.key}/{split}.jsonl"


_THREE = ("train", "validation", "test")
_OWNERS = "the hub moved data sets without an owner under their owners' names"


def _classes(*names: str, column: str = "label") -> Labels:
    return Labels(column=column, form="class", classes=names)


def _text(column: str) -> Labels:
    return Labels(column=column, form="text", classes=())


def _number(column: str) -> Labels:
    return Labels(column=column, form="number", classes=())


def _there(column: str) -> Labels:
    return Labels(column=column, form="any", classes=())


def _super_glue(subset: str, *classes: str) -> DataSet:
    return DataSet(
        name="super_glue",
        subset=subset,
        paper="super_glue",
        hub="aps/super_glue",
        config=subset,
        splits=_THREE,
        hidden=("test",),
        labels=_classes(*(classes or ("False", "True"))),
        state="copied",
        reason="super_glue is read by a script; this is the Parquet copy that lm-eval reads "
        "(lm-evaluation-harness#3523)",
    )


def _glue(subset: str, *classes: str) -> DataSet:
    return replace(
        _moved("glue", "nyu-mll/glue", labels=_classes(*classes), subset=subset), hidden=("test",)
    )


def _moved(name: str, hub: str, *, labels: Labels | None, subset: str = "") -> DataSet:
    """A data set whose path got an owner, with three splits that have labels."""
    return DataSet(
        name=name,
        subset=subset,
        paper=name,
        hub=hub,
        config=subset,
        splits=_THREE,
        hidden=(),
        labels=labels,
        state="moved",
        reason=_OWNERS,
    )


DATA_SETS: tuple[DataSet, ...] = (
    _super_glue("boolq"),
    _super_glue("cb", "entailment", "contradiction", "neutral"),
    _super_glue("copa", "choice1", "choice2"),
    _super_glue("multirc"),
    _super_glue("rte", "entailment", "not_entailment"),
    _super_glue("wic"),
    _super_glue("wsc.fixed"),
    _glue("mrpc", "not_equivalent", "equivalent"),
    _glue("qnli", "entailment", "not_entailment"),
    _glue("qqp", "not_duplicate", "duplicate"),
    _glue("sst2", "negative", "positive"),
    _glue("wnli", "not_entailment", "entailment"),
    replace(
        _moved("anli", "facebook/anli", labels=_classes("entailment", "neutral", "contradiction")),
        splits=tuple(f"{kind}_r{n}" for n in (1, 2, 3) for kind in ("train", "dev", "test")),
    ),
    _moved("ai2_arc", "allenai/ai2_arc", labels=_text("answerKey"), subset="ARC-Challenge"),
    _moved("ai2_arc", "allenai/ai2_arc", labels=_text("answerKey"), subset="ARC-Easy"),
    replace(
        _moved("headqa", "EleutherAI/headqa", labels=_number("ra"), subset="en"),
        paper="lm_eval/datasets/headqa",
        state="copied",
        reason="the harness brought a script of its own; lm-eval reads this path today",
    ),
    replace(_moved("hellaswag", "Rowan/hellaswag", labels=_text("label")), hidden=("test",)),
    replace(
        _moved("lambada_openai", "EleutherAI/lambada_openai", labels=None),
        paper="lm_eval/datasets/lambada_openai",
        config="default",
        splits=("test",),
        state="copied",
        reason="the harness's script read OpenAI's lambada_test.jsonl; the hub holds these rows",
    ),
    replace(
        _moved("logiqa", "EleutherAI/logiqa", labels=_text("label")),
        paper="lm_eval/datasets/logiqa",
        config="logiqa",
        state="script",
        reason="a script only, dead under datasets 4 and later (lm-evaluation-harness#3171)",
    ),
    replace(
        _moved("math_qa", "regisss/math_qa", labels=_text("correct")),
        state="copied",
        reason="math_qa is read by a script; this Parquet copy has equal hashes "
        "(lm-evaluation-harness#3943)",
    ),
    _moved("openbookqa", "allenai/openbookqa", labels=_text("answerKey"), subset="main"),
    replace(
        _moved("piqa", "baber/piqa", labels=_classes("0", "1")),
        hidden=("test",),
        state="copied",
        reason="piqa is read by a script; this is the copy that lm-eval reads",
    ),
    replace(
        _moved("prost", "corypaik/prost", labels=_classes("A", "B", "C", "D")),
        paper="corypaik/prost",
        splits=("test",),
        state="script",
        reason="a script beside data/default.jsonl, dead under datasets 4 and later "
        "(lm-evaluation-harness#3171)",
    ),
    replace(
        _moved("pubmed_qa", "bigbio/pubmed_qa", labels=_text("final_decision")),
        subset="pqa_labeled",
        config="pubmed_qa_labeled_fold0_source",
        state="script",
        reason="a script only, dead under datasets 4 and later (lm-evaluation-harness#3645)",
    ),
    replace(
        _moved("race", "EleutherAI/race", labels=_there("problems"), subset="high"),
        splits=("test",),
        state="copied",
        reason="the harness gathered race's questions by article; these rows are gathered, with "
        "the questions as Python literals",
    ),
    _moved("sciq", "allenai/sciq", labels=_text("correct_answer")),
    replace(
        _moved("story_cloze", "", labels=_number("answer_right_ending"), subset="2016"),
        config="",
        splits=("validation", "test"),
        state="on request",
        reason="given by its owners on request; the hub holds no rows",
    ),
    replace(
        _moved("trivia_qa", "mandarjoshi/trivia_qa", labels=_there("answer")),
        subset="unfiltered.nocontext",
        config="unfiltered.nocontext",
        paper="lm_eval/datasets/triviaqa",
        hidden=("test",),
        reason="the harness's script read triviaqa-unfiltered.tar.gz; lm-eval asks rc.nocontext "
        "today, which has other questions",
    ),
    replace(
        _moved("web_questions", "stanfordnlp/web_questions", labels=_there("answers")),
        splits=("train", "test"),
    ),
    replace(
        _moved("winogrande", "allenai/winogrande", labels=_text("answer"), subset="winogrande_xl"),
        hidden=("test",),
    ),
)
_BY_KEY = {each.key: each for each in DATA_SETS}


def data_set(key: str) -> DataSet:
    """The data set of a key such as `super_glue/cb`. Raises ValueError naming the legal ones."""
    if key not in _BY_KEY:
        raise ValueError(f"no data set {key!r}; legal: {', '.join(_BY_KEY)}")
    return _BY_KEY[key]
