"""What this machine offers, and what would make it fail later in a strange place.

Owns the environment part of `study check`, and the guard against another package called `kernels`.
No torch until it is asked about.
"""

from __future__ import annotations

import os
import shutil
from importlib import metadata, util
from pathlib import Path
from typing import Any

from study.store import provenance

OURS = "archstudy"
LEAST_FREE_BYTES = 1_000_000_000


def clash() -> str | None:
    """Why `kernels` is not this project's, or None. Hugging Face's package of that name makes
    transformers import ours for its own, or us theirs, and either fails far from here.
    """
    others = [
        name
        for name in metadata.packages_distributions().get("kernels", [])
        if name.lower() != OURS
    ]
    if others:
        return (
            f"the package {others[0]!r} is installed and has the import name `kernels` of this "
            f"project; transformers would mix the two up. Remove it: pip uninstall {others[0]}"
        )
    return misplaced()


def misplaced() -> str | None:
    """The quick part of `clash`: whether `kernels` lies beside `study`."""
    spec = util.find_spec("kernels")
    home = Path(__file__).resolve().parents[2]
    if spec is None or spec.origin is None:
        return f"`kernels` can't be imported; legal: {home / 'kernels'}"
    if Path(spec.origin).resolve().parent.parent != home:
        return f"`kernels` comes from {spec.origin}; legal: {home / 'kernels'}"
    return None


def missing_device(name: str) -> str | None:
    """Why nothing can be trained on this device here, or None. Torch is asked for anything but a
    CPU, without touching a card: whoever launches workers must not hold a context beside theirs.
    """
    if name == "cpu":
        return None
    import torch

    number = torch.cuda.device_count() if torch.cuda.is_available() else 0
    cards = ["cuda", *(f"cuda:{at}" for at in range(number))] if number else []
    here = ["cpu", *cards, *(["mps"] if torch.backends.mps.is_available() else [])]
    if name in here or name.partition(":")[0] not in ("cuda", "mps"):
        return None
    return f"device {name!r} is not here; legal: {', '.join(here)}"


def describe(*, store: Path, device: str) -> dict[str, Any]:
    """The facts, as JSON values."""
    import torch

    place = next(path for path in (store, *store.absolute().parents) if path.exists())
    disk = shutil.disk_usage(place)
    return provenance.collect() | {
        "device": device,
        "device_name": _device_name(device),
        "torch_threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "disk_free_bytes": disk.free,
        "store_writable": os.access(place, os.W_OK),
    }


def _device_name(device: str) -> str | None:
    """The accelerator's name; None where torch can't reach it."""
    import torch

    if device == "cpu":
        return "cpu"
    try:
        torch.zeros(1, device=device)
        return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    except (RuntimeError, AssertionError):
        return None


def faults(facts: dict[str, Any]) -> list[str]:
    """What of the facts would stop a run."""
    found = []
    reason = clash()
    if reason:
        found.append(reason)
    if facts["device_name"] is None:
        found.append(f"the device {facts['device']!r} can't be used by this torch")
    if not facts["store_writable"]:
        found.append("the store can't be written to")
    if facts["disk_free_bytes"] < LEAST_FREE_BYTES:
        free = facts["disk_free_bytes"] / 1e9
        found.append(f"only {free:.2f} GB free for run directories; at least 1 GB is wise")
    return found
