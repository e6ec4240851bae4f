"""Every tensor is accounted for, and what was copied computes what it did."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from study.language.layout import Segment, layout
from study.language.model.adapt import Account, adapt, bidirectional_from_causal, table
from study.language.model.build import build, empty
from study.language.values.model import Architecture, Model, Positions
from study.nn.positions import bidirectional_buckets, causal_and_later_buckets

TINY = Model(
    architecture="causal_decoder",
    mixer="attention",
    positions="t5_bias",
    layers=2,
    d_model=16,
    heads=2,
    d_head=8,
    d_ff=24,
    vocab_size=32,
    tied=False,
)
ARCHITECTURES: tuple[Architecture, ...] = ("causal_decoder", "prefix_decoder", "encoder_decoder")
POSITIONS: tuple[Positions, ...] = ("rope", "t5_bias", "t5_bias_paper")


def scrambled(model: Model) -> dict[str, torch.Tensor]:
    state = build(model, dropout=0.0, seed=1).state_dict()
    generator = torch.Generator().manual_seed(2)
    return {
        name: each + torch.randn(each.shape, generator=generator) for name, each in state.items()
    }


def loaded(state: dict[str, torch.Tensor], model: Model):
    built = empty(model, dropout=0.0)
    built.load_state_dict(state, assign=True)
    return built.eval()


def by_action(accounts: list[Account], action: str) -> set[str]:
    return {each.name for each in accounts if each.action == action}


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize(("before", "after"), list(product(ARCHITECTURES, ARCHITECTURES)))
def test_every_tensor_is_accounted_for(before, after, positions):
    source = replace(TINY, architecture=before, positions=positions)
    target = replace(TINY, architecture=after, positions=positions)
    state = scrambled(source)
    adapted, accounts = adapt(state, source=source, target=target, seed=0)
    wanted = empty(target, dropout=0.0).state_dict()
    assert {name: each.shape for name, each in adapted.items()} == {
        name: each.shape for name, each in wanted.items()
    }
    made = [each for each in accounts if each.action != "dropped"]
    assert [each.name for each in made] == list(wanted)
    assert by_action(accounts, "dropped") <= set(state)
    assert len({each.data_ptr() for each in adapted.values()}) == len(adapted)
    for each in accounts:
        assert each.shape == tuple(
            (adapted if each.action != "dropped" else state)[each.name].shape
        )
    if (before == "encoder_decoder") == (after == "encoder_decoder"):
        assert {each.action for each in accounts} == {"copied"}
        assert all(torch.equal(adapted[name], state[name]) for name in state)


@pytest.mark.parametrize("positions", POSITIONS)
def test_out_of_an_encoder_decoder_comes_its_decoder(positions: Positions):
    source = replace(TINY, architecture="encoder_decoder", positions=positions)
    target = replace(TINY, positions=positions)
    state = scrambled(source)
    adapted, accounts = adapt(state, source=source, target=target, seed=0)
    dropped = by_action(accounts, "dropped")
    assert dropped == {n for n in state if n.startswith("encoder.") or ".cross" in n}
    fresh, converted = by_action(accounts, "initialised"), by_action(accounts, "converted")
    assert fresh == ({"decoder.positions.later"} if positions == "t5_bias" else set())
    assert len(converted) == (TINY.layers if positions == "t5_bias_paper" else 0)
    # With cross-attention's output silenced, the pair's decoder is the decoder alone.
    for name in state:
        if name.endswith("cross.output.weight"):
            state[name].zero_()
    example = Segment(
        inputs=np.array([3, 4], dtype=np.int32), targets=np.arange(5, 20, dtype=np.int32)
    )
    alone = Segment(inputs=example.inputs[:0], targets=example.targets)
    with torch.no_grad():
        wanted = loaded(state, source).hidden(layout([(example,)], architecture="encoder_decoder"))
        found = loaded(adapted, target).hidden(layout([(alone,)], architecture="causal_decoder"))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_decoder_gives_both_stacks_of_a_pair(positions: Positions):
    source = replace(TINY, positions=positions)
    target = replace(TINY, architecture="encoder_decoder", positions=positions)
    state = scrambled(source)
    adapted, accounts = adapt(state, source=source, target=target, seed=0)
    assert by_action(accounts, "initialised") == {name for name in adapted if ".cross" in name}
    assert not by_action(accounts, "dropped")
    for side in ("encoder", "decoder"):
        name = "layers.1.mlp.up.weight"
        assert torch.equal(adapted[f"{side}.{name}"], state[f"decoder.{name}"])
    other, _ = adapt(state, source=source, target=target, seed=1)
    name = "decoder.layers.0.cross.key.weight"
    assert not torch.equal(adapted[name], other[name])


def test_there_and_back_is_the_identity():
    pair = replace(TINY, architecture="encoder_decoder")
    state = scrambled(TINY)
    state["decoder.positions.later"].zero_()
    there, _ = adapt(state, source=TINY, target=pair, seed=0)
    back, _ = adapt(there, source=pair, target=TINY, seed=0)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_tables_are_converted_by_distance():
    causal, later = torch.randn(32, 2, dtype=torch.float64), torch.randn(16, 2, dtype=torch.float64)
    made = bidirectional_from_causal(causal, later=later)
    distance = torch.arange(-127, 2000)
    decoder = torch.cat((causal, later))[causal_and_later_buckets(distance)]
    encoder = made[bidirectional_buckets(distance)]
    # Later keys and the eight nearest distances have a bucket of their own in both.
    exact = (distance > 0) | (distance > -8)
    assert torch.equal(encoder[exact], decoder[exact])
    for bucket in range(8, 16):
        inside = bidirectional_buckets(distance) == bucket
        torch.testing.assert_close(made[bucket], decoder[inside].mean(0))


def test_the_paper_scheme_goes_through_the_mean_of_its_layers():
    source = replace(TINY, positions="t5_bias_paper")
    state = scrambled(source)
    pair = replace(source, architecture="encoder_decoder")
    adapted, accounts = adapt(state, source=source, target=pair, seed=0)
    layers = [state[f"decoder.layers.{index}.positions.table"] for index in range(2)]
    mean = (layers[0] + layers[1]) / 2
    torch.testing.assert_close(adapted["decoder.positions.table"], mean)
    torch.testing.assert_close(adapted["encoder.positions.table"][16:], mean[:1].expand(16, -1))
    notes = {each.name: each.note for each in accounts if each.action == "converted"}
    assert "mean of 2 layers" in notes["decoder.positions.table"]
    assert "bucket 0" in notes["encoder.positions.table"]


def test_what_is_not_accounted_for_is_fatal():
    state = scrambled(TINY)
    name = "decoder.layers.1.mlp.up.weight"
    prefix = replace(TINY, architecture="prefix_decoder")
    for change, message in (
        ({"decoder.layers.1.extra": torch.zeros(1)}, r"decoder\.layers\.1\.extra"),
        ({name: torch.zeros(2, 2)}, r"layers\.1\.mlp\.up\.weight is \(2, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            adapt({**state, **change}, source=TINY, target=prefix, seed=0)
    del state[name]
    with pytest.raises(ValueError, match=r"lacks decoder\.layers\.1\.mlp\.up\.weight"):
        adapt(state, source=TINY, target=prefix, seed=0)
    with pytest.raises(ValueError, match="positions 't5_bias' to 'rope'"):
        adapt(state, source=TINY, target=replace(prefix, positions="rope"), seed=0)


def test_the_account_is_printed_a_line_a_tensor():
    pair = replace(TINY, architecture="encoder_decoder")
    adapted, accounts = adapt(scrambled(TINY), source=TINY, target=pair, seed=0)
    lines = table(accounts).splitlines()
    assert lines[0].split() == ["action", "tensor", "shape", "note"]
    assert len(lines) == 1 + len(adapted) + 3
    row = next(line for line in lines if " encoder.positions.table " in line)
    assert row.split()[:3] == ["converted", "encoder.positions.table", "32x2"]
    assert "by distance from decoder.positions.table" in row
    fresh = sum(each.numel() for name, each in adapted.items() if ".cross" in name)
    assert any(line.startswith("initialised:") and f"{fresh:,} numbers" in line for line in lines)
