"""The words of the microworld: people, places, things, laws, and what is withheld.

Owns the lists and nothing else. Words are short and carry almost no inflection, so that a
byte-level BPE of a few hundred entries covers them whole.
"""

from __future__ import annotations

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
