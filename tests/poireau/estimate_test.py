"""Estimates against populations that are known: random ones, at 6 sigma."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import pytest

from poireau.estimate import Estimate, Group, above, below, of_sums, pick_probability, total_bytes, unseen_bytes
from tests.conftest import ROOT

Block = tuple[int, int]  # its size, and the period it is drawn with


def sampled(blocks: list[Block], rng: random.Random) -> list[Group]:
    """By classes, as the library tells it."""
    classes: dict[tuple[int, int], list[Block]] = {}
    for size, period in blocks:
        if rng.random() < pick_probability(size, period):
            classes.setdefault((size.bit_length(), period.bit_length()), []).append((size, period))
    return [Group(len(all), sum(s for s, _ in all), sum(p for _, p in all)) for all in classes.values()]


def equal(samples: int, weight: float = 1.0) -> Estimate:
    """Of so many samples that stand for as much each, and are nothing beside that."""
    return of_sums(samples * weight, samples * weight**2, samples * weight**3, 0.0, samples, weight)


def test_a_period_of_one_is_exact() -> None:
    assert total_bytes([Group(3, 300, 3), Group(1, 5000, 1)]) == Estimate(5300, 5300, 5300, 4, 0)
    assert total_bytes([], 1) == Estimate(0, 0, 0, 0, 0)


def test_what_is_certain_to_be_sampled_is_there_and_small_blocks_may_be_beside_it() -> None:
    total = total_bytes([Group(2, 200 << 20, 2 << 20)])
    assert total.value == total.low == 200 << 20
    assert total.high == pytest.approx(total.value + unseen_bytes(1 << 20), rel=1e-3)


def test_nothing_is_nothing() -> None:
    assert total_bytes([]) == Estimate(0, 0, 0, 0, 0)
    assert total_bytes([Group(0, 0, 0), Group(2, 0, 2 << 20)]) == Estimate(0, 0, 0, 0, 0)


def test_where_nothing_was_sampled_there_are_fewer_than_three_periods() -> None:
    assert total_bytes([], 1 << 20) == Estimate(0, 0, 3 << 20, 0, 0)


def test_probabilities_are_the_samplers() -> None:
    assert pick_probability(1 << 20, 1 << 20) == pytest.approx(1 - math.exp(-1))
    assert pick_probability(1, 1 << 40) == pytest.approx(2.0**-40)
    assert pick_probability(1 << 40, 1 << 20) == 1
    assert pick_probability(1 << 40, 100 << 40) == pytest.approx(-math.expm1(-0.01))  # one of a hundred calls


def mid_p(n: int, mean: float) -> float:
    """P(fewer than n) + P(n) / 2 of a Poisson distribution."""
    term = math.exp(-mean)
    total = 0.0
    for i in range(n):
        total += term
        term *= mean / (i + 1)
    return total + term / 2


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 10, 20, 50, 200, 500])
def test_equal_samples_have_the_poisson_interval_of_their_number(n: int) -> None:
    low, high = n - math.sqrt(n) * below(n**-0.5), n + math.sqrt(n) * above(n**-0.5)
    for tail, end in ((1 - mid_p(n, low), low), (mid_p(n, high), high)):
        assert tail == pytest.approx(0.025, rel=0.03), (n, end)
    assert (equal(n).low, equal(n).high) == (pytest.approx(low), pytest.approx(high, rel=0.001))


def test_intervals_hold_their_value_and_what_was_seen(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(2000):
        blocks = [
            (rng.choice([1, 50, 5000, 1 << 20]), rng.choice([1, 1000, 1 << 20])) for _ in range(rng.randrange(20))
        ]
        total = total_bytes([Group(1, *block) for block in blocks])
        assert sum(size for size, _ in blocks) * (1 - 1e-12) <= total.low <= total.value <= total.high, (blocks, total)
        assert total.margin >= total.high - total.value >= 0


def test_intervals_scale_with_their_unit_and_widen_with_it() -> None:
    for n in (1, 3, 30):
        assert equal(n, 1000.0).high == pytest.approx(1000 * equal(n).high)
        assert equal(n, 1000.0).low == pytest.approx(1000 * equal(n).low)
        sums = (n, n, n, 0.0, n)
        highs = [of_sums(*sums, unit=unit).high for unit in (0.0, 1.0, 2.0, 5.0, 50.0)]
        assert highs == sorted(highs)
        assert highs[-1] > 2.9 * 50


def test_json_has_the_value_the_ends_and_the_number_of_samples() -> None:
    assert Estimate(5.0, 1.0, 12.0, 3, 2.0).as_json() == {"value": 5.0, "ci95": [1.0, 12.0], "n": 3}


def test_numpy_is_not_needed() -> None:
    code = "import sys, poireau.estimate; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def blocks_of(kind: str, rng: random.Random) -> list[Block]:
    sizes = [int(2 ** rng.uniform(4, 18)) for _ in range(2000)]
    if kind == "retuned":
        return [(size, rng.choice((1 << 12, 1 << 16, 1 << 20))) for size in sizes]
    period, _, unit = kind.partition(" ")
    return [(size, int(period) * (size if unit == "calls" else 1)) for size in sizes]


@pytest.mark.parametrize("kind", ["4096", "65536", "1048576", "8 calls", "128 calls", "retuned"])
def test_totals_are_unbiased_and_so_are_their_variances(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    blocks = blocks_of(kind, rng)
    truth = sum(size for size, _ in blocks)
    odds = [(size, pick_probability(size, period)) for size, period in blocks]
    variance = sum((1 - q) / q * size**2 for size, q in odds)
    too_low = 0.03 if kind == "retuned" else 0.013
    trials = 400
    estimates = [total_bytes(sampled(blocks, rng)) for _ in range(trials)]
    mean = sum(each.value for each in estimates) / trials
    assert abs(mean - truth) < 6 * math.sqrt(variance / trials) + too_low * truth
    squares = [each.deviation**2 for each in estimates]
    claimed = sum(squares) / trials
    spread = math.sqrt(sum((each - claimed) ** 2 for each in squares) / trials)
    assert abs(claimed - variance) < 6 * spread / math.sqrt(trials) + 4 * too_low * variance


@pytest.mark.parametrize("expected", [1, 3, 10, 300])
def test_intervals_hold_the_truth(expected: int, seed: int) -> None:
    rng, trials, size = random.Random(seed), 4000, 5000
    covered = 0
    for _ in range(trials):
        # Of whole numbers of samples some means are held more often than others.
        mean = expected * rng.uniform(0.7, 1.3)
        samples, left = 0, mean
        while (left := left - rng.expovariate(1)) > 0:
            samples += 1
        total = equal(samples, size)
        covered += total.low <= mean * size <= total.high
    six = 6 * math.sqrt(0.95 * 0.05 / trials)
    assert 0.93 - six < covered / trials < (0.97 if expected > 1 else 1) + six


def test_what_was_never_sampled_is_bounded(seed: int) -> None:
    rng, period, trials = random.Random(seed), 1 << 16, 20000
    blocks = math.ceil(unseen_bytes(period) / 1024)
    unseen = sum(rng.random() < math.exp(-blocks * 1024 / period) for _ in range(trials))
    assert unseen < trials * 0.05 + 6 * math.sqrt(trials * 0.05 * 0.95)
    assert unseen_bytes(1) == 0
