"""Attention over intervals on a CPU without a mask: the work is the visible pairs.

Queries next to each other mostly share their interval, or see one key more each. A row is cut into
such runs. A run of equal intervals is a plain rectangle of queries and keys. A run whose ends climb
by one is a rectangle over the keys that all see, and a causal square; the two softmaxes are merged
by their denominators. Each piece is one call of torch's CPU flash kernel, forward and backward
(given the whole softmax's output and denominator, a piece's backward gives that piece's share).

So packed documents, with or without prefixes, encoders and cross-attention cost what they see.
Where every query has its own start (a window), runs are single queries and a mask is faster:
`worthwhile` says so. Axes: B rows, H heads, T queries, S keys, D head width, R runs.
"""

# No postponed annotations: torch reads the operators' types, and a wrapper (a type checker's) would
# have it look for their names in the wrong module.
import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from kernels.visibility import Visibility

FROM_KEYS = 1024
"""Keys from which runs are tried: below, one masked call costs less than many small ones."""
LEAST_MEAN_RUN = 32
_RUNS = "_runs_of_queries"

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def runs_of(visibility: Visibility) -> Int64[Tensor, "R 6"]:
    """(row, first query, queries, first key, first query's end, climbs) of every run that sees
    something, on the CPU, found once per `Visibility`.
    """
    known = vars(visibility).get(_RUNS)
    if known is None:
        known = vars(visibility)[_RUNS] = _runs(visibility)
    return known


def worthwhile(visibility: Visibility) -> bool:
    """Whether runs are long enough, and spare enough pairs, to be faster than a mask."""
    if visibility.num_keys < FROM_KEYS or visibility.start.device.type != "cpu":
        return False
    mean = visibility.start.numel() / max(len(runs_of(visibility)), 1)
    return mean >= LEAST_MEAN_RUN


def _runs(visibility: Visibility) -> Int64[Tensor, "R 6"]:
    starts, ends = visibility.start.numpy(), visibility.end.numpy()
    found = []
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if not len(start):
            continue
        # How each query follows the one before: 0 with its interval, 1 with one key more, 2 anew.
        step = np.diff(end)
        link = np.where((np.diff(start) == 0) & (step >= 0) & (step <= 1), step, 2)
        changes = (np.flatnonzero(np.diff(link)) + 1).tolist()
        spans = zip([0, *changes], [*changes, len(link)], strict=True) if len(link) else ()
        taken = 0  # queries already in a run
        for low, high in spans:
            if link[low] == 2:
                # each of these links separates: what is not in a run yet stands alone
                found += [_run(row, q, q + 1, start, end, 0) for q in range(taken, high)]
                taken = high
            else:
                found.append(_run(row, taken, high + 1, start, end, int(link[low])))
                taken = high + 1
        found += [_run(row, q, q + 1, start, end, 0) for q in range(taken, len(start))]
    seeing = [run for run in found if run[2] > 0 and run[4] > run[3]]
    return torch.tensor(seeing, dtype=torch.int64).view(-1, 6)


def _run(row: int, first: int, last: int, start, end, climbs: int) -> tuple[int, ...]:
    return row, first, last - first, int(start[first]), int(end[first]), climbs


def _pieces(run: list[int]) -> list[tuple[slice, slice, slice, bool]]:
    """(row, queries, keys, causal) of each call that a run takes."""
    row, first, queries, start, end, climbs = run
    here = slice(row, row + 1), slice(first, first + queries)
    if not climbs or queries == 1:
        return [(*here, slice(start, end), False)]
    square = (*here, slice(end - 1, end - 1 + queries), True)
    return [(*here, slice(start, end - 1), False), square] if end - 1 > start else [square]


@torch.library.custom_op("archstudy::attention_runs", mutates_args=())
def forward(
    query: Tensor,  # (B, H, T, D)
    key: Tensor,  # (B, H, S, D)
    value: Tensor,  # (B, H, S, D)
    runs: Tensor,  # (R, 6)
    scale: float,
) -> tuple[Tensor, Tensor]:
    """(outputs, log of the softmax's denominators (B, H, T)); zeros and -inf without a run."""
    out = torch.zeros_like(query, memory_format=torch.contiguous_format)
    wide = torch.promote_types(query.dtype, torch.float32)
    log_sum = query.new_full(query.shape[:3], -torch.inf, dtype=wide)
    for run in runs.tolist():
        found = [
            _flash(query[row, :, q], key[row, :, k], value[row, :, k], 0.0, causal, scale=scale)
            for row, q, k, causal in _pieces(run)
        ]
        row, q = slice(run[0], run[0] + 1), slice(run[1], run[1] + run[2])
        if len(found) == 1:
            out[row, :, q], log_sum[row, :, q] = found[0]
            continue
        (one, one_sum), (two, two_sum) = found
        together = torch.logaddexp(one_sum, two_sum)
        log_sum[row, :, q] = together
        shares = ((one_sum - together).exp()[..., None], (two_sum - together).exp()[..., None])
        out[row, :, q] = one * shares[0] + two * shares[1]
    return out, log_sum


@forward.register_fake
def _(query, key, value, runs, scale):
    wide = torch.promote_types(query.dtype, torch.float32)
    return (
        query.new_empty(query.shape),
        query.new_empty(query.shape[:3], dtype=wide),
    )


@torch.library.custom_op("archstudy::attention_runs_backward", mutates_args=())
def backward(
    grad_out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    runs: Tensor,
    out: Tensor,
    log_sum: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    grad_query, grad_key, grad_value = (
        torch.zeros_like(each, memory_format=torch.contiguous_format)
        for each in (query, key, value)
    )
    for run in runs.tolist():
        for row, q, k, causal in _pieces(run):
            found = _flash_backward(
                grad_out[row, :, q], query[row, :, q], key[row, :, k], value[row, :, k],
                out[row, :, q], log_sum[row, :, q], 0.0, causal, scale=scale,
            )  # fmt: skip
            grad_query[row, :, q] += found[0]
            grad_key[row, :, k] += found[1]
            grad_value[row, :, k] += found[2]
    return grad_query, grad_key, grad_value


@backward.register_fake
def _(grad_out, query, key, value, runs, out, log_sum, scale):
    return tuple(each.new_empty(each.shape) for each in (query, key, value))


def _remember(ctx, inputs, output) -> None:
    query, key, value, runs, scale = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(query, key, value, runs, *output)
    ctx.scale = scale


def _differentiate(ctx, grad_out, grad_log_sum):
    query, key, value, runs, out, log_sum = ctx.saved_tensors
    grads = backward(grad_out.contiguous(), query, key, value, runs, out, log_sum, ctx.scale)
    return *grads, None, None


forward.register_autograd(_differentiate, setup_context=_remember)


def attention_runs(
    query: Float[Tensor, "B H T D"],
    key: Float[Tensor, "B H S D"],
    value: Float[Tensor, "B H S D"],
    visibility: Visibility,
    *,
    scale: float,
) -> Float[Tensor, "B H T D"]:
    """Attention over intervals, without a bias; see `kernels.attention.attention`."""
    return forward(query, key, value, runs_of(visibility), scale)[0]
