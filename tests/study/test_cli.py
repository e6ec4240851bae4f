"""The commands as a user types them, each in its own process."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_runs as made
import pytest

from study.runs.plan import load_sweep
from study.store.directory import Store

HERE = Path(__file__).parents[1] / "made"
ROOT = HERE.parents[1]
STUDY = (
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'study'; from study.cli import main; main()",
)
SWEEP = f"""\
\"\"\"Made runs.\"\"\"
import sys
sys.path.insert(0, {str(HERE)!r})
import made_runs as made
def runs():
    return made.tree()
"""


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "made.py"
    path.write_text(SWEEP)
    return path


def _study(*arguments, cwd=None, **environment):
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*STUDY, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd or ROOT,
        env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "100"} | environment,
    )


def _processor_seconds(function):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    function()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def test_help_answers_at_once():
    """Processor time, best of three: the suite shares its cores."""
    took = min(_processor_seconds(lambda: _study("--help")) for _ in range(3))
    assert took < 0.3


HEAVY = """
import sys
from study.cli import app
try:
    app({arguments!r})
except SystemExit:
    pass
heavy = {{"torch", "numpy", "transformers", "rich", "pyarrow", "wandb", "lm_eval", "eval"}}
sys.stderr.write("HEAVY " + " ".join(sorted(heavy & set(sys.modules))))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["plan"],
        ["plan", "--json"],
        ["plan", "--hardware", "h100"],
        ["show"],
        ["status"],
        ["retry"],
        ["cancel"],
        ["explain"],
        ["run"],
    ],
    ids=lambda words: " ".join(words),
)
def test_nothing_heavy_is_imported(sweep, tmp_path, arguments):
    store = _done(sweep, tmp_path / "runs")
    command, *rest = arguments
    if command != "--help":
        target = f"{sweep}:adapt" if command in ("show", "explain") else str(sweep)
        place = [] if command == "show" else ["--store", str(store.root)]
        arguments = [command, target, *place, *rest]
    answer = subprocess.run(
        [sys.executable, "-c", HEAVY.format(arguments=arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert answer.stderr.endswith("HEAVY "), answer.stderr


def test_help_documents_commands_and_exit_codes():
    text = _study("--help").stdout
    for command in (
        "plan",
        "run",
        "show",
        "status",
        "launch",
        "retry",
        "cancel",
        "explain",
        "eval",
        "report",
        "check",
        "export",
        "lm-eval",
        "overlap",
    ):
        assert f"\n  {command} " in text
    assert "worker" not in text
    for code in ("0 done", "1 a run failed", "2 bad input", "3 refused", "75 interrupted"):
        assert code in " ".join(text.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_completes_commands(shell):
    words = {"COMP_WORDS": "study st", "COMP_CWORD": "1", "_TYPER_COMPLETE_ARGS": "study st"}
    answer = _study(
        _STUDY_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_FISH_ACTION="get-args", **words
    )
    assert "status" in answer.stdout
    assert "export" not in answer.stdout


def test_plan_json_lists_the_runs(sweep, tmp_path):
    answer = _study("plan", sweep, "--store", tmp_path / "runs", "--json")
    assert answer.returncode == 0, answer.stderr
    rows = json.loads(answer.stdout)
    assert len(rows) == 6
    assert list(rows[0]) == [
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
    assert {row["state"] for row in rows} == {"planned"}
    assert not (tmp_path / "runs").exists()


def test_plan_shows_totals_and_with_all_every_run(sweep, tmp_path):
    totals = _study("plan", sweep, "--store", tmp_path).stdout
    assert "6 runs: 6 planned" in totals
    assert "CD:FLM" in totals
    assert "pretrain" not in totals
    (line,) = [each for each in totals.splitlines() if each.startswith("Pretrain")]
    assert " ".join(line.split()) == "Pretrain CD:FLM 1 0 7.73 k 1.28 k 1.28 k 66.8 M"
    every = _study("plan", sweep, "--store", tmp_path, "--all").stdout
    for run in made.tree():
        assert f"  {run.slug} " in every


def test_show_prints_what_run_takes_with_the_same_id(sweep, tmp_path):
    shown = _study("show", f"{sweep}:finetune").stdout
    file = tmp_path / "one.yaml"
    file.write_text(shown)
    rows = json.loads(_study("plan", file, "--store", tmp_path / "runs", "--json").stdout)
    run = next(run for run in made.tree() if run.slug == "finetune")
    assert rows[-1]["id"] == run.id
    assert json.loads(_study("show", f"{sweep}:finetune", "--json").stdout)["kind"] == "Finetune"


def _done(sweep, root):
    """A store in which all runs of the sweep are sealed."""
    store = Store(root)
    for run in load_sweep(sweep).runs:
        store.open(run).seal({"loss_tokens": 5})
    return store


def test_status_reads_files(sweep, tmp_path):
    store = _done(sweep, tmp_path / "runs")
    run = next(run for run in made.tree() if run.slug == "adapt")
    directory = store.existing(run)
    (directory.path / "done.json").unlink()
    directory.events.write_text(
        '{"event":"step","step":4,"loss":2.5}\n{"event":"validation","step":4,"loss":2.25}\n{"ev'
    )
    directory.fail("NonFinite: the loss is nan at step 5\nmore")
    answer = _study("status", sweep, "--store", store.root, "--json")
    (row,) = [row for row in json.loads(answer.stdout) if row["slug"] == "adapt"]
    assert row["state"] == "failed"
    assert (row["step"], row["steps"], row["loss"], row["validation_loss"]) == (4, 10, 2.5, 2.25)
    text = _study("status", sweep, "--store", store.root).stdout
    assert "NonFinite: the loss is nan at step 5" in text
    assert "4/10" in text


def _refused(answer, *words, code=2):
    assert answer.returncode == code, answer
    lines = answer.stderr.strip().splitlines()
    assert lines[0].startswith("error: ")
    assert "Traceback" not in answer.stderr
    for word in words:
        assert word in answer.stderr


def test_bad_input_is_one_line_and_code_2(sweep, tmp_path):
    _refused(_study("plan", tmp_path / "no.py"), "no.py: no such file")
    _refused(_study("show", sweep), "has 6 runs; name one")
    _refused(_study("show", f"{sweep}:adapd"), "no run 'adapd'", "adapt")
    broken = tmp_path / "broken.py"
    broken.write_text("def runs():\n    raise RuntimeError('my own')\n")
    _refused(_study("run", broken), f"{broken}:2: RuntimeError: my own")
    file = tmp_path / "run.yaml"
    file.write_text(_study("show", f"{sweep}:adapt").stdout.replace("  steps: 10", "  stps: 10"))
    _refused(_study("run", file), f"{file}:", "did you mean 'steps'?")


def test_a_store_that_cannot_be_is_refused(sweep, tmp_path):
    (tmp_path / "file").write_text("")
    _refused(_study("run", sweep, "--store", tmp_path / "file"), "can't be listed")


def test_a_store_that_cannot_be_written_is_refused_before_any_run_starts(sweep):
    answer = _study("run", sweep, "--store", "/proc/runs")
    _refused(answer, "nothing can be written to /proc/runs")
    assert "runs," not in answer.stdout


@pytest.mark.parametrize("name", ["a b", "ünï-cödé", "-dash", "semi;colon $HOME"])
def test_stores_and_sweeps_of_any_name(sweep, tmp_path, name):
    home = tmp_path / name
    home.mkdir()
    moved = sweep.rename(home / "my sweep.py")
    answer = _study(
        "plan",
        f"{name}/my sweep.py" if name[0] != "-" else moved,
        "--store",
        home,
        "--json",
        cwd=tmp_path,
    )
    assert answer.returncode == 0, answer.stderr
    assert len(json.loads(answer.stdout)) == 6


def test_usage_errors_have_code_2():
    assert _study("plan").returncode == 2
    assert _study("fly").returncode == 2
    assert _study("run", "x.py", "--workers", "0").returncode == 2
    assert _study("run", "x.py", "--compile", "maybe").returncode == 2


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_traceback_is_shown_on_demand(tmp_path, how):
    broken = tmp_path / "broken.py"
    broken.write_text("def runs():\n    raise RuntimeError('my own')\n")
    if how == "option":
        answer = _study("--traceback", "plan", broken)
    else:
        answer = _study("plan", broken, STUDY_TRACEBACK="1")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr
    assert "raise RuntimeError('my own')" in answer.stderr


def test_a_foreign_directory_stops_run(sweep, tmp_path):
    store = _done(sweep, tmp_path / "runs")
    first, *_, last = made.tree()
    text = (store.existing(last).path / "run.yaml").read_text()
    (store.existing(first).path / "run.yaml").write_text(text)
    _refused(_study("run", sweep, "--store", store.root), "belongs to another run")


def test_run_of_a_complete_plan_does_nothing_in_two_seconds(sweep, tmp_path):
    store = _done(sweep, tmp_path / "runs")
    answers = []
    took = _processor_seconds(lambda: answers.append(_study("run", sweep, "--store", store.root)))
    assert answers[0].returncode == 0, answers[0].stderr
    assert answers[0].stdout == "nothing to do: all 6 runs are done\n"
    assert took < 1.0


def test_eval_without_anything_to_score_says_so(sweep, tmp_path):
    _refused(_study("eval", sweep, "--store", tmp_path / "runs"), "no evaluation whose run is done")


def test_export_refuses_what_it_cannot_write(sweep, tmp_path):
    at = ("--store", tmp_path / "runs")
    _refused(_study("export", f"{sweep}:text", "--to", tmp_path / "out", *at), "one trained run")
    t5 = _study("export", f"{sweep}:adapt", "--to", tmp_path / "out", "--format", "t5", *at)
    _refused(t5, "legal for t5")
    _refused(_study("export", f"{sweep}:adapt", "--to", tmp_path, *at), "exists")
    _refused(_study("export", f"{sweep}:adapt", "--to", tmp_path / "out", *at), "run it first")
    assert not (tmp_path / "out").exists()


def _start(*arguments):
    return subprocess.Popen(
        [*STUDY, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def test_ctrl_c_in_plan_leaves_nothing_and_says_how_to_go_on(tmp_path):
    slow = tmp_path / "slow.py"
    slow.write_text(
        "import time\ndef runs():\n"
        f"    open({str(tmp_path / 'begun')!r}, 'w').close()\n    time.sleep(60)\n    return []\n"
    )
    process = _start("plan", slow, "--store", tmp_path / "runs")
    end = time.monotonic() + 30
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 75
    assert errors == "interrupted: start the same command again to go on\n"
    assert not (tmp_path / "runs").exists()


def _has_stepped(events):
    return events.exists() and '"event":"step"' in events.read_text()


@pytest.mark.slow
def test_a_real_run_interrupted_and_started_again_is_complete(tmp_path):
    """The commands over the real trainer: corpus and model, Ctrl-C in between, then the rest."""
    import tiny_runs

    sweep = tmp_path / "tiny.py"
    sweep.write_text(
        f'"""Tiny."""\nimport sys\nsys.path.insert(0, {str(HERE)!r})\nimport made_runs as made\n'
        "import tiny_runs as tiny\ndef runs():\n"
        "    first = made.pretrain('first', corpus=tiny.TEXT, steps=600)\n"
        "    return [first, made.adapt(first, 'second', steps=5)]\n"
    )
    first = made.pretrain("first", corpus=tiny_runs.TEXT, steps=600)
    store = Store(tmp_path / "runs")
    place = ("--store", store.root, "--cache", tmp_path / "cache")
    command = ("run", sweep, *place, "--offline", "--threads", 1)
    process = _start(*command)
    end = time.monotonic() + 300
    while not _has_stepped(store.directory(first) / "events.jsonl"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 75, (output, errors)
    assert "start the same command again" in output
    assert store.existing(first).latest()
    answer = _study(*command)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert json.loads((store.directory(first) / "done.json").read_text())["steps"] == 600
    # the mirror is offline where nothing is said: a file of the run's own, from before and after
    assert len(list(store.directory(first).glob("wandb/offline-run-*/*.wandb"))) == 2
    out = tmp_path / "export"
    answer = _study("export", f"{sweep}:second", "--to", out, "--store", store.root)
    assert answer.stdout == f"{out}\n", answer.stderr
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import study.auto  # noqa: F401  (registers the architectures)

    tokenizer = AutoTokenizer.from_pretrained(out)
    asked = tokenizer("the", return_tensors="pt")
    model = AutoModelForCausalLM.from_pretrained(out)
    assert model.generate(asked["input_ids"], max_new_tokens=3).shape[1] > 1
    assert _study("check", f"{sweep}:second").returncode == 0


def test_a_domain_has_commands_under_its_own_name():
    program = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
import typer
from dataclasses import replace
import toy_domain as toy
from study.runs import domain

own = typer.Typer()

@own.callback()
def lines():
    pass

@own.command()
def sum(numbers: list[int]):
    print(__builtins__.sum(numbers))

domain.register(replace(toy.TOY, commands=lambda: own))
from study.cli import main
sys.argv = ["study", "toy", "sum", "3", "4"]
main()
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (answer.returncode, answer.stdout) == (0, "7\n"), answer.stderr


def test_a_report_of_a_store_that_is_not_there_is_refused_and_an_old_one_stays(sweep, tmp_path):
    page = tmp_path / "out" / "report.html"
    page.parent.mkdir()
    page.write_text("what a year of runs said")
    answer = _study(
        "report", str(sweep), "--store", str(tmp_path / "rusn"), "--out", str(page.parent)
    )
    assert answer.returncode == 2
    assert "rusn is no directory; legal: where the runs of the sweep lie" in answer.stderr
    assert page.read_text() == "what a year of runs said"


def test_a_device_that_is_not_there_is_refused_before_anything_is_built(sweep, tmp_path):
    store = tmp_path / "runs"
    answer = _study("run", str(sweep), "--store", str(store), "--device", "cuda:99")
    assert answer.returncode == 2
    assert "device 'cuda:99' is not here; legal: cpu" in answer.stderr
    assert not any(store.glob("*/run.yaml"))
