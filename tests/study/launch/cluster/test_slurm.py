"""SLURM's commands: what is asked, and what each kind of answer, or none, becomes."""

import time
from pathlib import Path

import pytest
from fake_slurm import DOWN, FakeSlurm, queue_line, recorded

from study.launch.cluster.slurm import Job, Refused, Slurm, Unanswered

OPTIONS = ("--job-name=archstudy-000001-aaaaaa", "--hold", "--array=0-3%2")
SCRIPT = Path("/store/array.sh")
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
NO_BYTES = "sbatch: error: Zero Bytes were transmitted or received"
NO_JOB = "slurm_load_jobs error: Invalid job id specified"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    return FakeSlurm(tmp_path / "bin", monkeypatch=monkeypatch)


def _slurm(**changes):
    return Slurm(**{"seconds": 20.0, "attempts": 3, "pause": 0.01} | changes)


def test_a_job_is_submitted_with_its_options(fake):
    fake.says("sbatch", "12\n")
    assert _slurm().submit(SCRIPT, OPTIONS) == "12"
    assert fake.calls() == [["sbatch", "--parsable", *OPTIONS, str(SCRIPT)]]


@pytest.mark.parametrize(
    "said",
    [
        "12;local\n",
        "sbatch: Welcome to the cluster, account 7 has 3 hours\nplease read the news\n12\n",
        "12\n\n",
    ],
)
def test_warnings_and_cluster_names_around_the_id_are_tolerated(fake, said):
    fake.says("sbatch", said, error="sbatch: warning: can't honour --ntasks-per-node\n")
    assert _slurm().submit(SCRIPT, OPTIONS) == "12"


def test_a_request_that_did_not_leave_is_sent_again(fake):
    fake.says("sbatch", error=DOWN["sbatch"], code=1)
    fake.says("sbatch", error=DOWN["sbatch"], code=1)
    fake.says("sbatch", "12\n")
    assert _slurm().submit(SCRIPT, OPTIONS) == "12"
    assert len(fake.calls("sbatch")) == 3


def test_the_pauses_between_attempts_grow(fake):
    fake.says("sbatch", error=DOWN["sbatch"], code=1)
    begun = time.monotonic()
    with pytest.raises(Unanswered, match="Unable to contact"):
        _slurm(pause=0.2).submit(SCRIPT, OPTIONS)
    assert time.monotonic() - begun > 0.2 + 0.4
    assert len(fake.calls("sbatch")) == 3


@pytest.mark.parametrize("said", [TIMED_OUT, NO_BYTES])
def test_a_lost_answer_is_found_by_the_unique_name_and_nothing_is_submitted_twice(fake, said):
    fake.says("sbatch", error=said, code=1)
    fake.says("squeue", "")  # the controller is busy: the job does not show at once
    fake.says("squeue", "12\n12\n")
    assert _slurm().submit(SCRIPT, OPTIONS) == "12"
    assert len(fake.calls("sbatch")) == 1
    assert "--name=archstudy-000001-aaaaaa" in fake.calls("squeue")[0]


def test_a_hanging_sbatch_is_given_up_and_its_job_looked_for(fake):
    fake.says("sbatch", "12\n", seconds=30)
    fake.says("squeue", "12\n")
    begun = time.monotonic()
    assert _slurm(seconds=0.5).submit(SCRIPT, OPTIONS) == "12"
    assert time.monotonic() - begun < 10


def test_a_lost_answer_without_a_job_is_silence_and_is_not_repeated(fake):
    """The request may still be on its way: only the next command can tell."""
    fake.says("sbatch", error=TIMED_OUT, code=1)
    fake.says("squeue", "")
    with pytest.raises(Unanswered, match="archstudy-000001-aaaaaa was submitted is not known"):
        _slurm().submit(SCRIPT, OPTIONS)
    assert len(fake.calls("sbatch")) == 1


def test_an_exit_without_a_number_is_no_submission(fake):
    fake.says("sbatch", "sbatch: nothing to see\n")
    fake.says("squeue", "")
    with pytest.raises(Unanswered, match="nothing to see"):
        _slurm().submit(SCRIPT, OPTIONS)


