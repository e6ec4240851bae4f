"""Layout against a slow oracle, written position by position from what inputs and targets mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from study.language.layout import PAD, Batch, Row, Segment, layout

ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")


def segment(inputs: list[int], targets: list[int]) -> Segment:
    return Segment(
        inputs=np.array(inputs, dtype=np.int32), targets=np.array(targets, dtype=np.int32)
    )


@st.composite
def packed_rows(draw: st.DrawFn) -> list[Row]:
    """Rows of segments in which every token of the batch is another one."""
    sizes = draw(
        st.lists(
            st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=4),
            min_size=1,
            max_size=4,
        )
    )
    fresh = iter(range(100, 1000))
    return [
        tuple(
            segment([next(fresh) for _ in range(n)], [next(fresh) for _ in range(m)])
            for n, m in row
        )
        for row in sizes
    ]


def seen_tokens(batch: Batch, row: int, query: int) -> list[int]:
    """Ids that a decoder position reads in one step, directly or through cross-attention."""
    start, end = batch.visibility.start[row, query], batch.visibility.end[row, query]
    seen = batch.tokens[row, start:end].tolist()
    if (source := batch.source) is not None:
        seen += source.tokens[
            row, source.cross.start[row, query] : source.cross.end[row, query]
        ].tolist()
    return sorted(token for token in seen if token != PAD)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(rows=packed_rows(), spare=st.integers(0, 3))
def test_each_prediction_sees_its_inputs_and_earlier_targets_and_nothing_else(
    architecture, rows, spare
):
    longest = layout(rows, architecture=architecture).tokens.shape[1]
    batch = layout(rows, architecture=architecture, length=longest + spare)
    for row, segments in enumerate(rows):
        predicted = [
            (position, int(batch.labels[row, position]))
            for position in batch.loss_mask[row].nonzero().flatten().tolist()
        ]
        wanted = [
            (one, place, token)
            for one in segments
            for place, token in enumerate(one.targets.tolist())
        ]
        assert [token for _, token in predicted] == [token for _, _, token in wanted]
        for (position, _), (one, place, _) in zip(predicted, wanted, strict=True):
            context = one.inputs.tolist() + one.targets[:place].tolist()
            assert seen_tokens(batch, row, position) == sorted(context)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(rows=packed_rows())
def test_more_layers_see_no_more_than_one(architecture, rows):
    """Who sees whom is transitive, so depth does not open a way round."""
    batch = layout(rows, architecture=architecture)
    own = batch.visibility.dense().long()
    assert not bool(((own @ own > 0) & (own == 0)).any())
    if batch.source is not None:
        source = batch.source.visibility.dense().long()
        cross = batch.source.cross.dense().long()
        for reached in (cross @ source, own @ cross):
            assert not bool(((reached > 0) & (cross == 0)).any())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(rows=packed_rows())
def test_a_visible_input_is_seen_by_the_whole_prefix(architecture, rows):
    batch = layout(rows, architecture=architecture)
    for row, segments in enumerate(rows):
        for number, one in enumerate(segments, start=1):
            inputs = sorted(one.inputs.tolist())
            if architecture == "encoder_decoder":
                assert batch.source is not None
                visibility, tokens = batch.source.visibility, batch.source.tokens
                queries = (batch.source.segments[row] == number).nonzero().flatten().tolist()
            else:
                visibility, tokens = batch.visibility, batch.tokens
                queries = (batch.segments[row] == number).nonzero().flatten().tolist()
                # Without targets the last input is read by nobody: there is no position to emit.
                inputs = inputs if len(one.targets) else inputs[:-1]
                queries = queries[: len(one.inputs) + 1]
            for index, query in enumerate(queries):
                start, end = visibility.start[row, query], visibility.end[row, query]
                seen = sorted(tokens[row, start:end].tolist())
                if architecture == "causal_decoder":
                    assert seen == sorted([PAD, *one.inputs[:index].tolist()])
                elif architecture == "prefix_decoder":
                    assert seen == sorted([PAD, *inputs])
                else:
                    assert seen == inputs


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(rows=packed_rows(), spare=st.integers(0, 3))
def test_positions_segments_and_padding(architecture, rows, spare):
    longest = layout(rows, architecture=architecture).tokens.shape[1]
    batch = layout(rows, architecture=architecture, length=longest + spare)
    for row, segments in enumerate(rows):
        lengths = [
            len(one.targets) + (0 if architecture == "encoder_decoder" else len(one.inputs))
            for one in segments
        ]
        numbers = [n for n, length in enumerate(lengths, start=1) for _ in range(length)]
        padding = longest + spare - len(numbers)
        assert batch.segments[row].tolist() == numbers + [0] * padding
        positions = [p for length in lengths for p in range(length)]
        assert batch.positions[row].tolist() == positions + [0] * padding
        content = len(numbers)
        assert batch.tokens[row, content:].eq(PAD).all()
        assert batch.labels[row, content:].eq(PAD).all()
        assert batch.visibility.start[row, content:].eq(content).all()
        assert batch.visibility.end[row, content:].eq(content).all()
    assert batch.labels[~batch.loss_mask].eq(PAD).all()
    assert batch.loss_tokens == sum(len(one.targets) for row in rows for one in row)
    both = sum(len(one.targets) + len(one.inputs) for row in rows for one in row)
    assert batch.content_tokens == both


@given(rows=packed_rows())
def test_intervals_are_monotone_in_the_query(rows):
    """Tiles are skipped by hull, which is tight for monotone intervals only."""
    for architecture in ARCHITECTURES:
        batch = layout(rows, architecture=architecture)
        visible = [batch.visibility]
        if batch.source is not None:
            visible += [batch.source.visibility, batch.source.cross]
        for one in visible:
            assert (one.start.diff(dim=1) >= 0).all()
            assert (one.end.diff(dim=1) >= 0).all()


@given(targets=st.lists(st.lists(st.integers(2, 50), max_size=6), min_size=1, max_size=4))
def test_a_prefix_decoder_without_inputs_is_the_causal_decoder(targets):
    rows = [tuple(segment([], tokens) for tokens in targets)]
    causal = layout(rows, architecture="causal_decoder")
    assert causal.digest() == layout(rows, architecture="prefix_decoder").digest()


def test_one_row_by_hand():
    rows = [(segment([5, 6], [7, 8, 9]), segment([], [3, 4]))]
    batch = layout(rows, architecture="prefix_decoder", length=8)
    assert batch.tokens.tolist() == [[0, 5, 6, 7, 8, 0, 3, 0]]
    assert batch.labels.tolist() == [[0, 0, 7, 8, 9, 3, 4, 0]]
    assert batch.visibility.start.tolist() == [[0, 0, 0, 0, 0, 5, 5, 7]]
    # Position 2 reads the last input and emits 7: the prefix [0, 3) is one longer than the inputs.
    assert batch.visibility.end.tolist() == [[3, 3, 3, 4, 5, 6, 7, 7]]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_of_a_batch_are_the_batch_of_those_rows(architecture):
    rows = [(segment([5, 6], [7]), segment([9], [3, 4])), (segment([1], [2]),), ()]
    lengths: dict[str, int] = {"length": 9}
    if architecture == "encoder_decoder":
        lengths["source_length"] = 4
    whole = layout(rows, architecture=architecture, **lengths)
    for low, high in ((0, 1), (1, 3), (0, 3)):
        part = layout(rows[low:high], architecture=architecture, **lengths)
        assert whole.rows(low, high).digest() == part.digest()
    assert whole.to("cpu").digest() == whole.digest()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_digest_covers_every_array(architecture):
    batch = layout([(segment([5, 6], [7, 8]), segment([9], [3]))], architecture=architecture)
    arrays = [batch.tokens, batch.labels, batch.loss_mask, batch.positions, batch.segments]
    arrays += [batch.visibility.start, batch.visibility.end]
    if (source := batch.source) is not None:
        arrays += [source.tokens, source.positions, source.segments]
        arrays += [source.visibility.start, source.visibility.end]
        arrays += [source.cross.start, source.cross.end]
    digests = {batch.digest()}
    for array in arrays:
        kept = array[0, 1].clone()
        array[0, 1] = ~kept if array.dtype == torch.bool else kept + 1
        digests.add(batch.digest())
        array[0, 1] = kept
    assert len(digests) == len(arrays) + 1


def test_the_digest_covers_shapes_and_types():
    """Equal bytes in another shape or type are another batch."""
    batch = layout([(segment([], [7, 8, 9, 5]),)], architecture="causal_decoder")
    shaped = replace(batch, tokens=batch.tokens.reshape(2, 2))
    typed = replace(batch, tokens=batch.tokens.view(torch.float64))
    assert len({each.digest() for each in (batch, shaped, typed)}) == 3


def test_a_row_that_is_too_long_is_refused():
    rows = [(segment([1], [2]),), (segment([1, 2, 3], [4, 5]),)]
    with pytest.raises(ValueError, match="row 1 holds 5 tokens; legal: at most 4"):
        layout(rows, architecture="causal_decoder", length=4)
    with pytest.raises(ValueError, match="source row 1 holds 3 tokens; legal: at most 2"):
        layout(rows, architecture="encoder_decoder", length=4, source_length=2)
    with pytest.raises(ValueError, match="source_length is 4 for a causal_decoder"):
        layout(rows, architecture="causal_decoder", source_length=4)


def test_a_side_without_a_token_is_one_pad_wide():
    batch = layout([(segment([], [5]),)], architecture="encoder_decoder")
    assert batch.source is not None
    assert batch.source.tokens.tolist() == [[PAD]]
    assert batch.labels.shape == (1, 1)
