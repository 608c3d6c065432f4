from __future__ import annotations

import numpy as np
import pytest

from poireau.leak_age import LEAST, survival, threshold


def test_survival_is_the_product_of_kaplan_and_meier() -> None:
    # The textbook: deaths at 6 (three), 7, 10, 13, 16, 22, 23; others censored.
    exits = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35], float)
    dead = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], bool)
    curve = survival(np.zeros(21), exits, dead, np.ones(21))
    assert curve.age.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert curve.alive == pytest.approx([0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], abs=6e-4)
    assert curve.at(5.9) == 1 and curve.at(6) == pytest.approx(0.857, abs=6e-4) and curve.at(99) == curve.alive[-1]


def test_a_sample_counts_as_often_as_what_it_stands_for() -> None:
    one = survival(np.zeros(3), np.array([1.0, 2, 3]), np.array([True, True, False]), np.array([1.0, 3, 2]))
    all_ = survival(
        np.zeros(6), np.array([1.0, 2, 2, 2, 3, 3]), np.array([True, True, True, True, False, False]), np.ones(6)
    )
    assert one.age.tolist() == all_.age.tolist() and one.alive == pytest.approx(all_.alive)


def test_who_comes_late_is_not_at_risk_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    life = rng.exponential(10, 20_000)
    entry = rng.uniform(0, 30, len(life))
    seen = life > entry
    curve = survival(entry[seen], life[seen], np.ones(int(seen.sum()), bool), np.ones(int(seen.sum())))
    late = curve.at(20.0) / curve.at(5.0)
    assert late == pytest.approx(np.exp(-1.5), abs=6 * 0.02)


def test_beyond_the_threshold_next_to_nothing_is_freed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    life = np.where(rng.random(5000) < 0.9, rng.exponential(1.0, 5000), np.inf)
    watched = rng.uniform(0, 600, 5000)
    found = threshold(np.zeros(5000), np.minimum(life, watched), life < watched, np.ones(5000))
    assert found is not None and 1 < found.age < 10
    assert found.survival.at(600) >= 0.95 * found.survival.at(found.age)
    assert 0 <= found.freed_later <= 0.05


@pytest.mark.parametrize("scale", [0.1, 1e4])
def test_the_threshold_goes_with_the_pace_of_the_program(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    life = np.where(rng.random(5000) < 0.9, rng.exponential(1.0, 5000), np.inf)
    watched = rng.uniform(0, 600, 5000)
    ages = np.minimum(life, watched)
    one = threshold(np.zeros(5000), ages, life < watched, np.ones(5000))
    other = threshold(np.zeros(5000), ages * scale, life < watched, np.ones(5000))
    assert one is not None and other is not None and other.age == pytest.approx(one.age * scale, rel=0.1)


def test_nobody_calls_blocks_old_that_are_not_a_tenth_of_a_second(seed: int) -> None:
    rng = np.random.default_rng(seed)
    life = np.where(rng.random(5000) < 0.9, rng.exponential(1e-5, 5000), np.inf)
    for seconds, age in ((12.0, LEAST), (0.2, None)):
        watched = rng.uniform(0, seconds, 5000)
        found = threshold(np.zeros(5000), np.minimum(life, watched), life < watched, np.ones(5000))
        assert (found and found.age) == age


def test_there_is_none_where_old_blocks_are_freed_as_well(seed: int) -> None:
    rng = np.random.default_rng(seed)
    life = 0.01 * (1 + rng.pareto(0.5, 5000))  # of any age, half are freed until it is four times as long
    watched = rng.uniform(0, 600, 5000)
    assert threshold(np.zeros(5000), np.minimum(life, watched), life < watched, np.ones(5000)) is None


def test_there_is_none_where_few_were_freed() -> None:
    ages = np.arange(1.0, 30)
    assert threshold(np.zeros(29), ages, ages < 19, np.ones(29)) is None
    assert threshold(np.zeros(0), np.zeros(0), np.zeros(0, bool), np.zeros(0)) is None