def test_a_refusal_is_told_at_once_in_slurms_words(fake):
    """Recorded from 22.05."""
    fake.says(
        "sbatch",
        error="sbatch: error: invalid partition specified: nonesuch\n"
        "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
        code=1,
    )
    with pytest.raises(Refused, match="invalid partition specified: nonesuch"):
        _slurm().submit(SCRIPT, OPTIONS)
    assert len(fake.calls("sbatch")) == 1


def test_a_job_without_a_name_could_not_be_found_again(fake):
    with pytest.raises(ValueError, match="--job-name=NAME"):
        _slurm().submit(SCRIPT, ["--hold"])
    assert fake.calls() == []


def test_a_machine_without_slurm_is_silent(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unanswered, match="squeue is not on PATH"):
        _slurm(attempts=1).jobs(["12"])


def test_two_jobs_of_one_name_are_refused(fake):
    fake.says("squeue", "12\n13\n")
    with pytest.raises(Refused, match="2 jobs are called x: 12, 13"):
        _slurm().find("x")


def test_a_recorded_queue_is_read(fake):
    """Two arrays of 22.05: ended, failed, at work, requeued, waiting and cancelled tasks."""
    fake.says("squeue", recorded("early.squeue"))
    fake.forget("scontrol-show")
    fake.says("scontrol-show", recorded("early.scontrol.35"))
    fake.says("scontrol-show", recorded("early.scontrol.36"))
    fake.says("scontrol-show", "AccountingStorageType   = accounting_storage/none\n")
    jobs = _slurm().jobs(["35", "36"])
    assert len(jobs) == 12
    assert jobs["35_1"] == Job(
        id="35_1",
        name="archstudy-000001-aaaaaa",
        state="FAILED",
        reason="NonZeroExitCode",
        node_list="n1",
        restarts=0,
        exit_code="3:0",
    )
    requeued = jobs["35_2"]
    assert (requeued.state, requeued.reason, requeued.restarts) == ("PENDING", "BeginTime", 1)
    assert jobs["35_3"].active
    assert jobs["35_3"].node_list == "n1"
    assert jobs["36_2"].pending, "a requeued parent does not cancel its child"
    grandchild = jobs["36_5"]
    assert (grandchild.state, grandchild.reason) == ("CANCELLED", "DependencyNeverSatisfied")
    assert grandchild.dependency == "afterok:36_1(failed)"
    assert {job.id for job in jobs.values() if job.ended} == {
        *("35_0", "35_1", "35_5", "36_0", "36_1", "36_5"),
    }
    assert fake.calls("sacct") == [], "there is no accounting to ask"


def test_the_queue_is_asked_in_a_form_that_settings_do_not_change(fake, monkeypatch):
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    fake.says("squeue", also='[ -z "$SQUEUE_STATES" ] || { echo "filtered"; exit 1; }')
    assert _slurm().jobs(["12", "13"]) == {}
    (call,) = fake.calls("squeue")
    assert {"--array", "--states=all", "--noheader", "--jobs=12,13"} < set(call)
    assert "--format=%i|%T|%r|%N|%E|%j" in call


def test_a_forgotten_array_is_no_silence(fake):
    """Recorded from 22.05: for a single id `squeue` ends with 1."""
    fake.says("squeue", error=NO_JOB, code=1)
    assert _slurm().jobs(["99999"]) == {}


def test_an_array_forgotten_between_two_questions_is_kept_as_seen(fake):
    fake.says("squeue", queue_line("12_0", "COMPLETED"))
    fake.forget("scontrol-show")
    fake.says("scontrol-show", error=NO_JOB, code=1)
    fake.says("scontrol-show", "AccountingStorageType = accounting_storage/none\n")
    assert _slurm().jobs(["12"])["12_0"].state == "COMPLETED"


def test_silence_is_never_an_empty_queue(fake):
    fake.down()
    with pytest.raises(Unanswered, match="Unable to contact slurm controller"):
        _slurm().jobs(["12"])
    assert len(fake.calls("squeue")) == 3


WITH_ACCOUNTING = "AccountingStorageType = accounting_storage/slurmdbd\n"


