"""The verdict of every kind at every place of its interval, and both Holm corrections."""

import math
from dataclasses import replace

import pytest
from made_claims import paper_claims
from scipy import special, stats

from eval.claims.claim import Claim, digest
from eval.claims.verdicts import decide, decision, p_values
from eval.evidence.contrast import ALPHA, Contrast, Estimate

MARGIN = 0.05


def contrast(kind="greater", name="a"):
    return Contrast(name=name, suite="s", weights=((("x",), 1.0),), kind=kind, margin=MARGIN)


def estimate(value, error=0.005, **changes):
    fields = {
        "value": value,
        "standard_error": error,
        "degrees": 20,
        "seeds": 3,
        "basis": "seeds and items",
    }
    return Estimate(**(fields | changes))


def claim(*components, name="C", kind="greater"):
    return Claim(id=name, text="t", kind=kind, components=components)


@pytest.mark.parametrize(
    ("kind", "value", "error", "expected"),
    [
        ("greater", 0.10, 0.01, "replicated"),
        ("greater", 0.03, 0.005, "replicated"),
        ("greater", 0.00, 0.01, "contradicted"),
        ("greater", -0.10, 0.01, "contradicted"),
        ("greater", 0.03, 0.02, "underpowered"),
        ("positive", 0.10, 0.01, "replicated"),
        ("positive", 0.00, 0.001, "underpowered"),
        ("positive", -0.10, 0.01, "contradicted"),
        ("equivalent", 0.00, 0.01, "replicated"),
        ("equivalent", 0.10, 0.01, "contradicted"),
        ("equivalent", -0.10, 0.01, "contradicted"),
        ("equivalent", 0.04, 0.01, "underpowered"),
        ("not_greater", 0.00, 0.01, "replicated"),
        ("not_greater", -0.10, 0.01, "replicated"),
        ("not_greater", 0.10, 0.01, "contradicted"),
        ("not_greater", 0.02, 0.02, "underpowered"),
        ("not_greater", 0.02, 0.005, "contradicted"),
    ],
)
def test_each_kind(kind, value, error, expected):
    assert decision(contrast(kind), estimate(value, error), ALPHA) == expected
    (found,) = decide([claim(contrast(kind))], lambda _: estimate(value, error))
    assert found.verdict == expected


def test_interval_and_p_value_are_one_thing():
    one = estimate(0.02, 0.01)
    for alpha in (0.025, 0.001):
        low, _ = one.interval(alpha)
        assert (low > 0) == (one.above(0.0) < alpha)
    low, high = one.interval(ALPHA)
    assert low == pytest.approx(0.02 - 2.086 * 0.01, abs=1e-5)
    assert high == pytest.approx(0.02 + 2.086 * 0.01, abs=1e-5)


def test_a_conjunction_needs_all_and_is_contradicted_by_one():
    values = {"a": 0.1, "b": 0.1, "c": 0.03}
    parts = [contrast(name=name) for name in values]

    def found(extra):
        return decide([claim(*parts)], lambda c: estimate((values | extra)[c.name], 0.02))[
            0
        ].verdict

    assert found({"c": 0.1}) == "replicated"
    assert found({}) == "underpowered"
    assert found({"c": -0.1}) == "contradicted"


def test_contradiction_by_one_of_many_is_corrected_inside_the_claim():
    # One-sided p = 0.024 alone contradicts; as one of ten contrasts it must not.
    low = estimate(-0.021, 0.01)
    assert 0.02 < low.below(0.0) < ALPHA
    parts = [contrast("positive", name=f"a{index}") for index in range(10)]
    many = decide([claim(*parts)], lambda c: low if c.name == "a9" else estimate(0.01, 0.03))
    alone = decide([claim(parts[9])], lambda _: low)
    assert many[0].verdict == "underpowered"
    assert alone[0].verdict == "contradicted"


def decided(values, **changes):
    """The verdict of one claim over contrasts of these (value, error), and its qualifier."""
    kind = changes.pop("kind", "greater")
    parts = [contrast(kind, name=name) for name in values]
    (found,) = decide([claim(*parts)], lambda c: estimate(*values[c.name], **changes))
    return found.verdict, found.qualifier


def test_a_negligible_contrast_contradicts_no_conjunction():
    """Surely above zero and surely below the margin, beside one that says nothing: no verdict; one
    negligible contrast of several that are replicated makes the claim negligible.
    """
    assert decided({"a": (0.02, 0.004), "b": (0.03, 0.03)}) == ("underpowered", "")
    assert decided({"a": (0.02, 0.004), "b": (0.2, 0.01)}) == ("replicated", "negligible")


