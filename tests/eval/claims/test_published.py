"""The paper's own Table 8, decided by the rules: exactly the verdicts that it must give."""

import math
from dataclasses import replace

import pytest

from eval.claims import files, verdicts
from eval.claims.claim import Benchmark
from eval.claims.published import AsPublished
from eval.claims.verdicts import decide
from eval.evidence.contrast import ALPHA, CHANCE, Contrast, Estimate
from study.runs.cells import Cell

EAI, T0 = "EAI", "T0"
ERROR = {EAI: 0.62, T0: 1.39}  # of a difference of two cells, percentage points, items only
RANDOM = (32.8, 41.7)


def before(cell: str) -> Cell:
    """A cell after pretraining."""
    return (cell,)


def after(*cells: str) -> Cell:
    """A lineage after finetuning under its last architecture."""
    return (*cells, f"{cells[-1][:2]}:MTF")


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

NOT_RUN = {"C12", "C13", "C16", "C17", "C18"}
REPLICATED = {"C3", "C4", "C9"}
EVERY = {f"C{number}" for number in range(1, 19)}


def table(contrast: Contrast, errors=ERROR) -> Estimate | str:
    """Table 8 as an estimator: independent cells, item errors only."""
    if contrast.measure != "score" or contrast.against or contrast.outside:
        return "not in the table"
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
        row = RANDOM if cell == CHANCE else PUBLISHED[cell, budgets[cell][contrast.budget]]
        number = row[column]
        assert number is not None
        value += weight * number
    constant = any(cell == CHANCE for cell, _ in contrast.weights)
    return Estimate(
        value=value,
        standard_error=errors[contrast.suite] / (math.sqrt(2) if constant else 1),
        degrees=math.inf,
        seeds=1,
        basis="published, items only",
    )


def claims(*, eai=1.0, t0=2.0):
    """On the table's own scale, percentage points."""
    return files.load(
        "wang2022",
        {"eai": Benchmark(suite=EAI, margin=eai), "t0": Benchmark(suite=T0, margin=t0)},
    )


def told(found):
    return {each.claim.id: each.verdict for each in found}


def exactly_as_stated(found):
    words = told(found)
    return (
        {name for name, one in words.items() if one == "not run"} == NOT_RUN
        and {name for name, one in words.items() if one == "replicated"} == REPLICATED
        and {name for name, one in words.items() if one == "underpowered"}
        == EVERY - NOT_RUN - REPLICATED
    )


@pytest.fixture(scope="module")
def found():
    return {each.claim.id: each for each in decide(claims(), table)}


def test_every_verdict(found):
    assert set(found) == EVERY
    assert exactly_as_stated(found.values())


def test_holm_runs_over_the_thirteen_that_can_be_run(found):
    ran = sorted((each for each in found.values() if each.p is not None), key=lambda each: each.p)
    assert len(ran) == 13
    assert [each.claim.id for each in ran[:3]] == ["C3", "C9", "C4"]
    for place, each in enumerate(ran[:4]):
        assert each.alpha == pytest.approx(ALPHA / (13 - place))
    # the rest share the level of the first that is not decided
    assert {each.alpha for each in ran[3:]} == {ran[3].alpha}


def test_adjusted_p_of_c4(found):
    assert found["C4"].p == pytest.approx(0.018, abs=0.0006)


def component(found, claim, name, suite):
    (one,) = (
        each
        for each in found[claim].components
        if each.contrast.name == name and each.contrast.suite == suite
    )
    return one


# C5's first place on T0, C7 on EAI, C1's decoder above the encoder-decoder
DECIDED = [
    ("C5", "ED:MLM → ED:MTF > ND:MLM → ND:MTF", T0),
    ("C7", "ED:MLM → ED:MTF > ED:PLM → ED:MTF", EAI),
    ("C7", "ND:MLM → ND:MTF > ND:PLM → ND:MTF", EAI),
    ("C7", "CD:FLM → CD:MTF > CD:MLM → CD:MTF", EAI),
    ("C1", "ND:PLM > ED:PLM", EAI),
]


@pytest.mark.parametrize(("claim", "name", "suite"), DECIDED)
def test_decided_components_of_undecided_conjunctions(found, claim, name, suite):
    assert found[claim].verdict == "underpowered"
    assert component(found, claim, name, suite).verdict == "replicated"


@pytest.mark.parametrize(
    ("claim", "name", "suite"),
    [
        ("C5", "ED:MLM → ED:MTF > ND:MLM → ND:MTF", EAI),  # a lead of 0.3 is noise
        ("C5", "ND:MLM → ND:MTF > ND:PLM → ND:MTF", T0),
        ("C7", "ND:MLM → ND:MTF > ND:PLM → ND:MTF", T0),
        ("C7", "CD:FLM → CD:MTF > CD:MLM → CD:MTF", T0),
        ("C1", "CD:FLM > ND:PLM", EAI),
    ],
)
def test_what_holds_a_conjunction_back(found, claim, name, suite):
    assert component(found, claim, name, suite).verdict == "underpowered"


def test_no_component_is_contradicted(found):
    seen = {one.verdict for each in found.values() for one in each.components}
    assert seen == {"replicated", "underpowered", "not run"}


@pytest.mark.parametrize(
    "planted",
    [
        lambda patch: decide(claims(), lambda one: table(one, {EAI: 1.24, T0: 2.78})),
        lambda patch: decide(claims(), lambda one: table(one, {EAI: 0.155, T0: 0.35})),
        lambda patch: decide(claims(eai=10.0, t0=20.0), table),
    ],
    ids=["errors twice as large", "errors a quarter", "margins ten times as wide"],
)
def test_a_planted_bug_turns_the_verdicts(monkeypatch, planted):
    assert not exactly_as_stated(planted(monkeypatch))


def test_holm_over_another_number_is_another_p(monkeypatch):
    real = verdicts.holm
    monkeypatch.setattr(
        verdicts, "holm", lambda p, *, alpha: real([*p, *5 * [1.0]], alpha=alpha)[: len(p)]
    )
    (c4,) = (each for each in decide(claims(), table) if each.claim.id == "C4")
    assert c4.p != pytest.approx(0.018, abs=0.0006)
    assert c4.verdict == "underpowered"


def test_the_file_s_own_numbers_are_the_table_s():
    """Each `published` of a score, and the verdicts that `study claims` shows beside them."""
    compared = 0
    for claim in claims():
        for each in claim.components:
            value = table(each)
            if isinstance(value, Estimate):
                ((_, number),) = each.published
                assert number == pytest.approx(value.value, abs=0.051), each.name
                compared += 1
            elif each.measure == "score":
                assert not each.published
    assert compared == 80
    file = files.read("wang2022")
    assert exactly_as_stated(decide(file.claims, AsPublished(file=file)))


def test_an_edited_number_is_seen():
    file = files.read("wang2022")
    (c4,) = (each for each in file.claims if each.id == "C4")
    numbers = [tuple((name, 0.5) for name, _ in x.published) for x in c4.components]
    lower = replace(
        c4,
        components=tuple(
            replace(x, published=each) for x, each in zip(c4.components, numbers, strict=True)
        ),
    )
    edited = replace(file, claims=tuple(lower if x is c4 else x for x in file.claims))
    found = decide(edited.claims, AsPublished(file=edited))
    assert not exactly_as_stated(found)
