"""What the microworld must not give away before evaluation, nor in the evaluation's own form."""

import random
import re
from collections import Counter

import numpy as np
import pytest

from study.language import world
from study.language.prompts import templates
from study.language.world.families import FAMILIES, _twins
from study.language.world.scenes import (
    ACTIONS,
    EFFECTS,
    MATERIAL_OF,
    MATERIALS,
    OBJECTS,
    PEOPLE,
    PLACES,
    WITHHELD,
    effect,
)
from study.language.world.templates import TEMPLATES

TRAINING = [each.name for each in FAMILIES.values() if each.split == "training"]
HELD_OUT = [each.name for each in FAMILIES.values() if each.split == "held-out"]
ABOUT_LAWS = ("effect", "cause", "referent")
CEILING = 0.55
CONTENT = {
    *PEOPLE,
    *PLACES,
    *OBJECTS,
    *MATERIALS,
    *ACTIONS,
    *(each for row in EFFECTS.values() for each in row),
}


def words(text):
    return re.findall(r"[a-z_]+|[^a-z_\s]", text)


@pytest.fixture(scope="module")
def documents():
    return list(world.documents({"documents": "20000", "seed": "1"}))


def rows(family, *, items, seed):
    return list(world.rows(family, {"items": str(items), "seed": str(seed)}))


def rendered(family, *, items, seed):
    """(row, prompt), the templates taking turns over the pairs of twins."""
    parsed = templates.parse_templates(world.templates_yaml(family), origin=family)
    return [
        (row, parsed[row["pair"] % 4].apply(row, key="k").inputs)
        for row in rows(family, items=items, seed=seed)
    ]


def leaks(texts):
    """Texts that hold an object together with its withheld action or the effect of that action."""
    found = []
    for text in texts:
        present = set(words(text))
        for thing in present & set(OBJECTS):
            action = WITHHELD[thing]
            if action in present or effect(MATERIAL_OF[thing], action) in present:
                found.append((thing, text))
    return found


def test_withheld_pairs_occur_in_no_document(documents):
    assert leaks(["ann drops the bowl."]) == [("bowl", "ann drops the bowl.")]
    assert leaks(documents) == []


def test_every_other_pair_occurs(documents):
    """Otherwise an empty text would pass, and nothing could be learnt."""
    seen = Counter(
        (thing, action)
        for document in documents
        for thing in set(words(document)) & set(OBJECTS)
        for action in set(words(document)) & set(ACTIONS)
    )
    expected = {(t, a) for t in OBJECTS for a in ACTIONS if a != WITHHELD[t]}
    assert set(seen) == expected
    assert min(seen.values()) >= 5


@pytest.mark.parametrize("family", TRAINING)
def test_withheld_pairs_occur_in_no_finetuning_row(family):
    for row, prompt in rendered(family, items=600, seed=2):
        assert leaks([f"{prompt} {' '.join(row['choices'])}"]) == []


@pytest.mark.parametrize("family", ABOUT_LAWS)
def test_items_about_laws_ask_about_withheld_pairs_only(family):
    for row in rows(family, items=400, seed=3):
        gold = row["choices"][row["label"]]
        present = set(words(f"{row['context']} {gold}"))
        things = present & set(OBJECTS)
        assert things
        for thing in things:
            assert WITHHELD[thing] in present
        named = gold if family == "referent" else next(iter(things))
        assert effect(MATERIAL_OF[named], WITHHELD[named]) in present


def four_grams(tokens):
    return set(zip(*(tokens[shift:] for shift in range(4)), strict=False))


def masked(text):
    return ["_" if word in CONTENT else word for word in words(text)]


def test_the_text_asks_nothing(documents):
    assert not [document for document in documents if "?" in document or ":" in document]


@pytest.mark.parametrize("family", HELD_OUT)
def test_no_evaluation_wording_in_the_text(family, documents):
    seen = set().union(*(four_grams(masked(document)) for document in documents))
    assert four_grams(masked("when someone drops glass, it breaks.")) <= seen
    for wording in TEMPLATES[family]:
        prompt = re.sub(r"\{\{choices.*?\}\}", "_ or _", wording.prompt)
        prompt = prompt.replace("{{context}}", ".")
        prompt = re.sub(r"\{\{\w+\}\}", "_", prompt)
        assert four_grams(words(prompt)) & seen == set()


@pytest.mark.parametrize("family", list(FAMILIES))
def test_twins_share_one_list_and_have_two_golds(family):
    made = rows(family, items=400, seed=3)
    for first, second in zip(made[::2], made[1::2], strict=True):
        assert first["pair"] == second["pair"]
        assert first["choices"] == second["choices"]
        assert len(set(first["choices"])) == len(first["choices"])
        assert first["label"] != second["label"]
    assert len(made[0]["choices"]) == round(1 / FAMILIES[family].chance)


