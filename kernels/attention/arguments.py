"""What attention takes, and what it refuses before any kernel starts.

Axes: B rows, H heads, T queries, S keys, N distances.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from kernels.backend import TRITON_DTYPES
from kernels.visibility import Visibility

LARGEST_WIDTH = 256


@dataclass(frozen=True, eq=False)
class RelativeBias:
    """A bias that depends on the head and on key index minus query index alone (Shaw et al. 2018;
    Raffel et al. 2020).

    values: column c holds the bias at key index - query index = c - (queries - 1), so there are
    queries + keys - 1 columns. Buckets, and the shift of a cached prefix, are the caller's:
    `study.nn.positions` resolves them before it builds this.
    """

    values: Float[Tensor, "H N"]
    queries: int

    @property
    def keys(self) -> int:
        return self.values.shape[1] - self.queries + 1

    def dense(self) -> Float[Tensor, "H T S"]:
        """The bias as a matrix. Row i reads the columns from queries - 1 - i on: a window that
        slides backwards.
        """
        return self.values.unfold(1, self.keys, 1).flip(1)


def check(
    query: Tensor, key: Tensor, value: Tensor, visibility: Visibility, bias: RelativeBias | None
) -> None:
    """Refuse shapes and devices that do not belong together; values are `Visibility.build`'s."""
    rows, heads, queries, width = query.shape
    keys = key.shape[2]
    if key.shape != (rows, heads, keys, width) or value.shape[:3] != key.shape[:3]:
        raise ValueError(
            f"query {tuple(query.shape)}, key {tuple(key.shape)} and value {tuple(value.shape)}: "
            "legal: (B, H, T, D), (B, H, S, D) and (B, H, S, E) with equal B, H and D"
        )
    if tuple(visibility.start.shape) != (rows, queries) or visibility.num_keys != keys:
        raise ValueError(
            f"visibility of {tuple(visibility.start.shape)} queries over {visibility.num_keys} "
            f"keys; legal for these tensors: {(rows, queries)} over {keys}"
        )
    if bias is not None and (bias.queries, bias.keys, bias.values.shape[0]) != (
        queries,
        keys,
        heads,
    ):
        raise ValueError(
            f"bias of {bias.values.shape[0]} heads, {bias.queries} queries and {bias.keys} keys; "
            f"legal for these tensors: {heads}, {queries} and {keys}"
        )
    others = {"key": key, "value": value, "visibility": visibility.start}
    others |= {} if bias is None else {"bias": bias.values}
    for name, tensor in others.items():
        if tensor.device != query.device:
            raise ValueError(f"{name} is on {tensor.device}; legal: {query.device}, the query's")


def check_triton(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Refuse what the Triton kernels do not compute."""
    legal = ", ".join(str(dtype).removeprefix("torch.") for dtype in TRITON_DTYPES)
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.dtype not in TRITON_DTYPES or tensor.dtype != query.dtype:
            raise ValueError(
                f"{name} is {tensor.dtype}, query {query.dtype}; legal for the Triton kernels: "
                f"{legal}, all three alike"
            )
        if tensor.shape[-1] > LARGEST_WIDTH:
            raise ValueError(
                f"{name} has head width {tensor.shape[-1]}; legal for the Triton kernels: "
                f"up to {LARGEST_WIDTH}"
            )
