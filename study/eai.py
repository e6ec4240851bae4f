"""EAI-Eval as a value: the tasks of lm-evaluation-harness that Wang et al. average.

Owns which data sets, chances and roles; the prompts stand in `sweeps/eai.yaml`, one a task. 26 of
the 31 tasks can be said in this format. Five wait for the published suites' own change, and do not
count until then:

    winogrande          ranks contexts before one ending, not endings after one context
    multirc             a question counts when all of its answers do
    triviaqa, webqs     right when any of several aliases is the greedy answer
    race                its rows hold Python literals, which no template reads

HellaSwag's bracketed tags are removed by name, not by pattern; WSC's passage is not detokenised.
No torch.
"""

from __future__ import annotations

from study.pins import Pins
from study.run import Scoring, Source, Suite, SuiteTask

TEMPLATES = Source(
    uri="file://eai.yaml",
    digest="sha256:455bd27733acd4cde74caff83f2cc48bfd86f77c19183dc7f3f4a151912d2dae",
    text_field="",
    where=(),
    part=None,
)
IN_T0_TRAIN = ("mrpc", "qqp", "sciq")
"""Tasks whose data sets T0's training mixture holds: a finetuned model has seen them."""

# task, prompt, hub name, config, split, chance (the paper's Table 5, with CB at one third)
TASKS: tuple[tuple[str, str, str, str, str, float], ...] = (
    ("anli_r1", "anli", "facebook/anli", "", "dev_r1", 1 / 3),
    ("anli_r2", "anli", "facebook/anli", "", "dev_r2", 1 / 3),
    ("anli_r3", "anli", "facebook/anli", "", "dev_r3", 1 / 3),
    ("arc_challenge", "arc", "allenai/ai2_arc", "ARC-Challenge", "test", 0.25),
    ("arc_easy", "arc", "allenai/ai2_arc", "ARC-Easy", "test", 0.25),
    ("boolq", "boolq", "aps/super_glue", "boolq", "validation", 0.5),
    ("cb", "cb", "aps/super_glue", "cb", "validation", 1 / 3),
    ("copa", "copa", "aps/super_glue", "copa", "validation", 0.5),
    ("headqa_en", "headqa", "EleutherAI/headqa", "en", "test", 0.25),
    ("hellaswag", "hellaswag", "Rowan/hellaswag", "", "validation", 0.25),
    ("lambada", "lambada", "EleutherAI/lambada_openai", "default", "test", 0.0),
    ("logiqa", "logiqa", "EleutherAI/logiqa", "logiqa", "test", 0.25),
    ("mathqa", "mathqa", "regisss/math_qa", "", "test", 0.201),
    ("mrpc", "mrpc", "nyu-mll/glue", "mrpc", "validation", 0.5),
    ("openbookqa", "openbookqa", "allenai/openbookqa", "main", "test", 0.25),
    ("piqa", "piqa", "baber/piqa", "", "validation", 0.5),
    ("prost", "prost", "corypaik/prost", "", "test", 0.25),
    (
        "pubmedqa",
        "pubmedqa",
        "bigbio/pubmed_qa",
        "pubmed_qa_labeled_fold0_source",
        "test",
        1 / 3,
    ),
    ("qnli", "qnli", "nyu-mll/glue", "qnli", "validation", 0.5),
    ("qqp", "qqp", "nyu-mll/glue", "qqp", "validation", 0.5),
    ("rte", "rte", "aps/super_glue", "rte", "validation", 0.5),
    ("sciq", "sciq", "allenai/sciq", "", "test", 0.25),
    ("sst", "sst", "nyu-mll/glue", "sst2", "validation", 0.5),
    ("wic", "wic", "aps/super_glue", "wic", "validation", 0.5),
    ("wnli", "wnli", "nyu-mll/glue", "wnli", "validation", 0.5),
    ("wsc", "wsc", "aps/super_glue", "wsc.fixed", "validation", 0.5),
)


def suite(pins: Pins) -> Suite:
    """EAI-Eval as far as it can be said: plain accuracy, no end of sequence, one prompt a task.

    Contexts that are too long lose their end, as the paper's harness cut them (there at 512 tokens,
    here at the model's own longest row).
    """
    return Suite(
        name="eai",
        tasks=tuple(
            SuiteTask(
                name=name,
                rows=pins.rows(hub, split, config=config),
                templates=TEMPLATES,
                template_names=(prompt,),
                metric="greedy" if name == "lambada" else "rank",
                chance=chance,
                role="headline",
            )
            for name, prompt, hub, config, split, chance in TASKS
        ),
        scoring=Scoring(end_of_sequence=False, truncation="right"),
    )
