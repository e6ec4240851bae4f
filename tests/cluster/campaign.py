"""A sweep on the test cluster: launched by commands, watched through its files and SLURM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import Machine

from study.launch.cluster import records
from study.runs import plan
from study.runs.node import Run
from study.store.directory import RunDirectory, Store
from study.store.events import read_curve

HERE = Path(__file__).parent
TINY = HERE / "tiny_study.py"
STUDY = (sys.executable, "-m", "study.cli")


class Campaign:
    """One store, one profile, one sweep."""

    def __init__(self, cluster: Machine, folder: Path, *, sweep: Path = TINY) -> None:
        self.cluster, self.folder, self.sweep = cluster, folder, sweep
        self.store = Store(folder / "runs")
        self.profile = folder / "test.toml"

    def use(self, **changes: Any) -> None:
        """Write the profile: two nodes with a rank each, unless said otherwise."""
        top = {
            "partition": "main",
            "nodes": 2,
            "ranks_per_node": 1,
            "time": "0:20:00",
            "signal_seconds": 30,
            "throttle": 4,
            "scratch": str(self.folder),
        }
        execution = {"zero": 1, "checkpoint_seconds": 20.0, "wandb": "off"} | changes.pop(
            "execution", {}
        )
        lines = [f"{key} = {json.dumps(value)}" for key, value in (top | changes).items()]
        lines += ["[execution]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in execution.items()]
        self.profile.write_text("\n".join(lines) + "\n")

    def study(self, *arguments: str, code: int = 0) -> str:
        """A command's output, both streams; fails the test where it ends otherwise."""
        done = subprocess.run(
            [*STUDY, *arguments, "--store", str(self.store.root)],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert done.returncode == code, f"{arguments} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        return self.cluster.environment | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def launch(self, target: str = "", *, code: int = 0) -> str:
        return self.study("launch", target or str(self.sweep), *self.options, code=code)

    @property
    def options(self) -> Sequence[str]:
        # a checkout that is being worked on has to be testable
        return ("--cluster", str(self.profile), "--allow-dirty")

    def run(self, slug: str) -> Run:
        return plan.load_sweep(self.sweep).run(slug)

    def directory(self, slug: str) -> RunDirectory:
        return RunDirectory(self.store.directory(self.run(slug)))

    def job(self, slug: str) -> str:
        """The newest job of a run, `<array>_<index>`."""
        job = records.newest(records.load_all(self.store.root))[self.run(slug).id].job
        assert job is not None, f"{slug} was submitted"
        return job

    def state(self, slug: str) -> str:
        """SLURM's word for the run's job; empty when it has forgotten it."""
        return self.cluster.ask("squeue", "-h", "-j", self.job(slug), "-o", "%T").strip()

    def await_done(self, *slugs: str, seconds: float = 180.0) -> None:
        for slug in slugs:
            directory = self.directory(slug)
            self.cluster.wait(
                lambda directory=directory: directory.done() is not None,
                what=f"{slug} done; its log ends:\n{self.log(slug)}",
                seconds=seconds,
            )

    def await_state(self, slug: str, state: str, *, seconds: float = 90.0) -> str:
        """Until `study explain` says so; its reason. A dead holder's lease is fresh for a while."""

        def told() -> dict[str, Any]:
            return json.loads(self.study("explain", f"{self.sweep}:{slug}", "--json"))

        self.cluster.wait(lambda: told()["state"] == state, what=f"{slug} {state}", seconds=seconds)
        return told()["reason"]

    def await_step(self, slug: str, step: int, *, seconds: float = 120.0) -> None:
        """Until the run's events tell of a step."""

        def reached() -> bool:
            steps = read_curve(self.directory(slug).events).steps
            return bool(steps) and steps[-1]["step"] >= step

        self.cluster.wait(reached, what=f"{slug} at step {step}", seconds=seconds)

    def log(self, slug: str) -> str:
        log = self.directory(slug).log
        return log.read_text()[-3000:] if log.exists() else "(no log)"

    def preempt(self, slug: str) -> None:
        """Have an urgent job take both nodes for a moment."""
        urgent = ("sbatch", "-p", "urgent", "-N2", "--exclusive", "-o", os.devnull)
        self.cluster.ask(*urgent, "--wrap", "sleep 1")


def digests(directory: RunDirectory) -> list[str]:
    """The batches that a run has seen, in order."""
    return [event["digest"] for event in read_curve(directory.events).steps]


def losses(directory: RunDirectory) -> list[float]:
    return [event["loss"] for event in read_curve(directory.events).steps]


def long_sweep(steps: int) -> str:
    """The text of a sweep with one training, `long`."""
    return f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from tiny_study import FullLM, pretrained

def runs():
    yield pretrained("long", "causal_decoder", FullLM(length=128), steps={steps})
"""
