"""A context is computed once for all its targets, in bounded memory, and nothing else enters it."""

import sys
from pathlib import Path

import pytest
import torch

from eval import passes
from eval.score import Request, Subject, score
from study.check import MIXERS
from study.layout import layout

sys.path.insert(0, str(Path(__file__).parent))
from test_score import ARCHITECTURES, LEFT, requests, subject, tiny

ASKED = [
    Request(context=[5, 6, 7, 8, 9, 10], targets=[[11, 12], [13], [14, 15, 16]]),
    Request(context=[20, 21, 22], targets=[[23], [24, 25]]),
    # the first context again, under another request
    Request(context=[5, 6, 7, 8, 9, 10], targets=[[30], [11, 12]]),
]
CONTEXTS = 6 + 3


def positions_read(model):
    """Counts what goes through the model's embedding, in the model's own calls."""
    counts = []
    model.embedding.register_forward_hook(lambda _, inputs, __: counts.append(inputs[0].numel()))
    return counts


@pytest.mark.parametrize("mixer", ["attention", "ssd"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_context_is_computed_once_for_all_its_targets(architecture, mixer):
    one = subject(architecture, mixer=mixer, batch_tokens=1)  # so that nothing is padded
    counts = positions_read(one.model)
    score(one, ASKED, scoring=LEFT)
    targets = [(11, 12), (13,), (14, 15, 16), (23,), (24, 25), (30,)]
    if architecture == "encoder_decoder":
        shared, own = CONTEXTS, sum(len(each) + 1 for each in targets)
    else:
        # two start tokens, and of each target what its end of sequence is predicted from
        shared, own = CONTEXTS + 2, sum(map(len, targets))
    assert (one.work.shared, one.work.own, one.work.whole) == (shared, own, 0)
    assert sum(counts) == shared + own == one.work.padded
    assert one.work.passes == 2 + len(targets)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_long_convolution_shares_where_it_can(architecture):
    one = subject(architecture, mixer="monarch", batch_tokens=1)
    score(one, ASKED, scoring=LEFT)
    assert (one.work.shared > 0) == (architecture == "encoder_decoder")
    assert (one.work.whole > 0) != (architecture == "encoder_decoder")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_memory_does_not_grow_with_the_number_of_requests(architecture, monkeypatch):
    monkeypatch.setattr(passes, "LOGITS", 41 * 12)
    largest, read = [], []
    for number in (6, 60):
        one = subject(architecture, batch_tokens=120)
        counts = positions_read(one.model)
        sizes, logits = [], one.model.logits

        def watched(hidden, logits=logits, sizes=sizes):
            sizes.append(len(hidden))
            return logits(hidden)

        one.model.logits = watched
        score(one, requests(number), scoring=LEFT)
        assert one.work.widest <= 120
        assert max(counts) <= 120
        largest.append(max(sizes))
        read.append(sum(counts))
    assert all(each == 12 for each in largest)
    assert read[1] > 5 * read[0]


@pytest.mark.parametrize(
    "kind", [{"positions": "t5_bias"}, *({"mixer": each} for each in MIXERS)], ids=str
)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_other_requests_never_change_a_score(architecture, kind):
    """Other contexts and targets of the same lengths: the same batches, and the same bits."""
    one = subject(architecture, **kind)
    before = score(one, [*ASKED, *requests(4)], scoring=LEFT)[:3]
    others = [
        Request(
            context=[token % 38 + 2 for token in each.context],
            targets=[[token % 38 + 2 for token in target] for target in each.targets],
        )
        for each in requests(4)
    ]
    assert others != requests(4)
    after = score(one, [*ASKED, *others], scoring=LEFT)[:3]
    assert before == after


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batches_order_and_cache_never_change_a_choice(architecture):
    asked = requests(10)

    def choices(asked, **options):
        found = score(
            Subject(model=model, architecture=architecture, max_length=64, **options),
            asked,
            scoring=LEFT,
        )
        values = [[each.log_likelihood(LEFT) for each in row] for row in found]
        return [row.index(max(row)) for row in values], values

    model = tiny(architecture, positions="rope")
    expected, values = choices(asked, batch_tokens=1, contexts="apart")
    for options in (
        {"batch_tokens": 1},
        {"batch_tokens": 100},
        {"batch_tokens": 9999},
        {"batch_tokens": 9999, "contexts": "apart"},
    ):
        for order in (1, -1):
            found, others = choices(asked[::order], **options)
            assert found == expected[::order]
            assert torch.allclose(
                torch.tensor(others), torch.tensor(values[::order]), rtol=1e-6, atol=0.0
            )


def test_a_caller_is_never_left_in_inference_mode():
    seen = []
    one = Subject(
        model=tiny("causal_decoder"),
        architecture="causal_decoder",
        max_length=64,
        batch_tokens=20,
        watch=lambda done, asked: seen.append((done, torch.is_inference_mode_enabled())),
    )
    score(one, ASKED, scoring=LEFT)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert not any(inside for _, inside in seen)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_without_incremental_state_is_read_anew(architecture):
    class Plain(torch.nn.Module):
        """hidden and logits, and no more."""

        def __init__(self):
            super().__init__()
            self.inner = tiny(architecture)

        def hidden(self, batch):
            return self.inner.hidden(batch)

        def logits(self, hidden):
            return self.inner.logits(hidden)

    plain = Subject(model=Plain(), architecture=architecture, max_length=64, batch_tokens=999)
    shared = subject(architecture, batch_tokens=999)
    for row, other in zip(
        score(plain, ASKED, scoring=LEFT), score(shared, ASKED, scoring=LEFT), strict=True
    ):
        for mine, theirs in zip(row, other, strict=True):
            assert mine.log_likelihood(LEFT) == pytest.approx(theirs.log_likelihood(LEFT), rel=1e-6)
    assert plain.work.shared == 0 < shared.work.shared


def test_a_half_of_a_batch_is_the_whole_batchs():
    """Tokens and positions of the own half are the ones that `layout` gave."""
    from study.continuation import flush_right, own_half
    from study.layout import Segment

    def segment(context, target):
        arrays = [torch.tensor(each, dtype=torch.int32).numpy() for each in (context, target)]
        return (Segment(inputs=arrays[0], targets=arrays[1]),)

    laid = layout(
        [segment([5, 6, 7], [8, 9, 1]), segment([], [4, 1])], architecture="prefix_decoder"
    )
    half = own_half(laid, shared=torch.tensor([4, 1]), width=6)
    assert half.tokens.tolist() == [[8, 9], [4, 0]]
    assert half.positions.tolist() == [[4, 5], [1, 0]]
    assert half.visibility.start.tolist() == [[2, 2], [5, 7]]
    assert half.visibility.end.tolist() == [[7, 8], [7, 7]]
    flushed = flush_right(laid)
    assert flushed.tokens.tolist() == [[0, 5, 6, 7, 8, 9], [0, 0, 0, 0, 0, 4]]
    assert flushed.visibility.start.tolist()[1] == [4, 4, 4, 4, 4, 4]
    assert flushed.visibility.end.tolist()[1] == [4, 4, 4, 4, 5, 6]
