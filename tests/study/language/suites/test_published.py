"""The published suites on the hub and on a mirror: what has no rows is a hole, and nothing else."""

import hashlib
import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import made_runs as made
import pytest
from typer.testing import CliRunner

from study import cli
from study.language.prompts.rows import LONGEST_LITERAL, labelled, prepared, value_at
from study.language.recipes import suite_list
from study.language.suites import data_sets, eai, published, t0
from study.language.values.suite import Labels
from study.runs.decode import decode, encode
from study.runs.node import Evaluation
from study.runs.suite import Hole, Suite
from study.sources import content, pins
from study.sources.content import Access
from study.sources.pins import Pins

SWEEPS = Path(__file__).parents[4] / "sweeps"
CB = {"premise": "P.", "hypothesis": "H.", "idx": 0}
CB_FILE = "super_glue/cb/validation.jsonl"


def mirrored(directory, files):
    """A mirror with these files, and its pins."""
    table = {}
    for name, rows in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        table[name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return Pins(path=Path("mirror.toml"), files=table)


def test_a_mirror_gives_what_it_has_and_holes_for_the_rest(tmp_path):
    known = mirrored(tmp_path, {CB_FILE: [CB | {"label": "neutral"}]})
    suite = t0.suite_of(published.mirror(known))
    (task,) = suite.tasks
    assert (task.name, task.rows.uri) == ("cb", f"file://{CB_FILE}")
    assert task.labels == Labels(
        column="label", form="class", classes=("entailment", "contradiction", "neutral")
    )
    assert [hole.name for hole in suite.holes] == [
        each.name for each in t0.TASKS if each.name != "cb"
    ]
    assert suite.holes[0] == Hole(
        name="copa",
        wanted="super_glue/copa/validation.jsonl",
        reason="no digest in mirror.toml",
    )
    access = Access(data_dirs=(tmp_path,), cache=tmp_path, offline=True)
    ((row, _),) = labelled(content.rows(task.rows, access=access), task.labels, origin="cb")
    assert row["label"] == 2


def test_ids_follow_the_files_content_and_the_holes(tmp_path):
    def scored(suite):
        return (Evaluation(slug="s", run=made.pretrain(), step=1, suite=suite)).id

    rows = [CB | {"label": 0}]
    known = mirrored(tmp_path, {CB_FILE: rows})
    suite = t0.suite_of(published.mirror(known))
    elsewhere = mirrored(tmp_path / "b", {CB_FILE: rows})
    assert scored(t0.suite_of(published.mirror(elsewhere))) == scored(suite)
    other = mirrored(tmp_path / "c", {CB_FILE: [CB | {"label": 1}]})
    assert scored(t0.suite_of(published.mirror(other))) != scored(suite)
    assert scored(replace(suite, holes=suite.holes[1:])) != scored(suite)


def test_a_suite_with_labels_questions_and_holes_is_written_and_read_back(tmp_path):
    """As workers and run files get it."""
    rows = {"super_glue/multirc/validation.jsonl": [{"label": 0}], CB_FILE: [CB | {"label": 0}]}
    suite = eai.suite_of(published.mirror(mirrored(tmp_path, rows)))
    assert len(suite.holes) == 29
    run = Evaluation(slug="s", run=made.pretrain(), step=1, suite=suite)
    again = decode(encode(run))
    assert again == run
    assert again.id == run.id


def test_a_task_is_no_hole():
    suite = t0.suite(pins.load(SWEEPS / "pins.toml"))
    with pytest.raises(ValueError, match="'cb' is a task and a hole"):
        replace(suite, holes=(Hole(name="cb", wanted="x", reason="y"),))


def pinned_hub(known):
    """As `published.from_hub`, but what has no pin is a hole, so that the rest can be run."""
    every = published.from_hub(known)

    def rows(asked):
        found = every(asked)
        if pins.UNPINNED not in found.rows.digest:
            return found
        why = f": {asked.data.reason}" if asked.data.state in ("script", "on request") else ""
        return Hole(
            name=asked.name, wanted=found.rows.uri, reason=f"no pin in {known.path.name}{why}"
        )

    return rows


def test_the_hub_without_a_pin_is_refused_or_a_hole_and_never_less():
    known = pins.load(SWEEPS / "pins.toml")
    for asked, module in ((t0.TASKS, t0), (eai.TASKS, eai)):
        every = module.suite(known)
        assert len(every.tasks) == len(asked)
        assert not every.holes
        ready = module.suite_of(pinned_hub(known))
        assert {task.name for task in ready.tasks} | {hole.name for hole in ready.holes} == {
            each.name for each in asked
        }
        run = Evaluation(slug="s", run=made.pretrain(), step=1, suite=ready)
        assert not pins.unpinned([run])
    reasons = {hole.name: hole.reason for hole in ready.holes}
    assert reasons["logiqa"].startswith("no pin in pins.toml: a script only")
    assert "EleutherAI/logiqa" in pins.wanted([run], known)
    assert not {each for each in pins.wanted([run], known) if known.hub[each]["commit"]}


@pytest.mark.parametrize(
    ("key", "split", "match"),
    [
        ("super_glue/cb", "dev", "split 'dev'; legal: train, validation$"),
        ("super_glue/cb", "test", r"split 'test'; legal: train, validation \(the labels of 'test'"),
        ("anli", "validation", "legal: train_r1, dev_r1, test_r1"),
        ("web_questions", "validation", "legal: train, test"),
    ],
)
def test_a_wrong_split_names_the_legal_ones(key, split, match):
    with pytest.raises(ValueError, match=match):
        data_sets.data_set(key).file(split)


def test_an_unknown_data_set_names_the_known():
    with pytest.raises(ValueError, match=r"no data set 'cb'; legal: super_glue/boolq, super_glue"):
        data_sets.data_set("cb")


def labels(**changed):
    return replace(
        Labels(column="label", form="class", classes=("entailment", "not_entailment")), **changed
    )


def found_labels(known, *values):
    """The labels of rows that have one."""
    rows = [{"label": each} for each in values]
    pairs = list(labelled(rows, known, origin="rte"))
    assert [skipped for _, skipped in pairs] == [None] * len(values)
    return [row["label"] for row, _ in pairs]


def test_labels_may_be_names_numbers_or_truth_values():
    names = (0, 1, "0", "1", "entailment", "not_entailment", 0.0, 1.0)
    assert found_labels(labels(), *names) == [0, 1] * 4
    truths = labels(classes=("False", "True"))
    assert found_labels(truths, True, False, "True", "false", 1) == [1, 0, 1, 0, 1]
    text = labels(form="text", classes=())
    assert found_labels(text, 1, "2", 1.0) == ["1", "2", "1"]
    number = labels(form="number", classes=())
    assert found_labels(number, "2", 1, 2.0) == [2, 1, 2]


HIDDEN = [-1, "-1", -1.0, None, float("nan"), b"1", "", " ", "\u200b", [], {}]


@pytest.mark.parametrize("value", HIDDEN, ids=repr)
@pytest.mark.parametrize("form", ["class", "text", "number", "any"])
def test_rows_without_a_label_are_told_from_the_others(value, form):
    known = labels() if form == "class" else labels(form=form, classes=())
    (_, one), (_, other) = labelled([{"label": 1}, {"label": value}], known, origin="rte")
    assert one is None
    assert other is not None
    assert other.reason == ("unlabelled" if value in (-1, "-1") else "missing")
    assert other.detail.startswith("'label' is ")


@pytest.mark.parametrize("value", HIDDEN, ids=repr)
def test_where_no_label_is_declared_templates_find_out(value):
    rows = [{"label": value}, {"text": "x"}]
    assert list(labelled(rows, None, origin="t")) == [(row, None) for row in rows]


@pytest.mark.parametrize("value", [2, "2", "maybe", 1.5, 2.0, True, [1]])
def test_other_labels_are_refused_by_name(value):
    with pytest.raises(
        ValueError, match=r"^rte, row 1: .*legal: 0 to 1, or entailment, not_entail"
    ):
        list(labelled([{"label": value}], labels(), origin="rte"))


def test_a_row_without_the_column_has_no_label():
    ((_, skipped),) = labelled([{"premise": "p", "gold": 1}], labels(), origin="rte")
    assert skipped is not None
    assert skipped.reason == "missing"
    assert skipped.detail == "no column 'label' for the answer; columns: premise, gold"


@pytest.mark.parametrize(
    "problems",
    [
        "__import__('os').getcwd()",
        "[" * 100_000,
        "[{'question': 'q', 'answer': 'E', 'options': ['a', 'b', 'c', 'd']}]",
        "[{'question': 'q', 'answer': 'A', 'options': ['a', 'b', 'c']}]",
        "[]",
        "1",
        None,
        " " * (LONGEST_LITERAL + 1),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_python_literal_is_parsed_and_nothing_else(problems):
    with pytest.raises(ValueError, match="column 'problems'"):
        prepared({"problems": problems}, "race")


def test_mathqa_needs_text():
    with pytest.raises(ValueError, match="column 'options' holds"):
        prepared({"options": ["a"]}, "mathqa")


def test_a_column_inside_another():
    assert value_at({"idx": {"question": 3}}, "idx.question") == 3
    with pytest.raises(ValueError, match=r"no column 'idx\.question'; columns: idx"):
        value_at({"idx": 3}, "idx.question")
    with pytest.raises(ValueError, match=r"column 'idx\.question' is null"):
        value_at({"idx": {"question": None}}, "idx.question")


def test_rows_that_changed_are_fatal(tmp_path):
    known = mirrored(tmp_path, {CB_FILE: [CB | {"label": 0}]})
    (task,) = t0.suite_of(published.mirror(known)).tasks
    (tmp_path / CB_FILE).write_text(json.dumps(CB | {"label": 1}) + "\n")
    access = Access(data_dirs=(tmp_path,), cache=tmp_path)
    with pytest.raises(ValueError, match=r"has sha256 .* but the run names"):
        list(content.rows(task.rows, access=access))
    with pytest.raises(ValueError, match="its rows are not those that were meant"):
        suite_list.lines(mirror=tmp_path, known=known)
    (tmp_path / CB_FILE).unlink()
    with pytest.raises(ValueError, match="no such file"):
        list(content.rows(task.rows, access=access))


HUB = pins.load(SWEEPS / "pins.toml").rows("aps/super_glue", "validation", config="cb")


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_the_libraries_own_switches_are_honoured(tmp_path, monkeypatch, name):
    import datasets

    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))
    access = Access(data_dirs=(), cache=tmp_path)
    with pytest.raises(ValueError, match=rf"this machine is offline \({name} is set\)"):
        list(content.rows(HUB, access=access))


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (RuntimeError("Dataset scripts are no longer supported, but found cb.py"), "but found cb"),
        (ValueError("Unknown split \"dev\". Should be one of ['train']"), "Should be one of"),
        (ConnectionError("no route to host"), "no route to host"),
    ],
)
def test_what_the_hub_refuses_is_named(tmp_path, monkeypatch, error, match):
    import datasets

    def load_dataset(*_, **options):
        assert "trust_remote_code" not in options
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ValueError, match=f"the hub did not give 'aps/super_glue'.*{match}"):
        list(content.rows(HUB, access=Access(data_dirs=(), cache=tmp_path)))


