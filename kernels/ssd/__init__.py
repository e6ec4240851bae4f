"""The state-space dual over intervals: `ssd`.

`arguments.py` says what is legal, `reference.py` states the equation, `chunked.py` computes it in
linear time on torch's operations; `cases.py` holds the shapes that tests and benchmarks share. See
README.md for what is promised.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from kernels.ssd.arguments import check
from kernels.ssd.chunked import ssd_chunked
from kernels.ssd.reference import ssd_reference
from kernels.visibility import Visibility

__all__ = ["ssd", "ssd_reference"]


def ssd(
    inputs: Float[Tensor, "B T H P"],
    decay: Float[Tensor, "B T H"],
    write: Float[Tensor, "B T H N"],
    read: Float[Tensor, "B T H N"],
    visibility: Visibility,
    *,
    initial_state: Float[Tensor, "B H P N"] | None = None,
) -> tuple[Float[Tensor, "B T H P"], Float[Tensor, "B H P N"]]:
    """Each query reads a decayed sum of what its visible keys wrote; see `reference.py`.

    inputs: dt x, the step size multiplied in. decay: dt A <= 0, in log space. write, read: B and C.
    initial_state: what the documents at the rows' beginnings continue from. Returns the outputs,
    and the state after the last position (zero where that is padding). Queries that see nothing
    give zeros. Raises ValueError on shapes that do not belong together, and on intervals that are
    not causal documents with prefixes.
    """
    check(inputs, decay, write, read, visibility, initial_state)
    return ssd_chunked(inputs, decay, write, read, visibility, initial_state=initial_state)
