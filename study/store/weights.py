"""Which files are a model's weights, and their one digest. Imports no model.

Owns the name under which weights enter a score: a digest of bytes, never of a path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def digest_of_names(digests: Mapping[str, str]) -> str:
    """The weights' digest from the sha256 of each file, as a checkpoint's manifest has them."""
    wanted = sorted(name for name in digests if is_weights(name))
    state = hashlib.sha256()
    for name in ("config.json", *wanted):
        state.update(f"{name}\0{digests[name]}\n".encode())
    return state.hexdigest()


def is_weights(name: str) -> bool:
    return name.startswith("model") and name.endswith(".safetensors")