def test_a_directory_of_the_data_sets_name_is_not_read_in_its_place(tmp_path, monkeypatch):
    """`datasets` reads a local directory where one has the name, whatever the commit."""
    (tmp_path / "aps" / "super_glue").mkdir(parents=True)
    (tmp_path / "aps" / "super_glue" / "validation.jsonl").write_text('{"label": 0}\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="has the data set's name and would be read instead"):
        list(content.rows(HUB, access=Access(data_dirs=(), cache=tmp_path / "cache")))


def test_the_command_shows_each_suite_and_its_holes(tmp_path):
    known = mirrored(
        tmp_path, {CB_FILE: [CB | {"label": 0}], "super_glue/rte/val.jsonl": [CB | {"label": 0}]}
    )
    file = tmp_path / "pins.toml"
    file.write_text(f'[files."{CB_FILE}"]\nsha256 = "{known.files[CB_FILE]["sha256"]}"\n')
    command = ["suites", "--mirror", str(tmp_path), "--pins", str(file)]
    told = CliRunner().invoke(cli.app, [*command, "--json"])
    assert told.exit_code == 0, told.output
    listed = json.loads(told.stdout)
    tasks = {(each["suite"], each["task"]): each for each in listed["tasks"]}
    assert {name for name, _ in tasks} == {"t0", "eai", "microworld"}
    cb = tasks["t0", "cb"]
    assert (cb["metric"], cb["baseline"], len(cb["prompts"])) == ("rank", 1 / 3, 15)
    assert cb["rows"] == str(tmp_path / CB_FILE)
    assert known.files[CB_FILE]["sha256"].startswith(cb["pin"])
    rte = tasks["t0", "rte"]["hole"]
    assert "there: val.jsonl; legal: train.jsonl, validation.jsonl" in rte
    assert sum(len(each["prompts"]) for (name, _), each in tasks.items() if name == "t0") == 116
    assert {each["data_set"] for each in listed["data_sets"]} == {
        each.data.key for each in (*t0.TASKS, *eai.TASKS)
    }
    plain = CliRunner().invoke(cli.app, command)
    assert "t0: 11 tasks, 116 prompts; rows of 1, 10 holes" in plain.stdout
    hub = CliRunner().invoke(cli.app, ["suites", "--json", "--pins", str(SWEEPS / "pins.toml")])
    rows = {(e["suite"], e["task"]): e for e in json.loads(hub.stdout)["tasks"]}
    assert rows["eai", "logiqa"]["hole"].startswith("a script only")
    assert rows["t0", "cb"]["rows"] == "hf://aps/super_glue/cb/validation"
    assert CliRunner().invoke(cli.app, ["suites", "--mirror", str(file)]).exit_code == 2


def test_the_command_imports_no_torch():
    code = """
        import sys
        from study.language.recipes import suite_list
        suite_list.lines(mirror=None, known=None)
        assert not {"torch", "datasets", "lm_eval"} & sys.modules.keys()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_what_is_asked_names_each_task_once():
    for asked in (t0.TASKS, eai.TASKS):
        names = [each.name for each in asked]
        assert len(set(names)) == len(names)
    assert isinstance(eai.suite_of(published.mirror(Pins(path=Path("none.toml")))), Suite)


def test_pins_of_a_mirror_are_filled_and_its_holes_stay(tmp_path):
    """`study pin` fills what is in the mirror; what is not stays a hole, and is no failure."""
    mirrored(tmp_path / "mirror", {CB_FILE: [CB | {"label": 0}]})
    file = tmp_path / "mirror.toml"
    file.write_text(
        "".join(
            f'[files."{name}"]\nsha256 = ""\n'
            for name in dict.fromkeys(each.data.file(each.split) for each in t0.TASKS)
        )
    )
    (tmp_path / "sweep.py").write_text(
        textwrap.dedent(f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parents[3] / "made")!r})
        import made_runs as made
        from study.sources import pins
        from study.language.suites import published, t0
        from study.language.values import Evaluation
        PINS = pins.load(Path(__file__).with_name("mirror.toml"))

        def runs():
            run = made.pretrain()
            yield run
            yield Evaluation(slug="s", run=run, step=1, suite=t0.suite_of(published.mirror(PINS)))
        """)
    )
    command = ["pin", str(tmp_path / "sweep.py"), "--data-dir", str(tmp_path / "mirror")]
    told = CliRunner().invoke(cli.app, command)
    assert told.exit_code == 0, told.output
    known = pins.load(file)
    assert [name for name, entry in known.files.items() if entry["sha256"]] == [CB_FILE]
    suite = t0.suite_of(published.mirror(known))
    assert [task.name for task in suite.tasks] == ["cb"]
