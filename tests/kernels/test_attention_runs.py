"""Attention by runs of queries against attention's equation in float64."""

from __future__ import annotations

import pytest
import torch

from kernels.attention import attention, attention_reference, runs
from kernels.attention.cases import CASES, Case
from kernels.visibility import Visibility, packed

PLAIN = [case for case in CASES if not case.biased and case.role == "test" and case.keys]


def outputs_and_gradients(function, case: Case, dtype: torch.dtype) -> list[torch.Tensor]:
    *leaves, _ = case.inputs(seed=1, dtype=dtype)
    for leaf in leaves:
        leaf.requires_grad_()
    out = function(*leaves, case.intervals(case))
    weight = torch.linspace(-1.0, 1.0, out.numel(), dtype=torch.float64).view(out.shape)
    return [out.detach(), *torch.autograd.grad((out.double() * weight).sum(), leaves)]


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_runs_compute_the_equation(case: Case):
    wanted = outputs_and_gradients(
        lambda *given: attention_reference(*given, bias=None, scale=0.4), case, torch.float64
    )
    found = outputs_and_gradients(
        lambda *given: runs.attention_runs(*given, scale=0.4), case, torch.float64
    )
    for each, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(each, exact, rtol=1e-9, atol=1e-10)
    narrow = outputs_and_gradients(
        lambda *given: runs.attention_runs(*given, scale=0.4), case, torch.float32
    )
    for each, exact in zip(narrow, wanted, strict=True):
        scale = float(exact.abs().max().clamp(min=1.0))
        torch.testing.assert_close(each.double(), exact, rtol=0, atol=2e-6 * scale)


def test_runs_are_what_they_should_be():
    """(row, first query, queries, first key, first end, climbs)"""
    visibility = packed([[(4, 0), (3, 3), (6, 3)], [(1, 1), (2, 0)]], length=15)
    assert runs.runs_of(visibility).tolist() == [
        [0, 0, 4, 0, 1, 1],
        [0, 4, 3, 4, 7, 0],
        [0, 7, 3, 7, 10, 0],
        [0, 10, 3, 7, 11, 1],
        [1, 0, 1, 0, 1, 0],
        [1, 1, 2, 1, 2, 1],
    ]


def test_every_visible_pair_is_in_one_piece_and_no_other():
    for case in PLAIN:
        visibility = case.intervals(case)
        counted = torch.zeros(case.rows, case.queries, case.keys, dtype=torch.int64)
        for run in runs.runs_of(visibility).tolist():
            for row, q, k, causal in runs._pieces(run):
                block = torch.ones(q.stop - q.start, k.stop - k.start, dtype=torch.int64)
                counted[row, q, k] += (block.tril() if causal else block)[None]
        assert torch.equal(counted, visibility.dense().long()), case.name


def test_long_packed_rows_take_this_way_and_windows_do_not():
    documents = packed([[(256, 100)] * 4], length=1024)
    assert runs.worthwhile(documents)
    end = torch.arange(1, 1025, dtype=torch.int32)[None]
    window = Visibility.build((end - 7).clamp(min=0), end, num_keys=1024)
    assert not runs.worthwhile(window)
    assert not runs.worthwhile(packed([[(256, 100)] * 2], length=512))
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, 1024, 8, generator=generator) for _ in range(3))
    found = attention(query, key, value, documents, bias=None, scale=0.3)
    assert torch.equal(found, runs.attention_runs(query, key, value, documents, scale=0.3))
    wanted = attention_reference(query, key, value, documents, bias=None, scale=0.3)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_operators_pass_torchs_own_check():
    visibility = packed([[(4, 2), (3, 0)]], length=8)
    given = [torch.randn(1, 2, 8, 4, requires_grad=True) for _ in range(3)]
    torch.library.opcheck(runs.forward, (*given, runs.runs_of(visibility), 0.5))
