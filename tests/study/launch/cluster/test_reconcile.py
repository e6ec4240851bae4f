"""Every row of the truth table of `launch.cluster.reconcile`, and the words of its reasons."""

import pytest

from study.launch.cluster.reconcile import Files, NoAnswer, Parent, reconcile
from study.launch.cluster.records import Array, Placed, Task
from study.launch.cluster.slurm import Job
from study.store.lease import Holder

NO_ANSWER = NoAnswer(why="squeue: Unable to contact slurm controller")
FRESH = Holder(host="n1", pid=7, token="t", age=2.0)
OLD = Holder(host="n1", pid=7, token="t", age=900.0)
FAILED_PARENT = (Parent(slug="pre", state="failed"),)
FORGOTTEN = None


def _placed(*, job_id="12", released=True):
    task = Task(index=3, run="r", directory="run--r")
    array = Array(
        token="000001-aaaaaa",
        name="archstudy-000001-aaaaaa",
        profile="p",
        code="c",
        tasks=(task,),
        job_id=job_id,
        released=released,
        submitted="2026-01-01T00:00:00+00:00",
    )
    return Placed(array=array, task=task)


def _job(state, **facts):
    return Job(id="12_3", name="archstudy-000001-aaaaaa", state=state, **facts)


NEVER_SATISFIED = _job(
    "CANCELLED", reason="DependencyNeverSatisfied", dependency="afterok:11_0(failed)"
)
PLANNED = Files(state="planned")
BEGUN = Files(state="interrupted", step=40)
CRASHED = Files(state="interrupted", step=40, holder=OLD)
FAILED = Files(state="failed", failure="the loss is not finite")
RUNNING = Files(state="running", holder=FRESH)
DONE = Files(state="done")
QUEUED_JOB = _job("PENDING", reason="Priority")
ENDS = ("FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT", "BOOT_FAIL", "DEADLINE", "PREEMPTED")

TABLE = [
    # done.json always wins
    *[
        (DONE, _placed(), seen, (), "done", "", False)
        for seen in (NO_ANSWER, FORGOTTEN, QUEUED_JOB, _job("RUNNING"), *map(_job, ENDS))
    ],
    # a fresh heartbeat is at work, whatever SLURM says
    (RUNNING, _placed(), NO_ANSWER, (), "running", "SLURM is silent", False),
    (RUNNING, _placed(), _job("RUNNING", node_list="n1"), (), "running", "process 7 on n1", False),
    (RUNNING, _placed(), _job("NODE_FAIL"), (), "running", "SLURM says NODE_FAIL", False),
    (RUNNING, _placed(), FORGOTTEN, (), "running", "process 7 on n1", False),
    (RUNNING, None, FORGOTTEN, (), "running", "process 7 on n1", False),
    # never submitted: as the files say
    (PLANNED, None, FORGOTTEN, (), "planned", "", True),
    (BEGUN, None, NO_ANSWER, (), "interrupted", "", True),
    (FAILED, None, NO_ANSWER, (), "failed", "the loss is not finite", True),
    # silence is unknown, never failed
    (PLANNED, _placed(), NO_ANSWER, (), "unknown", "SLURM is silent; its files say planned", False),
    (BEGUN, _placed(), NO_ANSWER, (), "unknown", "its files end at step 40", False),
    (CRASHED, _placed(), NO_ANSWER, (), "unknown", "SLURM is silent", False),
    (FAILED, _placed(), NO_ANSWER, (), "unknown", "the loss is not finite", False),
    (PLANNED, _placed(job_id=None), NO_ANSWER, (), "unknown", "SLURM is silent", False),
    (PLANNED, _placed(), NO_ANSWER, FAILED_PARENT, "unknown", "SLURM is silent", False),
    # the submission did not arrive
    (PLANNED, _placed(job_id=None), FORGOTTEN, (), "planned", "did not reach SLURM", True),
    (BEGUN, _placed(job_id=None), FORGOTTEN, (), "interrupted", "did not reach SLURM", True),
    # an answer of sbatch that was lost, and the job found by its name
    (PLANNED, _placed(job_id=None), QUEUED_JOB, (), "queued", "higher priority", False),
    # queued
    (PLANNED, _placed(), QUEUED_JOB, (), "queued", "waits for jobs of higher priority", False),
    (FAILED, _placed(), QUEUED_JOB, (), "queued", "higher priority", False),
    (
        BEGUN,
        _placed(),
        _job("PENDING", reason="BeginTime", restarts=2),
        (),
        "queued",
        "requeued 2 x, goes on at step 40; waits for SLURM's pause after a requeue",
        False,
    ),
    (PLANNED, _placed(), _job("REQUEUED", restarts=1), (), "queued", "requeued 1 x", False),
    (
        PLANNED,
        _placed(),
        _job("PENDING", reason="DependencyNeverSatisfied"),
        FAILED_PARENT,
        "queued",
        "about to cancel it: because pre failed",
        False,
    ),
    # at work, with or without a heartbeat
    (PLANNED, _placed(), _job("RUNNING", node_list="n2"), (), "running", "on n2; it has", False),
    (CRASHED, _placed(), _job("RUNNING"), (), "running", "no heartbeat for 900 s", False),
    (FAILED, _placed(), _job("CONFIGURING"), (), "running", "configuring on its nodes", False),
    (BEGUN, _placed(), _job("COMPLETING", node_list="n1"), (), "running", "completing on", False),
    # a failure note stands once the job has ended
    (FAILED, _placed(), _job("FAILED", exit_code="1:0"), (), "failed", "not finite", True),
    (FAILED, _placed(), FORGOTTEN, (), "failed", "the loss is not finite", True),
    (FAILED, _placed(), _job("CANCELLED"), FAILED_PARENT, "failed", "not finite", True),
    # cancelled
    (PLANNED, _placed(), NEVER_SATISFIED, FAILED_PARENT, "cancelled", "because pre failed", True),
    (PLANNED, _placed(), NEVER_SATISFIED, (), "cancelled", "because a parent failed", True),
    (BEGUN, _placed(), _job("CANCELLED"), (), "cancelled", "by a person (scancel); launch goes on "
     "at step 40", True),
    (PLANNED, _placed(), _job("CANCELLED"), (), "cancelled", "by a person (scancel)", True),
    (PLANNED, _placed(), _job("CANCELLED"), FAILED_PARENT, "cancelled", "by a person", True),
    (
        PLANNED,
        _placed(),
        _job("CANCELLED", reason=None),
        FAILED_PARENT,
        "cancelled",
        "because pre failed",
        True,
    ),
    # ended without a seal and without a note
    (BEGUN, _placed(), _job("COMPLETED"), (), "failed", "COMPLETED without sealing", True),
    *[(BEGUN, _placed(), _job(end), (), "failed", f"its job ended {end}", True) for end in ENDS],
    (
        PLANNED,
        _placed(),
        _job("NODE_FAIL", node_list="n[1-2]", exit_code="0:9"),
        (),
        "failed",
        "its job ended NODE_FAIL on n[1-2], exit code 0:9; launch submits it again",
        True,
    ),
    (PLANNED, _placed(), _job("REVOKED"), (), "unknown", "another cluster", False),
    # forgotten
    (PLANNED, _placed(), FORGOTTEN, FAILED_PARENT, "cancelled", "because pre failed", True),
    (CRASHED, _placed(), FORGOTTEN, (), "interrupted", "last heartbeat was 900 s ago", True),
    (BEGUN, _placed(), FORGOTTEN, (), "unknown", "SLURM has forgotten how", True),
    (PLANNED, _placed(), FORGOTTEN, (), "unknown", "SLURM has forgotten how", True),
]  # fmt: skip


