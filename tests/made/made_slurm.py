"""A SLURM in one file: the five commands over a JSON state, for tests of launching.

Not a test module. It keeps what launching relies on: job names, holds, dependencies, array indices
and states. Nothing runs; a test ends jobs itself. As an executable on PATH it is a real process.

    python made_slurm.py STATE sbatch --parsable ...
"""

import fcntl
import json
import re
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path

TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
DOWN = "{}: error: Unable to contact slurm controller (connect failure)"
CONFIG = "AccountingStorageType = accounting_storage/none\n"


class Controller:
    """moods: what the next calls meet, first to last: `well`, `down`, `lost` (done, but the answer
    is lost), `refused`. With no mood left all is well.
    """

    def __init__(self, path):
        self.path = Path(path)

    @contextmanager
    def state(self):
        with open(self.path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fresh = {"next": 11, "jobs": {}, "moods": {}, "calls": []}
            state = json.loads(self.path.read_text()) if self.path.exists() else fresh
            yield state
            self.path.write_text(json.dumps(state))

    def expect(self, command, *moods):
        with self.state() as state:
            state["moods"].setdefault(command, []).extend(moods)

    def arrays(self):
        """id -> {name, held, tasks: {index: {state, depends, reason}}}"""
        with self.state() as state:
            return state["jobs"]

    def calls(self, command):
        with self.state() as state:
            return [call for call in state["calls"] if call[0] == command]

    def end(self, job, word, *, reason="None"):
        """Let a task end, `11_0`, or forget all about its array (`FORGOTTEN`)."""
        array, _, index = job.partition("_")
        with self.state() as state:
            if word == "FORGOTTEN":
                del state["jobs"][array]
            else:
                state["jobs"][array]["tasks"][index].update(state=word, reason=reason)

    def handle(self, arguments):
        """(exit code, standard output, standard error) of a command."""
        command = arguments[0]
        with self.state() as state:
            state["calls"].append(list(arguments))
            moods = state["moods"].get(command, [])
            mood = moods.pop(0) if moods else "well"
            if mood == "down":
                return 1, "", DOWN.format(command)
            if mood == "refused":
                return 1, "", f"{command}: error: Batch job submission failed: Job violates policy"
            answer = globals()[f"_{command}"](state, arguments[1:])
            return (1, "", TIMED_OUT) if mood == "lost" else answer


def _sbatch(state, arguments):
    script = arguments[-1]
    lines = Path(script).read_text().splitlines()
    words = [
        word for line in lines if line.startswith("#SBATCH ") for word in shlex.split(line[8:])
    ]
    options = {}
    for word in [*words, *arguments[:-1]]:
        key, _, value = word.partition("=")
        options[key] = value
    last = int(re.match(r"0-(\d+)%\d+\Z", options["--array"])[1])
    job = str(state["next"])
    state["next"] += 1 + last
    tasks = {str(i): {"state": "PENDING", "depends": [], "reason": "None"} for i in range(last + 1)}
    held = "--hold" in options
    state["jobs"][job] = {"name": options["--job-name"], "held": held, "tasks": tasks}
    state["jobs"][job] |= {"script": script}
    return 0, f"{job}\n", "sbatch: warning: be kind to the queue\n"


def _squeue(state, arguments):
    options = dict(word.partition("=")[::2] for word in arguments)
    if "--name" in options:
        found = [job for job, each in state["jobs"].items() if each["name"] == options["--name"]]
        return 0, "".join(f"{job}\n" for job in found), ""
    lines = []
    for job in options["--jobs"].split(","):
        array = state["jobs"].get(job)
        if array is None and "," not in options["--jobs"]:
            return 1, "", "slurm_load_jobs error: Invalid job id specified"
        for index, task in (array or {"tasks": {}})["tasks"].items():
            reason = "JobHeldUser" if array["held"] else task["reason"]
            depends = ",".join(f"afterok:{each}(unfulfilled)" for each in task["depends"])
            fields = [f"{job}_{index}", task["state"], reason, "", depends or "(null)"]
            lines.append("|".join([*fields, array["name"]]) + "\n")
    return 0, "".join(lines), ""


def _scontrol(state, arguments):
    match arguments:
        case ["show", "config"]:
            return 0, CONFIG, ""
        case ["show", "job", "-o", job]:
            tasks = state["jobs"][job]["tasks"]
            form = "JobId={} ArrayJobId={} ArrayTaskId={} Restarts=0 ExitCode=0:0\n"
            return 0, "".join(form.format(job, job, index) for index in tasks), ""
        case ["update", where, dependency]:
            job, _, part = where.removeprefix("JobId=").partition("_")
            parents = dependency.removeprefix("Dependency=afterok:").split(":")
            for parent in parents:
                above, _, index = parent.partition("_")
                if index not in state["jobs"].get(above, {"tasks": {}})["tasks"]:
                    return 1, "", "slurm_update error: Job dependency problem"
            for index in _indices(part):
                task = state["jobs"][job]["tasks"][index]
                if task["state"] != "PENDING":
                    return 1, "", "slurm_update error: Job/step already completing or completed"
                task["depends"] = parents
            return 0, "", ""
        case ["release", job]:
            state["jobs"][job]["held"] = False
            return 0, "", ""
    raise ValueError(f"scontrol {arguments}")


def _scancel(state, arguments):
    for each in arguments:
        job, _, part = each.partition("_")
        for index in _indices(part):
            state["jobs"][job]["tasks"][index].update(state="CANCELLED", reason="None")
    return 0, "", ""


def _indices(part):
    for word in part.strip("[]").split(","):
        low, _, high = word.partition("-")
        yield from (str(index) for index in range(int(low), int(high or low) + 1))


if __name__ == "__main__":
    code, out, error = Controller(sys.argv[1]).handle(sys.argv[2:])
    sys.stdout.write(out)
    sys.stderr.write(error)
    sys.exit(code)
