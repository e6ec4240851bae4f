"""Associative recall: solvable from the document alone, and from nothing less."""

import hashlib
import json
from collections import Counter

import pytest
from scipy import stats

from study.language import world
from study.language.data import tokenizer
from study.language.prompts import templates
from study.language.world import scenes

GOLDEN = {
    "text": "83ab66d00812b3e9",
    "rows": "5e924bae9744fd55",
    "templates": "2b9b574e4ff661da",
}
PAIRS = (scenes.CHOICES, scenes.MOST_PAIRS)


def documents(number, *, pairs=32, seed=1):
    return list(
        world.documents(
            {"documents": str(number), "pairs": str(pairs), "seed": str(seed)}, name="recall"
        )
    )


def rows(number, *, pairs, seed=1):
    query = {"items": str(number), "pairs": str(pairs), "seed": str(seed)}
    return list(world.rows("recall", query))


def split(document):
    """([(key, value)] listed, the same asked for)."""
    listed, asked = document.removeprefix("pairs ").split(" find ")
    words = [part.split() for part in (listed, asked)]
    return [list(zip(part[::2], part[1::2], strict=True)) for part in words]


def digest(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def test_what_the_generator_gives_is_golden():
    """When this goes red on purpose, raise world.SEMANTICS: ids of runs carry `world:N`."""
    assert world.SEMANTICS == 1
    assert {
        "text": digest(documents(50)),
        "rows": digest(rows(50, pairs=8)),
        "templates": digest(world.templates_yaml("recall")),
    } == GOLDEN


def test_every_answer_follows_from_its_document():
    for document in documents(300):
        listed, asked = split(document)
        assert sorted(listed) == sorted(asked)
        assert len(dict(listed)) == len({value for _, value in listed}) == len(listed)
        assert {key for key, _ in listed} <= set(scenes.KEYS)
        assert {value for _, value in listed} <= set(scenes.VALUES)


def test_documents_have_two_pairs_up_to_the_most_and_all_numbers_occur():
    sizes = Counter(len(split(document)[0]) for document in documents(600, pairs=6))
    assert set(sizes) == set(range(scenes.LEAST_PAIRS, 7))


def test_documents_are_functions_of_seed_and_index():
    assert documents(30, seed=4) == documents(60, seed=4)[:30]
    assert not set(documents(200, seed=4)) & set(documents(200, seed=5))


@pytest.mark.parametrize("pairs", PAIRS)
def test_a_question_is_answered_by_its_context_and_names_no_answer_after_it(pairs):
    (template,) = templates.parse_templates(world.templates_yaml("recall"), origin="recall")
    for row in rows(100, pairs=pairs):
        rendered = template.apply(row, key="k")
        told = rendered.inputs.removeprefix("pairs ").split(" find ")
        words = told[0].split()
        value = dict(zip(words[::2], words[1::2], strict=True))
        assert len(value) == pairs
        assert told[1] == row["key"]
        assert rendered.targets == value[row["key"]] == row["choices"][row["label"]]
        assert len(set(row["choices"])) == scenes.CHOICES
        assert set(row["choices"]) <= set(value.values())


@pytest.mark.parametrize("pairs", PAIRS)
def test_nothing_but_the_pair_tells_the_answer(pairs):
    """Place among the choices, place in the document, the key and the value are all uninformative:
    whichever fixed rule a scorer follows, it is right in a quarter.
    """
    asked = rows(4000, pairs=pairs)
    places, listed, known = Counter(), Counter(), Counter()
    for row in asked:
        words = row["context"].split()[1:]
        order = [value for value in words[1::2] if value in row["choices"]]
        answer = row["choices"][row["label"]]
        places[row["label"]] += 1
        listed[order.index(answer)] += 1
        # of the four, the value that the key's own number points at
        known[sorted(row["choices"]).index(answer)] += 1
    for counts in (places, listed, known):
        assert stats.chisquare([counts[place] for place in range(scenes.CHOICES)]).pvalue > 1e-3
    together = Counter((row["key"], row["choices"][row["label"]]) for row in asked)
    table = [[together[key, value] + 0.0 for value in scenes.VALUES] for key in scenes.KEYS]
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_questions_are_not_among_the_training_documents():
    contexts = {row["context"] for row in rows(300, pairs=4, seed=11)}
    trained = {document.partition(" find ")[0] for document in documents(20_000, pairs=4, seed=1)}
    assert len(contexts) == 300
    assert not contexts & trained


def test_words_of_recall_are_its_own_and_one_token_each():
    text = list(world.documents({"documents": "8000", "seed": "1"}))
    words = {word.strip(".,:?") for document in text for word in document.split()}
    own = {*scenes.KEYS, *scenes.VALUES, "pairs", "find"}
    assert not words & own
    trained = tokenizer.train([*text, *documents(4000)], vocab_size=720, sentinels=16)
    assert {word for word in own - {"pairs"} if len(trained.encode(f" {word}")) != 1} == set()
    assert {word for word in words if len(trained.encode(f" {word}")) != 1} == set()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: documents(3, pairs=33), "pairs=33; legal: 4 to 32"),
        (lambda: rows(3, pairs=3), "pairs=3; legal: 4 to 32"),
        (lambda: world.documents({"documents": "3", "seed": "1"}, name="recall"), "exactly"),
        (lambda: world.rows("recall", {"items": "2", "seed": "1"}), "items, pairs, seed"),
        (lambda: world.documents({}, name="recal"), "no text 'recal'; legal: world://text,"),
    ],
)
def test_a_bad_query_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
