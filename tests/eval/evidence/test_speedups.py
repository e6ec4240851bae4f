"""Tokens to a loss and losses at equal tokens, on made curves with a known factor."""

import math
from dataclasses import replace

import numpy as np
import pytest

from eval.claims.claim import Claim
from eval.claims.verdicts import decide, decision
from eval.evidence.contrast import ALPHA, Contrast
from eval.evidence.held_out import HeldOut
from eval.evidence.speedups import Bounded, estimate, loss_at, reached
from eval.evidence.statistics import more

SCRATCH, ADAPTED = ("CD:FLM",), ("ND:MLM", "CD:FLM")
PLACES = np.linspace(0, 1, 11)


def curve(cell, seed, *, tokens, rate=1.0, floor=2.0, luck=0.0, **changes):
    """Falls as a power of (1 + rate * tokens): `rate` times as fast is the same loss so much
    sooner. Starts at 6 nats.
    """
    own = tokens * PLACES
    fields = {
        "cell": cell,
        "size": "m",
        "seed": seed,
        "tokens": own,
        "losses": floor + 4.0 * (1 + rate * np.exp(luck) * own / 1e9) ** -0.5,
        "before": (0, 0) if len(cell) == 1 else (int(168e9), int(2e21)),
        "flops": 1e10,
        "question": "q",
        "description": "FullLM of c4",
    }
    return HeldOut(**(fields | changes))


def curves(*, rate, seeds=5, adapted=126e9, spread=0.02, **changes):
    rng = np.random.default_rng(7)
    for seed in range(seeds):
        yield curve(SCRATCH, seed, tokens=168e9, luck=spread * rng.normal())
        luck = spread * rng.normal()
        yield curve(ADAPTED, seed, tokens=adapted, rate=rate, luck=luck, **changes)


def contrast(**changes):
    fields = {
        "name": "c",
        "suite": "",
        "weights": ((SCRATCH, 1.0), (ADAPTED, -1.0)),
        "kind": "greater",
        "margin": math.log(1.1),
        "measure": "tokens_to_loss",
    }
    return Contrast(**(fields | changes))


def found(made, asked=None, unit="tokens"):
    return estimate(asked or contrast(), list(made), unit=unit, decided=1)


def test_reached_between_points_and_none_above():
    spent, losses = np.array([0.0, 10.0, 20.0]), np.array([5.0, 3.0, 2.0])
    assert reached(spent, losses, 4.0) == pytest.approx(5.0)
    assert reached(spent, losses, 3.0) == pytest.approx(10.0)
    assert reached(spent, losses, 2.25) == pytest.approx(10 * 2**0.75)
    assert reached(spent, losses, 1.9) is None
    assert reached(spent, losses, 5.5) == 0.0
    for loss in (4.5, 2.9, 2.1):
        assert loss_at(spent, losses, reached(spent, losses, loss)) == pytest.approx(loss)
    assert [loss_at(spent, losses, at) for at in spent] == pytest.approx(losses)


def test_the_first_time_counts_where_a_curve_goes_up_again():
    assert reached(np.arange(4.0), np.array([5.0, 3.0, 4.0, 2.0]), 3.5) == pytest.approx(0.75)


def test_a_planted_factor_is_found():
    one = found(curves(rate=1.6))
    assert one.value == pytest.approx(math.log(1.6), abs=0.03)
    assert (one.seeds, one.degrees, one.basis) == (5, 4, "seeds only")
    assert "times" in one.note
    assert decision(contrast(), one, ALPHA) == "replicated"
    assert one.minimum_effect is not None


def test_the_error_is_that_of_paired_differences():
    made = list(curves(rate=1.6, spread=0.1))
    one = found(made)
    logs = []
    for scratch, adapted in zip(made[::2], made[1::2], strict=True):
        own = reached(scratch.tokens, scratch.losses, scratch.losses[-1])
        logs.append(
            math.log(own) - math.log(reached(adapted.tokens, adapted.losses, scratch.losses[-1]))
        )
    assert one.value == pytest.approx(np.mean(logs))
    assert one.standard_error == pytest.approx(np.std(logs, ddof=1) / math.sqrt(5))


def test_no_speedup_is_contradicted_and_slower_is_reversed():
    none = found(curves(rate=1.0, adapted=400e9, spread=0.005))
    assert decision(contrast(), none, ALPHA) == "contradicted"
    slower = found(curves(rate=0.5, adapted=400e9))
    claim = Claim(id="C", text="t", kind="ratio", components=(contrast(),))
    (verdict,) = decide([claim], lambda _: slower)
    assert (verdict.verdict, verdict.qualifier) == ("contradicted", "reversed")


def test_total_tokens_count_the_stages_before():
    one = found(curves(rate=1.6, spread=0.0), contrast(counted="total"))
    assert one.value == pytest.approx(math.log(168 / (168 + 105)), abs=0.02)


