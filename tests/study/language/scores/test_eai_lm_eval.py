"""EAI-Eval asks what lm-eval's own tasks ask, request by request, on made rows of each schema.

Left out: multirc, triviaqa and webqs, where lm-eval 0.4.13 computes another metric than the paper's
(`study.language.suites.eai`); their definitions are tested by what they must give.
"""

from pathlib import Path

import lm_eval
import pytest
from datasets import Dataset
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from study.language.prompts.rows import prepared
from study.language.prompts.templates import parse_templates
from study.language.scores.questions import Item, ask
from study.language.suites import eai

ROOT = Path(__file__).parents[4]
TASKS = Path(lm_eval.__file__).parent / "tasks"
TEMPLATES = {
    each.name: each
    for each in parse_templates(
        (ROOT / "sweeps" / "eai.yaml").read_text(encoding="utf-8"), origin="eai.yaml"
    )
}
ASKED = {each.name: each for each in eai.TASKS}

NLI = {"premise": "A dog ran; it was late.", "hypothesis": "A dog slept.", "label": 1}
PAIR = {"sentence1": "It 's one .", "sentence2": "It is ( two ) .", "label": 1}
ARC = {
    "question": "Which one?",
    "choices": {"text": ["an a", "a b", "c"], "label": ["A", "B", "C"]},
    "answerKey": "B",
}
RACE = {
    "article": "It was a day. 'Yes,' she said.",
    "problems": str(
        [
            {"question": "Why?", "answer": "C", "options": ["a", "b", 'it\'s "so"', "d"]},
            {"question": "She was  _  .", "answer": "A", "options": ["glad", "sad", "mad", "bad"]},
            {"question": "Who  ?", "answer": "D", "options": ["Al", "Bo", "Cy", "Di"]},
        ]
    ),
}
WSC = {
    "text": 'Mark told Pete "many lies" about himself , and Pete (or ( so ) it seems ) did n\'t '
    "believe .",
    "span2_index": 6,
    "span2_text": "himself",
    "span1_text": "Mark",
    "label": 0,
}
HELLASWAG = {
    "activity_label": "Roof shingle",
    "ctx_a": "[header] How to roof [title] Go up. [step] A man [and [a] dog",
    "ctx_b": "",
    "endings": ["[step] goes up. [substeps] He", "x] y [z", "a [b\nc] d", "falls  [title] down"],
    "label": "3",
}
# task: lm-eval's file, rows
CASES = {
    "anli_r1": ("anli/anli_r1.yaml", [NLI, NLI | {"label": 2}]),
    "anli_r2": ("anli/anli_r2.yaml", [NLI]),
    "anli_r3": ("anli/anli_r3.yaml", [NLI | {"label": 0}]),
    "arc_challenge": ("arc/arc_challenge.yaml", [ARC]),
    "arc_easy": ("arc/arc_easy.yaml", [ARC | {"answerKey": "C"}]),
    "boolq": (
        "super_glue/boolq/default.yaml",
        [{"passage": "Ice floats.", "question": "does ice float", "label": 1}],
    ),
    "cb": ("super_glue/cb/default.yaml", [NLI, NLI | {"label": 2}]),
    "copa": (
        "super_glue/copa/default.yaml",
        [
            {
                "premise": "The man ran. ",
                "choice1": "He was late.",
                "choice2": "I saw it.",
                "question": question,
                "label": 1,
            }
            for question in ("cause", "effect")
        ],
    ),
    "headqa_en": (
        "headqa/headqa_en.yaml",
        [
            {
                "qtext": "What hurts?",
                "answers": [{"aid": 1, "atext": "the head"}, {"aid": 2, "atext": "the foot"}],
                "ra": 2,
            }
        ],
    ),
    "hellaswag": ("hellaswag/hellaswag.yaml", [HELLASWAG, HELLASWAG | {"ctx_b": "he THEN"}]),
    "lambada": (
        "lambada/lambada_openai.yaml",
        [{"text": "I look.\n\nI don't care about  signs"}, {"text": 'one "two" three.'}],
    ),
    "logiqa": (
        "logiqa/logiqa.yaml",
        [
            {
                "context": "All men.",
                "question": "Which?",
                "options": ["a.", "b.", "c.", "d."],
                "label": "c",
            }
        ],
    ),
    "mathqa": (
        "mathqa/mathqa.yaml",
        [
            {
                "Problem": "how much ?",
                "options": "a ) rs . 1 , 400 , b ) 3 / 4 , c ) 30 , d ) none , e ) all of them",
                "correct": "e",
            }
        ],
    ),
    "mrpc": ("glue/mrpc/default.yaml", [PAIR]),
    "openbookqa": (
        "openbookqa/openbookqa.yaml",
        [{"question_stem": "The sun", "choices": ARC["choices"], "answerKey": " A"}],
    ),
    "piqa": (
        "piqa/piqa.yaml",
        [{"goal": "To boil,", "sol1": "heat it.", "sol2": "cool it.", "label": 0}],
    ),
    "prost": (
        "prost/corypaik_prost.yaml",
        [
            {
                "context": "It falls.",
                "ex_question": "Which?",
                "A": "ball",
                "B": "egg",
                "C": "cup",
                "D": "pen",
                "label": 2,
            }
        ],
    ),
    "pubmedqa": (
        "pubmedqa/pubmedqa.yaml",
        [{"CONTEXTS": ["We did.", "It was."], "QUESTION": "Is it?", "final_decision": "maybe"}],
    ),
    "qnli": (
        "glue/qnli/default.yaml",
        [{"question": "Who?", "sentence": "He did.", "label": 1}],
    ),
    "qqp": (
        "glue/qqp/default.yaml",
        [{"question1": "Who is it?", "question2": "Who?", "label": 0}],
    ),
    "race": ("race/race.yaml", [RACE]),
    "rte": ("super_glue/rte/default.yaml", [NLI]),
    "sciq": (
        "sciq/sciq.yaml",
        [
            {
                "support": " Cells divide.",
                "question": "What?",
                "distractor1": "rocks",
                "distractor2": "air",
                "distractor3": "gas",
                "correct_answer": "cells",
            }
        ],
    ),
    "sst": ("glue/sst2/default.yaml", [{"sentence": "it 's fine . ", "label": 1}]),
    "wic": (
        "super_glue/wic/default.yaml",
        [PAIR | {"start1": 0, "end1": 2, "start2": 0, "end2": 2}],
    ),
    "winogrande": (
        "winogrande/default.yaml",
        [
            {
                "sentence": "The cup fit in the bag because the _ , it was small.",
                "option1": "cup",
                "option2": "bag",
                "answer": answer,
            }
            for answer in ("1", "2")
        ],
    ),
    "wnli": ("glue/wnli/default.yaml", [PAIR]),
    "wsc": ("super_glue/wsc/default.yaml", [WSC, WSC | {"label": 1}]),
}
OURS = {"multirc", "triviaqa", "webqs"}