def test_negligible_is_said_at_the_claim_s_own_level():
    """High end of 4.9 points at 2.5%, of 5.9 at the first of ten claims' level."""
    claims = [claim(contrast(name=f"C{n}"), name=f"C{n}") for n in range(10)]

    def found(c):
        return estimate(0.03, 0.01 if c.name == "C0" else 0.1, degrees=math.inf)

    one, *_ = decide(claims, found)
    assert one.alpha == pytest.approx(ALPHA / 10)
    assert (one.verdict, one.qualifier) == ("replicated", "")
    (alone,) = decide(claims[:1], found)
    assert (alone.verdict, alone.qualifier) == ("replicated", "negligible")


def test_a_qualifier_is_sure_after_the_correction_inside_the_claim():
    """Of ten contrasts one contradicts (far below the margin); whether it is reversed, and whether
    it is the one at the floor, is asked at a tenth of the level.
    """
    many = {f"a{index}": (0.03, 0.03) for index in range(9)}
    below = estimate(-0.022, 0.01)
    assert 0.0025 < below.below(0.0) < ALPHA
    assert decided(many | {"low": (-0.022, 0.01)}) == ("contradicted", "")
    assert decided(many | {"low": (-0.06, 0.01)}) == ("contradicted", "reversed")
    parts = [contrast(name="floor"), contrast(name="sure")]

    def found(c):
        one = (0.03, 0.03, True) if c.name == "floor" else (0.0, 0.01, False)
        return estimate(*one[:2], floor=one[2])

    (mixed,) = decide([claim(*parts)], found)
    assert (mixed.verdict, mixed.qualifier) == ("contradicted", "")


def test_a_deciding_contrast_without_an_estimate_or_seeds_leaves_the_claim_undecided():
    sure, few = estimate(0.5, 0.001), estimate(0.5, 0.001, seeds=2)
    parts = [contrast(name="a"), contrast(name="b")]

    def of(second, parts=parts):
        (found,) = decide([claim(*parts)], lambda c: sure if c.name == "a" else second)
        return found.verdict, found.p

    assert of("no cell") == ("not run", None)
    assert of(few) == ("underpowered (2 seeds)", None)
    assert of(replace(few, seeds=1)) == ("underpowered (1 seed)", None)
    assert of(sure)[0] == "replicated"
    # a shown contrast decides nothing, whatever it lacks
    shown = [parts[0], replace(parts[1], part="shown")]
    for second in ("no cell", few, estimate(-0.5, 0.001)):
        assert of(second, shown)[0] == "replicated"


def test_a_claim_s_p_is_its_weakest_contrast_s_or_its_corrected_contradiction():
    """Two contrasts with one-sided p of .01 and .001; two with .001 and .2 against them."""
    parts = [contrast("positive", name=name) for name in "ab"]

    def p_of(*ratios):
        values = dict(zip("ab", ratios, strict=True))
        (found,) = decide(
            [claim(*parts)], lambda c: estimate(0.01 * values[c.name], 0.01, degrees=math.inf)
        )
        return found.p

    assert p_of(stats.norm.isf(0.01), stats.norm.isf(0.001)) == pytest.approx(0.01)
    assert p_of(-stats.norm.isf(0.001), -stats.norm.isf(0.2)) == pytest.approx(0.002)


def test_intervals_are_student_s_at_the_degrees_of_the_estimate():
    for degrees in (2, 10, math.inf):
        one = estimate(0.3, 0.1, degrees=degrees)
        for alpha in (0.025, 0.001):
            expected = stats.t.interval(1 - 2 * alpha, degrees, loc=0.3, scale=0.1)
            assert one.interval(alpha) == pytest.approx(expected)
        assert one.above(0.1) == pytest.approx(stats.t.sf(2.0, degrees))
        assert one.below(0.1) == pytest.approx(stats.t.cdf(2.0, degrees))


def test_small_but_certain_is_not_absent():
    # Surely above zero and surely under the margin: negligible, and no contradiction.
    (found,) = decide([claim(contrast())], lambda _: estimate(0.028, 0.01))
    assert estimate(0.028, 0.01).below(MARGIN) < ALPHA
    assert (found.verdict, found.qualifier) == ("replicated", "negligible")


def test_qualifiers():
    (small,) = decide([claim(contrast())], lambda _: estimate(0.02, 0.004))
    assert (small.verdict, small.qualifier) == ("replicated", "negligible")
    (turned,) = decide([claim(contrast())], lambda _: estimate(-0.1, 0.01))
    assert (turned.verdict, turned.qualifier) == ("contradicted", "reversed")
    (floor,) = decide([claim(contrast())], lambda _: estimate(0.0, 0.01, floor=True))
    assert floor.verdict == "contradicted"
    assert floor.qualifier.startswith("at floor")