def test_not_reached_is_an_upper_bound_and_never_replicated():
    """An adaptation of 150 B tokens that is slower than 168 B from scratch."""
    one = found(curves(rate=0.6, adapted=160e9))
    assert isinstance(one, Bounded)
    assert one.note.startswith("not reached by 5 of 5 seeds: at least 160 B tokens")
    assert one.value == pytest.approx(math.log(168 / 160), abs=1e-6)
    assert one.interval(ALPHA)[0] == -math.inf
    assert one.above(0.0) == 1.0
    # the bound lies under the margin, and the ends lie surely above the loss
    assert decision(contrast(), one, ALPHA) == "contradicted"


def test_a_bound_above_the_margin_decides_nothing():
    one = found(curves(rate=0.6, adapted=100e9))
    assert one.value > math.log(1.1)
    assert decision(contrast(), one, ALPHA) == "underpowered"
    told = more(contrast(), one, alpha=ALPHA).describe(one)
    assert told == "training ND:MLM → CD:FLM until it reaches the loss"


def test_ends_that_are_not_surely_above_the_loss_decide_nothing():
    made = list(curves(rate=1.0, adapted=168e9, spread=0.0))
    rng = np.random.default_rng(3)
    noisy = [
        each
        if each.cell == SCRATCH
        else replace(each, losses=each.losses + np.abs(0.001 * rng.standard_cauchy()) + 1e-6)
        for each in made
    ]
    one = found(noisy)
    assert isinstance(one, Bounded)
    assert one.apart > ALPHA
    assert decision(contrast(), one, ALPHA) == "underpowered"


def test_one_seed_of_many_not_reached_is_said():
    made = list(curves(rate=1.6, spread=0.0))
    last = made[-1]
    made[-1] = replace(last, losses=last.losses + 1.0)
    one = found(made)
    assert isinstance(one, Bounded)
    assert one.note.startswith("not reached by 1 of 5 seeds")
    assert decision(contrast(), one, ALPHA) != "replicated"


def test_other_held_out_data_or_objective_are_refused():
    told = found(curves(rate=1.6, question="other", description="FullLM of the-pile"))
    assert told.startswith("other held-out losses: CD:FLM FullLM of c4 (q), ")
    assert "FullLM of the-pile" in told


def test_missing_curves_and_seeds_are_named():
    made = list(curves(rate=1.6))
    assert found([each for each in made if each.cell == SCRATCH]) == (
        "no finished held-out losses of ND:MLM → CD:FLM"
    )
    apart = [each for each in made if (each.cell == SCRATCH) == (each.seed < 2)]
    assert found(apart) == "no seed has the held-out losses of both"
    assert found([*made, made[0]]) == "two runs are CD:FLM of seed 0; legal: one"


def test_reached_before_any_training_has_no_log():
    made = [
        each if each.cell == SCRATCH else replace(each, losses=each.losses * 0.0)
        for each in curves(rate=1.6)
    ]
    assert found(made) == "ND:MLM → CD:FLM has the loss before any of its own tokens"


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_never_decide(seeds):
    one = found(curves(rate=3.0, seeds=seeds))
    claim = Claim(id="C", text="t", kind="ratio", components=(contrast(),))
    (verdict,) = decide([claim], lambda _: one)
    assert verdict.verdict == f"underpowered ({seeds} seed{'s' if seeds > 1 else ''})"


def test_at_equal_flops_a_dearer_token_counts_for_more():
    made = [
        each if each.cell == SCRATCH else replace(each, flops=2e10)
        for each in curves(rate=1.6, spread=0.0)
    ]
    tokens, flops = found(made), found(made, unit="flops")
    assert flops.value == pytest.approx(tokens.value - math.log(2))


def test_losses_at_equal_tokens_of_the_last_stage():
    """C17: the adapted model is worse where both have seen as many tokens."""
    asked = contrast(
        measure="loss", weights=((ADAPTED, 1.0), (SCRATCH, -1.0)), margin=math.log(1.1)
    )
    made = [
        each
        if each.cell == SCRATCH
        else replace(each, tokens=each.tokens / 3, losses=each.losses + 0.5)
        for each in curves(rate=1.0, spread=0.01)
    ]
    one = found(made, asked)
    by_hand = [
        adapted.losses[-1] - loss_at(scratch.tokens, scratch.losses, 42e9)
        for scratch, adapted in zip(made[::2], made[1::2], strict=True)
    ]
    assert one.value == pytest.approx(np.mean(by_hand))
    assert decision(asked, one, ALPHA) == "replicated"
    same = found(curves(rate=1.0, adapted=42e9, spread=0.001), asked)
    assert same.value == pytest.approx(0.0, abs=0.01)
    assert decision(asked, same, ALPHA) == "contradicted"


def test_false_positives_stay_at_the_level():
    """Equal curves with seed luck: a factor is claimed no oftener than 2.5% says."""
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(400):
        made = []
        for seed in range(3):
            made.append(curve(SCRATCH, seed, tokens=168e9, luck=0.1 * rng.normal()))
            made.append(curve(ADAPTED, seed, tokens=600e9, luck=0.1 * rng.normal()))
        one = found(made)
        wrong += one.above(0.0) < ALPHA
    assert wrong <= 18  # 10 expected; 19 or more have p < 0.01
