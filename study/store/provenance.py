"""Where a run's numbers come from: commit, package versions, hardware.

Owns what `provenance.json` says. Deliberately absent: user names, paths, environment variables and
anything else that could be a secret. No torch.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "safetensors",
    "numpy",
    "scipy",
    "pyarrow",
    "lm-eval",
    "jinja2",
    "pyyaml",
    "triton",
    "deepspeed",
)


COMMIT = "COMMIT.json"
"""Beside the packages where they were archived from a commit, as a cluster's jobs find them."""


@functools.cache
def collect() -> dict[str, Any]:
    """The provenance of this process, as JSON values. Read once: it does not change."""
    return commit(Path(__file__).resolve().parents[2]) | {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "hardware": {
            "host": platform.node(),
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_bytes": _memory(),
            "accelerators": _accelerators(),
        },
    }


def commit(root: Path) -> dict[str, Any]:
    """Which commit the code at `root` is, and whether it differs from it: from the file of an
    archive, or else from git. The file comes first, since an archive may lie inside the checkout of
    something else.
    """
    try:
        entry = json.loads((root / COMMIT).read_bytes())
    except FileNotFoundError:
        return {"commit": _git(root, "rev-parse", "HEAD"), "dirty": _dirty(root)}
    return {"commit": entry["commit"], "dirty": entry["dirty"]}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _dirty(root: Path) -> bool | None:
    """Whether tracked or new files differ from the commit; None outside a checkout."""
    changes = _git(root, "status", "--porcelain")
    return None if changes is None else bool(changes)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _accelerators() -> list[str]:
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.splitlines() if answer.returncode == 0 else []
