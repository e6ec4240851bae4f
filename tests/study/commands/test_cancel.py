"""`study cancel` as typed, with SLURM's commands faked on PATH."""

import os
import signal
import subprocess
import time

from made_cluster import ROOT, STUDY, queue_of, run_study


def test_cancel_names_what_it_cancels_children_first_and_is_idempotent(fake, sweep, store):
    fake.says(
        "squeue",
        queue_of(
            pretrain=("RUNNING", "None", "n1"),
            adapt=("PENDING", "Dependency"),
            finetune=("COMPLETED",),
        ),
    )
    fake.says("squeue", queue_of(pretrain=("CANCELLED",), adapt=("CANCELLED",)))
    fake.says("scancel")
    answer = run_study("cancel", sweep, "--store", store.root)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines() == [
        "cancelled  adapt  job 12_3 (was PENDING)",
        "cancelled  pretrain  job 12_2 (was RUNNING)",
        "2 jobs cancelled",
    ]
    assert fake.calls("scancel") == [["scancel", "12_3", "12_2"]]
    answer = run_study("cancel", sweep, "--store", store.root)
    assert (answer.returncode, answer.stdout) == (0, "nothing is queued or at work in SLURM\n")
    assert len(fake.calls("scancel")) == 1


def test_cancel_of_one_run_takes_what_needs_it_and_leaves_its_parents(fake, sweep, store):
    fake.says(
        "squeue",
        queue_of(
            pretrain=("RUNNING", "None", "n1"),
            adapt=("PENDING", "Dependency"),
            finetune=("PENDING", "Dependency"),
        ),
    )
    fake.says("scancel")
    assert run_study("cancel", f"{sweep}:adapt", "--store", store.root).returncode == 0
    assert fake.calls("scancel") == [["scancel", "12_4", "12_3"]]


def test_cancel_finds_the_job_of_a_sealed_run_that_computes_a_checkpoint_again(fake, sweep, store):
    fake.says("squeue", queue_of(text=("RUNNING", "None", "n1")))
    fake.says("scancel")
    assert run_study("cancel", sweep, "--store", store.root).returncode == 0
    assert fake.calls("scancel") == [["scancel", "12_0"]]


def test_cancel_says_when_nothing_is_known(fake, sweep, store):
    fake.down()
    answer = run_study("cancel", sweep, "--store", store.root)
    assert answer.returncode == 75
    assert "nothing was cancelled" in answer.stderr


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
