"""`study retry` as typed, with SLURM's commands faked on PATH."""

from made_cluster import SLUGS, queue_of, run_of, run_study

from study.launch.cluster import records


def test_retry_chooses_what_failed_and_what_was_cancelled_for_it(fake, sweep, store):
    fake.says(
        "squeue",
        queue_of(
            pretrain=("NODE_FAIL", "NodeDown", "n1"),
            adapt=("CANCELLED", "DependencyNeverSatisfied"),
            finetune=("CANCELLED", "DependencyNeverSatisfied"),
            evaluation=("CANCELLED", "None"),  # by a person
        ),
    )
    answer = run_study("retry", sweep, "--store", store.root, "--dry-run")
    assert answer.returncode == 0, answer.stderr
    words = [line.split()[0] for line in answer.stdout.splitlines()]
    assert words == ["slug", "pretrain", "adapt", "finetune"]
    assert "its job ended NODE_FAIL on n1" in answer.stdout
    assert fake.calls("sbatch") == []


def test_retry_leaves_what_a_person_cancelled(fake, sweep, store):
    store.existing(run_of("pretrain")).seal({})
    fake.says(
        "squeue",
        queue_of(
            adapt=("CANCELLED", "None"),
            finetune=("CANCELLED", "DependencyNeverSatisfied"),
            evaluation=("CANCELLED", "DependencyNeverSatisfied"),
        ),
    )
    answer = run_study("retry", sweep, "--store", store.root, "--dry-run")
    assert (answer.returncode, answer.stdout) == (0, "nothing to retry: no job has failed\n")


def test_retry_submits_nothing_while_slurm_is_silent(fake, sweep, store):
    fake.down()
    store.existing(run_of("pretrain")).fail("it failed")
    answer = run_study("retry", sweep, "--store", store.root)
    assert answer.returncode == 75
    assert "nothing was submitted" in answer.stderr
    assert fake.calls("sbatch") == []
    assert store.existing(run_of("pretrain")).failure() == "it failed"


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
    store.existing(run_of("pretrain")).fail("it failed")
    fake.says(
        "squeue",
        queue_of(
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
    answer = run_study(*again)
    assert answer.returncode == 0, answer.stderr
    assert "2 runs submitted" in answer.stdout
    newest = records.newest(records.load_all(store.root))
    jobs = {slug: newest[run_of(slug).id].job for slug in SLUGS}
    assert (jobs["pretrain"], jobs["adapt"], jobs["finetune"]) == ("13_0", "14_0", "12_4")
    assert ["scontrol", "update", "JobId=14_0", "Dependency=afterok:13_0"] in fake.calls()
    assert store.existing(run_of("pretrain")).failure() is None


def test_retry_keeps_the_note_of_a_failure_that_it_could_not_submit(fake, sweep, store, tmp_path):
    _failed_pretrain(fake, store)
    fake.says("sbatch", error="sbatch: error: Batch job submission failed: Job violates limits\n",
              code=1)  # fmt: skip
    profile = tmp_path / "tiny.toml"
    profile.write_text(PROFILE)
    again = ("retry", sweep, "--store", store.root, "--cluster", profile, "--allow-dirty")
    answer = run_study(*again)
    assert answer.returncode == 2
    assert "Job violates limits" in answer.stderr
    assert store.existing(run_of("pretrain")).failure() == "it failed"
