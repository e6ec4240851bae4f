"""SLURM's commands as scripts on PATH that give recorded answers and note how they were called.

Not a test module. Real processes, so that argument lists, exit codes, time limits and output are
those of a real command. Answers that say so were recorded from SLURM 22.05 (`recorded/`).
"""

import os
import stat
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded"
COMMANDS = ("sbatch", "squeue", "scontrol", "scancel", "sacct")
DOWN = {
    "squeue": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
    "sbatch": "sbatch: error: Batch job submission failed: Unable to contact slurm controller "
    "(connect failure)",
    "scancel": "scancel: error: Kill job error on job id 12: Unable to contact slurm controller "
    "(connect failure)",
    "scontrol-show": "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
    "scontrol-release": "Unexpected message received for job 12\n"
    "slurm_suspend error: Unexpected message received",
}
"""Recorded with the controller down; exit code 1, after nine seconds each."""

# A command's n-th call gives its n-th answer, the last again and again.
SCRIPT = """#!/bin/sh
here={here}
name=$(basename "$0")
key=$name
case $name in scontrol) key=$name-$1 ;; esac
printf '%s\\0' "$name" "$@" >> "$here/calls"
printf '\\n' >> "$here/calls"
count=$(cat "$here/$key.count" 2>/dev/null || echo 0)
count=$((count + 1))
echo $count > "$here/$key.count"
while [ $count -gt 1 ] && [ ! -e "$here/$key.$count.sh" ]; do count=$((count - 1)); done
[ -e "$here/$key.$count.sh" ] || {{ echo "no answer for $key $*" >&2; exit 99; }}
. "$here/$key.$count.sh"
"""


class FakeSlurm:
    """Answers: `says("squeue", "text")`, by command, or `scontrol-show` and the like."""

    def __init__(self, directory, *, monkeypatch):
        self.directory = directory
        directory.mkdir()
        for name in COMMANDS:
            path = directory / name
            path.write_text(SCRIPT.format(here=f"'{directory}'"))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
        self.given = {}
        self.says("scontrol-show", "AccountingStorageType = accounting_storage/none\n")

    def says(self, key, out="", *, error="", code=0, seconds=0, also=""):
        """One more answer. also: shell lines that run before it, as the world changes meanwhile."""
        number = self.given[key] = self.given.get(key, 0) + 1
        stem = self.directory / f"{key}.{number}"
        stem.with_name(f"{stem.name}.out").write_text(out)
        stem.with_name(f"{stem.name}.err").write_text(error)
        sleep = f"sleep {seconds}\n" if seconds else ""
        stem.with_name(f"{stem.name}.sh").write_text(
            f"{also}\n{sleep}cat '{stem}.out'\ncat '{stem}.err' >&2\nexit {code}\n"
        )

    def forget(self, key):
        """Remove a command's answers and start counting again."""
        for path in self.directory.glob(f"{key}.*"):
            path.unlink()
        self.given.pop(key, None)

    def down(self):
        """From now on the controller does not answer."""
        for key, said in DOWN.items():
            self.forget(key)
            self.says(key, error=said, code=1)

    def calls(self, name=None):
        """Argument lists so far, of one command or of all."""
        path = self.directory / "calls"
        if not path.exists():
            return []
        lines = path.read_text().split("\0\n")[:-1]
        found = [line.split("\0") for line in lines]
        return [call for call in found if name in (None, call[0])]


def queue_line(job, state, *, reason="None", nodes="", depends="(null)", name="archstudy-x"):
    """One line of `squeue` in the form that is asked for."""
    return f"{job}|{state}|{reason}|{nodes}|{depends}|{name}\n"


def recorded(name):
    return (RECORDED / name).read_text()
