"""Columns of estimates say what single ones do, add up, and tell noise from news."""

from __future__ import annotations

from math import expm1, sqrt
from typing import Any

import numpy as np
import pytest

from poireau import estimate, estimates
from poireau.estimate import Estimate
from poireau.estimates import Estimates, chance, difference, grouped, joined, total

Lives = dict[str, Any]
NEVER = np.iinfo(np.int64).max


def lives_of(rng: np.random.Generator, count: int, periods: tuple[int, ...] = (1, 1000, 1 << 19)) -> Lives:
    born = rng.integers(0, 10**9, count)
    return {
        "size": rng.choice(np.array([0, 1, 100, 5000, 1 << 20], np.uint64), count),
        "period": rng.choice(np.array(periods, np.uint64), count),
        "by_calls": rng.random(count) < 0.2,
        "born": born,
        "died": np.where(rng.random(count) < 0.5, NEVER, born + rng.integers(0, 10**9, count)),
    }


def part(lives: Lives, marks: Any) -> Lives:
    return {name: column[marks] for name, column in lives.items()}


def of_poisson(rng: np.random.Generator, mean: float, period: float, count: int) -> Estimates:
    samples = rng.poisson(mean / period, count)
    value = samples * period
    return Estimates(
        value, value * period, value * period**2, np.zeros(count), samples, np.full(count, period)
    )  # fmt: skip


def is_close(one: Estimate, other: Estimate) -> bool:
    ends = ("value", "low", "high", "deviation", "samples")
    return all(getattr(one, end) == pytest.approx(getattr(other, end), rel=1e-9, abs=1e-6) for end in ends)


def test_chances_are_the_samplers() -> None:
    assert chance([100, 0, 1], 1000).tolist() == pytest.approx([-expm1(-0.1), -expm1(-0.001), -expm1(-0.001)])
    assert chance([0, 5, 10**9], 50, True).tolist() == pytest.approx([-expm1(-1 / 50)] * 3)
    assert chance([0, 5], [1, 1], [False, True]).tolist() == [1, 1]
    assert len(chance([], [])) == 0


