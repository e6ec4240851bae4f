"""One state for each run, from its files, its newest job and what SLURM says of that.

Owns the truth table and the words of its reasons. Asks nothing: `study.launch.cluster.view`
gathers. The first row that fits counts. "Silent" is a SLURM that does not answer; "forgotten" a job
that neither the controller nor an accounting remembers (without accounting SLURM forgets ended jobs
within minutes); files are the states of `study.store.directory`.

    files        job                           state        reason
    -----------  ----------------------------  -----------  --------------------------------------
    done         any, or silent                done
    running      any, or silent                running      heartbeat; SLURM's word if another
    any other    none was ever submitted       files' own   the failure note
    any other    silent                        unknown      what the files say
    any other    never reached SLURM           files' own   launch submits it
    any other    pending, a parent failed      queued       SLURM is about to cancel it
    any other    pending                       queued       what it waits for, and where it goes on
    any other    active                        running      node; no heartbeat yet, or not lately
    failed       ended or forgotten            failed       the failure note
    planned,     CANCELLED as a parent failed  cancelled    the parent
    interrupted  CANCELLED                     cancelled    by a person
                 COMPLETED                     failed       ended without a seal
                 REVOKED                       unknown      another cluster has it
                 any other end                 failed       NODE_FAIL, OUT_OF_MEMORY, TIMEOUT, ...
                 forgotten, a parent failed    cancelled    the parent
    interrupted  forgotten, lease stale        interrupted  last heartbeat; launch goes on
    planned,     forgotten                     unknown      it has ended, how is not known
    interrupted

"Running" in the first column is a lease with a fresh heartbeat by the file system's clock. A failed
run is never read from silence. No torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from study.launch.cluster.records import Placed
from study.launch.cluster.slurm import Job
from study.store.directory import State
from study.store.lease import Holder
from study.train.signals import EXIT_CODE

ClusterState = Literal[
    "planned", "queued", "running", "interrupted", "cancelled", "failed", "unknown", "done"
]
CLUSTER_STATES: tuple[ClusterState, ...] = (
    "planned",
    "queued",
    "running",
    "interrupted",
    "cancelled",
    "failed",
    "unknown",
    "done",
)
OUTSIDE = ("BOOT_FAIL", "DEADLINE", "NODE_FAIL", "PREEMPTED", "TIMEOUT")
"""Ends that are not the run's own."""

_RETRY = "study retry submits it again"
PENDING = {
    "Priority": "waits for jobs of higher priority",
    "Resources": "waits for free nodes",
    "JobArrayTaskLimit": "waits for the throttle of its array",
    "JobArrayTaskLimit,Dependency": "waits for the throttle of its array",
    "BeginTime": "waits for SLURM's pause after a requeue",
    "JobHeldAdmin": "held by an administrator",
    "ReqNodeNotAvail": "waits for nodes that are down or reserved",
    "Reserved": "waits for its reservation",
    "Licenses": "waits for licences",
    "Cleaning": "waits until its last nodes are cleaned",
    "PartitionDown": "waits: its partition is down",
    "PartitionInactive": "waits: its partition is inactive",
    "PartitionTimeLimit": "its time limit is above its partition's: it will never start",
    "PartitionNodeLimit": "it asks for more nodes than its partition allows: it will never start",
    "": "submitted",
}
"""SLURM's reasons for waiting in words; the others are shown as they are."""


@dataclass(frozen=True, kw_only=True)
class NoAnswer:
    """SLURM does not answer. why: what its command said."""

    why: str


@dataclass(frozen=True, kw_only=True)
class Files:
    """What a run's directory says. step: of its newest checkpoint, 0 for none."""

    state: State
    failure: str | None = None
    holder: Holder | None = None
    step: int = 0


@dataclass(frozen=True, kw_only=True)
class Parent:
    """A run that this one needs, with its own reconciled state. because: what it was cancelled for,
    where SLURM did so for the sake of its own parent.
    """

    slug: str
    state: ClusterState
    because: str | None = None

    @property
    def unreachable(self) -> bool:
        """It will not end well by itself, so that SLURM cancels what waits for it."""
        return self.state in ("failed", "cancelled")


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """state, reason: see above. job: SLURM's name of the newest job. free: SLURM has answered, no
    job is queued or at work and no process holds the run, so that submitting it again is safe.
    cancelled_by: slurm for the sake of a parent, or a person; None in every other state.
    """

    state: ClusterState
    reason: str = ""
    job: str | None = None
    free: bool = False
    cancelled_by: Literal["slurm", "person"] | None = None


def reconcile(
    files: Files,
    *,
    placed: Placed | None,
    seen: Job | NoAnswer | None,
    parents: tuple[Parent, ...] = (),
) -> Reconciled:
    """seen: the job that `placed` names; None where SLURM answers and does not know it."""
    name = placed.job if placed else None
    if name is None and isinstance(seen, Job):  # the answer of sbatch was lost, its job was found
        name = seen.id
    if files.state == "done":
        return Reconciled(state="done", job=name)
    if files.state == "running":
        return Reconciled(state="running", reason=_heartbeat(files, seen), job=name)
    if placed is None:
        return Reconciled(state=files.state, reason=_own(files), free=True)
    if isinstance(seen, NoAnswer):
        return Reconciled(state="unknown", reason=f"SLURM is silent; {_say(files)}", job=name)
    if name is None:
        reason = f"its submission did not reach SLURM, launch again; {_say(files)}"
        return Reconciled(state=files.state, reason=reason, free=True)
    if seen is not None and seen.pending:
        return Reconciled(state="queued", reason=_waiting(files, placed, seen, parents), job=name)
    if seen is not None and seen.active:
        return Reconciled(state="running", reason=_active(files, seen), job=name)
    return replace(_ended(files, seen, parents), job=name)


