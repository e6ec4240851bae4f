"""Whose data a run's batches hold: its corpus's train part; for validation, what was held out."""

import numpy as np
import pytest
import tiny_runs

from study.language.data.corpus import OpenCorpus
from study.language.data.examples import ExampleShards
from study.language.data.shards import write_shards
from study.language.learner import open_batches
from study.language.values.objective import FullLM, Prompted


class Words:
    """What a feed asks of a tokenizer."""

    vocab_size, num_sentinels = 320, 16


def _examples(directory, *, first, lengths):
    """One task; example n holds the token first + n, lengths[n] times, and one of its targets."""
    inputs = (np.full(size, first + n) for n, size in enumerate(lengths))
    targets = (np.array([first + n, 1]) for n in range(len(lengths)))
    return ExampleShards(
        inputs=write_shards(directory / "inputs", inputs, 1000),
        targets=write_shards(directory / "targets", targets, 1000),
        tasks=["a"],
        rates=np.ones(1),
        order=np.arange(len(lengths)),
        starts=np.array([0, len(lengths)]),
    )


def _corpus(train, held_out):
    return OpenCorpus(tokenizer=Words(), train=train, held_out=held_out, summary={})  # type: ignore[arg-type]


def _tokens(batches):
    return {int(token) for batch in batches for token in batch.labels[batch.loss_mask].unique()}


@pytest.fixture
def tuned():
    parent = tiny_runs.pretrain(4)
    return tiny_runs.finetune(parent, parent_step=4, objective=Prompted(inputs=8, targets=4))


def test_a_mixture_trains_on_its_train_part_and_is_validated_on_what_was_held_out(tmp_path, tuned):
    train = _examples(tmp_path / "train", first=100, lengths=[3, 8, 9, 5, 4])
    held_out = _examples(tmp_path / "held_out", first=200, lengths=[9, 4, 3])
    fed = open_batches(tuned, corpus=_corpus(train, held_out))
    assert _tokens([fed.batches.batch(step) for step in range(8)]) == {1, 100, 101, 103, 104}
    assert _tokens(fed.validation) == {1, 201, 202}, "all that fits, and nothing else"
    assert len(fed.validation) == 16
    assert fed.left_out == {
        "train": {"kept": 4, "inputs_too_long": 1, "targets_too_long": 0},
        "held_out": {"kept": 2, "inputs_too_long": 1, "targets_too_long": 0},
    }


def test_text_is_validated_on_what_was_held_out(tmp_path):
    run = tiny_runs.pretrain(2, objective=FullLM(length=8))
    train = write_shards(tmp_path / "train", [np.arange(100, 200)], 320)
    held_out = write_shards(tmp_path / "held_out", [np.arange(200, 240)], 320)
    fed = open_batches(run, corpus=_corpus(train, held_out))
    assert _tokens([fed.batches.batch(step) for step in range(3)]) <= {1, *range(100, 200)}
    assert _tokens(fed.validation) == set(range(200, 240)), "its five whole chunks"


def test_a_child_reads_the_text_from_the_first_whole_chunk_after_its_parent_s(tmp_path):
    """A parent of 3 steps of 4 rows of 10 has read 120 tokens; chunks of 36 go on at the fourth,
    from 144 on, and its own second step 4 chunks later.
    """
    parent = tiny_runs.pretrain(4, objective=FullLM(length=10))
    child = tiny_runs.adapt(parent, parent_step=3, objective=FullLM(length=36))
    text = write_shards(tmp_path / "train", [np.arange(2, 700)], 1000)
    held_out = write_shards(tmp_path / "held_out", [np.arange(2, 40)], 1000)
    fed = open_batches(child, corpus=_corpus(text, held_out))
    firsts = [fed.batches.batch(step).labels[0, 0].item() for step in (0, 1)]
    assert firsts == [2 + 4 * 36, 2 + 8 * 36]
    assert fed.validation[0].labels[0, 0].item() == 2, "held-out text is read from its beginning"


def test_a_stage_draws_on_where_its_lineage_stopped(tmp_path, tuned):
    """The finetuning's first step is the lineage's fifth: no draw of the mixture is repeated."""
    train = _examples(tmp_path / "train", first=100, lengths=[3, 2, 4, 5, 4])
    corpus = _corpus(train, _examples(tmp_path / "held_out", first=200, lengths=[3]))
    longer = tiny_runs.finetune(tuned, parent_step=2, objective=tuned.objective)
    first, second = open_batches(tuned, corpus=corpus), open_batches(longer, corpus=corpus)
    assert second.batches.batch(1).digest() == first.batches.batch(3).digest()
    assert second.batches.batch(1).digest() != first.batches.batch(1).digest()


def test_without_held_out_rows_nothing_is_validated(tmp_path, tuned):
    train = _examples(tmp_path / "train", first=100, lengths=[3])
    fed = open_batches(
        tuned, corpus=_corpus(train, _examples(tmp_path / "none", first=200, lengths=[]))
    )
    assert fed.validation == []
    assert fed.left_out.keys() == {"train"}
