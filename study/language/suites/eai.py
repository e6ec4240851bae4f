"""EAI-Eval as a value: the 31 tasks of lm-evaluation-harness that Wang et al. average.

Owns which data sets, metrics and chances; the prompts stand in `sweeps/eai.yaml`, one a task, and
say what lm-eval 0.4.13 says (a test compares them), but for outer white space. The metric is the
paper's `acc` in every task. Where lm-eval computes something else today, the definition is ours,
after the harness of 2022:

    multirc             `acc` was acc_all: a question counts when the yes or no of each of its
                        answers is right (chance 5.8 %, the paper's Table 5). Today's `acc` counts
                        single answers, and takes index 1, "no", for the label True.
    triviaqa, webqs     right when any alias is the greedy answer; an alias that starts with another
                        is left out. Today's are generation and a metric without a meaning.
                        TriviaQA's rows are the unfiltered ones, its prompt without today's second
                        question mark.
    winogrande          ranks two contexts before one ending, as today's does
    race                one item an article: its last question, after its others with their answers

Sentences of mrpc, sst and wnli are taken as they are, as today; the harness of 2022 detokenised
some. No torch.
"""

from __future__ import annotations

from study.language.suites import published
from study.language.suites.data_sets import data_set
from study.language.suites.published import Origin, PublishedTask, from_hub
from study.language.values.suite import Metric, Preparation, Scoring
from study.runs.source import Source
from study.runs.suite import Suite
from study.sources.pins import Pins

TEMPLATES = Source(
    uri="file://eai.yaml",
    digest="sha256:568c00f36f4ea5dc4d76eb8f4b04d4302376af4fd592c945f933f02561236f1b",
    text_field="",
    where=(),
    part=None,
)
IN_T0_TRAIN = ("mrpc", "qqp", "sciq")
"""Tasks whose data sets T0's training mixture holds: a finetuned model has seen them."""


def _task(
    name: str,
    key: str,
    split: str,
    chance: float,
    *,
    prompt: str = "",
    metric: Metric = "rank",
    preparation: Preparation = "",
) -> PublishedTask:
    return PublishedTask(
        name=name,
        data=data_set(key),
        split=split,
        templates=TEMPLATES,
        template_names=(prompt or name,),
        metric=metric,
        chance=chance,
        question=("idx.paragraph", "idx.question") if metric == "rank_all" else (),
        preparation=preparation,
    )


# task, data set, split, chance (the paper's Table 5, with CB at one third). ANLI, CB and PubMedQA
# have three answers; of MathQA's 4,475 validation questions 4,360 have five answers and the others
# four; MultiRC asks for every answer of a question. LAMBADA, TriviaQA and WebQs are open answers.
TASKS: tuple[PublishedTask, ...] = (
    *(_task(f"anli_r{n}", "anli", f"dev_r{n}", 1 / 3, prompt="anli") for n in (1, 2, 3)),
    _task("arc_challenge", "ai2_arc/ARC-Challenge", "test", 0.25, prompt="arc"),
    _task("arc_easy", "ai2_arc/ARC-Easy", "test", 0.25, prompt="arc"),
    _task("boolq", "super_glue/boolq", "validation", 0.5),
    _task("cb", "super_glue/cb", "validation", 1 / 3),
    _task("copa", "super_glue/copa", "validation", 0.5),
    _task("headqa_en", "headqa/en", "test", 0.25, prompt="headqa"),
    _task("hellaswag", "hellaswag", "validation", 0.25),
    _task("lambada", "lambada_openai", "test", 0.0, metric="greedy"),
    _task("logiqa", "logiqa", "test", 0.25),
    _task("mathqa", "math_qa", "test", 0.201, preparation="mathqa"),
    _task("mrpc", "glue/mrpc", "validation", 0.5),
    _task("multirc", "super_glue/multirc", "validation", 0.058, metric="rank_all"),
    _task("openbookqa", "openbookqa/main", "test", 0.25),
    _task("piqa", "piqa", "validation", 0.5),
    _task("prost", "prost", "test", 0.25),
    _task("pubmedqa", "pubmed_qa/pqa_labeled", "test", 1 / 3),
    _task("qnli", "glue/qnli", "validation", 0.5),
    _task("qqp", "glue/qqp", "validation", 0.5),
    _task("race", "race/high", "test", 0.25, preparation="race"),
    _task("rte", "super_glue/rte", "validation", 0.5),
    _task("sciq", "sciq", "test", 0.25),
    _task("sst", "glue/sst2", "validation", 0.5),
    _task("triviaqa", "trivia_qa/unfiltered.nocontext", "validation", 0.0, metric="greedy_any"),
    _task("webqs", "web_questions", "test", 0.0, metric="greedy_any"),
    _task("wic", "super_glue/wic", "validation", 0.5),
    _task("winogrande", "winogrande/winogrande_xl", "validation", 0.5, metric="rank_contexts"),
    _task("wnli", "glue/wnli", "validation", 0.5),
    _task("wsc", "super_glue/wsc.fixed", "validation", 0.5),
)
SCORING = Scoring(end_of_sequence=False, truncation="right")


def suite(pins: Pins) -> Suite:
    """EAI-Eval on the hub's rows."""
    return suite_of(from_hub(pins))


def suite_of(rows: Origin) -> Suite:
    """EAI-Eval: plain accuracy, no end of sequence, one prompt a task.

    Contexts that are too long lose their end, as the paper's harness cut them (there at 512 tokens,
    here at the model's own longest row).
    """
    return published.suite("eai", TASKS, scoring=SCORING, rows=rows)
