"""Hours of a card, and what fits it as declared."""

import json
from functools import cache
from pathlib import Path

import pytest
from typer.testing import CliRunner

from study.cli import app
from study.costs.fit import fits
from study.costs.hardware import CARDS, Hardware, hardware
from study.language.values.stages import External
from study.runs.plan import load_sweep

SWEEPS = Path(__file__).parents[3] / "sweeps"


@cache
def runs(name="paper"):
    return load_sweep(SWEEPS / f"{name}.py").runs


def test_hours():
    on = hardware("h100", mfu=0.5)
    assert on.hours(989e12 * 0.5 * 3600) == pytest.approx(1.0)
    # the paper's budget on its own machine, far below the 832,896 chip-hours that it states
    assert hardware("tpu-v4", mfu=0.4).hours(4.99e22) == pytest.approx(126_000, rel=0.01)


@pytest.mark.parametrize("mfu", [0.0, 1.1, float("nan")])
def test_a_share_of_the_peak_is_above_0_and_at_most_1(mfu):
    with pytest.raises(ValueError, match="MFU is"):
        Hardware(card=CARDS["h100"], mfu=mfu)


def test_an_unknown_card_names_the_known():
    with pytest.raises(ValueError, match="hardware 'h1000'; legal: a100, h100"):
        hardware("h1000", mfu=0.4)


def test_decoders_fit_80_GB_as_published_and_encoder_decoders_do_not():
    found = {each.parameters: each for each in fits(runs(), card=CARDS["h100"])}
    decoder, both = found[4_762_357_760], found[11_003_736_064]
    assert decoder.holds
    assert decoder.instead is None
    assert not both.holds
    assert both.optimizer == "Adafactor"
    assert both.bytes > 8 * both.parameters  # weights and gradients in float32 alone
    assert both.cards == ("h200", "b200", "mi300x")
    # the same model under AdamW, spread so that a rank holds it
    assert both.instead is not None
    assert both.instead.bytes <= CARDS["h100"].usable
    assert both.instead.ranks > 1


def test_a_card_with_more_memory_holds_all_of_it():
    assert all(each.holds for each in fits(runs(), card=CARDS["h200"]))
    assert not any(each.holds for each in fits(runs(), card=CARDS["tpu-v4"]))


def test_what_no_formula_knows_is_unknown_and_not_refused():
    found = fits(runs("mixers"), card=CARDS["h100"])
    assert {each.bytes is None for each in found} == {True, False}
    assert all(each.why for each in found if each.bytes is None)


def test_a_plan_that_trains_nothing_has_nothing_to_fit():
    assert (
        fits([r for r in runs("calibration") if isinstance(r, External)], card=CARDS["h100"]) == []
    )


def run(*words):
    return CliRunner().invoke(app, [*map(str, words)])


def test_the_plan_says_it(tmp_path):
    words = ("plan", SWEEPS / "paper.py", "--store", tmp_path, "--hardware", "h100", "--mfu", 0.4)
    told = run(*words).output
    assert "35,029 h100-hours of training at 40%" in told
    assert "11 G  Adafactor  131.5 GB  DOES NOT FIT  h200, b200, mi300x" in told
    assert "AdamW, a declared change with another id, under ZeRO 3 on 4 h100" in told
    assert "UNPINNED: what 33 sources hold is not known" in told
    form = json.loads(run(*words, "--json").output)
    assert form["hours"] == pytest.approx(sum(row["hours"] for row in form["runs"]))
    assert form["hours"] == pytest.approx(35_029, rel=1e-4)
    assert {each["holds"] for each in form["fit"]} == {True, False}
    assert run(*words[:-1], 2).exit_code == 2
