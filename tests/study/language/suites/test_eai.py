"""EAI-Eval's prompts say what lm-evaluation-harness says, row by row."""

import hashlib
from pathlib import Path

import pytest

from study.language.prompts.rows import prepared
from study.language.prompts.templates import Rendered, parse_templates
from study.language.suites import eai
from study.sources import pins

SWEEPS = Path(__file__).parents[4] / "sweeps"
TEXT = (SWEEPS / "eai.yaml").read_text(encoding="utf-8")
TEMPLATES = {each.name: each for each in parse_templates(TEXT, origin="eai.yaml")}


def test_the_file_is_the_one_that_the_suite_names():
    digest = hashlib.sha256((SWEEPS / "eai.yaml").read_bytes()).hexdigest()
    assert eai.TEMPLATES.digest == f"sha256:{digest}"


def test_every_task_has_its_prompt_and_every_prompt_a_task():
    suite = eai.suite(pins.load(SWEEPS / "pins.toml"))
    assert len(suite.tasks) == 31
    assert not suite.holes
    assert {name for task in suite.tasks for name in task.template_names} == set(TEMPLATES)
    for task in suite.tasks:
        (name,) = task.template_names
        assert (task.name == "lambada") == (TEMPLATES[name].answer_choices is None)


def test_the_mean_chance_is_the_papers_where_its_own_entries_are_right():
    suite = eai.suite(pins.load(SWEEPS / "pins.toml"))
    chances = {task.name: task.chance for task in suite.tasks}
    assert 100 * sum(chances.values()) / 31 == pytest.approx(32.8, abs=0.05)
    # Table 5 has one half for CB, which has three answers
    assert 100 * (sum(chances.values()) + 1 / 6) / 31 == pytest.approx(33.36, abs=0.01)


@pytest.mark.parametrize(
    ("name", "row", "inputs", "choices", "target"),
    [
        (
            "copa",
            {
                "premise": "The man turned on the faucet. ",
                "choice1": "The toilet filled.",
                "choice2": "Water flowed.",
                "question": "effect",
                "label": 1,
            },
            "The man turned on the faucet therefore",
            ["the toilet filled.", "water flowed."],
            "water flowed.",
        ),
        (
            "arc",
            {
                "question": "Why?",
                "choices": {"text": ["a", "b", "c"], "label": ["1", "2", "3"]},
                "answerKey": "3",
            },
            "Question: Why?\nAnswer:",
            ["a", "b", "c"],
            "c",
        ),
        (
            "mathqa",
            {
                "Problem": "p",
                "options": "a ) 38 , b ) 1 , 000 , c ) 30 , d ) none , e ) all of these",
                "correct": "b",
            },
            "Question: p\nAnswer:",
            # the harness ends an option at its first comma, then and now
            ["38", "1", "30", "none", "all of these"],
            "1",
        ),
        (
            "hellaswag",
            {
                "activity_label": "Roof",
                "ctx_a": "A man [title] is.",
                "ctx_b": "he",
                "endings": ["goes. [step] up", "[header] b", "c", "d"],
                "label": "0",
            },
            "Roof: A man. is. He",
            ["goes. up", "b", "c", "d"],
            "goes. up",
        ),
        (
            "wsc",
            {
                "text": "Mark told Pete lies about himself, and Pete believed it.",
                "span2_index": 5,
                "span2_text": "himself",
                "span1_text": "Mark",
                "label": 1,
            },
            "Passage: Mark told Pete lies about *himself*, and Pete believed it.\nQuestion: In the "
            'passage above, does the pronoun "*himself*" refer to "*Mark*"?\nAnswer:',
            ["no", "yes"],
            "yes",
        ),
        (
            "lambada",
            {"text": "I don't care about signs"},
            "I don't care about",
            None,
            "signs",
        ),
        (
            "cb",
            {"premise": "P.", "hypothesis": "H", "label": 1},
            "P.\nQuestion: H. True, False, or Neither?\nAnswer:",
            ["True", "False", "Neither"],
            "False",
        ),
        (
            "anli",
            {"premise": "P.", "hypothesis": "H.", "label": 1},
            "P.\nQuestion: H. True, False, or Neither?\nAnswer:",
            ["True", "Neither", "False"],
            "Neither",
        ),
    ],
)
def test_prompts(name, row, inputs, choices, target):
    template = TEMPLATES[name]
    if name == "mathqa":
        row = prepared(row, "mathqa")
    assert template.outcome(row, key="k") == Rendered(inputs=inputs, targets=target)
    assert template.choices(row, key="k") == choices
