"""From a sweep file to a plan: closed, ordered, costed, and refused where it is wrong."""

import json
import sys
import time
from dataclasses import replace
from importlib import util
from pathlib import Path

import made_runs as made
import pytest

from study.costs import ledger
from study.language import cost
from study.runs.decode import encode
from study.runs.node import Evaluation
from study.runs.plan import (
    MOVED,
    SweepError,
    children,
    close,
    descendants,
    kept_steps,
    load,
    load_scored,
    load_sweep,
    split_target,
)
from study.store.directory import Store

HEAD = f"""\
\"\"\"Which is better, one
or two? And more.

A second paragraph.
\"\"\"
import sys
sys.path.insert(0, {str(Path(__file__).parents[2] / "made")!r})
import made_runs as made
from dataclasses import replace
"""


@pytest.fixture
def sweep(tmp_path):
    def write(body, *, name="sweep.py"):
        path = tmp_path / name
        path.write_text(HEAD + body)
        return path

    return write


TREE = """
REPORT = {"title": "made"}
def runs():
    yield made.evaluation(made.finetune(made.adapt(made.pretrain())))
    yield made.adapt(made.pretrain())
"""


def test_a_sweep_is_closed_over_parents_and_ordered(sweep):
    loaded = load_sweep(sweep(TREE))
    assert loaded.title == "Which is better, one or two? And more"
    assert loaded.module.REPORT == {"title": "made"}
    slugs = [run.slug for run in loaded.runs]
    assert sorted(slugs) == [
        "adapt",
        "evaluation",
        "finetune",
        "mixture",
        "pretrain",
        "text",
    ]
    seen = set()
    for run in loaded.runs:
        assert {each.id for each in run.parents} <= seen
        seen.add(run.id)
    assert [run.slug for run in loaded.declared] == ["evaluation", "adapt"]


def test_equal_runs_that_were_built_twice_are_one():
    first, again = made.adapt(made.pretrain()), made.adapt(made.pretrain())
    assert first is not again
    assert len(close([first, again])) == 3


def test_two_sweeps_of_one_name_do_not_meet(tmp_path, sweep):
    (tmp_path / "other").mkdir()
    one = sweep("def runs(): return [made.pretrain()]")
    other = sweep("def runs(): return [made.CORPUS]", name="other/sweep.py")
    assert len(load_sweep(one).runs) == 2
    assert len(load_sweep(other).runs) == 1
    assert load_sweep(one).module.__name__ != load_sweep(other).module.__name__


def _line(path, text):
    return path.read_text().splitlines().index(text) + 1


def test_a_sweep_that_raises_is_named_by_its_own_line(sweep):
    path = sweep("def runs():\n    made.pretrain()\n    made.pretrain(steps=-3)\n    return []\n")
    with pytest.raises(SweepError) as caught:
        load_sweep(path)
    line = _line(path, "    made.pretrain(steps=-3)")
    assert str(caught.value).startswith(f"{path}:{line}: ValueError: Training.steps is -3")


@pytest.mark.parametrize(
    "body", ["def runs():\n    1 / 0\n", "def runs(:\n"], ids=["call", "syntax"]
)
def test_its_line_is_named_under_a_relative_path_too(sweep, monkeypatch, body):
    path = sweep(body)
    monkeypatch.chdir(path.parent)
    line = len((HEAD + body).splitlines())
    with pytest.raises(SweepError, match=rf"^sweep\.py:{line}: (ZeroDivision|Syntax)Error"):
        load_sweep("sweep.py")


def test_a_sweep_imports_its_neighbour_and_not_another_folder_s(tmp_path, sweep):
    (tmp_path / "other").mkdir()
    for place, steps in ((tmp_path, 7), (tmp_path / "other", 9)):
        (place / "near.py").write_text(f"STEPS = {steps}")
        (place / "csv.py").write_text("raise RuntimeError('in place of the library')")
    body = (
        "import csv\n"
        "def runs():\n"
        "    from near import STEPS\n"
        "    return [made.pretrain(steps=STEPS)]\n"
    )
    for name, steps in (("sweep.py", 7), ("other/sweep.py", 9), ("sweep.py", 7)):
        (run,) = load_sweep(sweep(body, name=name)).declared
        assert run.training.steps == steps
    assert str(tmp_path) not in sys.path
    assert "near" not in sys.modules


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("from study.presets import world", "study.language.recipes.presets"),
        ("from study import microworld", "study.language.recipes.microworld"),
        ("from study.run import Suite", "study.language.values"),
        ("from eval.claims import Benchmark", "eval.claims.claim"),
        ("import eval.claim_files", "eval.claims.files"),
        ("from study.store import Store", "study.store.directory"),
    ],
)
def test_an_import_of_an_earlier_version_names_where_it_went(sweep, line, told):
    with pytest.raises(SweepError, match=rf"sweep\.py:\d+: .* is {told} now$"):
        load_sweep(sweep(f"{line}\ndef runs():\n    return []\n"))


def test_every_module_that_moved_is_there():
    assert all(util.find_spec(new) for new in MOVED.values())


