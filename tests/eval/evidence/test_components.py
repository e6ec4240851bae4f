"""Variance components against the ones that were planted, and against analysis of variance."""

from dataclasses import astuple, fields

import numpy as np
import pytest

from eval.evidence.components import Components, components, spreads

NAMES = [each.name for each in fields(Components)]
PLANTED = dict(zip(NAMES, (0.3, 0.4, 0.5, 0.2, 0.25, 0.35, 0.6), strict=True))  # deviations


def drawn(rng, seeds, templates, items, planted=PLANTED):
    shapes = {
        "seed": (seeds, 1, 1),
        "condition": (1, templates, 1),
        "item": (1, 1, items),
        "seed_condition": (seeds, templates, 1),
        "seed_item": (seeds, 1, items),
        "condition_item": (1, templates, items),
        "rest": (seeds, templates, items),
    }
    return 5 + sum(planted[name] * rng.normal(size=shape) for name, shape in shapes.items())


def averaged(make, rounds=600):
    values = np.array([astuple(components(make())) for _ in range(rounds)])
    return values.mean(axis=0), values.std(axis=0) / np.sqrt(rounds)


@pytest.mark.parametrize("holes", [False, True], ids=["complete", "templates of some items"])
def test_what_was_planted_is_found_without_bias(holes):
    rng = np.random.default_rng(0)

    def make():
        answers = drawn(rng, 4, 6, 16)
        if holes:  # as COPA's templates for causes and for effects
            answers[:, :3, :8] = np.nan
            answers[:, 3:, 8:] = np.nan
        return answers

    found, error = averaged(make)
    expected = np.array([PLANTED[name] ** 2 for name in NAMES])
    assert (np.abs(found - expected) < 4 * error).all(), dict(zip(NAMES, found, strict=True))
    assert (error < 0.12 * expected + 0.003).all()


def test_complete_data_give_the_analysis_of_variance():
    rng = np.random.default_rng(1)
    y = drawn(rng, 3, 4, 10)
    found = components(y)
    mean = y.mean()
    s, k, i = y.mean((1, 2)), y.mean((0, 2)), y.mean((0, 1))
    sk, si, ki = y.mean(2), y.mean(1), y.mean(0)
    ms_s = 40 * ((s - mean) ** 2).sum() / 2
    ms_sk = 10 * ((sk - s[:, None] - k + mean) ** 2).sum() / 6
    ms_si = 4 * ((si - s[:, None] - i + mean) ** 2).sum() / 18
    rest = (
        y
        - sk[:, :, None]
        - si[:, None, :]
        - ki[None]
        + s[:, None, None]
        + k[None, :, None]
        + i
        - mean
    )
    ms_e = (rest**2).sum() / (2 * 3 * 9)
    assert found.rest == pytest.approx(ms_e)
    assert found.seed_condition == pytest.approx((ms_sk - ms_e) / 10)
    assert found.seed_item == pytest.approx((ms_si - ms_e) / 4)
    assert found.seed == pytest.approx((ms_s - ms_sk - ms_si + ms_e) / 40)


def test_a_factor_of_one_level_is_not_told_apart():
    rng = np.random.default_rng(2)
    one_template = components(drawn(rng, 3, 1, 50))
    assert one_template.condition is one_template.seed_condition is one_template.rest is None
    assert one_template.seed is not None
    assert one_template.seed_item is not None  # with what is left of single answers
    one_seed = components(drawn(rng, 1, 3, 50))
    assert one_seed.seed is None
    assert one_seed.condition is not None
    assert set(astuple(components(drawn(rng, 1, 1, 1)))) == {None}
    assert set(astuple(components(np.full((2, 2, 2), np.nan)))) == {None}


def test_seed_prompt_and_item_spread_stand_apart(panel_of, key_of):
    """Answers that only seeds, only templates or only items decide."""
    ones = np.ones((2, 4, 4, 40))
    by_seed = ones * (np.arange(4) % 2)[None, :, None, None]
    by_template = ones * (np.arange(4) % 2)[None, None, :, None]
    by_item = ones * (np.arange(40) % 2)
    for answers, name in ((by_seed, "seed"), (by_template, "condition"), (by_item, "item")):
        (found,) = spreads(panel_of([answers], [key_of("a"), key_of("b")]))
        for other in NAMES:
            expected = pytest.approx(1 / 3 if name != "item" else 40 / 39 / 4, rel=1e-6)
            value = getattr(found.variances, other)
            assert value == (expected if other == name else pytest.approx(0, abs=1e-9)), other
        assert (found.seeds, found.conditions, found.items) == (4, 4, 40)


def test_stages_stand_apart_and_the_suite_is_the_mean_of_its_tasks(panel_of, key_of):
    rng = np.random.default_rng(3)
    keys = [key_of("CD:FLM"), key_of("CD:FLM", finetuned=True)]
    answers = [(rng.random((2, 3, 2, 30)) < 0.6).astype(float) for _ in range(2)]
    found = spreads(panel_of(answers, keys))
    assert [(each.stage, each.task) for each in found] == [
        (stage, task)
        for stage in ("before finetuning", "after finetuning")
        for task in ("effect", "cause", "(suite)")
    ]
    first, second, whole = found[:3]
    assert whole.variances.seed == pytest.approx((first.variances.seed + second.variances.seed) / 2)
    assert whole.deviation("rest") > 0
