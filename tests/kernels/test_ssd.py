"""The state-space dual against its equation in float64, and the identities of its patterns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kernels.ssd import ssd, ssd_reference
from kernels.ssd.cases import CASES, Case
from kernels.ssd.chunked import ssd_chunked
from kernels.visibility import Visibility, causal, full, packed

CHECKED = [case for case in CASES if case.role == "test"]


def everything(function, case: Case, dtype: torch.dtype, *, initial: bool) -> list[Tensor]:
    """Outputs, final state and every gradient of both."""
    leaves = [each.requires_grad_() for each in case.inputs(seed=1, dtype=dtype)]
    state = None
    if initial:
        generator = torch.Generator().manual_seed(9)
        shape = (len(case.documents), case.heads, case.width, case.state)
        state = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        leaves.append(state.requires_grad_())
    outputs, final = function(*leaves[:4], case.visibility, initial_state=state)
    weight = torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64).view(outputs.shape)
    loss = (outputs.double() * weight).sum() + final.double().square().sum()
    gradients = torch.autograd.grad(loss, leaves)
    return [outputs.detach(), final.detach(), *gradients]


def in_chunks_of(size: int):
    def function(*arguments, **options):
        return ssd_chunked(*arguments, **options, chunk=size)

    return function


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize("chunk", [1, 4, 16, 64])
@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.name)
def test_chunks_compute_the_equation(case: Case, chunk: int, initial: bool):
    wanted = everything(ssd_reference, case, torch.float64, initial=initial)
    found = everything(in_chunks_of(chunk), case, torch.float64, initial=initial)
    for each, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(each, exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.name)
def test_float32_is_near_the_equation(case: Case):
    """To 2e-5 of the largest number. A decay's gradient is a difference of two sums over all pairs
    of a chunk and rounds most (9e-6, measured); everything else stays below 2e-6.
    """
    wanted = everything(ssd_reference, case, torch.float64, initial=True)
    found = everything(ssd, case, torch.float32, initial=True)
    for each, exact in zip(found, wanted, strict=True):
        scale = float(exact.abs().max().clamp(min=1.0))
        torch.testing.assert_close(each.double(), exact, rtol=0, atol=2e-5 * scale)


def recurrence(case: Case, row: int) -> Tensor:
    """Mamba-2's recurrence, one position at a time."""
    inputs, decay, write, read = (each[row] for each in case.inputs(seed=1, dtype=torch.float64))
    state = torch.zeros(case.heads, case.width, case.state, dtype=torch.float64)
    outputs = []
    for t in range(case.length):
        state = state * decay[t].exp()[:, None, None]
        state = state + inputs[t][:, :, None] * write[t][:, None, :]
        outputs.append((state * read[t][:, None, :]).sum(-1))
    return torch.stack(outputs)


def test_causal_intervals_are_the_recurrence():
    case = next(case for case in CASES if case.name == "causal")
    found, _ = ssd_reference(*case.inputs(seed=1, dtype=torch.float64), case.visibility)
    torch.testing.assert_close(found[0], recurrence(case, 0), rtol=1e-12, atol=1e-12)


def test_full_intervals_read_one_global_state():
    case = next(case for case in CASES if case.name == "causal")
    inputs, decay, write, read = case.inputs(seed=1, dtype=torch.float64)
    everywhere = full(rows=2, queries=case.length, num_keys=case.length)
    found, final = ssd(inputs, decay, write, read, everywhere)
    state = torch.einsum("bthp,bthn->bhpn", inputs, write)
    torch.testing.assert_close(found, torch.einsum("bthn,bhpn->bthp", read, state))
    torch.testing.assert_close(final, state)


def test_prefixes_of_none_and_one_are_causal_to_the_bit():
    case = next(case for case in CASES if case.name == "causal")
    inputs = case.inputs(seed=1, dtype=torch.float32)
    wanted = ssd(*inputs, causal(rows=2, length=case.length))
    for prefix in (0, 1):
        found = ssd(*inputs, packed([[(case.length, prefix)]] * 2, length=case.length))
        assert all(torch.equal(one, two) for one, two in zip(found, wanted, strict=True))


@pytest.mark.parametrize("chunk", [4, 64])
def test_documents_in_a_row_are_documents_alone(chunk: int):
    """Packing changes nothing: a document's outputs are those of a row of its own."""
    case = next(case for case in CASES if case.name == "packed_prefix")
    inputs = case.inputs(seed=1, dtype=torch.float64)
    together, _ = in_chunks_of(chunk)(*inputs, case.visibility, initial_state=None)
    for row, documents in enumerate(case.documents):
        place = 0
        for size, prefix in documents:
            alone = [each[row : row + 1, place : place + size] for each in inputs]
            shape = packed([[(size, prefix)]], length=size)
            wanted, _ = in_chunks_of(chunk)(*alone, shape, initial_state=None)
            found = together[row : row + 1, place : place + size]
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
            place += size
        assert not together[row, place:].any()