def test_ended_jobs_come_from_the_accounting_where_it_is(fake):
    """The form is `sacct`'s documented one: the test cluster keeps no accounting."""
    fake.forget("scontrol-show")
    fake.says("scontrol-show", WITH_ACCOUNTING)
    fake.says("squeue", error=NO_JOB, code=1)
    fake.says(
        "sacct",
        "12_0|COMPLETED|0:0|n1|archstudy-x\n12_1|CANCELLED by 1000|0:15|n2|archstudy-x\n"
        "12_2|OUT_OF_MEMORY|0:125|None assigned|archstudy-x\n",
    )
    slurm = _slurm()
    jobs = slurm.jobs(["12"], since="2026-03-04T05:06:07+00:00")
    assert [jobs[f"12_{i}"].state for i in range(3)] == ["COMPLETED", "CANCELLED", "OUT_OF_MEMORY"]
    assert jobs["12_1"].exit_code == "0:15"
    assert jobs["12_2"].node_list == ""
    (call,) = fake.calls("sacct")
    assert "--starttime=2026-03-04" in call, "else jobs from before midnight are not found"
    slurm.jobs(["12"])
    assert len(fake.calls("scontrol")) == 1, "whether there is accounting is asked once"


@pytest.mark.parametrize(
    "said",
    [
        "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection "
        "to host:db:6819: Connection refused\n"
        "sacct: error: Problem talking to the database: Connection refused",
        "sacct: error: something that nobody has seen before",
    ],
)
def test_a_silent_accounting_leaves_ended_jobs_unknown_and_says_so(fake, said):
    fake.forget("scontrol-show")
    fake.says("scontrol-show", WITH_ACCOUNTING)
    fake.says("squeue", queue_line("12_0", "RUNNING", nodes="n1"))
    fake.says("sacct", error=said, code=1)
    heard = []
    jobs = _slurm(warn=heard.append).jobs(["12"])
    assert set(jobs) == {"12_0"}
    assert len(heard) == 1
    assert "accounting does not answer" in heard[0]


def test_the_controllers_word_is_newer_than_the_accountings(fake):
    """A requeued job keeps its id: the accounting still has its first life."""
    fake.forget("scontrol-show")
    fake.says("scontrol-show", "JobId=44 ArrayJobId=12 ArrayTaskId=0 Restarts=2 ExitCode=0:0\n")
    fake.says("scontrol-show", WITH_ACCOUNTING)
    fake.says("squeue", queue_line("12_0", "PENDING", reason="BeginTime"))
    fake.says("sacct", "12_0|PREEMPTED|0:0|n1|archstudy-x\n")
    job = _slurm().jobs(["12"])["12_0"]
    assert (job.state, job.restarts) == ("PENDING", 2)


def test_dependencies_are_set_on_tasks(fake):
    fake.says("scontrol-update")
    _slurm().set_dependency("13_4", ["12_0", "12_7"])
    assert fake.calls() == [["scontrol", "update", "JobId=13_4", "Dependency=afterok:12_0:12_7"]]


def test_a_release_whose_first_answer_was_lost_succeeds(fake):
    """Recorded from 22.05: the second release of an array that has ended meanwhile."""
    fake.says("scontrol-release", error=DOWN["scontrol-release"], code=1)
    fake.says("scontrol-release", error="12_0-4: Job has already finished", code=1)
    _slurm().release("12")
    assert len(fake.calls()) == 2


def test_cancelling_is_chunked_and_ended_jobs_are_no_error(fake):
    fake.says(
        "scancel",
        error="scancel: error: Kill job error on job id 12_0: "
        "Job/step already completing or completed",
        code=1,
    )
    _slurm().cancel([f"12_{i}" for i in range(700)])
    assert [len(call) - 1 for call in fake.calls("scancel")] == [500, 200]
    _slurm().cancel([])
    assert len(fake.calls("scancel")) == 2


def test_an_uncancellable_job_is_refused(fake):
    fake.says(
        "scancel",
        error="scancel: error: Kill job error on job id 12: Access/permission denied",
        code=1,
    )
    with pytest.raises(Refused, match="permission denied"):
        _slurm().cancel(["12"])


def test_a_script_is_tried_without_being_submitted(fake):
    said = "sbatch: Job 19 to start at 2026-01-01T00:00:00 using 1 processors on nodes n1"
    fake.says("sbatch", error=said)
    assert _slurm().test_only(SCRIPT, ["--array=0-3"]) == said
    assert fake.calls() == [["sbatch", "--test-only", "--array=0-3", str(SCRIPT)]]
