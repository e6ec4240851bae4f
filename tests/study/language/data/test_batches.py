"""Batches as a pure function of (seed, step), for every objective and architecture."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.language.data.batches import (
    GROWTH,
    Recipe,
    prompted_batches,
    text_batches,
    validation_batches,
)
from study.language.data.mixture import ExampleShards
from study.language.data.shards import TokenShards, write_shards
from study.language.layout import END_OF_SEQUENCE, PAD, Batch
from study.language.objectives import sentinel_ids
from study.language.values.objective import (
    FullLM,
    Packing,
    PrefixLM,
    Prompted,
    SpanCorruption,
    objective_short,
)

GOLDEN = Path(__file__).parents[3] / "golden" / "batch_digests.json"
ARCHITECTURES = ("causal_decoder", "prefix_decoder", "encoder_decoder")
TEXT = (
    FullLM(length=64),
    PrefixLM(length=64),
    SpanCorruption(raw_length=64, noise_density=0.15, mean_span=3.0),
)
PROMPTED = Prompted(inputs=48, targets=12)
PACKINGS = tuple(
    Packing(document_masking=masking, eos_between=eos)
    for masking in (False, True)
    for eos in (False, True)
)
SENTINELS = sentinel_ids(vocab_size=40_000, sentinels=20)
grid = pytest.mark.parametrize("architecture", ARCHITECTURES)
objectives = pytest.mark.parametrize("objective", TEXT, ids=objective_short)


def recipe(architecture, objective, packing=PACKINGS[1], **changed) -> Recipe:
    values = {"batch_size": 6, "seed": 3, "sentinels": SENTINELS} | changed
    return Recipe(architecture=architecture, objective=objective, packing=packing, **values)


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> TokenShards:
    """300 documents in which no token occurs twice."""
    rng = np.random.default_rng(0)
    bounds = np.cumsum([10, *rng.integers(0, 90, 300)])
    documents = [np.arange(a, b) for a, b in pairwise(bounds)]
    return write_shards(tmp_path_factory.mktemp("tokens"), documents, 40_000)


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> ExampleShards:
    """Three tasks; every token says which example it is of."""
    rng = np.random.default_rng(1)
    counts = (30, 50, 20)
    sizes = [(int(rng.integers(5, 48)), int(rng.integers(1, 6))) for _ in range(sum(counts))]
    directory = tmp_path_factory.mktemp("examples")
    return ExampleShards(
        inputs=write_shards(
            directory / "inputs", (np.full(n, 100 + i) for i, (n, _) in enumerate(sizes)), 1000
        ),
        targets=write_shards(
            directory / "targets",
            (np.array([500 + i] * (m - 1) + [END_OF_SEQUENCE]) for i, (_, m) in enumerate(sizes)),
            1000,
        ),
        tasks=["a", "b", "c"],
        rates=np.array([0.6, 0.3, 0.1]),
        order=np.arange(100),
        starts=np.concatenate([[0], np.cumsum(counts)]),
    )


def text_of(batch: Batch) -> Counter:
    """Source tokens in a batch, on whichever side; starts, ends, sentinels and padding left out."""
    seen: list[int] = batch.tokens.flatten().tolist() + batch.labels[batch.loss_mask].tolist()
    if batch.source is not None:
        seen += batch.source.tokens.flatten().tolist()
    return Counter(set(seen) - {PAD, END_OF_SEQUENCE} - set(SENTINELS))


def alone(batch: Batch) -> list[int]:
    """Labels of a full-LM batch that are a segment of their own."""
    return [
        int(row_labels[row_segments == number])
        for row_labels, row_segments in zip(batch.labels, batch.segments, strict=True)
        for number in range(1, int(row_segments.max()) + 1)
        if int((row_segments == number).sum()) == 1
    ]


@grid
@objectives
@pytest.mark.parametrize("packing", PACKINGS, ids=str)
def test_a_batch_depends_on_seed_and_step_only(shards, architecture, objective, packing):
    made = recipe(architecture, objective, packing)
    going = text_batches(shards, recipe=made)
    digests = [going.digest(going.batch(step)) for step in range(5)]
    assert len(set(digests)) == 5
    restarted = text_batches(TokenShards.open(shards.directory), recipe=made)
    assert [restarted.digest(restarted.batch(step)) for step in (4, 1, 4)] == [
        digests[step] for step in (4, 1, 4)
    ]
    other = text_batches(shards, recipe=replace(made, seed=4))
    assert other.digest(other.batch(0)) != digests[0]


def test_a_restart_at_the_end_of_an_epoch_goes_on_with_the_next(shards):
    """Before, across and after the end: never the beginning of the same epoch again."""
    made = recipe("causal_decoder", FullLM(length=64))
    going = text_batches(shards, recipe=made)
    epoch = shards.num_tokens + shards.num_documents  # an end of sequence after each
    across = epoch // (64 * 6)
    assert epoch % (64 * 6)
    digests = [going.digest(going.batch(step)) for step in range(2 * across)]
    assert len(set(digests)) == len(digests)
    for step in (across - 1, across, across + 1):
        restarted = text_batches(TokenShards.open(shards.directory), recipe=made)
        assert restarted.digest(restarted.batch(step)) == digests[step]


@grid
@objectives
def test_a_chunk_is_cut_and_corrupted_alike_in_whatever_batch_it_lies(
    shards, architecture, objective
):
    made = recipe(architecture, objective, PACKINGS[0])
    small = text_batches(shards, recipe=made)
    large = text_batches(shards, recipe=replace(made, batch_size=18)).batch(1)
    rows = small.batch(0).num_rows
    for step in range(3):
        part = large.rows(step * rows, (step + 1) * rows)
        assert part.digest() == small.batch(3 + step).digest()


@grid
@objectives
@pytest.mark.parametrize("packing", PACKINGS, ids=str)
def test_cells_read_the_same_text(shards, architecture, objective, packing):
    """Every cell with one raw length gets the same tokens in a step, and loses none of them."""
    plain = text_batches(shards, recipe=recipe("causal_decoder", TEXT[0], packing))
    made = text_batches(shards, recipe=recipe(architecture, objective, packing))
    for step in (0, 7):
        whole = plain.batch(step)
        missing = text_of(whole) - text_of(made.batch(step))
        assert not text_of(made.batch(step)) - text_of(whole)
        if isinstance(objective, PrefixLM) and packing.document_masking:
            # A document of one token is an input that no position of a decoder reads or predicts.
            missing -= Counter(alone(whole))
        assert not missing


@grid
@objectives
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_no_target_is_visible_before_it_is_predicted(shards, architecture, objective, data):
    packing = data.draw(st.sampled_from(PACKINGS))
    seed, step = data.draw(st.integers(0, 99)), data.draw(st.integers(0, 99))
    made = text_batches(shards, recipe=recipe(architecture, objective, packing, seed=seed))
    batch = made.batch(step)
    texts = set(range(2, SENTINELS[-1]))
    own = batch.visibility.dense()
    for row, position in batch.loss_mask.nonzero().tolist():
        label = int(batch.labels[row, position])
        if label not in texts:
            continue  # Sentinels and ends of sequence occur more than once by right.
        assert label not in batch.tokens[row][own[row, position]].tolist()
        if batch.source is not None:
            assert label not in batch.source.tokens[row].tolist()


@grid
@objectives
def test_shapes_are_the_objective_s(shards, architecture, objective):
    batch = text_batches(shards, recipe=recipe(architecture, objective, PACKINGS[0])).batch(0)
    decoder = architecture != "encoder_decoder"
    short = objective_short(objective)
    noise, spans = TEXT[2].noise()
    wanted = {
        "FLM": (6, 64, 1),
        "PLM": (6, 64, None) if decoder else (3, 64, 64),
        "MLM": (6, 64 + 2 * spans + 2, None)
        if decoder
        else (6, noise + spans + 1, 64 - noise + spans + 1),
    }[short]
    assert tuple(batch.tokens.shape) == wanted[:2]
    if batch.source is not None:
        assert batch.source.tokens.shape[1] == wanted[2]
    if short != "FLM":
        full = batch.segments.ne(0).all()
        assert full, "without document masking no position is padding"


def test_the_pair_of_an_encoder_decoder_s_prefix_lm_is_split_as_in_the_paper(shards):
    made = recipe("encoder_decoder", TEXT[1], PACKINGS[0], batch_size=5)
    batch = text_batches(shards, recipe=made).batch(0)
    assert batch.source is not None
    assert batch.num_rows == 3, "an odd chunk gets a row of its own"
    for row in range(2):
        first = int((batch.source.segments[row] == 1).sum())
        assert int((batch.segments[row] == 1).sum()) == 64 - first
        assert int((batch.source.segments[row] == 2).sum()) == 64 - first
        assert int((batch.segments[row] == 2).sum()) == first


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_grow_under_document_masking_and_nothing_is_cut(shards, architecture):
    packing = Packing(document_masking=True, eos_between=True)
    made = text_batches(shards, recipe=recipe(architecture, TEXT[2], packing, batch_size=16))
    plain = 64 + 2 * TEXT[2].noise()[1] + 2
    lengths = set()
    for step in range(10):
        batch = made.batch(step)
        lengths.add(batch.tokens.shape[1])
        if architecture != "encoder_decoder":
            longest = int(batch.segments.ne(0).sum(1).max())
            assert batch.tokens.shape[1] == max(plain, -(-longest // GROWTH) * GROWTH)
    if architecture != "encoder_decoder":
        assert max(lengths) > plain


@grid
def test_prompted_batches_depend_on_seed_and_step_only(examples, architecture):
    made = recipe(architecture, PROMPTED, None)
    going, restarted = (prompted_batches(examples, recipe=made) for _ in range(2))
    digests = [going.digest(going.batch(step)) for step in range(4)]
    assert [restarted.digest(restarted.batch(step)) for step in (3, 0)] == [digests[3], digests[0]]
    assert len(set(digests)) == 4
    shape = (6, 12) if architecture == "encoder_decoder" else (6, 60)
    assert tuple(going.batch(0).tokens.shape) == shape


def test_all_architectures_train_on_the_same_examples(examples):
    batches = [
        prompted_batches(examples, recipe=recipe(architecture, PROMPTED, None)).batch(5)
        for architecture in ARCHITECTURES
    ]
    assert len({batch.loss_tokens for batch in batches}) == 1
    assert len({batch.content_tokens for batch in batches}) == 1
    labels = [sorted(batch.labels[batch.loss_mask].tolist()) for batch in batches]
    assert labels[0] == labels[1] == labels[2]


def test_tasks_are_sampled_by_their_rates(examples):
    made = prompted_batches(examples, recipe=recipe("encoder_decoder", PROMPTED, None))
    counts = np.zeros(3)
    for step in range(200):
        source = made.batch(step).source
        assert source is not None
        firsts = (source.positions == 0) & (source.segments > 0)
        names = source.tokens[firsts].numpy() - 100
        counts += np.bincount(np.searchsorted([30, 80], names, side="right"), minlength=3)
    assert np.allclose(counts / counts.sum(), [0.6, 0.3, 0.1], atol=0.03), counts


def test_what_does_not_fit_together_is_refused(shards, examples):
    with pytest.raises(ValueError, match="text needs a packing and a text objective"):
        text_batches(shards, recipe=recipe("causal_decoder", PROMPTED, None))
    with pytest.raises(ValueError, match="under FullLM; legal: Prompted"):
        prompted_batches(examples, recipe=recipe("causal_decoder", TEXT[0]))
    short = recipe("causal_decoder", Prompted(inputs=8, targets=12), None)
    with pytest.raises(ValueError, match="legal: at most 8 and 12"):
        prompted_batches(examples, recipe=short).batch(0)


@objectives
def test_validation_is_fixed_and_reads_no_token_twice(shards, objective):
    made = recipe("prefix_decoder", objective)
    first = validation_batches(shards, recipe=made, count=10_000)
    again = validation_batches(shards, recipe=replace(made, seed=99), count=10_000)
    assert [batch.digest() for batch in first] == [batch.digest() for batch in again]
    seen = sum((text_of(batch) for batch in first), Counter())
    assert max(seen.values()) == 1
    epoch = shards.num_tokens + shards.num_documents
    assert epoch - 64 < 64 * sum(batch.num_rows for batch in first) <= epoch
    assert [b.digest() for b in validation_batches(shards, recipe=made, count=2)] == [
        batch.digest() for batch in first[:2]
    ]


def test_validation_covers_the_same_text_at_any_batch_size(shards):
    def text(batch_size: int) -> Counter:
        made = recipe("causal_decoder", TEXT[0], batch_size=batch_size)
        batches = validation_batches(shards, recipe=made, count=12 // batch_size)
        return sum((text_of(batch) for batch in batches), Counter())

    assert text(6) == text(4) == text(12)


def test_a_held_out_text_shorter_than_a_chunk_still_makes_a_batch(tmp_path):
    few = write_shards(tmp_path, [np.arange(10, 20)], 100)
    (batch,) = validation_batches(few, recipe=recipe("causal_decoder", TEXT[0]), count=4)
    assert tuple(batch.tokens.shape) == (1, 64)


def test_prompted_validation_is_fixed(examples):
    made = recipe("causal_decoder", PROMPTED, None)
    first = validation_batches(examples, recipe=made, count=3)
    again = validation_batches(examples, recipe=replace(made, seed=99), count=3)
    assert len(first) == 3
    assert [batch.digest() for batch in first] == [batch.digest() for batch in again]


def digests(shards: TokenShards, examples: ExampleShards) -> dict[str, str]:
    found = {}
    for architecture in ARCHITECTURES:
        for objective in TEXT:
            for packing in (PACKINGS[1], PACKINGS[3]):
                made = text_batches(shards, recipe=recipe(architecture, objective, packing))
                kept = "apart" if packing.document_masking else "joined"
                name = f"{architecture} {objective_short(objective)} {kept}"
                found[name] = made.batch(2).digest()
        made = prompted_batches(examples, recipe=recipe(architecture, PROMPTED, None))
        found[f"{architecture} MTF"] = made.batch(2).digest()
    return found


def test_batches_are_what_they_were(shards, examples, tmp_path):
    """A change here changes results: raise `SEMANTICS` of the run kinds, then renew the file."""
    found = digests(shards, examples)
    renewed = tmp_path / GOLDEN.name
    renewed.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert found == json.loads(GOLDEN.read_text()), f"the digests found are in {renewed}"
