"""T0's training mixture and T0-Eval as values: which data sets, which templates, which split.

Owns the two lists of t-zero (datasets.csv and seqio_tasks/tasks.py at 7a699e3) over promptsource's
last release, and the 116 prompts that Wang et al. evaluate. Where rows come from is a pin file's
affair (`study.pins`), how a suite is scored `eval`'s. No torch.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from study.pins import Pins
from study.presets import PROMPTSOURCE, released
from study.run import Mixture, PromptedTask, Scoring, Source, Suite, SuiteTask

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

_ANLI = "a5c30272a3091bb1756fb7534848195c439621a7ebfe729b0ee5e2b79b89648e"
# task, promptsource's directory, sha256 of its templates.yaml, hub name, config, split, chance,
# prompts; StoryCloze is given by its owners on request, so it is a file
EVAL: tuple[tuple[str, str, str, str, str, str, float, tuple[str, ...]], ...] = (
    (
        "copa",
        "super_glue/copa",
        "a101c7ee634e1ad451d8e8fd9e6a6fb9ef722f99481fc680ab0c7a9edfa24813",
        "aps/super_glue",
        "copa",
        "validation",
        1 / 2,
        _COPA,
    ),
    *(
        (f"anli_{r}", "anli", _ANLI, "facebook/anli", "", f"dev_{r}", 1 / 3, _NLI)
        for r in ("r1", "r2", "r3")
    ),
    (
        "cb",
        "super_glue/cb",
        "5502365c7b53a63b65bb7d618288d6f7875872080bebf3c8d4c6d1fcc0acfed6",
        "aps/super_glue",
        "cb",
        "validation",
        1 / 3,
        _NLI,
    ),
    (
        "rte",
        "super_glue/rte",
        "eb924b862e61ec6826a4f00484dba96cd4546c79def8d77320fb9945a6dcd9de",
        "aps/super_glue",
        "rte",
        "validation",
        1 / 2,
        _RTE,
    ),
    (
        "wsc",
        "super_glue/wsc.fixed",
        "2b7dba8b1ed20ffb30211c509b01b4ea0522e9fd6a47c841cb9ff579958bf5ce",
        "aps/super_glue",
        "wsc.fixed",
        "validation",
        1 / 2,
        _WSC,
    ),
    (
        "winogrande",
        "winogrande/winogrande_xl",
        "d4565505ec00f5da4957b91a93da3029b6a68666ffe902b5968c28421a67af7c",
        "allenai/winogrande",
        "winogrande_xl",
        "validation",
        1 / 2,
        _WINOGRANDE,
    ),
    (
        "wic",
        "super_glue/wic",
        "a82d3212d2ab7b93e988866bbe9a0a0b36391e174f724762d1cb0ef1bc1abb4f",
        "aps/super_glue",
        "wic",
        "validation",
        1 / 2,
        _WIC,
    ),
    (
        "hellaswag",
        "hellaswag",
        "b6592802f423c522bbf0810250a5e1cf2bcc26958a200aecaf453e709fe6b387",
        "Rowan/hellaswag",
        "",
        "validation",
        1 / 4,
        _HELLASWAG,
    ),
    (
        "story_cloze",
        "story_cloze/2016",
        "9861f60c307c130d6e63a17b43419dd2fde0093949e18770e0260c0164cade8a",
        "",
        "",
        "",
        1 / 2,
        _STORY_CLOZE,
    ),
)
STORY_CLOZE = "story_cloze_2016_validation.jsonl"


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
    """T0-Eval: 11 sets, 116 prompts, ranked by summed log-likelihood with the end of sequence.

    Contexts that are too long lose their end, as seqio cuts them.
    """
    return Suite(
        name="t0",
        tasks=tuple(
            SuiteTask(
                name=name,
                rows=pins.rows(hub, split, config=config) if hub else pins.file(STORY_CLOZE),
                templates=_templates(directory, sha256),
                template_names=prompts,
                metric="rank",
                chance=chance,
                role="headline",
            )
            for name, directory, sha256, hub, config, split, chance, prompts in EVAL
        ),
        scoring=Scoring(end_of_sequence=True, truncation="right"),
    )


def _templates(directory: str, sha256: str) -> Source:
    return released(f"{PROMPTSOURCE}/{directory}/templates.yaml", sha256=sha256)
