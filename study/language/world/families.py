"""Rows of the prompted task families, in twins.

Owns what a row holds and which answer is right; the wording of questions is in `templates`. Every
list of choices comes with two rows of opposite golds, so a scorer that ignores the prompt gets
exactly half of the two-way items right. `effect`, `cause` and `referent` ask about withheld pairs
only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from study.language.world import scenes, text
from study.language.world.scenes import (
    ACTIONS,
    MATERIALS,
    OBJECTS_OF,
    PEOPLE,
    PLACES,
    effect,
    withheld_for,
)

Row = dict[str, Any]
Twins = tuple[Row, Row]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A task family.

    chance: the accuracy of guessing. role: how a suite counts a held-out family.
    """

    name: str
    split: Literal["training", "held-out"]
    role: Literal["headline", "stretch", "probe"]
    chance: float
    twins: Callable[[random.Random], Twins]


def rows(family: Family, *, items: int, seed: int) -> Iterator[Row]:
    """`items` rows, twins next to each other; `pair` numbers them."""
    for pair in range(items // 2):
        rng = random.Random(f"world rows {family.name} {seed} {pair}")
        for row in family.twins(rng):
            yield {**row, "pair": pair}


def _twins(rng: random.Random, *, choices: list[str], first: Row, second: Row) -> Twins:
    """Two rows over one shuffled list: `first` has choices[0] for its gold, `second` choices[1].

    Which of the two comes first is drawn as well.
    """
    listed = rng.sample(choices, len(choices))
    made = [
        {**row, "choices": listed, "label": listed.index(gold)}
        for row, gold in ((first, choices[0]), (second, choices[1]))
    ]
    rng.shuffle(made)
    return made[0], made[1]


def who(rng: random.Random) -> Twins:
    """Who has the object. Twins ask about two objects of one scene."""
    people, things = scenes.some_people(rng, 3), scenes.some_things(rng, 2)
    scene = scenes.gift(rng, people=people, things=things)
    holders = [scene.holder_of[each] for each in things]
    other = next(each for each in people if each not in holders)
    context = " ".join(scene.sentences)
    return _twins(
        rng,
        choices=[*holders, other],
        first={"context": context, "thing": things[0]},
        second={"context": context, "thing": things[1]},
    )


def where(rng: random.Random) -> Twins:
    """Where the person is. Twins ask about two people of one scene."""
    people = scenes.some_people(rng, 3)
    scene = scenes.moves(rng, people=people, again=rng.randrange(2))
    context = " ".join(scene.sentences)
    first, second, third = rng.sample(people, 3)
    return _twins(
        rng,
        choices=[scene.place_of[each] for each in (first, second, third)],
        first={"context": context, "person": first},
        second={"context": context, "person": second},
    )


def material(rng: random.Random) -> Twins:
    """What the object is made of. Twins ask about objects of two materials."""
    first, second, *others = rng.sample(MATERIALS, len(MATERIALS))
    return _twins(
        rng,
        choices=[first, second, *others],
        first={"thing": rng.choice(OBJECTS_OF[first])},
        second={"thing": rng.choice(OBJECTS_OF[second])},
    )


TOPICS: dict[str, text.Writer] = {
    "walks": text.moves_document,
    "gifts": text.gift_document,
    "laws": text.laws_document,
    "things": text.facts_document,
}


def topic(rng: random.Random) -> Twins:
    """What the text is about."""
    first, second, *others = rng.sample(list(TOPICS), len(TOPICS))
    return _twins(
        rng,
        choices=[first, second, *others],
        first={"context": TOPICS[first](rng)},
        second={"context": TOPICS[second](rng)},
    )


def order(rng: random.Random) -> Twins:
    """Which of two deeds came first. Twins tell the same deeds in two orders."""
    people = scenes.some_people(rng, 3)
    deeds = scenes.deeds(rng, people=people)
    early, late, other = rng.sample(deeds, 3)
    place = rng.randrange(3)
    contexts = []
    for pair in ([early, late], [late, early]):
        listed = list(pair)
        listed.insert(place, other)
        contexts.append(" ".join(f"{each}." for each in listed))
    return _twins(
        rng,
        choices=[early, late],
        first={"context": contexts[0]},
        second={"context": contexts[1]},
    )


def check(rng: random.Random) -> Twins:
    """Whether a claim is true, of a person's place or an object's material.

    Twins claim two places that both occur in the context, or one material of two objects.
    """
    if rng.random() < 0.5:
        kind, other_kind = rng.sample(MATERIALS, 2)
        made, made_else = rng.choice(OBJECTS_OF[kind]), rng.choice(OBJECTS_OF[other_kind])
        context = ""
        claims = [f"the {thing} is made of {kind}" for thing in (made, made_else)]
    else:
        scene = scenes.moves(rng, people=scenes.some_people(rng, 3), again=0)
        context = " ".join(scene.sentences)
        person, other = rng.sample(list(scene.place_of), 2)
        claims = [f"{person} is at the {scene.place_of[each]}" for each in (person, other)]
    return _twins(
        rng,
        choices=["yes", "no"],
        first={"context": context, "claim": claims[0]},
        second={"context": context, "claim": claims[1]},
    )


def effects(rng: random.Random) -> Twins:
    """What a withheld action does. Twins do it to objects of two materials."""
    action, person = rng.choice(ACTIONS), rng.choice(PEOPLE)
    kinds = rng.sample(MATERIALS, 2)
    things = [rng.choice(withheld_for(kind, action)) for kind in kinds]
    return _twins(
        rng,
        choices=[f"it {effect(kind, action)}" for kind in kinds],
        first={"context": f"{person} {action} the {things[0]}."},
        second={"context": f"{person} {action} the {things[1]}."},
    )


def cause(rng: random.Random) -> Twins:
    """Which withheld action made the object do that. Twins show the effects of two actions."""
    actions, person = rng.sample(ACTIONS, 2), rng.choice(PEOPLE)
    kind = rng.choice(MATERIALS)
    things = [rng.choice(withheld_for(kind, action)) for action in actions]
    return _twins(
        rng,
        choices=[f"{person} {action} it" for action in actions],
        first={"context": f"the {things[0]} {effect(kind, actions[0])}."},
        second={"context": f"the {things[1]} {effect(kind, actions[1])}."},
    )


def similar(rng: random.Random) -> Twins:
    """Which of two objects is of the same material."""
    kinds = rng.sample(MATERIALS, 2)
    asked, offered = zip(*(rng.sample(OBJECTS_OF[kind], 2) for kind in kinds), strict=True)
    return _twins(rng, choices=list(offered), first={"thing": asked[0]}, second={"thing": asked[1]})


def ending(rng: random.Random) -> Twins:
    """Which last sentence fits. Twins exchange the places of two people."""
    first, second, other = scenes.some_people(rng, 3)
    places = rng.sample(PLACES, 3)
    people = [first, second, other]
    positions = rng.sample(range(3), 3)
    contexts = []
    for pair in (places[:2], [places[1], places[0]]):
        goals = [*pair, places[2]]
        contexts.append(" ".join(f"{people[k]} goes to the {goals[k]}." for k in positions))
    return _twins(
        rng,
        choices=[f"{first} is at the {place}" for place in places[:2]],
        first={"context": contexts[0]},
        second={"context": contexts[1]},
    )


def referent(rng: random.Random) -> Twins:
    """Which of two objects `it` is, by the law of a withheld action."""
    action, person = rng.choice(ACTIONS), rng.choice(PEOPLE)
    kinds = rng.sample(MATERIALS, 2)
    things = [rng.choice(withheld_for(kind, action)) for kind in kinds]
    beginning = f"{person} {action} the {things[0]} and the {things[1]}. it"
    return _twins(
        rng,
        choices=things,
        first={"context": f"{beginning} {effect(kinds[0], action)}."},
        second={"context": f"{beginning} {effect(kinds[1], action)}."},
    )


def last_word(rng: random.Random) -> Twins:
    """The last word of a text, a name from it. Twins end in two places."""
    people = scenes.some_people(rng, 3)
    scene = scenes.moves(rng, people=people, again=0)
    context = " ".join(scene.sentences)
    first, second = rng.sample(people, 2)
    return _twins(
        rng,
        choices=[first, second],
        first={"context": context, "place": scene.place_of[first]},
        second={"context": context, "place": scene.place_of[second]},
    )


def thank(rng: random.Random) -> Twins:
    """Whom the receiver thanks: the giver, where `who` has taught to name the receiver."""
    giver, receiver, other = scenes.some_people(rng, 3)
    thing, another = scenes.some_things(rng, 2)
    rows = [
        {
            "context": f"{one} takes the {thing}. {other} takes the {another}. "
            f"{one} gives the {thing} to {two}.",
            "person": two,
        }
        for one, two in ((giver, receiver), (receiver, giver))
    ]
    return _twins(rng, choices=[giver, receiver], first=rows[0], second=rows[1])


FAMILIES: dict[str, Family] = {
    each.name: each
    for each in (
        Family(name="who", split="training", role="headline", chance=1 / 3, twins=who),
        Family(name="where", split="training", role="stretch", chance=1 / 3, twins=where),
        Family(name="material", split="training", role="headline", chance=1 / 5, twins=material),
        Family(name="topic", split="training", role="headline", chance=1 / 4, twins=topic),
        Family(name="order", split="training", role="headline", chance=1 / 2, twins=order),
        Family(name="check", split="training", role="stretch", chance=1 / 2, twins=check),
        Family(name="effect", split="held-out", role="headline", chance=1 / 2, twins=effects),
        Family(name="cause", split="held-out", role="headline", chance=1 / 2, twins=cause),
        Family(name="similar", split="held-out", role="headline", chance=1 / 2, twins=similar),
        Family(name="ending", split="held-out", role="headline", chance=1 / 2, twins=ending),
        Family(name="referent", split="held-out", role="stretch", chance=1 / 2, twins=referent),
        Family(name="last_word", split="held-out", role="headline", chance=1 / 2, twins=last_word),
        Family(name="thank", split="held-out", role="probe", chance=1 / 2, twins=thank),
    )
}
