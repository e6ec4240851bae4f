"""Small events with their outcome: people move, take, give, and do things to objects.

Owns the simulation that pretraining text and prompted rows share. A scene is sentences and the
state they lead to; how the state is told or asked about is the caller's.

Owns the words too: people, places, things, laws, and what is withheld. They are short and carry
almost no inflection, so that a byte-level BPE of a few hundred entries covers them whole.

Associative recall has documents that list pairs of a key and a value and then ask for the values:

    pairs ba eb ta ek ... find ta ek ba eb ...

Multi-query associative recall (Arora et al. 2023, "Zoology", section 3.1) in the microworld's
spelling: keys and values are drawn anew for every document, so nothing but the document says which
value belongs to which key. Every key is asked for once, in another order. Documents have two pairs
or more, up to a most: with short ones among them look-up forms within a few million tokens, with
equally long ones alone it did not (LOG.md). Its words occur nowhere else in the microworld.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

PEOPLE = ("ann", "bob", "cal", "dan", "eve", "fay", "gus", "hal", "ida", "kim", "lou", "max")
PLACES = ("barn", "camp", "dock", "farm", "hill", "lake", "park", "road", "shop", "yard")

OBJECTS_OF: dict[str, tuple[str, ...]] = {
    "glass": ("bowl", "cup", "dish", "jar", "lamp", "lens", "pane", "vase"),
    "wood": ("bat", "box", "cart", "crate", "desk", "door", "log", "oar"),
    "iron": ("bell", "coin", "fork", "hook", "key", "nail", "pan", "saw"),
    "cloth": ("bag", "cape", "coat", "flag", "hat", "rug", "sail", "sock"),
    "rubber": ("ball", "belt", "boot", "duck", "hose", "mask", "pad", "tire"),
}
MATERIALS = tuple(OBJECTS_OF)
OBJECTS = tuple(each for objects in OBJECTS_OF.values() for each in objects)
MATERIAL_OF = {each: material for material, objects in OBJECTS_OF.items() for each in objects}

ACTIONS = ("drops", "heats", "soaks", "presses", "pulls")

# Every law has an effect of its own: 25 words.
EFFECTS: dict[str, tuple[str, ...]] = {
    "glass": ("breaks", "melts", "shines", "cracks", "snaps"),
    "wood": ("rolls", "burns", "swells", "creaks", "splits"),
    "iron": ("rings", "glows", "rusts", "dents", "bends"),
    "cloth": ("drifts", "smokes", "drips", "folds", "tears"),
    "rubber": ("hops", "smells", "floats", "squeaks", "grows"),
}


def effect(material: str, action: str) -> str:
    """What a thing of `material` does when someone does `action` to it: one of the 25 laws."""
    return EFFECTS[material][ACTIONS.index(action)]


# Eight objects of a material share five actions, starting at another action for each material, so
# that every one of the 25 laws is withheld for one or two objects.
WITHHELD: dict[str, str] = {
    thing: ACTIONS[(place + MATERIALS.index(material)) % len(ACTIONS)]
    for material, objects in OBJECTS_OF.items()
    for place, thing in enumerate(objects)
}


def withheld_for(material: str, action: str) -> tuple[str, ...]:
    """The objects of `material` that nobody does `action` to before evaluation."""
    return tuple(each for each in OBJECTS_OF[material] if WITHHELD[each] == action)


def may_meet(thing: str, action: str) -> bool:
    """Whether `action` may be done to `thing` before evaluation."""
    return WITHHELD[thing] != action


@dataclass(frozen=True, kw_only=True)
class Moves:
    """Who went where. `place_of` is where each person is at the end, in order of first mention."""

    sentences: tuple[str, ...]
    place_of: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Gift:
    """Objects are taken, one is given on. `holder_of` is who has each object at the end."""

    sentences: tuple[str, ...]
    giver: str
    receiver: str
    thing: str
    holder_of: dict[str, str]


def moves(rng: random.Random, *, people: Sequence[str], again: int) -> Moves:
    """Each of `people` goes to a place of their own; then `again` of them go on to another one."""
    places = rng.sample(PLACES, len(people) + again)
    sentences = []
    place_of: dict[str, str] = {}
    for person, place in zip(people, places, strict=False):
        sentences.append(f"{person} goes to the {place}.")
        place_of[person] = place
    for person, place in zip(rng.sample(list(people), again), places[len(people) :], strict=True):
        sentences.append(f"{person} goes to the {place}.")
        place_of[person] = place
    return Moves(sentences=tuple(sentences), place_of=place_of)


def gift(rng: random.Random, *, people: Sequence[str], things: Sequence[str]) -> Gift:
    """The first people take one thing each; one of them gives it to somebody who took nothing."""
    takers, others = people[: len(things)], people[len(things) :]
    holder_of = dict(zip(things, takers, strict=True))
    sentences = [f"{person} takes the {thing}." for thing, person in holder_of.items()]
    thing = rng.choice(list(things))
    giver, receiver = holder_of[thing], rng.choice(list(others))
    sentences.append(f"{giver} gives the {thing} to {receiver}.")
    holder_of[thing] = receiver
    return Gift(
        sentences=tuple(sentences),
        giver=giver,
        receiver=receiver,
        thing=thing,
        holder_of=holder_of,
    )


def deeds(rng: random.Random, *, people: Sequence[str]) -> list[str]:
    """One deed a person, without an effect; each of the objects may meet each of the actions."""
    while True:
        met = [meeting(rng)[:2] for _ in people]
        things = [thing for thing, _ in met]
        if len(set(things)) == len(met) and all(
            may_meet(thing, action) for thing in things for _, action in met
        ):
            return [
                f"{person} {action} the {thing}"
                for person, (thing, action) in zip(people, met, strict=True)
            ]


def some_people(rng: random.Random, number: int) -> list[str]:
    return rng.sample(PEOPLE, number)


def some_things(rng: random.Random, number: int) -> list[str]:
    return rng.sample(OBJECTS, number)


def meeting(rng: random.Random, *, things: Sequence[str] = OBJECTS) -> tuple[str, str, str]:
    """(object, action, effect) of a pair that is not withheld."""
    thing = rng.choice(list(things))
    action = rng.choice([each for each in ACTIONS if may_meet(thing, each)])
    return thing, action, effect(MATERIAL_OF[thing], action)


_CONSONANTS = "bdfghjklmnprstvz"
KEYS = tuple(consonant + vowel for consonant in _CONSONANTS for vowel in "ai")
VALUES = tuple(vowel + consonant for consonant in _CONSONANTS for vowel in "eu")
MOST_PAIRS = len(KEYS)
LEAST_PAIRS = 2
CHOICES = 4
CHANCE = 1 / CHOICES

PROMPT = "{{context}} find {{key}}"


def documents(number: int, *, pairs: int, seed: int) -> Iterator[str]:
    """Documents of U{2..pairs} pairs and as many queries; document i is a function of (seed, i)."""
    _check(pairs)
    return (_document(pairs, seed=seed, index=index) for index in range(number))


def rows(number: int, *, pairs: int, seed: int) -> Iterator[dict[str, Any]]:
    """Questions after one key each, every row of a document of its own, of exactly `pairs` pairs.

    choices: the key's value and three other values of the same document, in drawn order, so a
    scorer that ignores the prompt, or knows only which values were named, is right in a quarter.
    """
    _check(pairs)
    return (_row(pairs, seed=seed, index=index) for index in range(number))


def _check(pairs: int) -> None:
    if not CHOICES <= pairs <= MOST_PAIRS:
        raise ValueError(f"world recall: pairs={pairs}; legal: {CHOICES} to {MOST_PAIRS}")


def _drawn(rng: random.Random, pairs: int) -> list[tuple[str, str]]:
    return list(zip(rng.sample(KEYS, pairs), rng.sample(VALUES, pairs), strict=True))


def _listed(pairs: list[tuple[str, str]]) -> str:
    return " ".join(f"{key} {value}" for key, value in pairs)


def _document(pairs: int, *, seed: int, index: int) -> str:
    rng = random.Random(f"world recall text {pairs} {seed} {index}")
    drawn = _drawn(rng, rng.randint(LEAST_PAIRS, pairs))
    return f"pairs {_listed(drawn)} find {_listed(rng.sample(drawn, len(drawn)))}"


def _row(pairs: int, *, seed: int, index: int) -> dict[str, Any]:
    rng = random.Random(f"world recall rows {pairs} {seed} {index}")
    drawn = _drawn(rng, pairs)
    asked = rng.sample(drawn, CHOICES)
    key, value = asked[0]
    choices = [each for _, each in asked]
    rng.shuffle(choices)
    return {
        "context": f"pairs {_listed(drawn)}",
        "key": key,
        "choices": choices,
        "label": choices.index(value),
    }
