"""SLURM's commands as functions: the only place that starts them.

Owns argument lists, time limits, what counts as silence and what as a refusal, and the form of
answers (seen with 22.05; formats are explicit, so that neither versions nor SQUEUE_* settings of
the user change them). Knows nothing of runs and records. No torch.

Silence raises `Unanswered`, after retries where asking again can't do harm. `sbatch` is repeated
only when its request did not leave; where the answer was lost, the job is looked for by its name.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from study.show.terminal import log_warning

UNREACHED = (
    "Unable to contact slurm controller",
    "Slurm backup controller in standby mode",
    "Connection refused",
    "Unable to resolve",
    "Munge encode failed",
    "Invalid authentication credential",
)
"""The request did not arrive, so that it can be sent again."""

NO_ANSWER = (
    *UNREACHED,
    "Socket timed out",
    "Unexpected message received",  # `scontrol release` says so when the controller is down
    "Zero Bytes were transmitted or received",
    "Transport endpoint is not connected",
    "Connection timed out",
    "Connection reset",
    "Communication connection failure",
    "Message receive failure",
    "temporarily unable to accept job",
    "Resource temporarily unavailable",
    "Unable to contact slurmdbd",
    "Problem talking to the database",
    "failed to open persistent connection",
)
"""No answer: what the controller did, if anything, is not known."""

FORGOTTEN = "Invalid job id specified"
OVER = ("already finished", "already completing or completed", FORGOTTEN)
FILTERS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_")  # settings that would hide jobs
FIELDS = ("%i", "%T", "%r", "%N", "%E", "%j")  # the name last: it alone may hold a bar
ARGUMENTS = 500
_PAIR = re.compile(r"(?:^| )(\w+)=(\S*)")


class Unanswered(RuntimeError):
    """SLURM is silent: its controller is down, it does not answer in time, or is not here."""


class Refused(ValueError):
    """SLURM says no; the message is its own."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job, or one task of an array. id: `4711` or `4711_3`.

    state: SLURM's long name, as RUNNING. reason: SLURM's own word, as NonZeroExitCode, or None
    where only the accounting knows the job. node_list: empty before it started. restarts, exit_code
    (`code:signal`): None where SLURM was not asked.
    """

    id: str
    name: str
    state: str
    reason: str | None = ""
    node_list: str = ""
    dependency: str = ""
    restarts: int | None = None
    exit_code: str | None = None

    @property
    def pending(self) -> bool:
        return self.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT")

    @property
    def active(self) -> bool:
        """On nodes, or on its way there or off them."""
        return self.state in (
            "RUNNING",
            "CONFIGURING",
            "COMPLETING",
            "SUSPENDED",
            "STOPPED",
            "SIGNALING",
            "STAGE_OUT",
            "RESIZING",
        )

    @property
    def ended(self) -> bool:
        return not (self.pending or self.active)


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """seconds: limit of one call. attempts: calls before silence is believed. pause: seconds
    before the second, doubled each time. warn: hears what does not stop a command.
    """

    seconds: float = 60.0
    attempts: int = 4
    pause: float = 2.0
    warn: Callable[[str], None] = log_warning

    def submit(self, script: Path, options: Sequence[str]) -> str:
        """The id of the submitted job or array; options must hold `--job-name=NAME`.

        Raises Unanswered where it is not known whether the job was submitted: `find` will tell.
        """
        name = _job_name(options)
        arguments = ["sbatch", "--parsable", *options, str(script)]
        for attempt in range(1, self.attempts + 1):
            try:
                return _submitted(self._once(arguments))
            except _Unreached:
                if attempt == self.attempts:
                    raise
                self._wait(attempt)
            except Unanswered as error:
                if found := self._lost(name):
                    return found
                raise Unanswered(
                    f"{error}; whether {name} was submitted is not known: "
                    "the same command again looks for it by its name"
                ) from None
        raise AssertionError(f"attempts is {self.attempts}")

    def test_only(self, script: Path, options: Sequence[str]) -> str:
        """What SLURM says to this script without submitting it; raises Refused with its reason."""
        return self._ask(["sbatch", "--test-only", *options, str(script)], of="stderr")

    def find(self, name: str) -> str | None:
        """The id of the one job or array with this name that the controller remembers."""
        form = ["--noheader", "--states=all", "--format=%F"]
        found = sorted(set(self._ask(["squeue", f"--name={name}", *form]).split()))
        if len(found) > 1:
            raise Refused(f"{len(found)} jobs are called {name}: {', '.join(found)}; legal: one")
        return found[0] if found else None

    def set_dependency(self, task: str, parents: Sequence[str]) -> None:
        """Let a pending task wait until all parents have ended well."""
        wanted = "afterok:" + ":".join(parents) if parents else ""
        self._ask(["scontrol", "update", f"JobId={task}", f"Dependency={wanted}"])

    def release(self, job: str) -> None:
        """Take the hold off a job or array; one that has ended since is no error."""
        self._forgiving(["scontrol", "release", job])

    def requeue(self, task: str) -> None:
        """Stop a running task and queue it anew under its id."""
        self._ask(["scontrol", "requeue", task])

    def cancel(self, tasks: Sequence[str]) -> None:
        """Cancel pending and running jobs; those that have ended or are forgotten are no error."""
        for start in range(0, len(tasks), ARGUMENTS):
            self._forgiving(["scancel", *tasks[start : start + ARGUMENTS]])

    def jobs(self, arrays: Iterable[str], *, since: str | None = None) -> dict[str, Job]:
        """By id: every task of these arrays that the controller remembers, or else the accounting.

        since: ISO date of the oldest submission, from which the accounting is searched. An id that
        is missing is forgotten. Raises Unanswered where the controller is silent.
        """
        wanted = sorted(set(arrays))
        if not wanted:
            return {}
        found = self._queue(wanted)
        for array in wanted:
            tasks = [job for job in found.values() if job.id.split("_")[0] == array]
            if any(job.ended or job.pending for job in tasks):
                found |= self._details(array, found)
        for name, job in self._recorded(wanted, since=since).items():
            found.setdefault(name, job)
        return found

    @cached_property
    def accounting(self) -> bool:
        """Whether SLURM keeps ended jobs in a database that `sacct` reads."""
        for line in self._ask(["scontrol", "show", "config"]).splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "AccountingStorageType":
                return not value.strip().endswith(("/none", "(null)"))
        return False

    def _forgiving(self, arguments: Sequence[str]) -> None:
        """A command whose wish may have come true already, as when its first answer was lost."""
        try:
            self._ask(arguments)
        except Refused as error:
            if not any(each in str(error) for each in OVER):
                raise

    def _queue(self, arrays: Sequence[str]) -> dict[str, Job]:
        form = ["--noheader", "--array", "--states=all", f"--format={'|'.join(FIELDS)}"]
        try:
            text = self._ask(["squeue", f"--jobs={','.join(arrays)}", *form])
        except Refused as error:
            if FORGOTTEN in str(error):  # asked for one array only, and that is forgotten
                return {}
            raise
        found = {}
        for line in text.splitlines():
            name, state, reason, nodes, dependency, title = line.split("|", len(FIELDS) - 1)
            found[name] = Job(
                id=name,
                name=title,
                state=state,
                reason="" if reason == "None" else reason,
                node_list=nodes,
                dependency=_value(dependency),
            )
        return found

    def _details(self, array: str, known: dict[str, Job]) -> dict[str, Job]:
        """The same jobs with restarts and exit codes, which `squeue --format` can't show."""
        try:
            text = self._ask(["scontrol", "show", "job", "-o", array])
        except Refused as error:
            if FORGOTTEN in str(error):  # forgotten between two questions
                return {}
            raise
        found = {}
        for line in text.splitlines():
            entry = dict(_PAIR.findall(line))
            name = entry.get("JobId", "")
            if "ArrayJobId" in entry:
                name = f"{entry['ArrayJobId']}_{entry.get('ArrayTaskId', '')}"
            if name in known:
                found[name] = replace(
                    known[name],
                    restarts=int(entry.get("Restarts", 0)),
                    exit_code=entry.get("ExitCode"),
                )
        return found

    def _recorded(self, arrays: Sequence[str], *, since: str | None) -> dict[str, Job]:
        if not self.accounting:
            return {}
        fields = "JobID,State,ExitCode,NodeList,JobName"
        form = ["--noheader", "--parsable2", "--allocations", "--array", f"--format={fields}"]
        start = f"--starttime={(since or '2000-01-01')[:10]}"  # its default is today's midnight
        try:
            text = self._ask(["sacct", f"--jobs={','.join(arrays)}", start, *form])
        except (Unanswered, Refused) as error:
            self.warn(f"SLURM's accounting does not answer, ended jobs stay unknown: {error}")
            return {}
        found = {}
        for line in text.splitlines():
            name, state, code, nodes, title = line.split("|", 4)
            nodes = "" if nodes == "None assigned" else nodes
            word = state.split()[0] if state else ""  # `CANCELLED by 1000`
            found[name] = Job(
                id=name, name=title, state=word, reason=None, node_list=nodes, exit_code=code
            )
        return found

    def _lost(self, name: str) -> str | None:
        """The job of an `sbatch` without an answer; the controller may be slow to show it."""
        for attempt in range(1, self.attempts + 1):
            self._wait(attempt)
            try:
                if found := self.find(name):
                    return found
            except Unanswered:
                continue
        return None

    def _ask(self, arguments: Sequence[str], *, of: str = "stdout") -> str:
        """One output of a command that may be asked again."""
        for attempt in range(1, self.attempts):
            try:
                return getattr(self._once(arguments), of)
            except Unanswered:
                self._wait(attempt)
        return getattr(self._once(arguments), of)

    def _wait(self, attempt: int) -> None:
        time.sleep(self.pause * 2 ** (attempt - 1))

    def _once(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = arguments[0]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(FILTERS)}
        try:
            answer = subprocess.run(
                list(arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.seconds,
                env=environment | {"LC_ALL": "C"},
            )
        except FileNotFoundError:
            raise _Unreached(f"{command} is not on PATH: there is no SLURM here") from None
        except subprocess.TimeoutExpired:
            raise Unanswered(f"{command} gave no answer in {self.seconds:g} s") from None
        if answer.returncode == 0:
            return answer
        said = " ".join(f"{answer.stderr}\n{answer.stdout}".split())
        said = said or f"exit code {answer.returncode}"
        if any(each in said for each in UNREACHED):
            raise _Unreached(f"{command}: {said}")
        if any(each in said for each in NO_ANSWER):
            raise Unanswered(f"{command}: {said}")
        raise Refused(f"{command}: {said}")


class _Unreached(Unanswered):
    """Silence before the request was taken: nothing has happened."""


def _job_name(options: Sequence[str]) -> str:
    for option in options:
        if option.startswith("--job-name="):
            return option.partition("=")[2]
    raise ValueError(f"no job name in {list(options)}; legal: --job-name=NAME, unique")


def _submitted(answer: subprocess.CompletedProcess[str]) -> str:
    """`4711` or `4711;cluster`, below whatever warnings a site's plugin prints."""
    for line in reversed(answer.stdout.splitlines()):
        if found := re.fullmatch(r"(\d+)(;\S+)?", line.strip()):
            return found[1]
    said = " ".join(f"{answer.stdout}\n{answer.stderr}".split())
    raise Unanswered(f"sbatch named no job: {said or 'it printed nothing'}")


def _value(text: str) -> str:
    return "" if text in ("(null)", "N/A") else text