@pytest.mark.parametrize(("files", "placed", "seen", "parents", "state", "reason", "free"), TABLE)
def test_every_row(files, placed, seen, parents, state, reason, free):
    found = reconcile(files, placed=placed, seen=seen, parents=parents)
    assert found.state == state
    assert reason in found.reason
    assert found.free == free


@pytest.mark.parametrize("files", [PLANNED, BEGUN, CRASHED, FAILED, RUNNING, DONE])
@pytest.mark.parametrize("parents", [(), FAILED_PARENT])
@pytest.mark.parametrize("job_id", [None, "12"])
def test_silence_is_never_failed_and_never_free(files, parents, job_id):
    found = reconcile(files, placed=_placed(job_id=job_id), seen=NO_ANSWER, parents=parents)
    assert found.state != "failed"
    assert not found.free


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Dependency", "waits for pre"),
        ("JobArrayTaskLimit", "waits for the throttle of its array"),
        ("Resources", "waits for free nodes"),
        ("QOSMaxCpuPerUserLimit", "waits for a limit of the account (QOSMaxCpuPerUserLimit)"),
        ("AssocGrpGRES", "waits for a limit of the account (AssocGrpGRES)"),
        ("JobHeldUser", "held by a person; scontrol release 12_3"),
        ("SomethingNew", "SLURM says SomethingNew"),
    ],
)
def test_slurms_reasons_are_put_in_words(reason, words):
    parents = (Parent(slug="pre", state="running"), Parent(slug="corpus", state="done"))
    found = reconcile(
        PLANNED, placed=_placed(), seen=_job("PENDING", reason=reason), parents=parents
    )
    assert found.reason == words


def test_a_hold_of_an_unfinished_launch_says_so():
    held = _job("PENDING", reason="JobHeldUser")
    found = reconcile(PLANNED, placed=_placed(released=False), seen=held)
    assert found.reason == "held: its launch has not ended; launch again to release it"


def test_the_failures_at_the_root_are_named_once_each():
    parents = (
        Parent(slug="a", state="cancelled", because="because pre failed"),
        Parent(slug="b", state="cancelled", because="because pre failed"),
        Parent(slug="c", state="cancelled"),
        Parent(slug="d", state="done"),
    )
    found = reconcile(PLANNED, placed=_placed(), seen=NEVER_SATISFIED, parents=parents)
    assert found.reason == "because pre failed and because c was cancelled"


def test_who_cancelled_is_told():
    by_person = reconcile(PLANNED, placed=_placed(), seen=_job("CANCELLED"))
    by_slurm = reconcile(PLANNED, placed=_placed(), seen=NEVER_SATISFIED, parents=FAILED_PARENT)
    assert (by_person.cancelled_by, by_slurm.cancelled_by) == ("person", "slurm")
    assert by_slurm.job == "12_3"
