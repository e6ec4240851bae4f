"""The state-space dual over intervals: `ssd`.

`arguments.py` says what is legal, `reference.py` states the equation; `chunked.py` computes it in
linear time on torch's operations, `triton.py` and `triton_backward.py` as kernels, which `op.py`
launches; `cases.py` holds the shapes that tests and benchmarks share, `variants.py` what is
compiled ahead. See README.md for what is promised.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.backend import backend, cast, without_autocast
from kernels.ssd.arguments import check, check_triton
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
    give zeros and pass zero gradients. Equal intervals give equal bits, however the `Visibility`
    was made. `kernels.backend` says which implementation answers. Either takes 16-bit inputs,
    write and read beside a float32 decay, since sums over a document lose their small terms in 16
    bits; states are float32 then. Raises ValueError on shapes, dtypes and devices that do not
    belong together, and on intervals that are not causal documents with prefixes.

    Whether there are prefixes is looked up in `visibility.documents`, once per object and on the
    CPU; a compiled region wants that done before it.
    """
    check(inputs, decay, write, read, visibility, initial_state)
    if backend(inputs.device, inputs.dtype) == "torch":
        wide = torch.promote_types(inputs.dtype, torch.float32)
        with without_autocast(inputs.device):
            states, last = ssd_chunked(
                inputs.to(wide), decay.to(wide), write.to(wide), read.to(wide), visibility,
                initial_state=initial_state,
            )  # fmt: skip
        return states.to(inputs.dtype), last
    inputs, write, read = cast(inputs, write, read)
    check_triton(inputs, decay, write, read, initial_state)
    # Imported where it is used: Triton exists on Linux only, and reads its settings on import.
    from kernels.ssd import op

    return op.forward(
        inputs, decay, write, read, visibility.start, visibility.end, initial_state,
        visibility.documents.any_prefix,
    )  # fmt: skip