@pytest.mark.parametrize("name", ["prefix", "packed_prefix"])
def test_what_is_not_visible_changes_no_bit(name: str):
    case = next(case for case in CASES if case.name == name)
    inputs, decay, write, read = case.inputs(seed=2, dtype=torch.float32)
    before, _ = ssd(inputs, decay, write, read, case.visibility)
    visible = case.visibility.dense()
    for place in (0, 5, case.length // 2, case.length - 1):
        other = inputs.clone(), decay.clone(), write.clone()
        other[0][:, place] += 0.7
        other[1][:, place] -= 0.2
        other[2][:, place] -= 0.3
        after, _ = ssd(other[0], other[1], other[2], read, case.visibility)
        unseeing = ~visible[:, :, place]
        assert torch.equal(after[unseeing], before[unseeing])


def test_a_state_goes_on_where_it_was_left():
    """Half a document, then the other half from its state: what cached decoding does."""
    case = next(case for case in CASES if case.name == "causal")
    inputs = case.inputs(seed=3, dtype=torch.float64)
    whole, final = ssd(*inputs, causal(rows=2, length=case.length))
    first = [each[:, :20] for each in inputs]
    second = [each[:, 20:] for each in inputs]
    one, state = ssd(*first, causal(rows=2, length=20))
    two, last = ssd(*second, causal(rows=2, length=case.length - 20), initial_state=state)
    torch.testing.assert_close(torch.cat([one, two], 1), whole)
    torch.testing.assert_close(last, final)


@pytest.mark.parametrize(
    ("end", "query"),
    [([1, 2, 3, 4], None), ([3, 3, 3, 4], None), ([2, 3, 4, 4], 1), ([2, 2, 4, 4], 2)],
    ids=["causal", "prefix", "lookahead", "blocks"],
)
def test_a_lookahead_is_refused(end: list[int], query: int | None):
    visibility = Visibility.build(
        torch.zeros(1, 4, dtype=torch.int32), torch.tensor([end], dtype=torch.int32), num_keys=4
    )
    if query is None:
        assert visibility.documents.length.tolist() == [4]
        return
    with pytest.raises(ValueError, match=rf"row 0, query {query} sees .*no window, no lookahead"):
        _ = visibility.documents


def test_a_window_and_other_lengths_are_refused():
    case = next(case for case in CASES if case.name == "causal")
    inputs = case.inputs(seed=1, dtype=torch.float32)
    end = torch.arange(1, case.length + 1, dtype=torch.int32).repeat(2, 1)
    window = Visibility.build((end - 5).clamp(min=0), end, num_keys=case.length)
    with pytest.raises(ValueError, match=r"row 0, query 5 sees .*legal"):
        ssd(*inputs, window)
    with pytest.raises(ValueError, match=r"decay is \(2, 5, 2\); legal: \(2, 37, 2\)"):
        ssd(inputs[0], inputs[1][:, :5], *inputs[2:], causal(rows=2, length=case.length))


class Written(TorchDispatchMode):
    """Counts the numbers that every operation gives, forward and backward; views too, which only
    adds.
    """

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        self.numbers += sum(each.numel() for each in tree_leaves(found) if hasattr(each, "numel"))
        return found


@pytest.mark.parametrize("prefixed", [False, True])
def test_work_is_linear_in_length(prefixed: bool):
    """To 2%, in what is written: a state indexed chunk by chunk had a quadratic backward."""

    def written(length: int) -> int:
        shape = (1, length, 1)
        leaves = [torch.zeros(*shape, 32), torch.zeros(shape), *torch.zeros(2, *shape, 32)]
        leaves = [each.requires_grad_() for each in leaves]
        visibility = packed([[(length, length // 2 if prefixed else 0)]], length=length)
        with Written() as counted:
            out, final = ssd(*leaves, visibility)
            torch.autograd.grad(out.sum() + final.sum(), leaves)
        return counted.numbers

    assert written(2048) <= 1.02 * 4 * written(512)


def test_16_bit_inputs_stand_beside_float32_decays():
    """Sums and states are float32, under autocast too; only inputs and outputs are rounded."""
    case = next(case for case in CASES if case.name == "packed_prefix")
    half = list(case.inputs(seed=1, dtype=torch.bfloat16))
    half[1] = case.inputs(seed=1, dtype=torch.float32)[1]
    wanted, _ = ssd_reference(*(each.double() for each in half), case.visibility)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, state = ssd(*half, case.visibility)
    assert (found.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    scale = float(wanted.abs().max())
    torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-5 * scale)