def test_columns_say_what_single_estimates_do(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lives, codes = lives_of(rng, 300), rng.integers(0, 60, 300)
    for what in estimates.WHATS:
        rows = grouped(codes, 70, lives, what, window=(0, 2 * 10**9))
        assert np.all((rows.low <= rows.value) & (rows.value <= rows.high))
        for row in range(70):
            assert is_close(rows[row], total_of_one(rows, row))
            assert (rows[row].low, rows[row].high) == (pytest.approx(rows.low[row]), pytest.approx(rows.high[row]))
        assert rows.samples.sum() == 300 and np.all(rows.samples[60:] == 0)


def total_of_one(rows: Estimates, row: int) -> Estimate:
    return rows.take([row]).sum()


def test_a_period_of_one_is_exact() -> None:
    lives = {"size": [10, 0, 300], "period": [1, 1, 1], "by_calls": [False, False, True]}
    assert total(lives) == Estimate(310, 310, 310, 3, 0)
    assert total(lives, "count") == Estimate(3, 3, 3, 3, 0)


def test_sums_are_of_all_however_they_are_made(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lives, codes = lives_of(rng, 500), rng.integers(0, 40, 500)
    at_once = grouped(codes, 40, lives)
    half = np.arange(500) < 250
    by_halves = grouped(codes[half], 40, part(lives, half)) + grouped(codes[~half], 40, part(lives, ~half))
    for row in range(40):
        assert by_halves.value[row] == pytest.approx(at_once.value[row])
        assert by_halves.variance[row] == pytest.approx(at_once.variance[row])
    whole = grouped(np.zeros(500, int), 1, lives)
    for sums in (at_once, by_halves, joined([estimates.nothing(3), at_once])):
        assert is_close(sums.sum(), whole[0])
    of_functions = at_once.grouped(np.arange(40) % 4, 4)
    assert of_functions.value[1] == pytest.approx(at_once.value[1::4].sum())
    assert of_functions.samples.dtype == np.int64


def test_no_lives_are_no_estimate() -> None:
    nothing = {"size": np.zeros(0), "period": np.zeros(0), "by_calls": np.zeros(0, bool)}
    assert total(nothing) == Estimate(0, 0, 0, 0, 0)
    assert total(nothing, period=4096) == Estimate(0, 0, 3 * 4096, 0, 0)
    assert len(grouped(np.zeros(0, int), 0, nothing)) == 0
    assert joined([]).sum() == Estimate(0, 0, 0, 0, 0)


def test_byte_seconds_are_those_of_the_window() -> None:
    lives = {
        "size": [100, 100, 100], "period": [1, 1, 1], "by_calls": [False] * 3,
        "born": [0, 5 * 10**9, 20 * 10**9], "died": [10 * 10**9, NEVER, NEVER],
    }  # fmt: skip
    assert total(lives, "byte_seconds", window=(2 * 10**9, 15 * 10**9)).value == pytest.approx(100 * (8 + 10))


def test_weights_multiply() -> None:
    lives = {"size": [100, 200], "period": [1000, 1000], "by_calls": [False, False]}
    assert total(lives, weights=[3, 0]).value == pytest.approx(3 * total(part_of(lives, 1)).value)
    with pytest.raises(ValueError):
        total(lives, "weight")


def part_of(lives: dict[str, list[Any]], count: int) -> Lives:
    return {name: column[:count] for name, column in lives.items()}


def test_a_longer_period_that_may_have_been_in_force_widens_upwards_only() -> None:
    lives = {"size": [100, 100], "period": [1000, 1000], "by_calls": [False, False]}
    narrow, wide = total(lives), total(lives, period=8000)
    assert (narrow.value, narrow.low) == (wide.value, wide.low)
    assert wide.high > narrow.high + 10_000


def test_small_blocks_may_hide_beside_one_that_is_certain_to_be_sampled(seed: int) -> None:
    huge = {"size": [1 << 24], "period": [1 << 19], "by_calls": [False]}
    assert total(huge).low == 1 << 24
    assert total(huge).high == pytest.approx((1 << 24) + 3 * (1 << 19), rel=0.001)
    assert total(huge, period=1 << 20).high == pytest.approx((1 << 24) + 3 * (1 << 20), rel=0.01)
    # And do: of 20 bytes, a period and a half of them.
    rng, period, places = np.random.default_rng(seed), 1000.0, 2000
    seen = 1 + rng.binomial(75, chance(20, period), places)
    codes = np.repeat(np.arange(places), seen)
    size = np.full(len(codes), 20)
    size[np.cumsum(seen) - 1] = 50_000
    columns = {"size": size, "period": np.full(len(codes), period), "by_calls": np.zeros(len(codes), bool)}
    got = grouped(codes, places, columns)
    assert np.mean((got.low <= 51_500) & (got.high >= 51_500)) > 0.93


def test_what_has_no_sample_may_have_three_periods() -> None:
    lives = {"size": [100, 1 << 20], "period": [1000, 5000], "by_calls": [False, False]}
    assert grouped(np.array([0, 1]), 3, lives)[2] == Estimate(0, 0, 15_000, 0, 0)


@pytest.mark.parametrize(
    ("mean", "periods"), [(3, (1, 1)), (20, (1, 1)), (20, (1, 8)), (500, (1, 1)), (1000, (10, 1)), (40, (40, 1))]
)
def test_chances_of_a_difference_are_those_of_none(mean: float, periods: tuple[int, int], seed: int) -> None:
    rng, trials = np.random.default_rng(seed), 20_000
    got = difference(of_poisson(rng, mean, periods[0], trials), of_poisson(rng, mean, periods[1], trials))
    for share in (0.05, 0.005):
        assert np.mean(got.chance <= share) < share + 6 * sqrt(share / trials)
    if mean >= 20 and max(periods) == 1:
        assert np.mean(got.chance <= 0.05) > 0.03
    held = np.mean((got.low <= 0) & (got.high >= 0))
    assert held + 6 * sqrt(0.05 / trials) > 0.93
    assert np.mean(got.significant()) < 0.01


def test_news_among_noise_is_found_and_little_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = of_poisson(rng, 20, 1, 1000)
    after = joined([of_poisson(rng, 20, 1, 900), of_poisson(rng, 80, 1, 100)])
    found = difference(before, after).significant(0.05)
    assert found[900:].mean() > 0.9
    assert found[:900].sum() < 30


def test_exact_differences_are_certain() -> None:
    lives = {"size": [100, 100, 50, 50], "period": [1] * 4, "by_calls": [False] * 4}
    before = grouped(np.array([0, 1, 2, 2]), 4, lives)
    after = grouped(np.array([0, 0, 2, 2]), 4, lives)
    got = difference(before, after)
    assert got.value.tolist() == [100, -100, 0, 0]
    assert got.low.tolist() == got.high.tolist() == got.value.tolist()
    assert got.chance[:2].max() < 1e-6 and got.chance[2:].tolist() == [1, 1]
    assert got.significant().tolist() == [True, True, False, False]


def test_what_was_always_there_is_no_part_of_a_change() -> None:
    count = 1000
    lives = {
        "size": np.full(count + 1, 100), "period": np.full(count + 1, 10_000), "by_calls": np.zeros(count + 1, bool),
        "born": np.r_[np.zeros(count, int), 60], "died": np.full(count + 1, NEVER),
    }  # fmt: skip
    got = estimates.change(np.zeros(count + 1, int), 1, lives, 50, 100)
    one = total(part(lives, slice(count, None)))
    assert got.value[0] == pytest.approx(one.value)
    assert got.low[0] < 0, "up to three periods may have gone without having been seen"
    assert got.high[0] - got.low[0] < total(lives).margin / 5


def test_sums_of_unlike_deviations_are_within_their_ends(seed: int) -> None:
    """An estimate's parts may be added without looking: skewness never gets absurd."""
    rng = np.random.default_rng(seed)
    for _ in range(200):
        count = int(rng.integers(1, 5))
        rows = grouped(np.arange(count), count, lives_of(rng, count))
        assert rows.sum().high <= rows.high.sum() * (1 + 1e-9) + estimate.NONE_SEEN * rows.unit.max()
