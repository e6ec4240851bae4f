"""lm-eval over the study's models: offline tasks with accuracies worked out by hand."""

import hashlib
import json
import math
import sys
from dataclasses import replace

import checkpoints
import pytest
import torch
import typer
import yaml
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from study.commands.options import ends_clearly
from study.language.data.tokenizer import train
from study.language.huggingface.auto import pretrained
from study.language.model.build import build
from study.language.scores import items
from study.language.scores import tasks as suites
from study.language.scores.lm import StudyLM, forward_lm_eval
from study.language.scores.score import Subject
from study.language.values.model import Model
from study.language.values.suite import Scoring, SuiteTask
from study.runs.source import Source
from study.runs.suite import Suite
from study.sources.content import Access

TEXTS = ["is it so? yes no maybe the answer here is yes or no", "he said no and she said yes"] * 20
ROWS = [
    {"question": "is it", "label": 0, "kind": "asked"},
    {"question": "is he", "label": 1, "kind": "asked"},
    {"question": "is she", "label": 0, "kind": "asked"},
    {"question": "said", "label": 0, "kind": "told"},
    {"question": "maybe", "label": 1, "kind": "equal"},
]
PROMPT = "{% if kind != 'told' %}{{question}} so?|||{{ answer_choices[label] }}{% endif %}"
CHOICES = "yes|||no"


class Unigram(torch.nn.Module):
    """A language model whose next token never depends on anything: scores follow by hand."""

    def __init__(self, logits):
        super().__init__()
        self.register_buffer("table", logits)

    def hidden(self, batch):
        return torch.zeros(*batch.tokens.shape, 1)

    def logits(self, hidden):
        return self.table.expand(*hidden.shape[:-1], -1)


@pytest.fixture(scope="module")
def tokenizer():
    return train(TEXTS, vocab_size=300, sentinels=4)


def favouring(tokenizer, **bonus):
    logits = torch.zeros(tokenizer.vocab_size, dtype=torch.float64)
    for word, value in bonus.items():
        (token,) = tokenizer.encode(f" {word}")
        logits[token] = value
    return Unigram(logits)


def lm_of(model, tokenizer, *, end=False, max_length=64):
    subject = Subject(
        model=model, architecture="causal_decoder", max_length=max_length, batch_tokens=4096
    )
    scoring = Scoring(end_of_sequence=end, truncation="left")
    return StudyLM(subject, tokenizer=tokenizer, scoring=scoring)


def file_source(path, **fields):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    base = {"text_field": "", "where": (), "part": None}
    return Source(uri=f"file://{path.name}", digest=f"sha256:{digest}", **(base | fields))


@pytest.fixture
def suite(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    templates = tmp_path / "templates.yaml"
    entry = {
        "id": "0",
        "name": "plain",
        "jinja": PROMPT,
        "answer_choices": CHOICES,
        "reference": "",
        "metadata": {},
    }
    templates.write_text(yaml.safe_dump({"dataset": "d", "templates": {"0": entry}}))
    prose = tmp_path / "prose.jsonl"
    prose.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:2]))

    def task(name, metric, **fields):
        base = {
            "rows": file_source(rows),
            "templates": file_source(templates),
            "template_names": (),
            "chance": 0.0,
            "role": "headline",
        }
        return SuiteTask(name=name, metric=metric, **(base | fields))

    return Suite(
        name="s",
        tasks=(
            task("choose", "rank", chance=0.5),
            task("say", "greedy"),
            task("prose", "rolling", rows=file_source(prose, text_field="text"), templates=None),
        ),
        scoring=Scoring(end_of_sequence=False, truncation="left"),
    )


def run_suite(suite, lm, tmp_path):
    built = suites.build(suite, access=Access(data_dirs=(tmp_path,), cache=tmp_path, offline=True))
    tasks = TaskManager(include_defaults=False).load([suites.lm_eval_task(one) for one in built])
    results = evaluate(lm=lm, task_dict=tasks, bootstrap_iters=0)
    return built, results["results"], items.collect(built, lm=lm, run="r").to_pylist()


def test_a_suite_end_to_end_with_accuracies_by_hand(suite, tokenizer, tmp_path):
    lm = lm_of(favouring(tokenizer, yes=3.0, no=2.0), tokenizer)
    built, results, rows = run_suite(suite, lm, tmp_path)
    # "yes" always wins; of the four rows that the template applies to, two say yes.
    assert results["choose/plain"]["acc,none"] == pytest.approx(2 / 4)
    assert results["say/plain"]["acc,none"] == pytest.approx(2 / 4)
    assert built[0].skipped == {"not_applicable": 1}
    assert [item.index for item in built[0].items] == [0, 1, 2, 4]
    ranked = [row for row in rows if row["task"] == "choose"]
    assert [row["correct"] for row in ranked] == [1.0, 0.0, 1.0, 0.0]
    assert [row["margin"] for row in ranked] == pytest.approx([1.0, -1.0, 1.0, -1.0])
    assert [row["prediction"] for row in ranked] == [0] * 4
    total = tokenizer.vocab_size - 2 + math.exp(3) + math.exp(2)
    assert ranked[0]["log_likelihoods"] == pytest.approx([3 - math.log(total), 2 - math.log(total)])
    assert ranked[0]["null_log_likelihoods"] == pytest.approx(ranked[0]["log_likelihoods"])
    assert ranked[0]["bytes"] == [4, 3]
    chance = 1 / (1 + math.exp(-1))
    assert ranked[0]["brier"] == pytest.approx(2 * (1 - chance) ** 2)


