"""Every op at full size on a GPU against its equation in float64: what the benchmark times.

`make gpu` runs this before it times anything; without a GPU it is deselected, and it fails.
"""

from __future__ import annotations

import pytest
import torch

from bench import parity
from kernels import full_size

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
LENGTHS = (1000, *full_size.LENGTHS)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("pattern", full_size.PATTERNS)
@pytest.mark.parametrize("op", ["attention", "ssd", "longconv"])
def test_op_at_full_size(op: str, pattern: full_size.Pattern, length: int, dtype: torch.dtype):
    found = parity.distances(
        op, pattern, rows=2, length=length, dtype=dtype, device=torch.device("cuda")
    )
    # NaN fails every comparison
    assert all(each <= parity.NEAR[dtype] for each in found.values()), found


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("tokens", [1000, full_size.TOKENS])
def test_block_diagonal_product_at_full_size(tokens: int, dtype: torch.dtype):
    found = parity.block_diagonal(tokens=tokens, dtype=dtype, device=torch.device("cuda"))
    assert all(each <= parity.NEAR[dtype] for each in found.values()), found