def test_a_sweep_that_raises_while_it_yields(sweep):
    path = sweep("def runs():\n    yield made.pretrain()\n    1 / 0\n")
    with pytest.raises(SweepError, match=rf":{_line(path, '    1 / 0')}: ZeroDivisionError"):
        load_sweep(path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def runs(:\n", r"sweep\.py:\d+: SyntaxError"),
        ("import no_such_module\n", r"sweep\.py:\d+: ModuleNotFoundError.*no_such_module"),
        ("x = 1\n", r"no function runs\(\)"),
        ("def runs(): sys.exit(0)\n", r"sweep\.py:\d+: SystemExit"),
        ("def runs(): return 3\n", r"runs\(\) gives 3"),
        ("def runs(): pass\n", r"runs\(\) gives None"),
        ("def runs(): return []\n", "yields nothing"),
        ("def runs(): return [made.MODEL]\n", r"yields Model\(.*item 0"),
        ("def runs(): return [made.pretrain(), 'x']\n", "yields 'x' as item 1"),
        (
            "def runs(): return [made.pretrain(lambda: 0)]\n",
            r"Pretrain\.slug is <function .*<lambda>",
        ),
        ("def runs(): return [made.pretrain(seed=lambda: 0)]\n", "has no canonical form"),
        ("def runs(): return [made.pretrain(seed=1.5)]\n", r"Pretrain\.seed is 1\.5"),
        (
            "def runs(): return [replace(made.pretrain(), model=replace(made.MODEL, "
            "positions='alibi'))]\n",
            r"Model\.positions is 'alibi'.*legal: rope, t5_bias",
        ),
    ],
)
def test_bad_sweeps_are_one_clear_error(sweep, body, words):
    with pytest.raises(SweepError, match=words):
        load_sweep(sweep(body))


def test_ctrl_c_in_a_sweep_is_no_error_of_the_sweep(sweep):
    with pytest.raises(KeyboardInterrupt):
        load_sweep(sweep("def runs(): raise KeyboardInterrupt\n"))


def test_two_runs_of_one_slug_are_both_named(sweep):
    path = sweep("def runs(): return [made.pretrain('same', seed=s) for s in (1, 2)]\n")
    with pytest.raises(SweepError) as caught:
        load_sweep(path)
    message = str(caught.value)
    for seed in (1, 2):
        assert made.pretrain(seed=seed).id[:12] in message
    assert "'same'" in message
    assert "seed: 1 against 2" in message


def test_the_difference_of_two_runs_is_named_deep_down(sweep):
    path = sweep("def runs(): return [made.pretrain('x', weight_decay=w) for w in (0, 1)]\n")
    with pytest.raises(SweepError, match=r"training\.optimizer\.weight_decay: 0\.0 against 1\.0"):
        load_sweep(path)


def test_a_missing_file_is_named(tmp_path):
    for name in ("no.py", "no.yaml", "no.txt"):
        with pytest.raises(SweepError, match=rf"no\.{name[3:]}: no such file"):
            load(str(tmp_path / name))


def test_a_target_names_one_run_with_what_it_needs(sweep):
    path = sweep(TREE)
    part = load(f"{path}:adapt")
    assert [run.slug for run in part.runs] == ["text", "pretrain", "adapt"]
    by_id = load(f"{path}:{part.runs[-1].id[:10]}")
    assert by_id.runs == part.runs
    with pytest.raises(SweepError, match=r"no run 'adpt'.*adapt"):
        load(f"{path}:adpt")


def test_a_trained_run_stands_for_its_evaluations(sweep):
    path = sweep(TREE)
    (score,) = (run for run in load(str(path)).runs if isinstance(run, Evaluation))
    scored = load_scored(f"{path}:{score.run.slug}")
    assert scored.declared == (score,)
    assert load_scored(f"{path}:{score.slug}").declared == (score,)
    with pytest.raises(SweepError, match="no evaluation of 'pretrain'"):
        load_scored(f"{path}:pretrain")


def test_a_slug_may_hold_colons():
    assert split_target("sweeps/a.py:CD:FLM") == (Path("sweeps/a.py"), "CD:FLM")
    assert split_target("a b/c.yaml") == (Path("a b/c.yaml"), "")


def test_a_run_file_is_the_same_run(sweep, tmp_path):
    run = load(f"{sweep(TREE)}:finetune").declared[0]
    path = tmp_path / "one.yaml"
    path.write_text(encode(run))
    loaded = load(str(path))
    assert loaded.declared[0].id == run.id
    assert [each.slug for each in loaded.runs] == [
        "text",
        "pretrain",
        "adapt",
        "mixture",
        "finetune",
    ]


def test_descendants_are_all_and_only_what_needs_a_run():
    first = made.pretrain()
    second, third = made.adapt(first, "a"), made.adapt(first, "b", seed=2)
    last = made.finetune(second)
    below = children(close([third, last]))
    assert [run.slug for run in descendants(first, below=below)] == ["b", "a", "finetune"]
    assert [run.slug for run in descendants(third, below=below)] == []
    assert "finetune" in {run.slug for run in descendants(made.MIXTURE, below=below)}


