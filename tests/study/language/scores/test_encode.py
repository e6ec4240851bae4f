"""Where a context ends and its target begins, by every option, and what no text may break."""

import math
from dataclasses import replace

import pytest
from checkpoints import TEXTS
from lm_eval.api.instance import Instance
from made_scores import ARCHITECTURES, LEFT, subject, tiny

from study.language.data.tokenizer import train
from study.language.scores.encode import encode_pairs
from study.language.scores.lm import StudyLM
from study.language.scores.score import Ids, Request, Subject, score
from study.language.values.conventions import (
    CONVENTIONS,
    LM_EVAL,
    PAPER,
    STUDY,
    convention,
    options,
)
from study.language.values.suite import Scoring
from study.runs.identity import canonical


@pytest.fixture(scope="module")
def tokenizer():
    return train(TEXTS, vocab_size=330, sentinels=4)


def encoded(tokenizer, *pair, architecture="causal_decoder", **changes):
    scoring = replace(STUDY, **changes)
    (found,) = encode_pairs([pair], tokenizer=tokenizer, architecture=architecture, scoring=scoring)
    return found


def text(tokenizer, found):
    return tokenizer.decode(found.context), tokenizer.decode(found.target)


def test_spaces_move_or_stay_as_the_option_says(tokenizer):
    pair = ("is it so? \n ", "yes")
    expected = {
        "move": ("is it so? \n", " yes"),
        "move_whitespace": ("is it so?", " \n yes"),
        "keep": ("is it so? \n ", "yes"),
    }
    for option, parts in expected.items():
        assert text(tokenizer, encoded(tokenizer, *pair, spaces=option)) == parts


def test_a_token_across_the_border_has_a_rule_and_is_counted(tokenizer):
    assert len(tokenizer.encode(" is")) == 1
    pair = ("a masterpiece i", "s what it is")
    joint = encoded(tokenizer, *pair, encoding="joint")
    assert joint.spanning
    assert not joint.reencoded
    assert joint.context == tuple(tokenizer.encode(pair[0]))
    assert joint.target == tuple(tokenizer.encode("".join(pair))[len(joint.context) :])
    apart = encoded(tokenizer, *pair)
    assert apart.target == tuple(tokenizer.encode(pair[1]))
    assert not apart.spanning
    # an encoder-decoder has two texts
    assert encoded(tokenizer, *pair, encoding="joint", architecture="encoder_decoder") == apart


def test_a_target_that_the_border_swallows_is_encoded_apart(tokenizer):
    pair = ("a masterpiece i", "s")
    assert len(tokenizer.encode("".join(pair))) <= len(tokenizer.encode(pair[0]))
    found = encoded(tokenizer, *pair, encoding="joint")
    assert found.reencoded
    assert found.spanning
    assert found.target == tuple(tokenizer.encode("s"))


STRANGE = [
    ("naïve 日本 🙂", " 🙂 ümlaut"),
    ("a ||| in a field", " ||| and |||"),
    ("</s> <pad> <extra_id_0>", "</s>"),
    ("\u200b\u202e", "\x00\ufeff"),
    ("", "after nothing"),
    ("   ", "after spaces"),
    ("\n\n", "after lines"),
    ("the context is all", ""),
    ("the context is all ", " "),
    ("", ""),
    ("far too long " * 80, "yes"),
    ("yes", "far too long " * 80),
    ("e", "\u0301"),
]


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_text_ends_a_run(tokenizer, architecture, name):
    """Strange texts get a score or are invalid, alone or among others, and no error."""
    big = Subject(
        model=_wide(architecture, tokenizer.vocab_size),
        architecture=architecture,
        max_length=40,
        batch_tokens=200,
    )
    lm = StudyLM(big, tokenizer=tokenizer, scoring=CONVENTIONS[name])
    asked = [
        Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in STRANGE
    ]
    found = dict(zip(STRANGE, lm.loglikelihood(asked), strict=True))
    for pair, (value, _) in found.items():
        empty_or_long = not pair[1] or pair[1].startswith("far too long")
        assert math.isfinite(value) != empty_or_long, pair
        assert value < 0.0
        assert not math.isnan(value)
    assert lm.scored(*STRANGE[-3]).truncated > 0
    # no special token was read out of a text
    assert not {0, 1} & set(lm.encoded(*STRANGE[2]).context)


def _wide(architecture, vocabulary):
    from study.language.model.build import build

    shape = replace(tiny(architecture).shape, vocab_size=vocabulary)
    return build(shape, dropout=0.0, seed=0).eval()


def test_an_empty_context_is_the_start_or_a_prefix_token():
    one = subject("causal_decoder")
    asked = [Request(context=[], targets=[[7, 8]]), Request(context=[1], targets=[[7, 8]])]
    (start,), (prefix,) = score(one, asked, scoring=LEFT)
    empty = replace(LEFT, start="empty")
    (first,), (second,) = score(one, asked, scoring=empty)
    assert first == second
    near = pytest.approx(prefix.target_log_likelihood, rel=1e-6)  # other batches
    assert first.target_log_likelihood == near != start.target_log_likelihood
    # a target that begins with the prefix token has it as its context (lm-eval's rule)
    ((own,),) = score(one, [Request(context=[], targets=[[1, 7, 8]])], scoring=empty)
    assert own.target_log_likelihood == near
    assert own.tokens == 2


