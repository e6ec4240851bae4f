"""`study explain` as typed, with SLURM's commands faked on PATH."""

import json

from made_cluster import queue_of, run_of, run_study

from study.launch.cluster import records


def test_explain_brings_the_evidence_together(fake, sweep, store):
    run = run_of("adapt")
    directory = store.existing(run)
    store.existing(run_of("pretrain")).seal({})
    (directory.path / "job.sh").write_text("#!/bin/bash\n")
    directory.log.write_text("".join(f"line {n}\n" for n in range(100)) + "CUDA out of memory\n")
    output = records.array_path(store.root, "000001-aaaaaa") / "12_3.out"
    output.write_text("slurmstepd: error: Detected 1 oom_kill event\n")
    broken = directory.checkpoint_path(4)
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{}")
    fake.says("squeue", queue_of(adapt=("OUT_OF_MEMORY", "OutOfMemory", "n2")))
    answer = run_study("explain", f"{sweep}:adapt", "--store", store.root)
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
    answer = run_study("explain", f"{sweep}:adapt", "--store", store.root, "--json")
    found = json.loads(answer.stdout)
    assert found["state"] == "failed"
    assert found["job"]["state"] == "OUT_OF_MEMORY"
    assert found["parents"] == {"pretrain": "done", "text": "done"}


def test_explain_while_slurm_is_silent_still_shows_the_files(fake, sweep, store):
    fake.down()
    answer = run_study("explain", f"{sweep}:adapt", "--store", store.root)
    assert answer.returncode == 0, answer.stderr
    assert "adapt (Adapt" in answer.stdout
    assert "is unknown" in answer.stdout
    assert "silent (squeue: slurm_load_jobs error: Unable to contact" in answer.stdout


def test_explain_of_a_run_that_was_never_started(sweep, tmp_path):
    answer = run_study("explain", f"{sweep}:adapt", "--store", tmp_path / "none")
    assert answer.returncode == 0, answer.stderr
    assert "is planned" in answer.stdout
    assert "never submitted" in answer.stdout
    assert f"study run {sweep}:adapt --store" in answer.stdout
    assert run_study("explain", sweep, "--store", tmp_path / "none").returncode == 2
