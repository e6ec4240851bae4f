"""Attention in tiles on a CPU against attention's equation in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from kernels.attention import attention, attention_reference, cpu, cpu_tiles, prepare
from kernels.attention.cases import CASES, Case
from kernels.attention.cpu_tiles import Plan
from kernels.visibility import Visibility, causal, full, packed

PLAIN = [case for case in CASES if not case.biased and case.role == "test" and case.keys]
SIZES = {"as shipped": (128, 16, 64), "small": (8, 4, 2)}
"""Of tiles, of rounding, of the least inner rectangle: small ones give short cases many tiles."""


@pytest.fixture(params=SIZES)
def _sizes(request, monkeypatch):
    for name, value in zip(("LARGEST", "STEP", "LEAST_INNER"), SIZES[request.param], strict=True):
        monkeypatch.setattr(cpu_tiles, name, value)


def planned(visibility: Visibility) -> Plan:
    return cpu_tiles.grouped(visibility, cpu_tiles.tiles_of(visibility))


def tiled(query, key, value, visibility: Visibility) -> torch.Tensor:
    return cpu.attention_cpu(query, key, value, planned(visibility), scale=0.4)


def equation(query, key, value, visibility: Visibility) -> torch.Tensor:
    return attention_reference(query, key, value, visibility, bias=None, scale=0.4)


def outputs_and_gradients(
    function: Callable[..., torch.Tensor], case: Case, dtype: torch.dtype, visibility: Visibility
) -> list[torch.Tensor]:
    *leaves, _ = case.inputs(seed=1, dtype=dtype)
    for leaf in leaves:
        leaf.requires_grad_()
    out = function(*leaves, visibility)
    weight = torch.linspace(-1.0, 1.0, out.numel(), dtype=torch.float64).view(out.shape)
    return [out.detach(), *torch.autograd.grad((out.double() * weight).sum(), leaves)]


def apart(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> list[float]:
    """Largest differences, as parts of the largest number (at least 1)."""
    return [
        float((each.double() - exact).abs().max() / exact.abs().max().clamp(min=1.0))
        for each, exact in zip(found, wanted, strict=True)
    ]


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_tiles_compute_the_equation(case: Case):
    visibility = case.intervals(case)
    wanted = outputs_and_gradients(equation, case, torch.float64, visibility)
    # NaN fails every comparison
    for dtype, near in ((torch.float64, 1e-10), (torch.float32, 2e-6), (torch.bfloat16, 2e-2)):
        found = outputs_and_gradients(tiled, case, dtype, visibility)
        assert all(distance <= near for distance in apart(found, wanted)), dtype


@pytest.mark.usefixtures("_sizes")
@pytest.mark.parametrize("shift", ["start", "end"])
def test_one_key_more_or_less_is_seen_in_every_result(shift: str):
    case = next(case for case in PLAIN if case.name == "prefix")
    visibility = case.intervals(case)
    start, end = visibility.start, visibility.end
    wrong = (
        ((start + 1).minimum(end), end) if shift == "start" else (start, (end - 1).maximum(start))
    )
    wanted = outputs_and_gradients(equation, case, torch.float64, visibility)
    off = Visibility.build(*wrong, num_keys=case.keys)
    assert all(each > 1e-3 for each in apart(
        outputs_and_gradients(tiled, case, torch.float32, off), wanted
    ))  # fmt: skip


@pytest.mark.usefixtures("_sizes")
def test_every_visible_pair_is_in_one_piece_and_no_other():
    many = dataclasses.replace(PLAIN[0], name="long prefixes", rows=1, queries=900, keys=900)
    documents = packed([[(300, 170), (150, 149), (1, 0), (200, 0), (249, 249)]], length=900)
    cases = [(case, case.intervals(case)) for case in PLAIN] + [(many, documents)]
    for case, visibility in cases:
        plan = planned(visibility)
        counted = torch.zeros(case.rows * case.queries + 1, case.rows * case.keys)
        calls = cpu._calls(plan.groups, plan.queries, plan.keys, plan.seen, torch.float32)
        had = torch.zeros(len(counted), dtype=torch.bool)
        for asking, asked, mask, (tiles, height, width), second in calls:
            if mask is None:
                seen = torch.ones(height, width).tril().expand(tiles, height, width)
            else:
                seen = (mask[:, 0] == 0).expand(tiles, height, width).float()
            queries = asking.view(tiles, height, 1).expand_as(seen)
            keys = asked.view(tiles, 1, width).expand_as(seen)
            counted.index_put_((queries, keys), seen, accumulate=True)
            real = asking < len(counted) - 1
            assert bool((had[asking[real]] == second).all()), case.name
            had[asking[real]] = True
        block = torch.block_diag(*visibility.dense().float())
        assert torch.equal(counted[:-1], block), case.name


def test_documents_of_like_size_share_a_call():
    documents = packed([[(60, 20), (64, 0), (50, 50), (64, 64)] * 2], length=512)
    # Those that see all of themselves need no mask but for what fills them up, causal ones none.
    assert planned(documents).groups.tolist() == [
        [4, 64, 64, 1, 0],
        [2, 64, 64, 64, 0],
        [2, 64, 64, 0, 0],
    ]


@pytest.mark.usefixtures("_sizes")
def test_a_query_sees_nothing_of_other_documents_bit_for_bit():
    visibility = packed([[(70, 30), (90, 0), (40, 40)]], length=210)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, 2, 210, 8, generator=generator) for _ in range(3)]
    known = tiled(*inputs, visibility)
    for each in inputs:
        each[:, :, 70:160] += 100.0
        each[:, :, 200:] = 1e6
    found = tiled(*inputs, visibility)
    assert torch.equal(known[:, :, :70], found[:, :, :70])
    assert torch.equal(known[:, :, 160:200], found[:, :, 160:200])
    assert not found[:, :, 200:].any()
    for each in inputs:
        each[:, :, 120:160] -= 50.0
    assert torch.equal(found[:, :, 70:120], tiled(*inputs, visibility)[:, :, 70:120])


def test_rows_of_which_little_is_seen_take_this_way():
    documents = packed([[(256, 100)] * 4], length=1024)
    assert cpu_tiles.plan_of(documents) is not None
    end = torch.arange(1, 1025, dtype=torch.int32)[None]
    window = Visibility.build((end - 100).clamp(min=0), end, num_keys=1024)
    assert cpu_tiles.plan_of(window) is not None
    assert cpu_tiles.plan_of(packed([[(256, 100)]] * 4, length=256)) is None
    assert cpu_tiles.plan_of(packed([[(20, 10)] * 3] * 4, length=60)) is None
    assert cpu_tiles.plan_of(full(rows=1, queries=512, num_keys=512)) is None
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, 1024, 8, generator=generator) for _ in range(3))
    found = attention(query, key, value, documents, bias=None, scale=0.4)
    assert torch.equal(found, tiled(query, key, value, documents))
    torch.testing.assert_close(found, equation(query, key, value, documents), rtol=1e-5, atol=1e-5)


def test_rows_that_see_nothing_and_no_rows_at_all():
    for visibility in (packed([[], []], length=3), causal(rows=0, length=3)):
        given = [torch.ones(len(visibility.start), 2, 3, 4) for _ in range(3)]
        assert not tiled(*given, visibility).any()


def test_the_operators_pass_torchs_own_check():
    plan = planned(packed([[(40, 2), (30, 0)]], length=72))
    given = [torch.randn(1, 2, 72, 4, requires_grad=True) for _ in range(3)]
    parts = (plan.groups, plan.queries, plan.keys, plan.seen)
    torch.library.opcheck(cpu.forward, (*given, *parts, 0.5))
    plain = [each.detach() for each in given]
    out, log_sum = cpu.forward(*plain, *parts, 0.5)
    torch.library.opcheck(cpu.backward, (torch.ones_like(out), *plain, *parts, out, log_sum, 0.5))


def test_compiled_without_a_break():
    documents = packed([[(256, 100)] * 4], length=1024)
    prepare(documents, None)
    query, key, value = (torch.randn(1, 2, 1024, 8, requires_grad=True) for _ in range(3))

    def loss(query: torch.Tensor) -> torch.Tensor:
        return attention(query, key, value, documents, bias=None, scale=0.4).square().sum()

    (wanted,) = torch.autograd.grad(loss(query), query)
    whole = torch.compile(loss, fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(whole(query), query)
    assert torch.equal(found, wanted)


def test_causal_queries_of_another_axis_are_no_document():
    """A key's place is then not its query's, from the second row on."""
    end = torch.arange(1, 33, dtype=torch.int32).expand(2, -1)
    visibility = Visibility.build(torch.zeros_like(end), end, num_keys=64)
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 2, 32, 8, generator=generator)
    key, value = (torch.randn(2, 2, 64, 8, generator=generator) for _ in range(2))
    found = tiled(query, key, value, visibility)
    wanted = equation(query, key, value, visibility)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prefix", [0, 30])
def test_what_is_no_number_stays_in_its_document(prefix):
    """Forward and backward: what fills up a tile, of keys or of queries, is the tile's own."""
    visibility = packed([[(70, prefix), (50, prefix), (40, prefix)]], length=160)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(1, 2, 160, 8, generator=generator) for _ in range(3)]
    for each in inputs:
        each[:, :, 120:] = torch.nan
        each.requires_grad_()
    found = tiled(*inputs, visibility)
    grads = torch.autograd.grad(found.sum(), inputs)
    for each in (found, *grads):
        assert bool(each[:, :, :120].isfinite().all())
        assert bool(each[:, :, 120:].isnan().all())