def test_a_start_token_of_the_rules_is_never_cut_off():
    one = subject("causal_decoder", max_length=8)
    foreign = Subject(
        model=one.model,
        architecture="causal_decoder",
        max_length=8,
        batch_tokens=999,
        ids=Ids(end=1, prefix=33, start=33),
    )
    context = list(range(2, 22))
    ((cut,),) = score(foreign, [Request(context=context, targets=[[30]])], scoring=LEFT)
    # the study's own start token comes before all of it here
    wide = subject("causal_decoder", max_length=64)
    ((same,),) = score(wide, [Request(context=[33, *context[-6:]], targets=[[30]])], scoring=LEFT)
    assert cut.truncated == 14
    assert cut.target_log_likelihood == same.target_log_likelihood


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_is_read_may_be_as_long_as_the_limit(side):
    """lm-eval: context and target have one token more than is read, and no end of sequence."""
    scoring = replace(LM_EVAL, truncation=side)
    context, target = list(range(2, 22)), [30, 31]
    one = subject("causal_decoder", max_length=8)
    ((cut, long, too_long),) = score(
        one, [Request(context=context, targets=[target, [5] * 8, [5] * 9])], scoring=scoring
    )
    kept = context[-7:] if side == "left" else context[:7]
    whole = subject("causal_decoder", max_length=64)
    ((same,),) = score(whole, [Request(context=kept, targets=[target])], scoring=scoring)
    assert cut.truncated == 13
    assert cut.target_log_likelihood == pytest.approx(same.target_log_likelihood, rel=1e-6)
    assert math.isnan(cut.end_log_likelihood)
    assert cut.valid
    assert long.truncated == 19
    assert long.valid
    assert not too_long.valid
    both = subject("encoder_decoder", max_length=8)
    ((apart,),) = score(both, [Request(context=context, targets=[[5] * 8])], scoring=scoring)
    assert apart.truncated == 12  # each side has the limit for itself
    assert apart.valid


@pytest.mark.parametrize("windows", ["half", "token"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rolling_is_the_score_of_each_window_after_the_one_before(tokenizer, architecture, windows):
    scoring = replace(STUDY, windows=windows, end_of_sequence=False)
    one = Subject(
        model=_wide(architecture, tokenizer.vocab_size),
        architecture=architecture,
        max_length=18,
        batch_tokens=300,
    )
    lm = StudyLM(one, tokenizer=tokenizer, scoring=scoring)
    document = " ".join(TEXTS[:3])
    (total,) = lm.loglikelihood_rolling(
        [Instance(request_type="loglikelihood_rolling", doc={}, arguments=(document,), idx=0)]
    )
    tokens = tokenizer.encode(document)
    size = 16
    before = size // 2 if windows == "half" else 1
    new = size - before + 1
    pieces = [Request(context=[], targets=[tokens[:size]])]
    for begin in range(size, len(tokens), new):
        target = tokens[begin : begin + new]
        # a last window that is short has a longer context, so that its width is the others'
        context = tokens[begin + len(target) - size - 1 : begin]
        pieces.append(Request(context=context, targets=[target]))
    found = score(one, pieces, scoring=scoring)
    assert sum(each.tokens for (each,) in found) == len(tokens)
    expected = sum(each.target_log_likelihood for (each,) in found)
    assert total == pytest.approx(expected, rel=1e-6)


def test_conventions_have_names_and_old_scores_keep_theirs():
    assert convention(STUDY) == convention(Scoring(end_of_sequence=False, truncation="left"))
    assert convention(Scoring(end_of_sequence=False, truncation="right")) == "paper"
    assert [convention(each) for each in (STUDY, LM_EVAL, PAPER)] == ["study", "lm_eval", "paper"]
    assert convention(replace(LM_EVAL, spaces="keep")) == "own"
    assert convention(replace(LM_EVAL, end_of_sequence=True)) == "own"
    assert options(STUDY) == {"end_of_sequence": True, "truncation": "left"}
    assert canonical(STUDY) == {"kind": "Scoring", "end_of_sequence": True, "truncation": "left"}
    assert options(LM_EVAL).keys() > options(STUDY).keys()
    with pytest.raises(ValueError, match=r"spaces is 'trim'; legal: move, move_whitespace, keep"):
        replace(STUDY, spaces="trim")


def test_the_command_line_names_a_convention(tmp_path):
    from checkpoints import ours

    directory = ours(tmp_path / "ours", architecture="causal_decoder")
    lm = StudyLM.create_from_arg_string(f"run={directory},convention=lm_eval,truncation=right")
    assert lm.scoring == replace(LM_EVAL, truncation="right")
    with pytest.raises(ValueError, match="legal: study, lm_eval, paper"):
        StudyLM.create_from_arg_string(f"run={directory},convention=t0")