def test_every_task_is_here_or_ours():
    assert CASES.keys() | OURS == ASKED.keys()


def lm_evals_task(path, rows):
    """The task of lm-eval's own file, on rows in place of its data set."""
    config = load_yaml(TASKS / path, resolve_func=True)
    config = {
        name: value
        for name, value in config.items()
        if name not in ("dataset_path", "dataset_name", "dataset_kwargs", "tag", "task")
    }
    splits = {
        config[name]
        for name in ("training_split", "validation_split", "test_split")
        if config.get(name)
    }
    data = Dataset.from_list(rows)
    config["custom_dataset"] = lambda **_: dict.fromkeys(splits, data)
    return ConfigurableTask(config={"task": path, **config})


def requests(task, document):
    """[(context, continuation)], and the index of the right one, as lm-eval asks."""
    context = task.fewshot_context(document, num_fewshot=0)
    asked = task.construct_requests(document, context)
    asked = asked if isinstance(asked, list) else [asked]
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    if isinstance(gold, str):
        choices = [] if task.OUTPUT_TYPE == "loglikelihood" else task.doc_to_choice(document)
        gold = choices.index(gold) if gold in choices else 0
    return [each.arguments for each in asked], gold


def bare(pairs):
    """Ours are stripped of outer white space and joined by one space: the one rule of all suites.
    lm-eval's copa puts a second space before its answers.
    """
    return [(context.strip(), continuation.strip()) for context, continuation in pairs]


@pytest.mark.parametrize("name", CASES)
def test_the_same_requests(name):
    path, rows = CASES[name]
    theirs = lm_evals_task(path, rows)
    (template,) = ASKED[name].template_names
    documents = list(theirs.eval_docs)
    assert len(documents) == len(rows)
    for row, document in zip(rows, documents, strict=True):
        item = ask(
            ASKED[name].metric,
            TEMPLATES[template],
            prepared(row, ASKED[name].preparation),
            key="k",
        )
        assert isinstance(item, Item), item
        pairs, gold = requests(theirs, document)
        assert bare(item.pairs) == bare(pairs)
        assert item.gold == gold
        for context, continuation in item.pairs:
            assert not context[-1].isspace()
            assert continuation[0] == " "
            assert not continuation[1].isspace()


def test_no_alias_that_starts_with_another_and_case_counts():
    row = {
        "question": "Who?",
        "answer": {"aliases": ["Ann B", "ann", "Bo", "Ann", "Ann ||| C"], "value": "Ann"},
    }
    item = ask("greedy_any", TEMPLATES["triviaqa"], row, key="k")
    assert isinstance(item, Item)
    assert item.inputs == "Question: Who?\nAnswer:"
    assert item.continuations == (" Ann", " Bo", " ann")
    webqs = ask(
        "greedy_any", TEMPLATES["webqs"], {"question": "who?", "answers": ["b", "a", "ab"]}, key="k"
    )
    assert isinstance(webqs, Item)
    assert webqs.continuations == (" a", " b")
    assert ask("greedy_any", TEMPLATES["webqs"], {"question": "who?", "answers": []}, key="k") == (
        "empty"
    )


def test_multirc_says_yes_for_true_where_lm_eval_says_no():
    row = {
        "paragraph": "It rained.",
        "question": "What?",
        "answer": "rain",
        "label": 1,
        "idx": {"paragraph": 0, "question": 0, "answer": 0},
    }
    item = ask("rank_all", TEMPLATES["multirc"], row, key="k")
    assert isinstance(item, Item)
    chosen = item.continuations[item.gold]
    assert chosen == " rain\nIs the answer correct? yes"
    theirs = lm_evals_task("super_glue/multirc/default.yaml", [row])
    pairs, gold = requests(theirs, row)
    assert sorted(bare(pairs)) == sorted(bare(item.pairs))
    assert pairs[gold][1].endswith("no"), (
        "lm-eval has mended its labels: say so in study/language/suites/eai.py"
    )
