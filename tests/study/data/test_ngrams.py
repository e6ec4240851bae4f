"""Shared n-grams against a search written out, over batches, documents and lengths."""

import random

import numpy as np
import pytest

from study.data import ngrams
from study.data.ngrams import Search

LONG = "the quick brown fox jumps over the lazy dog and then it goes home to sleep"  # 16 words


def found(texts, documents):
    search = Search(texts)
    search.read(documents)
    return search.shared()


def by_hand(texts, documents):
    """(words, grams, found) of each text, by comparing lists of words."""
    streams = [document.lower().split() for document in documents]
    results = []
    for text in texts:
        words = text.lower().split()
        n = min(13, len(words))
        grams = [words[i : i + n] for i in range(len(words) - n + 1)] if n >= 8 else []
        hits = sum(
            any(g == s[i : i + n] for s in streams for i in range(len(s) - n + 1)) for g in grams
        )
        results.append((len(words), len(grams), hits))
    return np.array(results).T


@pytest.mark.parametrize("batch", [1, 50, 1 << 20])
def test_agrees_with_the_search_by_hand(batch, monkeypatch):
    monkeypatch.setattr(ngrams, "BATCH_CHARACTERS", batch)
    draw = random.Random(0)
    word = lambda: draw.choice("abc")  # noqa: E731  few words, so that n-grams do recur
    texts = [" ".join(word() for _ in range(draw.randrange(5, 19))) for _ in range(60)]
    documents = [" ".join(word() for _ in range(draw.randrange(0, 400))) for _ in range(60)]
    documents += [texts[3], "x " + texts[4] + " y"]
    shared = found(texts, documents)
    words, grams, hits = by_hand(texts, documents)
    np.testing.assert_array_equal(shared.words, words)
    np.testing.assert_array_equal(shared.grams, grams)
    np.testing.assert_array_equal(shared.found, hits)
    assert 0 < hits.sum() < grams.sum()
    assert shared.hit[3] == (grams[3] > 0)


def test_case_spaces_and_punctuation_do_not_hide_a_text():
    told = "Well: The QUICK, brown -- fox<br />jumps over the lazy dog; and then it (goes) home!"
    assert found([LONG], [told]).found.tolist() == [2]  # 14 of its 16 words: two n-grams of 13


def test_twelve_words_in_a_row_are_no_hit_and_thirteen_are():
    words = LONG.split()
    assert found([LONG], [" ".join(words[:12]) + " then"]).found.tolist() == [0]
    assert found([LONG], [" ".join(words[:13])]).found.tolist() == [1]


def test_an_n_gram_never_goes_over_a_document_s_end():
    words = LONG.split()
    halves = [" ".join(words[:8]), " ".join(words[8:])]
    assert not found([LONG], halves).hit[0]
    assert found([LONG], [" ".join(halves)]).hit[0]


def test_short_texts():
    eight, seven = "one two three four five six seven eight", "one two three four five six seven"
    shared = found([eight, seven, ""], [f"zero {eight} nine", "one two three"])
    assert shared.grams.tolist() == [1, 0, 0]
    assert shared.found.tolist() == [1, 0, 0]
    assert shared.short.tolist() == [False, True, True]


def test_nothing_to_look_for_and_nothing_to_look_in():
    assert found([], ["a"]).hit.shape == (0,)
    assert found([LONG], []).found.tolist() == [0]
    assert found([LONG], ["", " "]).found.tolist() == [0]


def test_progress_can_stop():
    class StopHere(Exception):
        pass

    def stop(read):
        raise StopHere

    with pytest.raises(StopHere):
        Search([LONG]).read([LONG], progress=stop)
