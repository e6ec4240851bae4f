"""Pretraining documents: laws, facts, moves, gifts and short stories, told and never asked.

Owns the wording of the text. No document holds an object together with its withheld action or the
effect of that action, and none asks, offers options, or uses the wording of an evaluation template.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from study.language.world import scenes
from study.language.world.scenes import (
    ACTIONS,
    MATERIAL_OF,
    MATERIALS,
    OBJECTS_OF,
    PEOPLE,
    PLACES,
    effect,
)

Writer = Callable[[random.Random], str]


def law(rng: random.Random, *, material: str, action: str) -> str:
    """A law in one of three orders of action, material and effect."""
    outcome = effect(material, action)
    return rng.choice(
        (
            f"when someone {action} {material}, it {outcome}.",
            f"{material} {outcome} when someone {action} it.",
            f"it {outcome} because someone {action} {material}.",
        )
    )


def fact(rng: random.Random, *, material: str) -> str:
    """What one or several objects are made of."""
    first, second, third = rng.sample(OBJECTS_OF[material], 3)
    return rng.choice(
        (
            f"the {first} is made of {material}.",
            f"the {first} and the {second} are made of {material}.",
            f"things of {material} are the {first}, the {second} and the {third}.",
            f"the {first}, like the {second}, is a thing of {material}.",
        )
    )


def event(rng: random.Random, *, person: str, thing: str, action: str) -> str:
    """Somebody does something to an object, and what comes of it."""
    outcome = effect(MATERIAL_OF[thing], action)
    return rng.choice(
        (
            f"{person} {action} the {thing}. it {outcome}.",
            f"{person} {action} the {thing} and it {outcome}.",
            f"the {thing} {outcome} because {person} {action} it.",
            f"the {thing} {outcome} when {person} {action} it.",
        )
    )


def place_sentence(rng: random.Random, *, person: str, place: str) -> str:
    """In one of three orders, the last of them the rarer."""
    return rng.choice(
        (
            f"{person} is at the {place}.",
            f"{person} is at the {place}.",
            f"the one at the {place} is {person}.",
            f"the one at the {place} is {person}.",
            f"the {place} is where {person} is.",
        )
    )


def holder_sentence(rng: random.Random, *, person: str, thing: str) -> str:
    return rng.choice(
        (
            f"{person} has the {thing}.",
            f"the {thing} is with {person}.",
            f"the one who has the {thing} is {person}.",
        )
    )


def laws_document(rng: random.Random) -> str:
    """Laws of one material, of one action, or of any."""
    pairs = [(material, action) for material in MATERIALS for action in ACTIONS]
    material, action = rng.choice(pairs)
    match rng.randrange(3):
        case 0:
            pairs = [pair for pair in pairs if pair[0] == material]
        case 1:
            pairs = [pair for pair in pairs if pair[1] == action]
    return " ".join(
        law(rng, material=material, action=action) for material, action in rng.sample(pairs, 4)
    )


def facts_document(rng: random.Random) -> str:
    """Facts of one material, or of any."""
    kinds = rng.choices(MATERIALS, k=3)
    if rng.random() < 0.6:
        kinds = kinds[:1] * 3
    return " ".join(fact(rng, material=kind) for kind in kinds)


def example_document(rng: random.Random) -> str:
    """A fact, its law and an event that shows both."""
    thing, action, _ = scenes.meeting(rng)
    material = MATERIAL_OF[thing]
    sentences = [f"the {thing} is made of {material}.", law(rng, material=material, action=action)]
    rng.shuffle(sentences)
    sentences.append(event(rng, person=rng.choice(PEOPLE), thing=thing, action=action))
    return " ".join(sentences)


def events_document(rng: random.Random) -> str:
    """What several people do to objects of one material."""
    material = rng.choice(MATERIALS)
    return " ".join(_events(rng, number=3, material=material))


def moves_document(rng: random.Random) -> str:
    """Moves, then three restatements of where people are."""
    scene = scenes.moves(rng, people=scenes.some_people(rng, 3), again=rng.randrange(2))
    people = rng.sample(list(scene.place_of), 3)
    sentences = [place_sentence(rng, person=each, place=scene.place_of[each]) for each in people]
    return " ".join([*scene.sentences, *sentences])


def gift_document(rng: random.Random) -> str:
    """Taking and giving, thanks, then two restatements of who has what."""
    people, things = scenes.some_people(rng, 3), scenes.some_things(rng, 2)
    scene = scenes.gift(rng, people=people, things=things)
    sentences = [
        holder_sentence(rng, person=scene.holder_of[each], thing=each)
        for each in rng.sample(things, 2)
    ]
    if rng.random() < 0.5:
        sentences.insert(0, f"{scene.receiver} thanks {scene.giver}.")
    return " ".join([*scene.sentences, *sentences])


def story_document(rng: random.Random) -> str:
    """One person's day: a walk, a find, an accident, and what another person says to it."""
    hero, friend = scenes.some_people(rng, 2)
    place, elsewhere = rng.sample(PLACES, 2)
    thing, action, _ = scenes.meeting(rng)
    material = MATERIAL_OF[thing]
    opening = rng.choice(
        (
            f"one day {hero} has a story of walks and gifts. first, {hero} goes to the {place}.",
            f"one day {hero} goes to the {place}. each place has laws.",
            f"{hero} and {friend} choose what to do next, if it is so. {hero} goes to the {place}.",
            f"one day, {hero} goes to the {place} or the {elsewhere}, to one or the other.",
        )
    )
    find = rng.choice(
        (
            f"there {hero} takes the {thing}, which is made of {material}.",
            f"then {hero} takes the {thing}. it is a thing of {material}.",
        )
    )
    happening = event(rng, person=rng.choice((hero, friend)), thing=thing, action=action)
    ending = rng.choice(
        (
            f"{friend} says yes, it is true. that is why {hero} goes to the {elsewhere}.",
            f"{friend} says no and goes to a place of laws. {hero} does not answer.",
            f"after that {hero} has to do what {friend} says, which {hero} does.",
            f"before night {hero} gives the {thing} to {friend}. {friend} has to thank {hero}.",
        )
    )
    return " ".join([opening, find, happening, ending])


def _events(rng: random.Random, *, number: int, material: str) -> list[str]:
    """Events of one document: each of its objects may meet each of its actions."""
    meetings: list[tuple[str, str]] = []
    while len(meetings) < number:
        thing, action, _ = scenes.meeting(rng, things=OBJECTS_OF[material])
        trial = [*meetings, (thing, action)]
        if all(scenes.may_meet(each, done) for each, _ in trial for _, done in trial):
            meetings = trial
    people = scenes.some_people(rng, number)
    return [
        event(rng, person=person, thing=thing, action=action)
        for person, (thing, action) in zip(people, meetings, strict=True)
    ]


# Shares of documents. Moves with three restatements are what teaches look-up in the context.
WRITERS: dict[Writer, float] = {
    moves_document: 0.40,
    gift_document: 0.09,
    laws_document: 0.11,
    facts_document: 0.10,
    example_document: 0.10,
    events_document: 0.11,
    story_document: 0.09,
}


def document(seed: int, index: int) -> str:
    """Document `index` of the corpus with this seed, whatever the corpus's size."""
    rng = random.Random(f"world text {seed} {index}")
    (writer,) = rng.choices(list(WRITERS), weights=list(WRITERS.values()))
    return writer(rng)


def documents(number: int, *, seed: int) -> Iterator[str]:
    return (document(seed, index) for index in range(number))