def test_kept_steps_are_those_that_somebody_names_and_the_last():
    run = made.pretrain(steps=100)
    plan = [made.adapt(run, "a", step=30), made.evaluation(run, step=70), made.adapt(run, "b")]
    assert kept_steps(run, close(plan)) == (30, 70, 100)
    assert kept_steps(run, []) == (100,)


def test_the_ledger_has_its_columns_and_numbers(tmp_path):
    store = Store(tmp_path)
    runs = close(made.tree())
    rows = {row.slug: row.as_json() for row in ledger.rows(runs, store=store)}
    assert list(rows["adapt"]) == [
        "id",
        "slug",
        "kind",
        "architecture",
        "objective",
        "mixer",
        "parent",
        "parameters",
        "tokens",
        "loss_tokens",
        "flops",
        "state",
    ]
    assert rows["pretrain"]["tokens"] == 10 * 4 * 32
    assert rows["pretrain"]["parameters"] == cost.parameter_count(made.MODEL)
    assert rows["adapt"]["parent"] == "pretrain"
    assert rows["adapt"]["architecture"] == "prefix_decoder"
    assert rows["finetune"]["objective"] == "MTF"
    assert rows["evaluation"]["parent"] == "finetune"
    assert rows["evaluation"]["flops"] is None
    assert rows["text"]["parameters"] is None
    json.dumps(list(rows.values()))


def test_loss_tokens_of_a_mixture_are_measured(tmp_path):
    store = Store(tmp_path)
    run = made.finetune(made.pretrain())
    assert cost.loss_tokens(run) is None
    assert ledger.rows([run], store=store)[0].loss_tokens is None
    store.open(run).seal({"loss_tokens": 321})
    (row,) = ledger.rows([run], store=store)
    assert (row.state, row.loss_tokens) == ("done", 321)


def test_totals_add_up_by_stage_and_cell(tmp_path):
    runs = close([made.pretrain(f"p{seed}", seed=seed) for seed in range(3)])
    store = Store(tmp_path)
    store.open(runs[1]).seal({})
    totals = ledger.totals(ledger.rows(runs, store=store), runs)
    assert [(each.stage, each.cell, each.runs, each.done) for each in totals] == [
        ("Corpus", "", 1, 0),
        ("Pretrain", "CD:FLM", 3, 1),
    ]
    assert totals[1].tokens == 3 * 10 * 4 * 32
    assert totals[0].tokens is None


def test_sharing_counts_every_path_as_if_alone():
    first = made.pretrain(steps=100)
    early = made.adapt(first, "early", step=50, steps=10)
    late = made.adapt(first, "late", step=100, steps=10)
    runs = close([early, late])
    shared = ledger.sharing(runs)
    base, short = cost.tokens(first), cost.tokens(early)
    assert shared.paths == 2
    assert shared.tokens == base + 2 * short
    assert shared.alone_tokens == (base // 2 + short) + (base + short)
    assert shared.as_json()["saved_tokens"] == base // 2
    assert shared.alone_flops > shared.flops


def test_a_parent_trained_past_its_last_child_is_a_path_of_its_own():
    first = made.pretrain(steps=100)
    shared = ledger.sharing(close([made.adapt(first, step=50)]))
    assert shared.paths == 2
    assert shared.as_json()["saved_flops"] == cost.flops(first) // 2


def test_nothing_shared_saves_nothing():
    shared = ledger.sharing(close([made.pretrain(f"p{seed}", seed=seed) for seed in range(3)]))
    assert shared.as_json()["saved_tokens"] == shared.as_json()["saved_flops"] == 0


LARGE = """
def runs():
    for seed in range(2500):
        first = made.pretrain(f"p{seed}", seed=seed)
        second = made.adapt(first, f"a{seed}", step=5)
        yield made.evaluation(first, f"e{seed}")
        yield made.evaluation(made.adapt(first, f"a{seed}", step=5), f"f{seed}")
"""


def test_ten_thousand_runs_plan_in_three_seconds(sweep, tmp_path):
    """Processor time, since the suite shares its cores; some hundreds are there and done."""
    path = sweep(LARGE)
    store = Store(tmp_path / "runs")
    store.root.mkdir()
    for seed in range(300):
        done = store.root / f"p{seed}--{made.pretrain(seed=seed).id[:12]}"
        done.mkdir()
        (done / "done.json").write_text("{}")
    begun = time.process_time()
    loaded = load_sweep(path)
    rows = ledger.rows(loaded.runs, store=store)
    totals = ledger.totals(rows, loaded.runs)
    ledger.sharing(loaded.runs)
    took = time.process_time() - begun
    assert len(rows) == 10_001
    assert sum(row.state == "done" for row in rows) == 300
    assert sum(total.runs for total in totals) == 10_001
    assert took < 3.0


def test_planning_twice_gives_the_same(sweep, tmp_path):
    path = sweep(TREE)
    first, again = load_sweep(path), load_sweep(path)
    assert first.runs == again.runs
    assert not (tmp_path / "runs").exists()
    assert replace(first, module=None) == replace(again, module=None)
