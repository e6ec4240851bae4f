"""Small events with their outcome: people move, take, give, and do things to objects.

Owns the simulation that pretraining text and prompted rows share. A scene is sentences and the
state they lead to; how the state is told or asked about is the caller's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from study.language.world.lexicon import (
    ACTIONS,
    MATERIAL_OF,
    OBJECTS,
    PEOPLE,
    PLACES,
    effect,
    may_meet,
)


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
