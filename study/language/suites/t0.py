"""T0's training mixture and T0-Eval as values: which data sets, which templates, which split.

Owns the two lists of t-zero (datasets.csv and seqio_tasks/tasks.py at 7a699e3) over promptsource's
last release, and the 116 prompts that Wang et al. evaluate. Where rows come from is a pin file's
affair (`study.sources.pins`), how a suite is scored `eval`'s. No torch.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from study.language.recipes.presets import PROMPTSOURCE, released
from study.language.suites import published
from study.language.suites.data_sets import data_set
from study.language.suites.published import Asked, Origin, hub
from study.language.values.corpus import Mixture, PromptedTask
from study.language.values.suite import Scoring
from study.runs.source import Source
from study.runs.suite import Suite
from study.sources.pins import Pins

CAP = 500_000


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """One of T0's 38. directory: promptsource's. hub, config: its name on the hub today.

    rows: T0's count of training rows. templates: their number in promptsource 0.2.3. sha256: of its
    templates.yaml.
    """

    directory: str
    hub: str
    config: str
    rows: int
    templates: int
    sha256: str


def training_sets(table: Path) -> tuple[TrainingSet, ...]:
    """The rows of `sweeps/t0_train.csv` (t-zero, datasets.csv: do_train is BASE)."""
    with table.open(encoding="utf-8", newline="") as file:
        return tuple(
            TrainingSet(
                directory=row["directory"],
                hub=row["hub"],
                config=row["config"],
                rows=int(row["rows"]),
                templates=int(row["templates"]),
                sha256=row["sha256"],
            )
            for row in csv.DictReader(file)
        )


# tasks.py leaves 24 tasks out (hotpot_qa, tab_fact, masked wiki_hop, narrativeqa, ecthr_cases, and
# gigaword's `summarize_`). None of them is a template of these 38 sets in promptsource 0.2.3, which
# has renamed gigaword's since: nothing is left to exclude, and a test says so.
BLACKLIST: tuple[str, ...] = (
    "hotpot_qa_distractor_Generate_Explanations",
    "hotpot_qa_fullwiki_Generate_Explanations",
    "hotpot_qa_distractor_Generate_Answer_and_Explanations",
    "hotpot_qa_fullwiki_Generate_Answer_and_Explanations",
    "hotpot_qa_fullwiki_Generate_Answer",
    "hotpot_qa_distractor_Generate_Answer",
    "hotpot_qa_distractor_Generate_Title_2",
    "hotpot_qa_fullwiki_Generate_Title_2",
    "hotpot_qa_fullwiki_Generate_Title_1",
    "hotpot_qa_distractor_Generate_Title_1",
    "hotpot_qa_distractor_Generate_Question",
    "hotpot_qa_fullwiki_Generate_Question",
    "tab_fact_tab_fact_tab_fact_3",
    "tab_fact_tab_fact_tab_fact_2",
    "tab_fact_tab_fact_tab_fact_1",
    "tab_fact_tab_fact_tab_fact_7",
    "tab_fact_tab_fact_tab_fact_4",
    "tab_fact_tab_fact_tab_fact_5",
    "tab_fact_tab_fact_tab_fact_6",
    "wiki_hop_masked_Choose_Best_Object_Candidate",
    "wiki_hop_masked_Indirect_Question_about_Birthplace_Citizenship_Place_of_Death",
    "narrativeqa_Template_05",
    "ecthr_cases_alleged_violation_prediction_silver_rationales",
    "gigaword_summarize_",
)

_NLI = (
    "GPT-3 style",
    "MNLI crowdsource",
    "always/sometimes/never",
    "based on the previous passage",
    "can we infer",
    "claim true/false/inconclusive",
    "consider always/sometimes/never",
    "does it follow that",
    "does this imply",
    "guaranteed true",
    "guaranteed/possible/impossible",
    "justified in saying",
    "must be true",
    "should assume",
    "take the following as truth",
)
_COPA = (
    "C1 or C2? premise, so/because…",
    "best_option",
    "cause_effect",
    "choose",
    "exercise",
    "i_am_hesitating",
    "more likely",
    "plausible_alternatives",
    "…As a result, C1 or C2?",
    "…What could happen next, C1 or C2?",
    "…which may be caused by",
    "…why? C1 or C2",
)
_RTE = (
    "GPT-3 style",
    "MNLI crowdsource",
    "based on the previous passage",
    "can we infer",
    "does it follow that",
    "does this imply",
    "guaranteed true",
    "justified in saying",
    "must be true",
    "should assume",
)
_WSC = (
    "GPT-3 Style",
    "I think they mean",
    "Who or what is/are",
    "by p they mean",
    "does p stand for",
    "does the pronoun refer to",
    "in other words",
    "p is/are r",
    "replaced with",
    "the pronoun refers to",
)
_WINOGRANDE = (
    "Replace",
    "does underscore refer to",
    "fill in the blank",
    "stand for",
    "underscore refer to",
)
_WIC = (
    "GPT-3-prompt",
    "GPT-3-prompt-with-label",
    "affirmation_true_or_false",
    "grammar_homework",
    "polysemous",
    "question-context",
    "question-context-meaning",
    "question-context-meaning-with-label",
    "same_sense",
    "similar-sense",
)
_HELLASWAG = (
    "Predict ending with hint",
    "Randomized prompts template",
    "complete_first_then",
    "if_begins_how_continues",
)
_STORY_CLOZE = (
    "Answer Given options",
    "Choose Story Ending",
    "Movie What Happens Next",
    "Novel Correct Ending",
    "Story Continuation and Options",
)

_SHA256 = {
    "super_glue/copa": "a101c7ee634e1ad451d8e8fd9e6a6fb9ef722f99481fc680ab0c7a9edfa24813",
    "anli": "a5c30272a3091bb1756fb7534848195c439621a7ebfe729b0ee5e2b79b89648e",
    "super_glue/cb": "5502365c7b53a63b65bb7d618288d6f7875872080bebf3c8d4c6d1fcc0acfed6",
    "super_glue/rte": "eb924b862e61ec6826a4f00484dba96cd4546c79def8d77320fb9945a6dcd9de",
    "super_glue/wsc.fixed": "2b7dba8b1ed20ffb30211c509b01b4ea0522e9fd6a47c841cb9ff579958bf5ce",
    "winogrande/winogrande_xl": "d4565505ec00f5da4957b91a93da3029b6a68666ffe902b5968c28421a67af7c",
    "super_glue/wic": "a82d3212d2ab7b93e988866bbe9a0a0b36391e174f724762d1cb0ef1bc1abb4f",
    "hellaswag": "b6592802f423c522bbf0810250a5e1cf2bcc26958a200aecaf453e709fe6b387",
    "story_cloze/2016": "9861f60c307c130d6e63a17b43419dd2fde0093949e18770e0260c0164cade8a",
}
"""Of each directory's templates.yaml in promptsource 0.2.3."""


