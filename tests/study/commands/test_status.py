"""`study status` as typed, with SLURM's commands faked on PATH."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time

from fake_slurm import queue_line
from made_cluster import ROOT, STUDY, array_of, queue_of, run_of, run_study, status_rows

from study.launch.cluster import records
from study.runs.plan import load_sweep


def test_states_are_reconciled_and_told_with_reasons(fake, sweep, store):
    fake.says(
        "squeue",
        queue_of(
            pretrain=("FAILED", "NonZeroExitCode", "n1"),
            adapt=("CANCELLED", "DependencyNeverSatisfied"),
            finetune=("CANCELLED", "DependencyNeverSatisfied"),
            evaluation=("PENDING", "Dependency"),
        ),
    )
    store.existing(run_of("pretrain")).fail("NonFinite: the loss is nan at step 5")
    rows = status_rows(sweep, store)
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
    text = run_study("status", sweep, "--store", store.root).stdout
    assert "queued" in text
    assert "because pretrain failed" in text


def test_a_silent_slurm_gives_unknown_a_loud_line_and_code_0(fake, sweep, store):
    fake.down()
    store.existing(run_of("pretrain")).fail("it failed before")
    answer = run_study("status", sweep, "--store", store.root, "--json")
    assert answer.returncode == 0
    assert answer.stderr.startswith("WARNING: SLURM does not answer")
    assert "Unable to contact slurm controller" in answer.stderr
    states = [row["state"] for row in json.loads(answer.stdout)]
    assert states == ["done", "done", "unknown", "unknown", "unknown", "unknown"]


def test_without_records_slurm_is_not_asked(fake, sweep, tmp_path):
    answer = run_study("status", sweep, "--store", tmp_path / "other", "--json")
    assert answer.returncode == 0, answer.stderr
    assert {row["state"] for row in json.loads(answer.stdout)} == {"planned"}
    assert fake.calls() == []


def test_a_run_that_seals_while_slurm_answers_is_done(fake, sweep, store):
    """SLURM says COMPLETED, and the seal is newer than the first look at the files."""
    seal = store.directory(run_of("pretrain")) / "done.json"
    fake.says("squeue", queue_of(pretrain=("COMPLETED",)), also=f"echo '{{}}' > '{seal}'")
    assert status_rows(sweep, store)["pretrain"]["state"] == "done"


def test_a_job_number_that_slurm_gave_to_another_is_not_ours(fake, sweep, store):
    fake.says("squeue", queue_line("12_2", "FAILED", name="someone-elses"))
    assert status_rows(sweep, store)["pretrain"]["state"] == "unknown"


def test_a_lost_answer_of_sbatch_is_found_by_name(fake, sweep, store):
    records.save(array_of(load_sweep(sweep).runs, store, job_id=None, released=False), store.root)
    fake.says("squeue", "12\n12\n")
    fake.says("squeue", queue_of(pretrain=("PENDING", "JobHeldUser")))
    row = status_rows(sweep, store)["pretrain"]
    assert (row["state"], row["job"]) == ("queued", "12_2")
    assert "launch again to release it" in row["note"]


def test_a_lease_of_a_fast_or_slow_clock_is_judged_by_the_file_system(fake, sweep, store):
    """Row 5 of the fault table: a node whose clock is ten minutes off is not taken for dead."""
    fake.says("squeue", queue_of(pretrain=("RUNNING", "None", "n1")))
    directory = store.directory(run_of("pretrain"))
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
    assert status_rows(sweep, store)["pretrain"]["state"] == "interrupted"


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
    directory = store.existing(run_of("pretrain"))
    directory.events.write_text('{"event":"step","step":4,"loss":2.125}\n')
    fake.says("squeue", queue_of(pretrain=("RUNNING", "None", "n1")))
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
    answer = run_study("status", sweep, "--store", tmp_path, "--live")
    assert answer.returncode == 2
    assert "a terminal" in answer.stderr
