"""`study status`, `explain`, `retry` and `cancel` as typed, with SLURM's commands faked on PATH."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import made_runs as made
import pytest
from fake_slurm import FakeSlurm, queue_line

from study.launch.cluster import records
from study.launch.cluster.records import Array, Task
from study.runs.plan import load_sweep
from study.store.directory import Store

HERE = Path(__file__).parents[2] / "made"
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
SLUGS = ("text", "mixture", "pretrain", "adapt", "finetune", "evaluation")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    return FakeSlurm(tmp_path / "bin", monkeypatch=monkeypatch)


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "made.py"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def store(tmp_path, sweep):
    """All six runs were submitted as array 12, in the order of the plan; the corpora are done."""
    store = Store(tmp_path / "runs")
    runs = load_sweep(sweep).runs
    assert [run.slug for run in runs] == list(SLUGS)
    for run in runs:
        opened = store.open(run)
        if run.slug in ("text", "mixture"):
            opened.seal({})
    records.save(_array(runs, store, job_id="12"), store.root)
    return store


def _array(runs, store, *, job_id, token="000001-aaaaaa", released=True):
    tasks = tuple(
        Task(
            index=at,
            run=run.id,
            directory=store.directory(run).name,
            after=tuple(each.id for each in run.parents),
        )
        for at, run in enumerate(runs)
    )
    return Array(
        token=token,
        name=records.job_name(token),
        profile="tiny",
        code="c0de",
        tasks=tasks,
        job_id=job_id,
        released=released,
        submitted="2026-01-01T00:00:00+00:00",
    )


def _queue(**states):
    """`squeue`'s lines: slug=("STATE", "Reason", "nodes")."""
    lines = []
    for at, slug in enumerate(SLUGS):
        if slug in states:
            state, reason, nodes = (*states[slug], "", "")[:3]
            lines.append(
                queue_line(
                    f"12_{at}", state, reason=reason, nodes=nodes, name="archstudy-000001-aaaaaa"
                )
            )
    return "".join(lines)


def _run(slug):
    return next(run for run in made.tree() if run.slug == slug)


