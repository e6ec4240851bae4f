"""EAI-Eval on a tiny trained model from a mirror of five data sets: every metric that is not plain
ranking, from files to published scores, with 26 holes.
"""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import smallest

from eval.evidence import table
from eval.evidence.panel import panels
from eval.report.grids import hole_grid
from eval.report.terminal import show_scores
from study.language.scores import contamination, tasks
from study.language.scores import items as per_item
from study.language.scores.encode import Encoded
from study.language.scores.execute import execute
from study.language.scores.score import Scored
from study.language.suites import eai, published
from study.runs.execution import Execution
from study.runs.node import Evaluation
from study.runs.plan import Sweep
from study.runs.reporting import Words
from study.sources.content import Access
from study.sources.pins import Pins
from study.store.directory import Store
from study.train.work import execute as train

SWEEPS = Path(__file__).parents[4] / "sweeps"
PROBLEM = {"question": "Who?", "answer": "B", "options": ["Al", "Bo", "Cy", "Di"]}
FILES = {
    "super_glue/cb/validation.jsonl": [
        {"premise": f"P{n}.", "hypothesis": "H", "label": label, "idx": n}
        for n, label in enumerate(("entailment", "contradiction", "neutral", "neutral"))
    ],
    "super_glue/multirc/validation.jsonl": [
        {
            "paragraph": f"It rained on day {paragraph}.",
            "question": f"What {question}?",
            "answer": answer,
            "label": (question + place) % 2,
            "idx": {"paragraph": paragraph, "question": question, "answer": place},
        }
        for paragraph in range(2)
        for question in range(2)
        for place, answer in enumerate(("rain", "a man", "no one")[: 2 + question])
    ],
    "race/high/test.jsonl": [
        {"article": f"Al met Bo {n} times.", "problems": str([PROBLEM] * n)} for n in (1, 2, 3)
    ],
    "web_questions/test.jsonl": [
        {"url": "u", "question": "who met bo?", "answers": ["Cy", "Al", "Al B"]},
        {"url": "u", "question": "who rained?", "answers": ["no one"]},
    ],
    "winogrande/winogrande_xl/validation.jsonl": [
        {
            "sentence": "The cup fit the bag as the _ was small.",
            "option1": "cup",
            "option2": "bag",
            "answer": answer,
        }
        for answer in ("1", "2")
    ],
}
NAMES = ("cb", "multirc", "race", "webqs", "winogrande")