def test_bits_per_byte_by_hand(suite, tokenizer, tmp_path):
    lm = lm_of(Unigram(torch.zeros(tokenizer.vocab_size)), tokenizer)
    _, results, rows = run_suite(suite, lm, tmp_path)
    tokens = sum(len(tokenizer.encode(text)) for text in TEXTS[:2])
    size = sum(len(text.encode()) for text in TEXTS[:2])
    expected = tokens * math.log2(tokenizer.vocab_size) / size
    assert results["prose"]["bits_per_byte,none"] == pytest.approx(expected)
    rolled = [row for row in rows if row["task"] == "prose"]
    assert sum(row["tokens"][0] for row in rolled) == tokens


def test_ties_share_the_point(suite, tokenizer, tmp_path):
    lm = lm_of(Unigram(torch.zeros(tokenizer.vocab_size)), tokenizer)
    _, results, rows = run_suite(suite, lm, tmp_path)
    assert results["choose/plain"]["acc,none"] == pytest.approx(0.5)
    ranked = [row for row in rows if row["task"] == "choose"]
    assert all(row["tie"] and row["prediction"] == -1 for row in ranked)
    assert [row["correct"] for row in ranked] == [0.5] * 4
    assert suites.credit([-1.0, -1.0, -2.0], 1) == 0.5
    assert suites.credit([-1.0, -1.0, -2.0], 2) == 0.0
    assert suites.credit([float("-inf")] * 2, 0) == 0.0


def test_rolling_predicts_each_token_once(tokenizer):
    lm = lm_of(Unigram(torch.zeros(tokenizer.vocab_size)), tokenizer, max_length=9)
    text = " ".join(TEXTS[:4])
    (total,) = lm.loglikelihood_rolling([request("loglikelihood_rolling", text)])
    tokens = len(tokenizer.encode(text))
    assert tokens > 40
    assert total == pytest.approx(-tokens * math.log(tokenizer.vocab_size))
    assert lm.rolled(text)[1] == tokens


def test_both_ends_come_from_one_pass(tokenizer):
    logits = torch.zeros(tokenizer.vocab_size, dtype=torch.float64)
    logits[1] = 2.0
    model = Unigram(logits)
    pair = request("loglikelihood", "is it", " yes no")
    ((without, _),) = lm_of(model, tokenizer).loglikelihood([pair])
    ((with_end, _),) = lm_of(model, tokenizer, end=True).loglikelihood([pair])
    end = 2 - math.log(tokenizer.vocab_size - 1 + math.exp(2))
    assert with_end - without == pytest.approx(end)


def test_an_empty_continuation_never_wins(tokenizer):
    lm = lm_of(Unigram(torch.zeros(tokenizer.vocab_size)), tokenizer)
    ((value, greedy),) = lm.loglikelihood([request("loglikelihood", "is it", "")])
    assert value == -math.inf
    assert not greedy


def test_spaces_move_to_the_continuation(tokenizer):
    lm = lm_of(favouring(tokenizer, yes=3.0), tokenizer)
    moved, plain = lm.loglikelihood(
        [request("loglikelihood", "is it ", "yes"), request("loglikelihood", "is it", " yes")]
    )
    assert moved == plain


def request(kind, *args):
    return Instance(request_type=kind, doc={}, arguments=args, idx=0)


def test_it_is_in_the_registry_beside_lm_evals_own():
    assert get_model("study") is StudyLM
    assert get_model("hf") is not StudyLM


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "choose", "template_names": ("nothing",)}, "no template 'nothing'"),
        ({"where": (("kind", "told"),)}, "keeps no row"),
    ],
)
def test_bad_suites_are_named(suite, tmp_path, changes, match):
    task = suite.tasks[0]
    where = changes.pop("where", None)
    if where:
        changes["rows"] = replace(task.rows, where=where)
    broken = replace(suite, tasks=(replace(task, **changes),))
    with pytest.raises(ValueError, match=match):
        suites.build(broken, access=Access(data_dirs=(tmp_path,), cache=tmp_path, offline=True))


@pytest.mark.parametrize("end", ["", "x"])
def test_choices_that_cannot_be_ranked_are_skipped(suite, tmp_path, end):
    path = tmp_path / "templates.yaml"
    form = yaml.safe_load(path.read_text())
    form["templates"]["0"]["answer_choices"] = f"yes|||no|||{end or 'no'}"
    form["templates"]["0"]["jinja"] = "{{question}}|||{{ ['yes', 'other'][label] }}"
    path.write_text(yaml.safe_dump(form))
    task = replace(suite.tasks[0], templates=file_source(path))
    access = Access(data_dirs=(tmp_path,), cache=tmp_path, offline=True)
    if not end:
        with pytest.raises(ValueError, match="choices empty or equal': 5"):
            suites.build(replace(suite, tasks=(task,)), access=access)
        return
    (built,) = suites.build(replace(suite, tasks=(task,)), access=access)
    assert built.skipped == {"answer not among the choices": 2}


