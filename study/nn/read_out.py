"""How many logits exist at once: the rows of a block of the loss. No torch.

Owns the sizes alone, since what plans memory needs them as well as `study.nn.loss`, which computes.
"""

from __future__ import annotations

NUMBERS = {"cpu": 2**21, "cuda": 2**27}
"""Logits of a block: on a CPU what two cores' caches hold, on a GPU what keeps it busy."""


def rows_of_block(vocabulary: int, *, device: str) -> int:
    """At least one, however large the vocabulary."""
    return max(1, NUMBERS[device] // vocabulary)