def _study(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [*STUDY, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment,
        timeout=120,
    )


def _rows(sweep, store):
    answer = _study("status", sweep, "--store", store.root, "--json")
    assert answer.returncode == 0, answer.stderr
    return {row["slug"]: row for row in json.loads(answer.stdout)}


def test_states_are_reconciled_and_told_with_reasons(fake, sweep, store):
    fake.says(
        "squeue",
        _queue(
            pretrain=("FAILED", "NonZeroExitCode", "n1"),
            adapt=("CANCELLED", "DependencyNeverSatisfied"),
            finetune=("CANCELLED", "DependencyNeverSatisfied"),
            evaluation=("PENDING", "Dependency"),
        ),
    )
    store.existing(_run("pretrain")).fail("NonFinite: the loss is nan at step 5")
    rows = _rows(sweep, store)
    states = {slug: row["state"] for slug, row in rows.items()}
    assert states == {
        "text": "done",
        "mixture": "done",
        "pretrain": "failed",
        "adapt": "cancelled",
        "finetune": "cancelled",
        "evaluation": "queued",
    }
    assert rows["pretrain"]["note"] == "NonFinite: the loss is nan at step 5"
    assert rows["adapt"]["note"] == "because pretrain failed"
    assert rows["finetune"]["note"] == "because pretrain failed", "the root of it"
    assert rows["evaluation"]["note"] == "waits for finetune"
    assert rows["evaluation"]["job"] == "12_5"
    text = _study("status", sweep, "--store", store.root).stdout
    assert "queued" in text
    assert "because pretrain failed" in text


def test_a_silent_slurm_gives_unknown_a_loud_line_and_code_0(fake, sweep, store):
    fake.down()
    store.existing(_run("pretrain")).fail("it failed before")
    answer = _study("status", sweep, "--store", store.root, "--json")
    assert answer.returncode == 0
    assert answer.stderr.startswith("WARNING: SLURM does not answer")
    assert "Unable to contact slurm controller" in answer.stderr
    states = [row["state"] for row in json.loads(answer.stdout)]
    assert states == ["done", "done", "unknown", "unknown", "unknown", "unknown"]


def test_without_records_slurm_is_not_asked(fake, sweep, tmp_path):
    answer = _study("status", sweep, "--store", tmp_path / "other", "--json")
    assert answer.returncode == 0, answer.stderr
    assert {row["state"] for row in json.loads(answer.stdout)} == {"planned"}
    assert fake.calls() == []


def test_a_run_that_seals_while_slurm_answers_is_done(fake, sweep, store):
    """SLURM says COMPLETED, and the seal is newer than the first look at the files."""
    seal = store.directory(_run("pretrain")) / "done.json"
    fake.says("squeue", _queue(pretrain=("COMPLETED",)), also=f"echo '{{}}' > '{seal}'")
    assert _rows(sweep, store)["pretrain"]["state"] == "done"


def test_a_job_number_that_slurm_gave_to_another_is_not_ours(fake, sweep, store):
    fake.says("squeue", queue_line("12_2", "FAILED", name="someone-elses"))
    assert _rows(sweep, store)["pretrain"]["state"] == "unknown"


def test_a_lost_answer_of_sbatch_is_found_by_name(fake, sweep, store):
    records.save(_array(load_sweep(sweep).runs, store, job_id=None, released=False), store.root)
    fake.says("squeue", "12\n12\n")
    fake.says("squeue", _queue(pretrain=("PENDING", "JobHeldUser")))
    row = _rows(sweep, store)["pretrain"]
    assert (row["state"], row["job"]) == ("queued", "12_2")
    assert "launch again to release it" in row["note"]


def test_a_lease_of_a_fast_or_slow_clock_is_judged_by_the_file_system(fake, sweep, store):
    """Row 5 of the fault table: a node whose clock is ten minutes off is not taken for dead."""
    fake.says("squeue", _queue(pretrain=("RUNNING", "None", "n1")))
    directory = store.directory(_run("pretrain"))
    (directory / "lease.json").write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t"}))
    skew = (
        "import time, sys; now, off = time.time, float(sys.argv.pop(1));"
        "time.time = lambda: now() + off;"
        "sys.argv[0] = 'study'; from study.cli import main; main()"
    )
    command = ["status", str(sweep), "--json", "--store", str(store.root)]
    for minutes in (-10, 10):
        os.utime(directory / "lease.json")
        answer = subprocess.run(
            [sys.executable, "-c", skew, str(60 * minutes), *command],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert answer.returncode == 0, answer.stderr
        (row,) = [row for row in json.loads(answer.stdout) if row["slug"] == "pretrain"]
        assert row["state"] == "running"
        assert "process 1 on elsewhere" in row["note"]
    old = time.time() - 900
    os.utime(directory / "lease.json", (old, old))
    fake.forget("squeue")
    fake.says("squeue", "")
    assert _rows(sweep, store)["pretrain"]["state"] == "interrupted"


def test_retry_chooses_what_failed_and_what_was_cancelled_for_it(fake, sweep, store):
    fake.says(
        "squeue",
        _queue(
            pretrain=("NODE_FAIL", "NodeDown", "n1"),
            adapt=("CANCELLED", "DependencyNeverSatisfied"),
            finetune=("CANCELLED", "DependencyNeverSatisfied"),
            evaluation=("CANCELLED", "None"),  # by a person
        ),
    )
    answer = _study("retry", sweep, "--store", store.root, "--dry-run")
    assert answer.returncode == 0, answer.stderr
    words = [line.split()[0] for line in answer.stdout.splitlines()]
    assert words == ["slug", "pretrain", "adapt", "finetune"]
    assert "its job ended NODE_FAIL on n1" in answer.stdout
    assert fake.calls("sbatch") == []


def test_retry_leaves_what_a_person_cancelled(fake, sweep, store):
    store.existing(_run("pretrain")).seal({})
    fake.says(
        "squeue",
        _queue(
            adapt=("CANCELLED", "None"),
            finetune=("CANCELLED", "DependencyNeverSatisfied"),
            evaluation=("CANCELLED", "DependencyNeverSatisfied"),
        ),
    )
    answer = _study("retry", sweep, "--store", store.root, "--dry-run")
    assert (answer.returncode, answer.stdout) == (0, "nothing to retry: no job has failed\n")


def test_retry_submits_nothing_while_slurm_is_silent(fake, sweep, store):
    fake.down()
    store.existing(_run("pretrain")).fail("it failed")
    answer = _study("retry", sweep, "--store", store.root)
    assert answer.returncode == 75
    assert "nothing was submitted" in answer.stderr
    assert fake.calls("sbatch") == []
    assert store.existing(_run("pretrain")).failure() == "it failed"


def test_cancel_names_what_it_cancels_children_first_and_is_idempotent(fake, sweep, store):
    fake.says(
        "squeue",
        _queue(
            pretrain=("RUNNING", "None", "n1"),
            adapt=("PENDING", "Dependency"),
            finetune=("COMPLETED",),
        ),
    )
    fake.says("squeue", _queue(pretrain=("CANCELLED",), adapt=("CANCELLED",)))
    fake.says("scancel")
    answer = _study("cancel", sweep, "--store", store.root)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        "cancelled  adapt  job 12_3 (was PENDING)",
        "cancelled  pretrain  job 12_2 (was RUNNING)",
        "2 jobs cancelled",
    ]
    assert fake.calls("scancel") == [["scancel", "12_3", "12_2"]]
    answer = _study("cancel", sweep, "--store", store.root)
    assert (answer.returncode, answer.stdout) == (0, "nothing is queued or at work in SLURM\n")
    assert len(fake.calls("scancel")) == 1


def test_cancel_of_one_run_takes_what_needs_it_and_leaves_its_parents(fake, sweep, store):
    fake.says(
        "squeue",
        _queue(
            pretrain=("RUNNING", "None", "n1"),
            adapt=("PENDING", "Dependency"),
            finetune=("PENDING", "Dependency"),
        ),
    )
    fake.says("scancel")
    assert _study("cancel", f"{sweep}:adapt", "--store", store.root).returncode == 0
    assert fake.calls("scancel") == [["scancel", "12_4", "12_3"]]


def test_cancel_finds_the_job_of_a_sealed_run_that_computes_a_checkpoint_again(fake, sweep, store):
    fake.says("squeue", _queue(text=("RUNNING", "None", "n1")))
    fake.says("scancel")
    assert _study("cancel", sweep, "--store", store.root).returncode == 0
    assert fake.calls("scancel") == [["scancel", "12_0"]]


def test_cancel_says_when_nothing_is_known(fake, sweep, store):
    fake.down()
    answer = _study("cancel", sweep, "--store", store.root)
    assert answer.returncode == 75
    assert "nothing was cancelled" in answer.stderr


def test_explain_brings_the_evidence_together(fake, sweep, store):
    run = _run("adapt")
    directory = store.existing(run)
    store.existing(_run("pretrain")).seal({})
    (directory.path / "job.sh").write_text("#!/bin/bash\n")
    directory.log.write_text("".join(f"line {n}\n" for n in range(100)) + "CUDA out of memory\n")
    output = records.array_path(store.root, "000001-aaaaaa") / "12_3.out"
    output.write_text("slurmstepd: error: Detected 1 oom_kill event\n")
    broken = directory.checkpoint_path(4)
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{}")
    fake.says("squeue", _queue(adapt=("OUT_OF_MEMORY", "OutOfMemory", "n2")))
    answer = _study("explain", f"{sweep}:adapt", "--store", store.root)
    assert answer.returncode == 0, answer.stderr
    text = answer.stdout
    for words in (
        "is failed\n  its job ended OUT_OF_MEMORY on n2",
        "4 corrupt (",
        "job 12_3 OUT_OF_MEMORY, reason OutOfMemory, nodes n2",
        f"sbatch {directory.path / 'job.sh'}",
        "pretrain: done",
        "  line 99\n  CUDA out of memory",
        "oom_kill event",
        "lease              free",
    ):
        assert words in text, text
    assert "line 80\n" not in text
    answer = _study("explain", f"{sweep}:adapt", "--store", store.root, "--json")
    found = json.loads(answer.stdout)
    assert found["state"] == "failed"
    assert found["job"]["state"] == "OUT_OF_MEMORY"
    assert found["parents"] == {"pretrain": "done", "text": "done"}


def test_explain_while_slurm_is_silent_still_shows_the_files(fake, sweep, store):
    fake.down()
    answer = _study("explain", f"{sweep}:adapt", "--store", store.root)
    assert answer.returncode == 0, answer.stderr
    assert "adapt (Adapt" in answer.stdout
    assert "is unknown" in answer.stdout
    assert "silent (squeue: slurm_load_jobs error: Unable to contact" in answer.stdout


def test_explain_of_a_run_that_was_never_started(sweep, tmp_path):
    answer = _study("explain", f"{sweep}:adapt", "--store", tmp_path / "none")
    assert answer.returncode == 0, answer.stderr
    assert "is planned" in answer.stdout
    assert "never submitted" in answer.stdout
    assert f"study run {sweep}:adapt --store" in answer.stdout
    assert _study("explain", sweep, "--store", tmp_path / "none").returncode == 2


class _Terminal:
    """A command on a terminal of its own, as a person sees it."""

    def __init__(self, *arguments):
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*STUDY, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160", "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while True:
            try:
                part = os.read(self.ours, 1 << 16)
            except OSError:
                return
            if not part:
                return
            self.seen += part.decode(errors="replace")

    def wait_for(self, words):
        end = time.monotonic() + 40
        while words not in self.seen:
            assert self.process.poll() is None, (self.seen, self.process.communicate())
            assert time.monotonic() < end, self.seen
            time.sleep(0.02)

    def interrupt(self):
        os.killpg(self.process.pid, signal.SIGINT)
        _, errors = self.process.communicate(timeout=40)
        self.reader.join(timeout=10)
        return self.process.returncode, errors.decode()


def test_the_live_view_shows_progress_and_ends_on_ctrl_c_with_code_0(fake, sweep, store):
    directory = store.existing(_run("pretrain"))
    directory.events.write_text('{"event":"step","step":4,"loss":2.125}\n')
    fake.says("squeue", _queue(pretrain=("RUNNING", "None", "n1")))
    terminal = _Terminal("status", sweep, "--store", store.root, "--live")
    terminal.wait_for("Ctrl-C ends the view")
    assert "loss 2.125" in terminal.seen
    assert "step 4/10" in terminal.seen
    assert terminal.interrupt() == (0, "")
    assert "4/10" in terminal.seen[terminal.seen.rindex("stage") :], "what was there is printed"


def test_the_live_view_outlasts_a_silent_slurm(fake, sweep, store):
    fake.down()
    terminal = _Terminal("status", sweep, "--store", store.root, "--live")
    terminal.wait_for("SLURM does not answer")
    code, errors = terminal.interrupt()
    assert code == 0
    assert "Traceback" not in errors


def test_the_live_view_needs_a_terminal(sweep, tmp_path):
    answer = _study("status", sweep, "--store", tmp_path, "--live")
    assert answer.returncode == 2
    assert "a terminal" in answer.stderr


def test_ctrl_c_while_cancel_waits_for_slurm_is_no_traceback(fake, sweep, store):
    begun = store.root / "begun"
    fake.says("squeue", also=f"touch '{begun}'", seconds=60)
    process = subprocess.Popen(
        [*STUDY, "cancel", str(sweep), "--store", str(store.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    end = time.monotonic() + 30
    while not begun.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, output) == (75, "")
    assert errors == "interrupted: start the same command again to go on\n"


PROFILE = """\
nodes = 1
ranks_per_node = 1
cpus_per_rank = 1
memory = "1G"
time = "1:00:00"
signal_seconds = 60
array_cap = 1000
throttle = 4
"""


def _failed_pretrain(fake, store):
    store.existing(_run("pretrain")).fail("it failed")
    fake.says(
        "squeue",
        _queue(
            pretrain=("FAILED", "NonZeroExitCode", "n1"),
            adapt=("CANCELLED", "DependencyNeverSatisfied"),
            finetune=("CANCELLED", "None"),  # by a person; SLURM has forgotten what needs it
        ),
    )


def test_retry_submits_the_failed_run_and_its_child_and_removes_the_note(
    fake, sweep, store, tmp_path
):
    _failed_pretrain(fake, store)
    for number in (13, 14):
        fake.says("sbatch", f"{number}\n")
    fake.says("scontrol-update")
    fake.says("scontrol-release")
    profile = tmp_path / "tiny.toml"
    profile.write_text(PROFILE)
    again = ("retry", sweep, "--store", store.root, "--cluster", profile, "--allow-dirty")
    answer = _study(*again)
    assert answer.returncode == 0, answer.stderr
    assert "2 runs submitted" in answer.stdout
    newest = records.newest(records.load_all(store.root))
    jobs = {slug: newest[_run(slug).id].job for slug in SLUGS}
    assert (jobs["pretrain"], jobs["adapt"], jobs["finetune"]) == ("13_0", "14_0", "12_4")
    assert ["scontrol", "update", "JobId=14_0", "Dependency=afterok:13_0"] in fake.calls()
    assert store.existing(_run("pretrain")).failure() is None


def test_retry_keeps_the_note_of_a_failure_that_it_could_not_submit(fake, sweep, store, tmp_path):
    _failed_pretrain(fake, store)
    fake.says("sbatch", error="sbatch: error: Batch job submission failed: Job violates limits\n",
              code=1)  # fmt: skip
    profile = tmp_path / "tiny.toml"
    profile.write_text(PROFILE)
    again = ("retry", sweep, "--store", store.root, "--cluster", profile, "--allow-dirty")
    answer = _study(*again)
    assert answer.returncode == 2
    assert "Job violates limits" in answer.stderr
    assert store.existing(_run("pretrain")).failure() == "it failed"
