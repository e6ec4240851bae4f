"""Shared n-grams against a search written out, over batches, documents and lengths."""

import random

import numpy as np
import pytest

from study.language.scores import ngrams
from study.language.scores.ngrams import Search

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


CHINESE = "他昨天去了北京大学图书馆，借了三本关于人工智能的书，然后和朋友一起吃了晚饭。"  # 35


def test_twenty_six_characters_without_spaces_are_an_n_gram_and_twenty_five_are_none():
    row = CHINESE.replace("，", "").replace("。", "")
    assert len(row) == 35
    whole = found([CHINESE], ["前面的文字。" + CHINESE + "后面"])
    assert (whole.words[0], whole.grams[0], whole.found[0]) == (35, 10, 10)
    assert found([CHINESE], [row[3:29]]).found.tolist() == [1]
    assert found([CHINESE], [row[3:28]]).found.tolist() == [0]
    assert found([CHINESE], [row[:15] + "另" + row[15:]]).found.tolist() == [0]


def test_a_name_that_many_texts_have_is_no_hit():
    name = "中国共产党第十八次全国代表大会"
    shared = found([f"{name}于何年何月在北京召开？请选择正确的答案"], [f"他在{name}上作了长篇报告"])
    assert (shared.grams[0], shared.found[0]) == (8, 0)


def test_short_texts_without_spaces():
    row = CHINESE.replace("，", "")
    shared = found(
        [row[:16], row[:15], "ab " * 7 + row[:2], "ab " * 7 + row[:1]], [f"又{row[:16]}"]
    )
    assert shared.grams.tolist() == [1, 0, 1, 0]
    assert shared.found.tolist() == [1, 0, 0, 0]
    assert shared.short.tolist() == [False, True, False, True]


def test_mixed_text_agrees_with_the_search_by_hand():
    """Of each place, as many words as make up 26 halves: a word has two, a character one."""
    draw = random.Random(1)
    unit = lambda: draw.choice(["ab", "cd", "上", "下"])  # noqa: E731
    texts = [[unit() for _ in range(draw.randrange(6, 40))] for _ in range(25)]
    documents = [[unit() for _ in range(draw.randrange(0, 200))] for _ in range(20)]
    documents += [["x", *text[3:], "y"] for text in texts[:6]]
    half = lambda row: sum(1 + each.isascii() for each in row)  # noqa: E731
    right = []
    for text in texts:
        grams = [
            text[i:j]
            for i in range(len(text))
            for j in range(i + 1, len(text) + 1)
            if half(text[i:j]) >= 26 > half(text[i : j - 1])
        ]
        if not grams and half(text) >= 16:
            grams = [text]
        hits = sum(
            any(g == d[i : i + len(g)] for d in documents for i in range(len(d) - len(g) + 1))
            for g in grams
        )
        right.append((len(text), len(grams), hits))
    shared = found(map(" ".join, texts), map(" ".join, documents))
    np.testing.assert_array_equal(np.array([shared.words, shared.grams, shared.found]).T, right)
    assert 0 < shared.found.sum() < shared.grams.sum()
    assert {0, 1} < {grams for _, grams, _ in right}


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