def _ended(files: Files, seen: Job | None, parents: tuple[Parent, ...]) -> Reconciled:
    """The lower half of the table: the job has ended or is forgotten."""

    def free(state: ClusterState, reason: str) -> Reconciled:
        return Reconciled(state=state, reason=f"{reason}; {_way_on(files)}", free=True)

    if files.state == "failed":
        return Reconciled(state="failed", reason=files.failure or "", free=True)
    unreachable = [parent for parent in parents if parent.unreachable]
    for_parent = Reconciled(
        state="cancelled", reason=_because(unreachable), free=True, cancelled_by="slurm"
    )
    if seen is None:
        if unreachable:
            return for_parent
        if files.state == "interrupted" and files.holder is not None:
            age = f"its last heartbeat was {files.holder.age:.0f} s ago"
            return free("interrupted", f"{age} and SLURM has forgotten its job")
        return free("unknown", "its job has ended and SLURM has forgotten how")
    match seen.state:
        case "CANCELLED" if seen.reason == "DependencyNeverSatisfied":
            return for_parent
        case "CANCELLED" if seen.reason is None and unreachable:  # the accounting keeps no reason
            return for_parent
        case "CANCELLED":
            return replace(free("cancelled", "by a person (scancel)"), cancelled_by="person")
        case "REVOKED":
            return Reconciled(state="unknown", reason="another cluster of the federation has it")
        case "COMPLETED":
            reason = f"its job ended COMPLETED without sealing it; {_RETRY}"
            return Reconciled(state="failed", reason=reason, free=True)
    where = f" on {seen.node_list}" if seen.node_list else ""
    code = f", exit code {seen.exit_code}" if seen.exit_code not in (None, "0:0") else ""
    reason = f"its job ended {seen.state}{where}{code}"
    if stopped_from_outside(seen):
        return free("failed", reason)
    return Reconciled(state="failed", reason=f"{reason}; {_RETRY}", free=True)


def stopped_from_outside(job: Job) -> bool:
    """Whether a job that failed was stopped and did not fail by itself: launching again goes on."""
    return job.state in OUTSIDE or job.exit_code == f"{EXIT_CODE}:0"


def _waiting(files: Files, placed: Placed, seen: Job, parents: tuple[Parent, ...]) -> str:
    again = ""
    if files.step:
        again = f"goes on at step {files.step}; "
    if seen.restarts:
        again = f"requeued {seen.restarts} x, {again}" if again else f"requeued {seen.restarts} x; "
    match seen.reason or "":
        case "DependencyNeverSatisfied":
            unreachable = [parent for parent in parents if parent.unreachable]
            return f"{again}SLURM is about to cancel it: {_because(unreachable)}"
        case "Dependency":
            names = [parent.slug for parent in parents if parent.state != "done"]
            return f"{again}waits for {', '.join(names) or seen.dependency or 'its parents'}"
        case "JobHeldUser" if not placed.array.released:
            return f"{again}held: its launch has not ended; launch again to release it"
        case "JobHeldUser":
            return f"{again}held by a person; scontrol release {seen.id}"
        case reason if reason.startswith(("QOS", "Assoc", "MaxGRES")):
            return f"{again}waits for a limit of the account ({reason})"
        case reason:
            return again + PENDING.get(reason, f"SLURM says {reason}")


def _active(files: Files, seen: Job) -> str:
    where = f"on {seen.node_list or 'its nodes'}"
    if seen.state != "RUNNING":
        where = f"{seen.state.lower()} {where}"
    if files.holder is None:
        return f"{where}; it has not begun to write"
    return f"{where}; no heartbeat for {files.holder.age:.0f} s"


def _heartbeat(files: Files, seen: Job | NoAnswer | None) -> str:
    holder = str(files.holder) if files.holder else "a process"
    match seen:
        case NoAnswer():
            return f"{holder}; SLURM is silent"
        case Job() if not seen.active:
            return f"{holder}; SLURM says {seen.state}"
        case _:
            return holder


def _because(unreachable: list[Parent]) -> str:
    """The failures at the root of it, each once."""
    roots = dict.fromkeys(parent.because or f"because {_end(parent)}" for parent in unreachable)
    return " and ".join(roots) or "because a parent failed"


def _end(parent: Parent) -> str:
    return f"{parent.slug} {'failed' if parent.state == 'failed' else 'was cancelled'}"


def _own(files: Files) -> str:
    if files.state == "failed":
        return files.failure or ""
    return str(files.holder) if files.holder else ""


def _say(files: Files) -> str:
    """What the files say for themselves."""
    match files.state:
        case "failed":
            return f"its files note a failure: {files.failure}"
        case "interrupted":
            return f"its files end at step {files.step}" if files.step else "its files say begun"
        case _:
            return f"its files say {files.state}"


def _way_on(files: Files) -> str:
    return f"launch goes on at step {files.step}" if files.step else "launch submits it again"