def test_holm_over_the_claims_that_ran():
    errors = {"C1": 0.02, "C2": 0.0434, "C3": 0.09}
    claims = [claim(contrast(name=name), name=name) for name in errors]
    claims.append(claim(contrast(name="missing"), name="C4"))

    def found(c):
        return estimate(0.1, errors[c.name], degrees=math.inf) if c.name in errors else "no cell"

    verdicts = {each.claim.id: each for each in decide(claims, found)}
    assert verdicts["C4"].verdict == "not run"
    assert verdicts["C4"].p is None
    assert verdicts["C4"].reason == "no cell"
    assert verdicts["C1"].alpha == pytest.approx(ALPHA / 3)
    assert verdicts["C1"].verdict == "replicated"
    # One-sided p of C2 is .0106: below .025 / 2 it is found, and .025 / 3 would not do.
    assert verdicts["C2"].verdict == "replicated"
    assert verdicts["C2"].p == pytest.approx(2 * 0.0106, abs=2e-4)
    assert verdicts["C3"].verdict == "underpowered"


def test_holm_stops_at_the_first_claim_that_is_not_decided():
    """One-sided p of .0001, .02, .021: the second is not below .025 / 2, so the third is not asked
    at .025, which it would pass.
    """
    wanted = {"C1": 0.0001, "C2": 0.02, "C3": 0.021}
    claims = [claim(contrast("positive", name=name), name=name) for name in wanted]
    ratios = {name: -special.ndtri(p) for name, p in wanted.items()}

    def found(c):
        return estimate(0.01 * ratios[c.name], 0.01, degrees=math.inf)

    first, second, third = decide(claims, found)
    assert [each.verdict for each in (first, second, third)] == [
        "replicated",
        "underpowered",
        "underpowered",
    ]
    assert [each.alpha for each in (first, second, third)] == pytest.approx(
        [ALPHA / 3, ALPHA / 2, ALPHA / 2]
    )
    # an adjusted p never falls below that of a claim that was asked before
    assert [each.p for each in (first, second, third)] == pytest.approx([0.0003, 0.04, 0.04])
    assert third.components[0].low < 0


@pytest.mark.parametrize(("seeds", "expected"), [(1, "1 seed"), (2, "2 seeds")])
def test_few_seeds_never_decide(seeds, expected):
    sure = estimate(0.5, 0.001, seeds=seeds, basis="items only", degrees=math.inf)
    (found,) = decide([claim(contrast())], lambda _: sure)
    assert found.verdict == f"underpowered ({expected})"
    assert found.components[0].verdict == f"underpowered ({expected})"
    assert found.p is None


def test_an_error_of_zero_is_no_division():
    (found,) = decide([claim(contrast())], lambda _: estimate(0.1, 0.0))
    assert found.verdict == "replicated"
    assert estimate(0.0, 0.0).above(0.0) == 1.0


def test_paper_claims_are_data():
    claims = paper_claims("microworld", 0.05)
    assert [each.id for each in claims] == [f"C{number}" for number in range(1, 19)]
    assert digest(claims) == digest(paper_claims("microworld", 0.05))
    assert digest(claims) != digest(paper_claims("microworld", 0.06))
    assert all(each.components or each.reason for each in claims)
    suites = {c.suite for each in claims for c in each.components if c.measure == "score"}
    assert suites == {"microworld"}
    names = [c.name for c in next(each for each in claims if each.id == "C5").components]
    assert len(names) == len(set(names)) == 5
    edited = (replace(claims[0], text="other"), *claims[1:])
    assert digest(edited) != digest(claims)


@pytest.mark.parametrize(
    ("kind", "value", "decided"),
    [
        ("greater", 0.02, "replicated"),
        ("greater", -0.02, "contradicted"),
        ("positive", 0.02, "replicated"),
    ],
)
def test_a_p_value_that_is_the_level_does_not_decide(kind, value, decided):
    """Strictly below, as for any test."""
    asked, found = contrast(kind), estimate(value)
    level = p_values(asked, found)[decided == "contradicted"]
    assert 0 < level < ALPHA
    assert decision(asked, found, level) == "underpowered"
    assert decision(asked, found, math.nextafter(level, 1)) == decided


def test_why_a_claim_did_not_run_names_each_missing_part_once():
    parts = [contrast(name=name) for name in "abcd"]
    lacks = {"b": "no ND:MLM", "c": "no ED:MLM", "d": "no ND:MLM"}
    (found,) = decide([claim(*parts)], lambda c: lacks.get(c.name) or estimate(0.1))
    assert found.verdict == "not run"
    assert found.reason == "no ND:MLM; no ED:MLM"


def test_one_contrast_at_the_floor_is_enough_to_say_so():
    parts = [contrast(name="floor"), contrast(name="above")]
    (found,) = decide([claim(*parts)], lambda c: estimate(0.0, 0.001, floor=c.name == "floor"))
    assert (found.verdict, found.qualifier[:8]) == ("contradicted", "at floor")
