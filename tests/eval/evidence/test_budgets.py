"""At which budgets a contrast's cells are compared: within 1%, which of several, and why not."""

import pytest

from eval.evidence.budgets import matched
from eval.evidence.contrast import CHANCE, Contrast

BUDGETS = {"a": (1000, 2000, 4000), "b": (990, 2021, 4040), "c": (1010, 3959), "d": ()}


def asked(*cells, **changes):
    fields = {
        "name": "n",
        "suite": "s",
        "weights": tuple(((cell,) if cell != CHANCE else CHANCE, 1.0) for cell in cells),
        "kind": "greater",
        "margin": 0.05,
    }
    found = matched(Contrast(**fields | changes), lambda cell: BUDGETS[cell[0]])
    return found if isinstance(found, str) else (list(found.tokens.values()), found.note)


def test_budgets_within_one_percent_are_one_and_the_first_cell_names_it():
    """2,021 is more than 1% above 2,000, 3,959 more than 1% below 4,000; 990, 1,010 and 4,040 are
    at the limit itself.
    """
    assert asked("a", "b") == ([4000, 4000], "")
    assert asked("a", "b", budget=0) == ([1000, 1000], "")
    assert asked("a", "c", budget=-1) == ([1000, 1000], "")
    assert asked("a", "b", "c") == ([1000, 1000, 1000], "")
    # 1,010 is more than 1% above 990, and chance has no budget
    assert asked("b", "c").startswith("unequal token budgets: b 990, 2,021, 4,040; c 1,010, 3,959")
    assert asked("a", CHANCE) == ([4000], "")


@pytest.mark.parametrize(("number", "enough"), [(2, True), (3, False)])
def test_as_many_common_budgets_as_are_asked_for(number, enough):
    found = asked("a", "b", budgets=number)
    assert found == (([4000, 4000], "") if enough else "needs 3 token budgets; there is 2")


def test_unequal_budgets_are_taken_only_where_asked_and_then_labelled():
    told = "unequal token budgets by construction: "
    assert asked("a", "b", matching="unequal") == ([4000, 4040], f"{told}4,000 against 4,040")
    assert asked("a", "c", matching="unequal", budget=0)[0] == [1000, 1010]
    assert asked("a", "a", matching="unequal") == ([4000], "")


def test_cells_without_a_budget_are_named():
    assert asked("a", "d") == "missing d"
