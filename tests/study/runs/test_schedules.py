import math
from itertools import pairwise

import pytest

from study.runs.training import Constant, Cosine, Rsqrt, WarmupStableDecay, fraction, learning_rate


def test_rsqrt_with_a_hundredth_is_the_papers_schedule():
    """1/sqrt(max(n, 10,000)): flat for 10,000 steps, no warm-up (Raffel et al., section 3.1.2)."""
    schedule = Rsqrt(flat_steps=10_000)
    for step in (0, 1, 9_999, 10_000, 10_001, 32_768, 65_536, 131_071):
        rate = learning_rate(schedule, base=0.01, step=step, total=131_072)
        assert rate == pytest.approx(1.0 / math.sqrt(max(step, 10_000)), rel=1e-15)


def test_warmup_moves_at_once_and_reaches_one():
    schedule = Constant(warmup_steps=4)
    shares = [fraction(schedule, step=step, total=8) for step in range(8)]
    assert shares == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert fraction(Constant(warmup_steps=0), step=0, total=8) == 1.0


def test_warmup_stable_decay_falls_over_the_last_steps_only():
    schedule = WarmupStableDecay(warmup_steps=2, decay_steps=4)
    shares = [fraction(schedule, step=step, total=10) for step in range(10)]
    assert shares == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_warmup_stable_decay_without_a_decay_stays_at_one():
    schedule = WarmupStableDecay(warmup_steps=2, decay_steps=0)
    assert [fraction(schedule, step=step, total=4) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    # where both overlap the smaller decides
    short = WarmupStableDecay(warmup_steps=4, decay_steps=4)
    assert [fraction(short, step=step, total=4) for step in range(4)] == [0.25, 0.5, 0.5, 0.25]


def test_stable_phase_does_not_know_its_end():
    """What makes an intermediate checkpoint a legal parent."""
    for total in (100, 1000):
        schedule = WarmupStableDecay(warmup_steps=5, decay_steps=10)
        assert [fraction(schedule, step=n, total=total) for n in range(90)] == [
            fraction(schedule, step=n, total=100) for n in range(90)
        ]


def test_cosine_ends_at_its_final_fraction():
    schedule = Cosine(warmup_steps=10, final_fraction=0.1)
    shares = [fraction(schedule, step=step, total=101) for step in range(101)]
    assert shares[9] == 1.0
    assert shares[10] == 1.0
    assert shares[55] == pytest.approx(0.55)
    assert shares[100] == pytest.approx(0.1)
    assert all(later < earlier for earlier, later in pairwise(shares[10:]))


def test_a_step_outside_the_schedule_is_refused():
    with pytest.raises(ValueError, match="step 8 of a schedule that ends at 8; legal: 0 to 7"):
        fraction(Constant(warmup_steps=0), step=8, total=8)