def _asked(name: str, key: str, prompts: tuple[str, ...], *, of: int, split: str) -> Asked:
    """One of the 11: its data set (also promptsource's directory), and how many answers it has."""
    return Asked(
        name=name,
        data=data_set(key),
        split=split,
        templates=_templates(key, _SHA256[key]),
        template_names=prompts,
        metric="rank",
        chance=1 / of,
    )


def _templates(directory: str, sha256: str) -> Source:
    return released(f"{PROMPTSOURCE}/{directory}/templates.yaml", sha256=sha256)


ASKED: tuple[Asked, ...] = (
    _asked("copa", "super_glue/copa", _COPA, of=2, split="validation"),
    *(_asked(f"anli_{r}", "anli", _NLI, of=3, split=f"dev_{r}") for r in ("r1", "r2", "r3")),
    _asked("cb", "super_glue/cb", _NLI, of=3, split="validation"),
    _asked("rte", "super_glue/rte", _RTE, of=2, split="validation"),
    _asked("wsc", "super_glue/wsc.fixed", _WSC, of=2, split="validation"),
    _asked("winogrande", "winogrande/winogrande_xl", _WINOGRANDE, of=2, split="validation"),
    _asked("wic", "super_glue/wic", _WIC, of=2, split="validation"),
    _asked("hellaswag", "hellaswag", _HELLASWAG, of=4, split="validation"),
    _asked("story_cloze", "story_cloze/2016", _STORY_CLOZE, of=2, split="validation"),
)
SCORING = Scoring(end_of_sequence=True, truncation="right")


def mixture(pins: Pins, *, table: Path, held_out: float) -> Mixture:
    """T0's 38 training sets under all of their templates, each set capped at 500,000 rows."""
    return Mixture(
        tasks=tuple(
            PromptedTask(
                name=each.directory,
                rows=pins.rows(each.hub, "train", config=each.config),
                templates=_templates(each.directory, each.sha256),
                template_names=(),
            )
            for each in training_sets(table)
        ),
        cap=CAP,
        held_out=held_out,
    )


def suite(pins: Pins) -> Suite:
    """T0-Eval on the hub's rows; StoryCloze is a file, since its owners give it on request."""
    return suite_of(hub(pins))


def suite_of(rows: Origin) -> Suite:
    """T0-Eval: 11 sets, 116 prompts, ranked by summed log-likelihood with the end of sequence.

    Contexts that are too long lose their end, as seqio cuts them.
    """
    return published.suite("t0", ASKED, scoring=SCORING, rows=rows)