def test_rows_that_lack_something_are_left_out_and_counted_by_reason(suite, tmp_path):
    rows = tmp_path / "rows.jsonl"
    lacking = [
        {"question": "is it", "label": 1.0, "kind": "asked"},
        {"question": None, "label": 0, "kind": "asked"},
        {"question": "is it", "label": -1, "kind": "asked"},
        {"question": "is it", "label": float("nan"), "kind": "asked"},
        {"question": "is it", "label": True, "kind": "asked"},
        {"question": "is it", "kind": "asked"},
        {"question": "\u200b", "label": 0, "kind": ""},
    ]
    rows.write_text("".join(json.dumps(row) + "\n" for row in lacking))
    rank, greedy, rolling = suite.tasks
    prose = tmp_path / "prose.jsonl"
    prose.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a", " ", "\ufeff")))
    suite = replace(
        suite,
        tasks=(
            replace(rank, rows=file_source(rows)),
            replace(greedy, rows=file_source(rows)),
            replace(rolling, rows=file_source(prose, text_field="text")),
        ),
    )
    access = Access(data_dirs=(tmp_path,), cache=tmp_path, offline=True)
    one, two, three = suites.build(suite, access=access)
    for built in (one, two):
        assert [item.index for item in built.items] == [0, 6]
        assert built.skipped == {"missing": 2, "unlabelled": 1, "undefined": 2}
        assert built.first["missing"] == "row 2: 'question' is null"
        assert built.first["unlabelled"] == "row 3: 'label' is -1: no label"
    assert [item.gold for item in one.items] == [1, 0]
    assert three.skipped == {"empty": 2}


@pytest.mark.parametrize("choices", ["a b|||a  b", "a b|||a\u00a0b", "a||| a "])
def test_choices_that_differ_in_spaces_alone_are_equal(suite, tmp_path, choices):
    path = tmp_path / "templates.yaml"
    form = yaml.safe_load(path.read_text())
    form["templates"]["0"]["answer_choices"] = choices
    path.write_text(yaml.safe_dump(form))
    task = replace(suite.tasks[0], templates=file_source(path))
    access = Access(data_dirs=(tmp_path,), cache=tmp_path, offline=True)
    with pytest.raises(ValueError, match="choices empty or equal': 4"):
        suites.build(replace(suite, tasks=(task,)), access=access)


@pytest.mark.slow
def test_lm_evals_own_command_line(tokenizer, tmp_path, monkeypatch):
    """`study lm-eval` on an exported directory and a task of lm-eval's own YAML."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shape = Model(
        architecture="prefix_decoder",
        mixer="attention",
        positions="t5_bias",
        layers=1,
        d_model=16,
        heads=2,
        d_head=8,
        d_ff=32,
        vocab_size=tokenizer.vocab_size,
        tied=True,
    )
    export = tmp_path / "export"
    pretrained(build(shape, dropout=0.0, seed=0)).save_pretrained(export)
    tokenizer.save(export / "tokenizer.json")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    task = {
        "task": "own_task",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}} so?",
        "doc_to_choice": ["yes", "no"],
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc"}],
    }
    (tasks / "own_task.yaml").write_text(yaml.safe_dump(task))
    before = list(sys.argv)
    forward_lm_eval(
        [
            *("run", "--model", "study", "--model_args", f"run={export},max_length=32"),
            *("--tasks", "own_task", "--include_path", str(tasks)),
            *("--output_path", str(tmp_path / "out")),
        ]
    )
    assert sys.argv == before
    (found,) = (tmp_path / "out").rglob("results*.json")
    accuracy = json.loads(found.read_text())["results"]["own_task"]["acc,none"]
    assert accuracy in (2 / 5, 3 / 5)  # one answer for all rows, or the majority


def test_model_args_are_checked(tmp_path):
    with pytest.raises(ValueError, match="legal: run=DIRECTORY"):
        StudyLM.create_from_arg_string(f"run={tmp_path},pretrained=gpt2")
    with pytest.raises(ValueError, match=r"no tokenizer\.json"):
        StudyLM.create_from_arg_string(f"run={tmp_path}")


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised by 'bitsandbytes'"),
        ({"auto_map": {"AutoModelForCausalLM": "code.Own"}}, "code that the checkpoint brings"),
        ({"model_type": "unheard_of"}, "is no model's here"),
        ({"hidden_size": "wide"}, "is no model's here"),
    ],
)
def test_a_checkpoint_that_cannot_be_run_ends_with_code_2(config, match, tmp_path, capsys):
    directory = checkpoints.foreign(tmp_path / "made", "llama")
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    with pytest.raises(typer.Exit) as ended:
        ends_clearly(StudyLM.create_from_arg_string)(f"run={directory}")
    assert ended.value.exit_code == 2
    told = capsys.readouterr().err
    assert match in told
    assert "Traceback" not in told
