"""T5's buckets against transformers' own, and rotations."""

import pytest
import torch
from transformers.models.t5.modeling_t5 import T5Attention

from study.nn.positions import (
    BidirectionalTable,
    CausalAndLaterTable,
    CausalTable,
    bidirectional_buckets,
    causal_and_later_buckets,
    causal_buckets,
    relative_bias,
    rotate,
    rotation,
)

DISTANCES = torch.arange(-3000, 3001)


@pytest.mark.parametrize("bidirectional", [True, False])
def test_buckets_are_t5s(bidirectional: bool):
    wanted = T5Attention._relative_position_bucket(
        DISTANCES, bidirectional=bidirectional, num_buckets=32, max_distance=128
    )
    found = bidirectional_buckets(DISTANCES) if bidirectional else causal_buckets(DISTANCES)
    assert torch.equal(found, wanted)


def test_later_keys_have_the_bidirectional_half():
    found = causal_and_later_buckets(DISTANCES)
    later = DISTANCES > 0
    assert torch.equal(found[~later], causal_buckets(DISTANCES)[~later])
    assert torch.equal(found[later] - 32, bidirectional_buckets(DISTANCES)[later] - 16)


@pytest.mark.parametrize("kind", [BidirectionalTable, CausalTable, CausalAndLaterTable])
def test_the_bias_is_a_function_of_distance(kind):
    table = kind(3)
    with torch.no_grad():
        for parameter in table.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    whole = relative_bias(table, queries=20, keys=20, past=0).dense()
    assert whole.shape == (3, 20, 20)
    for shift in range(-19, 20):
        diagonal = whole.diagonal(shift, 1, 2)
        assert (diagonal == diagonal[:, :1]).all()
    # Cached decoding asks for the last queries alone.
    newest = relative_bias(table, queries=2, keys=20, past=18).dense()
    assert torch.equal(newest, whole[:, 18:])


def test_the_papers_quirk_puts_later_keys_where_the_query_is():
    table = CausalTable(2)
    with torch.no_grad():
        table.table.copy_(torch.randn(32, 2))
    bias = relative_bias(table, queries=6, keys=6, past=0).dense()
    assert (bias[:, 0, 1:] == bias[:, 0, :1]).all()
    assert (bias[:, 5, :5] != bias[:, 5, 5:]).all()


def test_rotated_products_depend_on_distance_alone():
    states = torch.randn(
        1, 1, 1, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    positions = torch.arange(600, dtype=torch.int32)[None]
    angles = rotation(positions, d_head=16, dtype=torch.float64)
    rotated = rotate(states.expand(1, 1, 600, 16), angles)[0, 0]
    products = rotated @ rotated.T
    for shift in (0, 1, 7, 500):
        diagonal = products.diagonal(shift)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert abs(float(products[0, 0] - products[0, 1])) > 1e-3
    torch.testing.assert_close(rotated[0], states[0, 0, 0])


def test_angles_stay_float32_in_a_bfloat16_model():
    positions = torch.tensor([[0, 4095]], dtype=torch.int32)
    cosine, sine = rotation(positions, d_head=8, dtype=torch.bfloat16)
    assert cosine.dtype == sine.dtype == torch.float32
