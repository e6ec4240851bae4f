"""A context is computed once for all its targets, in bounded memory, and nothing else enters it."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from made_scores import ARCHITECTURES, LEFT, oracle, requests, subject, tiny

from study.language.layout import layout
from study.language.model.check import MIXERS
from study.language.scores import scorer
from study.language.scores.passes import Piece, Work
from study.language.scores.score import Request, Subject, score
from study.language.scores.scorer import beginnings

ASKED = [
    Request(context=[5, 6, 7, 8, 9, 10], targets=[[11, 12], [13], [14, 15, 16]]),
    Request(context=[20, 21, 22], targets=[[23], [24, 25]]),
    # the first context again, under another request
    Request(context=[5, 6, 7, 8, 9, 10], targets=[[30], [11, 12]]),
]
CONTEXTS = 6 + 3
TEXT = [5, 6, 7, 8, 9, 10, 11, 12]
TARGETS = [[13, 14], [15]]
PROMPTS = [
    Request(context=context, targets=TARGETS)
    for context in (TEXT, [*TEXT, 20, 21], [*TEXT, 22, 23, 24, 25, 26], [30, 31, 32])
]


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


@pytest.mark.parametrize("positions", ["rope", "t5_bias", "t5_bias_paper", "none"])
def test_a_common_beginning_is_computed_once_by_a_causal_decoder(positions):
    one = subject("causal_decoder", positions=positions, batch_tokens=1)
    counts = positions_read(one.model)
    found = score(one, PROMPTS, scoring=LEFT)
    # a text of 8, what follows it in three prompts (one token at least), and a context apart
    shared, own = (1 + 7) + (1 + 3 + 6) + (1 + 3), sum(map(len, TARGETS)) * len(PROMPTS)
    assert (one.work.shared, one.work.own, one.work.whole) == (shared, own, 0)
    assert sum(counts) == shared + own == one.work.padded
    exact = tiny("causal_decoder", positions=positions).double()
    for request, row in zip(PROMPTS, found, strict=True):
        for target, answer in zip(TARGETS, row, strict=True):
            expected = sum(oracle(exact, "causal_decoder", list(request.context), target))
            assert answer.log_likelihood(LEFT) == pytest.approx(expected, rel=1e-6, abs=0.0)


@pytest.mark.parametrize("batch_tokens", [1, 50, 9999])
def test_beginnings_of_many_texts_agree_with_an_oracle(batch_tokens):
    """Texts, prompts and targets of all lengths share batches; each keeps its own beginning."""
    draw = random.Random(5)
    token = lambda: draw.randrange(2, 41)  # noqa: E731
    texts = [[token() for _ in range(draw.randrange(4, 12))] for _ in range(6)]
    asked = [
        Request(
            context=text + [token() for _ in range(draw.randrange(5))],
            targets=[[token() for _ in range(draw.randrange(1, 4))] for _ in range(2)],
        )
        for text in texts
        for _ in range(4)
    ]
    one = subject("causal_decoder", batch_tokens=batch_tokens)
    exact = tiny("causal_decoder").double()
    for request, row in zip(asked, score(one, asked, scoring=LEFT), strict=True):
        for target, answer in zip(request.targets, row, strict=True):
            expected = sum(oracle(exact, "causal_decoder", list(request.context), target))
            assert answer.log_likelihood(LEFT) == pytest.approx(expected, rel=1e-6, abs=0.0)
    whole = {tuple(request.context) for request in asked}
    assert one.work.shared < 0.7 * sum(len(context) + 1 for context in whole)


@pytest.mark.parametrize(
    ("architecture", "mixer"),
    [("prefix_decoder", "attention"), ("encoder_decoder", "attention"), ("causal_decoder", "ssd")],
)
def test_where_a_beginning_sees_what_follows_it_is_read_anew(architecture, mixer):
    one = subject(architecture, mixer=mixer, batch_tokens=1)
    score(one, PROMPTS, scoring=LEFT)
    start = architecture != "encoder_decoder"
    assert one.work.shared == sum(len(request.context) + start for request in PROMPTS)


def test_beginnings():
    text = (5, 6, 7, 8)
    assert beginnings([(*text, 1), (*text, 2, 3), (9, 9)]) == {text: [(*text, 1), (*text, 2, 3)]}
    # the whole of one: its last token is read anew, so that there is something to go on with
    assert beginnings([text, (*text, 2)]) == {text[:3]: [text, (*text, 2)]}
    # too little in common for a pass of its own
    assert beginnings([(5, 1, 1), (5, 2, 2), (5, 3, 3)]) == {}
    assert beginnings([(5,), (5, 6, 7, 8), ()]) == {}
    # neighbours with less in common do not spoil a group
    assert beginnings([(5, 1, 1), (*text, 1), (*text, 2), (5, 9, 9)]) == {
        text: [(*text, 1), (*text, 2)]
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_long_convolution_shares_where_it_can(architecture):
    one = subject(architecture, mixer="monarch", batch_tokens=1)
    score(one, ASKED, scoring=LEFT)
    assert (one.work.shared > 0) == (architecture == "encoder_decoder")
    assert (one.work.whole > 0) != (architecture == "encoder_decoder")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_memory_does_not_grow_with_the_number_of_requests(architecture, monkeypatch):
    monkeypatch.setattr(scorer, "LOGITS", 41 * 12)
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
    from study.language.layout import Segment
    from study.language.model.continuation import flush_right, own_half

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


def _scorer(*, most=1000, equal_lengths=False):
    """Of a model that reads a context's tokens, and all of a target's but its last."""
    passes: Any = SimpleNamespace(
        limit=most,
        equal_lengths=equal_lengths,
        widths=lambda one: (len(one.context), len(one.wanted) - 1),
    )
    return scorer.Scorer(
        passes=passes, batch_tokens=most, share=True, work=Work(), progress=lambda _: None
    )


def test_what_a_pass_computes_is_counted_with_its_padding():
    batch = [Piece((5, 6), (7, 8)), Piece((5, 6, 7, 8), (9, 10, 11, 1))]
    one = _scorer()
    one._count(batch, kind="whole")
    assert one.work == Work(whole=3 + 7, padded=2 * (4 + 3), passes=1, widest=14)
    one._count(batch, kind="own")
    assert one.work == Work(whole=10, own=1 + 3, padded=14 + 2 * 3, passes=2, widest=14)


def test_contexts_are_of_one_length_where_a_model_needs_it():
    contexts = [(4,), (5, 6), (7, 8), (9,), (1, 2, 3)]
    assert list(_scorer()._contexts(contexts)) == [[(4,), (9,), (5, 6), (7, 8), (1, 2, 3)]]
    alike = list(_scorer(equal_lengths=True)._contexts(contexts))
    assert alike == [[(4,), (9,)], [(5, 6), (7, 8)], [(1, 2, 3)]]


@pytest.mark.parametrize(
    ("widths", "most", "expected"),
    [
        ([4] * 7, 12, [[4, 4, 4], [4, 4, 4], [4]]),
        ([40], 12, [[40]]),
        # of 160 positions at most 10 are padding, in the first pass as in those after it
        ([5, 15], 160, [[5, 15]]),
        ([5, 16], 160, [[5], [16]]),
        ([1, 12, 22], 160, [[1], [12, 22]]),
        ([1, 12, 23], 160, [[1], [12], [23]]),
    ],
)
def test_a_pass_has_so_many_positions_and_so_much_padding(widths, most, expected):
    for place in (0, 1):
        pairs = [(size, 0) if place else (0, size) for size in widths]
        found = list(scorer._batches(pairs, lambda one: one, most))
        assert [[sum(one) for one in batch] for batch in found] == expected
