"""What a job's files hold: SLURM's options, and variables of `slurm/job.sh` and `slurm/array.sh`.

Owns the rendered text and its quoting, for bash and for sbatch's own reading of `#SBATCH` lines.
What the jobs do is written in those two files, in bash. No torch.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from study.launch.cluster.profile import Profile, Resources
from study.runs.execution import Execution
from study.runs.node import Run

EARLY = """# shellcheck disable=SC2034,SC1091  # the file that is sourced uses the variables
trap 'signalled=USR1' USR1
trap 'signalled=TERM' TERM
"""
"""Before any other command: a signal must not end the shell that can queue the job again."""

GRACE = 0.8
"""Of the seconds between SLURM's warning and the limit: so long a job waits for its ranks."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run's job. directory: of the run. code: the snapshot. execution: the JSON file."""

    run: Run
    directory: Path
    code: Path
    execution: Path


def check_path(path: Path) -> None:
    """Raise ValueError for a path that a script's lines can't hold."""
    if not str(path).isprintable() or "\\" in str(path):
        raise ValueError(
            f"the path {str(path)!r} can't be written in a script for SLURM; legal: printable "
            "characters without a backslash (spaces and letters of any language are good)"
        )


def job_script(job: Job, *, profile: Profile) -> str:
    """The `job.sh` of a run directory."""
    resources, execution = profile.of(job.run)
    output = job.directory / "slurm-%j.out"
    title = " ".join(job.run.slug.split())
    variables = {
        "STUDY_RUN": job.directory,
        "STUDY_CODE": job.code,
        "STUDY_EXECUTION": job.execution,
        "STUDY_PYTHON": profile.site.python or sys.executable,
        "STUDY_RANKS_PER_NODE": resources.ranks_per_node,
        "STUDY_CPUS": resources.cpus_per_rank,
        "STUDY_THREADS": execution.threads,
        "STUDY_GRACE": max(1, int(resources.signal_seconds * GRACE)),
        "STUDY_SCRATCH": profile.site.scratch,
        "STUDY_CACHE": execution.cache,
        "STUDY_OFFLINE": "yes" if execution.offline else "",
    }
    return (
        header(resources, name=f"archstudy-{job.run.id[:12]}", output=output)
        + f"# {type(job.run).__name__} {title}. By hand: sbatch job.sh\n"
        + EARLY
        + "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in variables.items())
        + f"STUDY_PREFIX=({' '.join(map(shlex.quote, profile.site.prefix))})\n"
        + _setup(profile.site.setup)
        + 'source "$STUDY_CODE/slurm/job.sh"\n'
    )


def array_script(
    *, resources: Resources, name: str, directory: Path, code: Path, throttle: int, tasks: int
) -> str:
    """The `array.sh` of an array's directory."""
    listed = shlex.quote(str(directory / "tasks.txt"))
    body = shlex.quote(str(code / "slurm" / "array.sh"))
    return (
        header(resources, name=name, output=directory / "%A_%a.out")
        + f"#SBATCH --array=0-{tasks - 1}%{throttle}\n"
        + f"# {tasks} runs. By hand: sbatch array.sh\n"
        + EARLY
        + f"STUDY_TASKS={listed}\nsource {body}\n"
    )


def header(resources: Resources, *, name: str, output: Path) -> str:
    """The first line and the options for sbatch."""
    folder = str(output.parent).replace("%", "%%")
    options = {
        "job-name": name,
        "output": f"{folder}/{output.name}",
        "open-mode": "append",
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "nodes": resources.nodes,
        "ntasks-per-node": resources.ranks_per_node,
        "cpus-per-task": resources.cpus_per_rank,
        "gpus-per-node": _gpus(resources),
        "mem": resources.memory,
        "time": resources.time,
        "signal": f"B:USR1@{resources.signal_seconds}",
    }
    lines = [f"--{key}={_sbatch_quoted(str(value))}" for key, value in options.items() if value]
    lines += ["--requeue", *map(_sbatch_quoted, resources.sbatch)]
    return "#!/usr/bin/env bash\n" + "".join(f"#SBATCH {line}\n" for line in lines)


def execution_json(execution: Execution) -> str:
    """An execution as the text that `study job` reads."""
    values: dict[str, Any] = asdict(execution) | {
        "data_dirs": [str(path) for path in execution.data_dirs],
        "cache": str(execution.cache),
    }
    return json.dumps(values, indent=1, sort_keys=True) + "\n"


def read_execution(path: Path) -> Execution:
    """What `execution_json` wrote. Raises ValueError naming a file of another form."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        paths = {"data_dirs": tuple(map(Path, values["data_dirs"])), "cache": Path(values["cache"])}
        return Execution(**values | paths)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is not an execution of this code: {error}") from None


def _gpus(resources: Resources) -> str:
    count = resources.gpus_per_rank * resources.ranks_per_node
    if not count:
        return ""
    return f"{resources.gpu_type}:{count}" if resources.gpu_type else str(count)


def _setup(lines: tuple[str, ...]) -> str:
    """The function that the job calls; the first line that fails ends it and is named."""
    body = "".join(
        f"    {line}\n    study_check $? {shlex.quote(line)} || return\n" for line in lines
    )
    return f"study_setup() {{\n{body}    return 0\n}}\n"


def _sbatch_quoted(text: str) -> str:
    """A word of an `#SBATCH` line. sbatch splits at spaces, takes quotes and backslashes, and ends
    the line at `#`.
    """
    if all(each.isalnum() or each in "-_=.,:/@%+[]" for each in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
