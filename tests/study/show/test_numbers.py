"""Numbers as they are written: the dash of what is not there, signs, and the ends of each scale."""

import math

import pytest

from study.show import numbers


@pytest.mark.parametrize(
    "write",
    [
        numbers.percent,
        numbers.points,
        numbers.over_chance,
        numbers.decimal,
        numbers.p_value,
        numbers.count,
        numbers.scientific,
    ],
)
def test_what_is_not_there_is_a_dash(write):
    assert write(None) == "–"


@pytest.mark.parametrize("write", [numbers.percent, numbers.points, numbers.over_chance])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_a_dash(write, value):
    assert write(value) == "–"


def test_differences_have_a_sign_unless_they_round_to_zero():
    assert [numbers.points(each) for each in (0.012, -0.012, 0.0004, -0.0004)] == [
        "+1.2",
        "−1.2",
        "0.0",
        "0.0",
    ]
    assert numbers.over_chance(-0.25) == "−0.250"
    assert numbers.percent(0.012) == "1.2"


def test_decimals_have_a_true_minus_and_no_plus():
    assert [numbers.decimal(each) for each in (1.23456, -0.5)] == ["1.235", "−0.500"]


def test_an_interval_is_written_as_its_number():
    assert numbers.between(0.1, 0.25) == "10.0 to 25.0"
    assert numbers.between(-0.1, 0.25, numbers.points) == "−10.0 to +25.0"
    assert numbers.between(0.1, None) == "–"
    assert numbers.between(None, 0.1) == "–"


def test_small_p_values_are_bounds():
    assert [numbers.p_value(each) for each in (0.0009, 0.001, 1.0)] == ["< 0.001", "0.001", "1.000"]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (None, ""),
        (0, "0"),
        (999, "999"),
        (1000, "1 k"),
        (1_234_567, "1.23 M"),
        (2.5e9, "2.5 G"),
        (-3000, "-3 k"),
        (4e21, "4 Z"),
    ],
)
def test_quantities_have_three_digits_and_a_prefix(number, told):
    assert numbers.quantity(number) == told


def test_budgets_name_lineages():
    assert [numbers.budget(each) for each in (999, 1500, 89_600, 1_200_000, 2 * 10**9)] == [
        "999",
        "1.5k",
        "89.6k",
        "1.2M",
        "2B",
    ]


def test_whole_numbers_keep_every_digit():
    assert numbers.count(1_234_567) == "1,234,567"
    assert [numbers.scientific(each) for each in (0, 1.234e12, 999)] == ["0", "1.23e12", "9.99e2"]


def test_nouns_follow_their_number():
    assert [numbers.counted(each, "seed") for each in (0, 1, 3)] == ["0 seeds", "1 seed", "3 seeds"]
