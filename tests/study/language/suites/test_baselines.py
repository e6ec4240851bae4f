"""The paper's two random baselines, digit by digit from their entries, and the right one."""

import math

import pytest

from study.language.suites import baselines, eai, t0
from study.language.suites.baselines import CORRECTED, SCRIPT, T0, TABLE_5, mean

NLI = ("anli_r1", "anli_r2", "anli_r3", "cb")
EAI_BY_HAND = {
    **dict.fromkeys((*NLI, "pubmedqa"), 1 / 3),
    **dict.fromkeys(("arc_challenge", "arc_easy", "headqa_en", "hellaswag", "logiqa"), 0.25),
    **dict.fromkeys(("openbookqa", "prost", "race", "sciq"), 0.25),
    **dict.fromkeys(("boolq", "copa", "mrpc", "piqa", "qnli", "qqp", "rte", "sst", "wic"), 0.5),
    **dict.fromkeys(("winogrande", "wnli", "wsc"), 0.5),
    **dict.fromkeys(("lambada", "triviaqa", "webqs"), 0.0),
    "mathqa": 0.201,
    "multirc": 0.058,
}
T0_BY_HAND = {
    **dict.fromkeys(NLI, 1 / 3),
    **dict.fromkeys(("copa", "rte", "wsc", "winogrande", "wic", "story_cloze"), 0.5),
    "hellaswag": 0.25,
}


def cut(value):
    """To one digit of a percentage, without rounding."""
    return math.floor(1000 * value) / 10


def test_the_plotting_script_s_mean_is_32_9():
    assert len(SCRIPT) == 32
    assert 100 * mean(SCRIPT) == pytest.approx(32.88, abs=0.005)
    assert round(100 * mean(SCRIPT), 1) == 32.9


def test_table_5_s_mean_is_33_36_of_which_33_3_was_printed():
    assert len(TABLE_5) == 31
    assert 100 * mean(TABLE_5) == pytest.approx(33.36, abs=0.005)
    assert cut(mean(TABLE_5)) == 33.3


def test_the_corrected_mean_is_32_8():
    assert len(CORRECTED) == 31
    assert round(100 * mean(CORRECTED), 1) == 32.8


def test_t0_s_mean_needs_cb_at_one_third():
    assert len(T0) == 11
    assert round(100 * mean(T0), 1) == 41.7
    assert round(100 * mean({**T0, "cb": 0.5}), 1) == 43.2


def test_mathqa_s_sign():
    """115 of 4,475 questions have four answers: their chance is to be added."""
    assert round(100 * baselines.MATHQA_AS_SUBTRACTED, 1) == 18.8
    assert round(100 * baselines.MATHQA_AS_ADDED, 1) == 20.1
    assert pytest.approx(baselines.MATHQA_AS_ADDED, abs=5e-4) == CORRECTED["mathqa"]


def test_each_difference_alone_and_all_of_them_together():
    """The disputed entries (and ARC's fourth digit) are all that the tables differ by."""
    turned = {**SCRIPT, "arc_challenge": 0.25, "arc_easy": 0.25}
    del turned["headqa"]
    turned |= {"multirc": CORRECTED["multirc"], "mathqa": CORRECTED["mathqa"]}
    turned["cb"] = CORRECTED["cb"]
    assert turned == dict(CORRECTED)
    told = {each.task for each in baselines.disputed()}
    assert told == {"headqa", "multirc", "mathqa", "cb"}
    differing = {
        task
        for task in CORRECTED
        if abs(SCRIPT[task] - CORRECTED[task]) > 1e-3 or abs(TABLE_5[task] - CORRECTED[task]) > 1e-3
    }
    assert differing == told - {"headqa"}


def test_what_is_printed_is_what_the_paper_prints():
    printed = {(each.suite, each.printed): each.value for each in baselines.baselines()}
    assert printed["eai", "32.9"] == mean(SCRIPT)
    assert printed["eai", "33.3"] == mean(TABLE_5)
    assert printed["t0", "41.7"] == mean(T0)
    assert printed["eai", ""] == mean(CORRECTED)


def test_the_suites_normalise_by_the_corrected_chances():
    assert {each.name: each.chance for each in eai.TASKS} == dict(CORRECTED) == EAI_BY_HAND
    assert {each.name: each.chance for each in t0.TASKS} == dict(T0) == T0_BY_HAND
    assert set(eai.IN_T0_TRAIN) <= set(CORRECTED)