@pytest.mark.parametrize("family", HELD_OUT)
def test_a_scorer_that_ignores_the_prompt_gets_exactly_half(family):
    made = rows(family, items=400, seed=3)
    rng = random.Random(0)
    taste = {each: rng.random() for row in made for each in row["choices"]}
    best = [max(range(2), key=lambda k: taste[row["choices"][k]]) for row in made]
    hits = sum(guess == row["label"] for guess, row in zip(best, made, strict=True))
    assert hits * 2 == len(made)


KEY_FACTS = {
    # what makes the difference between twins: without it they must be one and the same prompt
    "effect": OBJECTS,
    "cause": (*OBJECTS, *(each for row in EFFECTS.values() for each in row)),
    "similar": OBJECTS,
    "ending": PLACES,
    "referent": tuple(each for row in EFFECTS.values() for each in row),
    "last_word": (),
    "thank": (),
}


@pytest.mark.parametrize("family", HELD_OUT)
def test_without_the_key_fact_twins_are_one_prompt(family):
    """So whatever answers them then is right exactly half of the time."""
    for first, second in zip(*[iter(rows(family, items=400, seed=3))] * 2, strict=True):
        assert first != second
        left = []
        for row in (first, second):
            fields = {k: v for k, v in row.items() if k not in ("label", "pair", "choices")}
            if family in ("last_word", "thank"):
                # the place asked for, and who gives to whom
                fields.pop("place", None) or fields.pop("person")
            if family == "thank":
                fields["context"] = " ".join(
                    word for word in words(fields["context"]) if word not in row["choices"]
                )
            left.append(
                {
                    name: [word for word in words(value) if word not in KEY_FACTS[family]]
                    for name, value in fields.items()
                }
            )
        assert left[0] == left[1]


def ridge_accuracy(train, test, classes):
    """Test accuracy of a linear classifier over bags of features, fitted by ridge regression."""
    names = sorted({each for bag, _ in train for each in bag})
    column = {name: k for k, name in enumerate(names)}

    def matrix(items):
        values = np.zeros((len(items), len(names) + 1))
        values[:, -1] = 1
        for line, (bag, _) in enumerate(items):
            for each in bag:
                if each in column:
                    values[line, column[each]] += 1
        return values

    x, y = matrix(train), np.eye(classes)[[label for _, label in train]]
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)
    guesses = (matrix(test) @ weights).argmax(1)
    return float(np.mean(guesses == [label for _, label in test]))


def bags(family, *, seed, features):
    return [
        (features(row, prompt), row["label"])
        for row, prompt in rendered(family, items=1200, seed=seed)
    ]


@pytest.mark.parametrize("family", list(FAMILIES))
def test_bag_of_words_and_choice_order_classifiers_stay_at_chance(family):
    classes = round(1 / FAMILIES[family].chance)
    ceiling = FAMILIES[family].chance + CEILING - 0.5
    for features in (
        lambda row, prompt: words(prompt),
        lambda row, prompt: [f"{k} {each}" for k, each in enumerate(row["choices"])],
    ):
        train = bags(family, seed=100, features=features)
        test = bags(family, seed=101, features=features)
        assert ridge_accuracy(train, test, classes) <= ceiling


def test_the_classifier_finds_a_leak_that_is_there():
    """The check above can fail: with the gold always first, it sees that."""
    rng = random.Random(0)
    made = [_twins(rng, choices=["yes", "no"], first={}, second={})[0] for _ in range(400)]
    leaky = [([row["choices"][row["label"]], "the"], row["choices"].index("yes")) for row in made]
    marked = [([*bag, f"gold {label}"], label) for bag, label in leaky]
    assert ridge_accuracy(marked[:200], marked[200:], 2) > 0.95


def test_yes_and_no_are_not_told_by_the_words_of_the_prompt():
    """`check` has the same two choices everywhere, so its gold, not only its index, is tested."""

    def labelled(seed):
        return [
            (words(prompt), int(row["choices"][row["label"]] == "yes"))
            for row, prompt in rendered("check", items=1200, seed=seed)
        ]

    assert ridge_accuracy(labelled(100), labelled(101), 2) <= CEILING


def test_seeds_and_families_draw_from_streams_of_their_own(documents):
    walks = {document for document in documents if " goes to " in document}
    others = list(world.documents({"documents": "20000", "seed": "2"}))
    assert len(walks & set(others)) < 0.01 * len(walks)
    for family in ("who", "where", "order", "ending", "last_word", "thank"):
        first, second = (
            {row["context"] for row in rows(family, items=400, seed=seed)} for seed in (2, 3)
        )
        assert len(first & second) <= 0.01 * len(first)
    contexts = [{row["context"] for row in rows(name, items=400, seed=3)} for name in TRAINING[:2]]
    for family in ("ending", "last_word", "thank"):
        asked = {row["context"] for row in rows(family, items=400, seed=3)}
        assert not asked & set.union(*contexts)
