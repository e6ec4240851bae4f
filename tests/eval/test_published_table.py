"""The paper's own Table 8, decided by the rules: the verdicts that it must give."""

import math

import pytest

from eval.claims import CHANCE, Benchmark, Cell, Contrast, after, before, paper_claims_on
from eval.verdicts import Estimate, decide

EAI, T0 = "EAI", "T0"
ERROR = {EAI: 0.62, T0: 1.39}  # of a difference of two cells, percentage points, items only

# (lineage, tokens before finetuning in B): (EAI, T0)
PUBLISHED: dict[tuple[Cell, int], tuple[float, float | None]] = {
    (after("CD:MLM"), 42): (43.3, 45.8),
    (after("ND:MLM"), 42): (45.9, 48.9),
    (after("ED:MLM"), 42): (45.4, 53.7),
    (after("CD:MLM", "CD:FLM"), 42): (43.9, 46.7),
    (after("ND:MLM", "ND:PLM"), 42): (45.0, 48.0),
    (after("ED:MLM", "ED:PLM"), 42): (45.7, 52.6),
    (before("CD:FLM"), 84): (42.4, None),
    (before("ND:PLM"), 84): (42.2, None),
    (before("ED:PLM"), 84): (39.6, None),
    (before("CD:MLM"), 84): (37.8, None),
    (before("ND:MLM"), 84): (37.7, None),
    (before("ED:MLM"), 84): (34.6, None),
    (after("CD:FLM"), 84): (49.0, 49.9),
    (after("ND:PLM"), 84): (46.3, 50.0),
    (after("ED:PLM"), 84): (43.2, 46.5),
    (after("CD:MLM"), 84): (45.8, 48.2),
    (after("ND:MLM"), 84): (49.0, 52.6),
    (after("ED:MLM"), 84): (49.0, 56.5),
    (before("CD:FLM"), 168): (44.2, 42.4),
    (before("ND:PLM"), 168): (43.5, 41.8),
    (before("ED:PLM"), 168): (39.9, 41.7),
    (after("CD:FLM"), 168): (50.4, 51.4),
    (after("ND:PLM"), 168): (48.9, 54.0),
    (after("ED:PLM"), 168): (44.2, 45.8),
    (after("CD:MLM"), 168): (47.1, 50.3),
    (after("ND:MLM"), 168): (51.0, 55.2),
    (after("ED:MLM"), 168): (51.3, 60.6),
    (after("CD:FLM", "CD:FLM"), 219): (51.3, 52.1),
    (("CD:FLM", "CD:FLM", "ND:MTF"), 219): (52.3, 52.0),
    (after("CD:FLM", "ND:MLM"), 219): (52.3, 54.9),
}


def published(contrast: Contrast) -> Estimate | str:
    """Table 8 as an estimator: independent cells, item errors only."""
    column = (EAI, T0).index(contrast.suite)
    budgets = {
        cell: sorted(b for c, b in PUBLISHED if c == cell and PUBLISHED[c, b][column] is not None)
        for cell, _ in contrast.weights
        if cell != CHANCE
    }
    if not all(budgets.values()):
        return "missing cell"
    if contrast.matching == "tokens":
        common = sorted(set.intersection(*(set(each) for each in budgets.values())))
        if not common:
            return "unequal budgets"
        budgets = dict.fromkeys(budgets, common)
    value = 0.0
    for cell, weight in contrast.weights:
        row = (32.8, 41.7) if cell == CHANCE else PUBLISHED[cell, budgets[cell][contrast.budget]]
        number = row[column]
        assert number is not None
        value += weight * number
    constant = any(cell == CHANCE for cell, _ in contrast.weights)
    return Estimate(
        value=value,
        standard_error=ERROR[contrast.suite] / (math.sqrt(2) if constant else 1),
        degrees=math.inf,
        seeds=1,
        basis="published, items only",
    )


@pytest.fixture(scope="module")
def verdicts():
    claims = paper_claims_on(
        eai=Benchmark(suite=EAI, margin=1.0), t0=Benchmark(suite=T0, margin=2.0)
    )
    return {each.claim.id: each for each in decide(claims, published)}


def test_three_claims_replicate_and_none_is_contradicted(verdicts):
    found = {name: each.verdict for name, each in verdicts.items()}
    not_run = {"C12", "C13", "C16", "C17", "C18"}
    assert {name for name, one in found.items() if one == "not run"} == not_run
    assert {name for name, one in found.items() if one == "replicated"} == {"C3", "C4", "C9"}
    assert "contradicted" not in found.values()


def test_adjusted_p_of_c4(verdicts):
    assert verdicts["C4"].p == pytest.approx(0.018, abs=0.001)


@pytest.mark.parametrize(
    ("claim", "name", "suite"),
    [
        ("C5", "ED:MLM → ED:MTF > ND:MLM → ND:MTF", T0),
        ("C7", "ED:MLM → ED:MTF > ED:PLM → ED:MTF", EAI),
        ("C7", "ND:MLM → ND:MTF > ND:PLM → ND:MTF", EAI),
        ("C7", "CD:FLM → CD:MTF > CD:MLM → CD:MTF", EAI),
        ("C1", "ND:PLM > ED:PLM", EAI),
    ],
)
def test_decided_components_of_undecided_conjunctions(verdicts, claim, name, suite):
    assert verdicts[claim].verdict == "underpowered"
    (component,) = (
        each
        for each in verdicts[claim].components
        if each.contrast.name == name and each.contrast.suite == suite
    )
    assert component.verdict == "replicated"
