"""A private two-node SLURM on this machine: daemons in one directory, on ports of their own.

Owns starting, stopping and breaking it. It shares nothing with a SLURM that the machine may have:
its munge has its own key and socket, and every command finds it through SLURM_CONF. Stand-alone it
is a cluster to try things on:

    python tests/cluster/machine.py DIRECTORY      # prints the export line; Ctrl-C stops it
"""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPLATE = Path(__file__).with_name("slurm.conf")
NODES = ("n1", "n2")
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"  # where Debian keeps the daemons


class Machine:
    """The running cluster of a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.configuration = directory / "slurm.conf"
        self.environment = os.environ | {"SLURM_CONF": str(self.configuration), "PATH": PATH}

    def start(self) -> None:
        """Configure and start every daemon; returns when both nodes are idle."""
        self._configure()
        key = self.directory / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        self._run(
            "munged",
            "--force",
            *(f"--{name}={self.directory / path}" for name, path in _MUNGE.items()),
        )
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        self.await_idle()

    def stop(self) -> None:
        for pid in [self.pid(name) for name in (*map(_daemon, NODES), "slurmctld", "munged")]:
            if pid is not None:
                _end(pid)
        _end_all_below(self.directory)

    def start_controller(self) -> None:
        self._run("slurmctld")

    def stop_controller(self) -> None:
        pid = self.pid("slurmctld")
        assert pid is not None, "the controller runs"
        _end(pid)

    def start_node(self, node: str) -> None:
        self._run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """SIGKILL to a node's slurmd alone; what it had started goes on, unwatched."""
        pid = self.pid(_daemon(node))
        assert pid is not None, f"{node} runs"
        os.kill(pid, signal.SIGKILL)
        _gone(pid)

    def pid(self, name: str) -> int | None:
        """The daemon's process, by its pid file, or None where it does not run."""
        try:
            pid = int((self.directory / f"{name}.pid").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def await_idle(self, *, seconds: float = 60.0) -> None:
        def idle() -> bool:
            found = self.ask("sinfo", "-h", "-N", "-p", "main", "-o", "%t")
            return found.split() == ["idle"] * len(NODES)

        self.wait(idle, what="both nodes idle", seconds=seconds)

    def ask(self, *command: str) -> str:
        """A command's standard output, under this cluster; raises with what it said."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def wait(self, condition, *, what: str, seconds: float) -> None:
        """Until the condition holds; TimeoutError says what did not, and what SLURM shows."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(RuntimeError):
                if condition():
                    return
            time.sleep(0.2)
        queue = subprocess.run(
            ["squeue", "-a", "-r"], env=self.environment, capture_output=True, text=True
        )
        raise TimeoutError(f"not within {seconds:.0f} s: {what}\n{queue.stdout}{queue.stderr}")

    def _configure(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.directory / name).mkdir(exist_ok=True)
        controller, first = _free_ports()
        words = {
            "DIR": str(self.directory),
            "HOST": platform.node().partition(".")[0],
            "USER": getpass.getuser(),
            "CONTROLLER": str(controller),
            "NODES": f"{first}-{first + len(NODES) - 1}",
        }
        text = TEMPLATE.read_text()
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        self.configuration.write_text(text)

    def _run(self, *command: str) -> None:
        with open(self.directory / "daemons.log", "a") as log:
            subprocess.run(
                command, env=self.environment, stdout=log, stderr=log, check=True, timeout=60
            )


_MUNGE = {
    "key-file": "munge.key",
    "socket": "munge.socket",
    "pid-file": "munged.pid",
    "log-file": "munged.log",
    "seed-file": "munged.seed",
}


def _daemon(node: str) -> str:
    return f"slurmd-{node}"


def _free_ports() -> tuple[int, int]:
    """(one port, the first of two neighbours), free when asked."""
    while True:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
            try:
                for each in sockets[:2]:
                    each.bind(("127.0.0.1", 0))
                first = sockets[1].getsockname()[1]
                sockets[2].bind(("127.0.0.1", first + 1))
            except OSError:
                continue
            return sockets[0].getsockname()[1], first


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    try:
        _gone(pid)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _gone(pid: int, *, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise TimeoutError(f"process {pid} did not end")


def _end_all_below(directory: Path) -> None:
    """Step daemons and jobs that a killed slurmd left: they carry the configuration's path. A shell
    that talks to the cluster carries it too, and is no job.
    """
    mark = f"SLURM_CONF={directory}/".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (process / "environ").read_bytes()
            daemon = (process / "comm").read_text().startswith("slurm")
            if mark in environment and (daemon or b"SLURM_JOB_ID=" in environment):
                os.kill(int(process.name), signal.SIGKILL)


@contextmanager
def running(directory: Path) -> Iterator[Machine]:
    """A cluster for as long as the block lasts."""
    machine = Machine(directory)
    try:
        machine.start()
        yield machine
    finally:
        machine.stop()


if __name__ == "__main__":
    with running(Path(sys.argv[1]).resolve()) as cluster, contextlib.suppress(KeyboardInterrupt):
        print(f"export SLURM_CONF={cluster.configuration}", flush=True)
        signal.pause()