def mirrored(directory, files):
    found = {}
    for name, rows in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found[name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return Pins(path=Path("mirror.toml"), files=found)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """(evaluation, store, its results, its items by task)."""
    root = tmp_path_factory.mktemp("mirror")
    suite = eai.suite_of(published.mirror(mirrored(root, FILES)))
    corpus, pretrain = smallest.CORPUS, smallest.pretrain(length=256)
    store = Store(root / "runs")
    execution = Execution(cache=root / "cache", data_dirs=(SWEEPS, root), offline=True)
    for run in (corpus, pretrain):
        train(run, store=store, execution=execution)
    run = Evaluation(slug="tiny-eai", run=pretrain, step=2, suite=suite)
    execute(run, store=store, execution=execution)
    directory = store.existing(run)
    place = directory.scores(directory.done()["scores"])
    results = json.loads((place / "results.json").read_text())
    items = {}
    for row in pq.read_table(place / "items.parquet").to_pylist():
        items.setdefault(row["task"], []).append(row)
    return run, store, results, items


def test_what_is_missing_is_a_hole_of_results_table_and_panel(scored):
    run, store, results, _ = scored
    assert results["headline"] == list(NAMES)
    assert {hole["task"] if "task" in hole else hole["name"] for hole in results["holes"]} == {
        each.name for each in eai.TASKS
    } - set(NAMES)
    (panel,) = panels([run], store=store)
    assert panel.coverage == "5 of 31 data sets"
    assert panel.runs[0].lacking == run.suite.holes
    built = table.build([panel])
    (suite_row,) = built.suite_rows()
    assert suite_row.over == "5 of 31 data sets"
    assert suite_row.value == pytest.approx(sum(row.value for row in built.task_rows()) / 5)
    holes = {row.task: row.hole for row in built.holes()}
    assert len(holes) == 26
    assert {row.cells[3].text for row in hole_grid(built, named=Words()).rows} == {"all"}
    assert holes["lambada"] == "no digest in mirror.toml (wanted: lambada_openai/test.jsonl)"


def test_the_command_says_over_how_many(scored, capsys):
    run, store, _, _ = scored
    sweep = Sweep(path=Path("x.py"), title="x", module=None, declared=(run,), runs=(run,))
    show_scores(sweep, store=store, as_json=False)
    told = capsys.readouterr().out
    assert "5 of 31 data sets" in told
    assert "no digest in mirror.toml (wanted: glue/mrpc/validation.jsonl)" in told


def test_every_metric_is_what_its_items_say(scored):
    _, _, results, items = scored
    for name in NAMES:
        (entry,) = [each for each in results["tasks"].values() if each["task"] == name]
        own = items[name]
        mean = sum(row["correct"] for row in own) / len(own)
        assert entry["lm_eval"]["acc"] == pytest.approx(mean), name
        assert entry["items"] == len(own)
        assert entry["skipped"] == {}
        assert entry["truncated"] == entry["invalid"] == 0


def test_a_question_counts_when_all_of_its_answers_do(scored):
    _, _, results, items = scored
    rows = FILES["super_glue/multirc/validation.jsonl"]
    questions = {}
    for row in rows:
        questions.setdefault((row["idx"]["paragraph"], row["idx"]["question"]), []).append(row)
    own = sorted(items["multirc"], key=lambda row: row["index"])
    assert len(own) == len(questions) == 4
    for item, answers in zip(own, questions.values(), strict=True):
        values = item["log_likelihoods"]
        assert len(values) == 2 * len(answers)
        right = [
            values[2 * place + row["label"]] > values[2 * place + 1 - row["label"]]
            for place, row in enumerate(answers)
        ]
        assert item["correct"] == float(all(right))
        margins = [
            values[2 * place + row["label"]] - values[2 * place + 1 - row["label"]]
            for place, row in enumerate(answers)
        ]
        assert item["margin"] == pytest.approx(min(margins))
        assert item["gold"] is item["prediction"] is None
    chance = results["tasks"]["multirc/multirc"]["chance_of_choices"]
    assert chance == pytest.approx((1 / 4 + 1 / 8) / 2)


def test_winogrande_ranks_contexts_before_one_ending(scored):
    _, _, _, items = scored
    first, second = items["winogrande"]
    assert first["log_likelihoods"] == second["log_likelihoods"]
    assert first["log_likelihoods"][0] != first["log_likelihoods"][1]
    assert (first["gold"], second["gold"]) == (0, 1)
    assert first["correct"] + second["correct"] == 1.0
    # the ending alone is the same for both
    assert len(set(first["null_log_likelihoods"])) == 1


def found(*, greedy_target, greedy_end, value):
    return Scored(
        target_log_likelihood=value,
        end_log_likelihood=-1.0,
        greedy_target=greedy_target,
        greedy_end=greedy_end,
        tokens=1,
        truncated=0,
        valid=True,
    )


def test_any_alias_that_is_greedy_is_right(tmp_path, scored):
    _, _, _, items = scored
    assert [len(row["log_likelihoods"]) for row in items["webqs"]] == [2, 1]
    known = mirrored(tmp_path, {"web_questions/test.jsonl": FILES["web_questions/test.jsonl"]})
    suite = eai.suite_of(published.mirror(known))
    access = Access(data_dirs=(SWEEPS, tmp_path), cache=tmp_path, offline=True)
    (prompts,) = tasks.build(suite, access=access)
    first, second = prompts.items
    assert first.continuations == (" Al", " Cy")
    task = tasks.lm_eval_task(prompts)
    documents = list(task.test_docs())
    answers = [[(-2.0, False), (-3.0, True)], [(-1.0, False)]]
    told = [task.process_results(*each)["acc"] for each in zip(documents, answers, strict=True)]
    assert told == [1.0, 0.0]

    answered = {
        " Al": found(greedy_target=False, greedy_end=False, value=-2.0),
        " Cy": found(greedy_target=True, greedy_end=False, value=-3.0),
        " no one": found(greedy_target=False, greedy_end=True, value=-1.0),
    }

    class Answers:
        scoring = suite.scoring

        def scored(self, _, continuation):
            return answered[continuation]

        def encoded(self, *_):
            return Encoded(context=(), target=())

        def loglikelihood(self, _):
            return []

    one, other = per_item.collect([prompts], lm=Answers(), run="r").to_pylist()  # type: ignore[arg-type]
    assert (one["correct"], other["correct"]) == (1.0, 0.0)
    # with the end of sequence asked for, ` Cy` is not what the model says
    assert one["correct_other_end"] == 0.0
    # the likeliest alias speaks for all
    assert (one["gold"], one["gold_nats_per_byte"]) == (0, -2.0 / 3)
    assert len(second.continuations) == 1


def test_names_and_numbers_ask_the_same_questions(tmp_path):
    name = "super_glue/cb/validation.jsonl"
    numbers = [
        row | {"label": ("entailment", "contradiction", "neutral").index(row["label"])}
        for row in FILES[name]
    ]

    def asked(directory, rows):
        suite = eai.suite_of(published.mirror(mirrored(directory, {name: rows})))
        access = Access(data_dirs=(SWEEPS, directory), cache=tmp_path, offline=True)
        return tasks.build(suite, access=access)

    named, numbered = asked(tmp_path / "a", FILES[name]), asked(tmp_path / "b", numbers)
    assert named[0].items == numbered[0].items
    assert [item.gold for item in named[0].items] == [0, 1, 2, 2]


def cb_of(tmp_path, *labels):
    """CB's question under EAI-Eval for rows of these labels."""
    name = "super_glue/cb/validation.jsonl"
    rows = [FILES[name][0] | {"label": each, "idx": n} for n, each in enumerate(labels)]
    suite = eai.suite_of(published.mirror(mirrored(tmp_path, {name: rows})))
    access = Access(data_dirs=(SWEEPS, tmp_path), cache=tmp_path, offline=True)
    return suite, access


@pytest.mark.parametrize(
    ("label", "reason"),
    [(-1, "unlabelled"), ("-1", "unlabelled"), (None, "missing"), ("", "missing")],
)
def test_rows_without_labels_are_left_out_and_counted(tmp_path, label, reason):
    suite, access = cb_of(tmp_path, "neutral", label, "entailment")
    (prompts,) = tasks.build(suite, access=access)
    assert [(item.index, item.group, item.gold) for item in prompts.items] == [(0, 0, 2), (2, 2, 0)]
    assert prompts.skipped == {reason: 1}
    assert prompts.first == {
        reason: f"row 2: 'label' is {'null' if label is None else repr(label)}: no label"
    }
    # nor are they looked for in training text
    asked = tasks.asked_rows(suite, suite.tasks[0], access=access)
    assert [each.number for each in asked if each.unlabelled] == [2]
    found = [index for _, index, _ in contamination._texts(suite, access=access)]
    assert found == [0, 2]


def test_a_task_without_any_label_is_refused(tmp_path):
    suite, access = cb_of(tmp_path, -1, None, -1)
    with pytest.raises(
        ValueError,
        match=r"'cb/cb' \(file://super_glue/cb/validation\.jsonl\) keeps no row; skipped: "
        r"\{'unlabelled': 2, 'missing': 1\}; first: row 1: 'label' is -1: no label; row 2: 'label'",
    ):
        tasks.build(suite, access=access)


def test_a_label_that_is_none_of_the_classes_stops_the_scoring(tmp_path):
    suite, access = cb_of(tmp_path, 0, "maybe")
    with pytest.raises(
        ValueError, match=r"suite 'eai', 'cb' .*validation\.jsonl\), row 2: 'label' is 'maybe'"
    ):
        tasks.build(suite, access=access)


def test_a_suite_of_holes_alone_is_refused(tmp_path):
    suite = eai.suite_of(published.mirror(Pins(path=Path("mirror.toml"))))
    with pytest.raises(ValueError, match=r"nothing to score \(anli_r1: no digest in mirror"):
        tasks.build(suite, access=Access(data_dirs=(), cache=tmp_path))


def test_a_row_that_is_not_in_its_form_is_named(tmp_path):
    name = "race/high/test.jsonl"
    rows = [*FILES[name], {"article": "a", "problems": "open('x')"}]
    suite = eai.suite_of(published.mirror(mirrored(tmp_path, {name: rows})))
    access = Access(data_dirs=(SWEEPS, tmp_path), cache=tmp_path, offline=True)
    with pytest.raises(ValueError, match="row 4: column 'problems' is no Python literal"):
        tasks.build(suite, access=access)


def test_a_question_is_asked_whole_or_not_at_all(tmp_path):
    name = "super_glue/multirc/validation.jsonl"
    rows = [dict(row) for row in FILES[name]]
    rows[0]["answer"] = ""
    suite = eai.suite_of(published.mirror(mirrored(tmp_path, {name: rows})))
    suite = replace(suite, holes=())
    access = Access(data_dirs=(SWEEPS, tmp_path), cache=tmp_path, offline=True)
    (prompts,) = tasks.build(suite, access=access)
    assert len(prompts.items) == 4
    del rows[0]["answer"]
    suite = eai.suite_of(published.mirror(mirrored(tmp_path, {name: rows})))
    (prompts,) = tasks.build(suite, access=access)
    assert len(prompts.items) == 3
    assert prompts.skipped == {"undefined": 1}
    rows[0] = FILES[name][0] | {"label": -1}
    suite = eai.suite_of(published.mirror(mirrored(tmp_path, {name: rows})))
    (prompts,) = tasks.build(suite, access=access)
    assert len(prompts.items) == 3
    assert prompts.skipped == {"unlabelled": 1}
    rows[0] = FILES[name][0] | {"idx": {"paragraph": 0, "question": None, "answer": 0}}
    suite = eai.suite_of(published.mirror(mirrored(tmp_path, {name: rows})))
    with pytest.raises(ValueError, match=r"'multirc' .*, row 1: column 'idx\.question' is null"):
        tasks.build(suite, access=access)
