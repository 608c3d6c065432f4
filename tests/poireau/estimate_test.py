"""Estimates against populations that are known: random ones, at 6 sigma."""

from __future__ import annotations

import math
import random

import pytest

from poireau.estimate import Estimate, Group, pick_probability, total_bytes, unseen_bytes

Block = tuple[int, int]  # its size, and the period it is drawn with


def sampled(blocks: list[Block], by_calls: bool, rng: random.Random) -> list[Group]:
    """By size class, as the library tells it."""
    classes: dict[int, list[Block]] = {}
    for size, period in blocks:
        if rng.random() < pick_probability(size, period, by_calls):
            classes.setdefault(size.bit_length(), []).append((size, period))
    return [Group(len(all), sum(s for s, _ in all), sum(p for _, p in all)) for all in classes.values()]


def test_a_period_of_one_is_exact() -> None:
    assert total_bytes([Group(3, 300, 3), Group(1, 5000, 1)]) == Estimate(5300, 0)
    assert total_bytes([Group(3, 300, 3)], by_calls=True) == Estimate(300, 0)


def test_nothing_is_nothing() -> None:
    assert total_bytes([]) == Estimate(0, 0)
    assert total_bytes([Group(0, 0, 0), Group(2, 0, 2 << 20)]) == Estimate(0, 0)


def test_probabilities_are_the_samplers() -> None:
    assert pick_probability(1 << 20, 1 << 20) == pytest.approx(1 - math.exp(-1))
    assert pick_probability(1, 1 << 40) == pytest.approx(2.0**-40)
    assert pick_probability(1 << 40, 1 << 20) == 1
    assert pick_probability(1 << 40, 100, by_calls=True) == pytest.approx(-math.expm1(-0.01))


@pytest.mark.parametrize(
    ("by_calls", "period"), [(False, 4096), (False, 65536), (False, 1 << 20), (True, 8), (True, 128)], ids=str
)
def test_totals_are_unbiased_and_so_are_their_variances(by_calls: bool, period: int, seed: int) -> None:
    rng = random.Random(seed)
    blocks = [(int(2 ** rng.uniform(4, 18)), period) for _ in range(2000)]
    truth = sum(size for size, _ in blocks)
    odds = [(size, pick_probability(size, period, by_calls)) for size, _ in blocks]
    variance = sum((1 - q) / q * size**2 for size, q in odds)
    trials = 400
    estimates = [total_bytes(sampled(blocks, by_calls, rng), by_calls) for _ in range(trials)]
    mean = sum(each.value for each in estimates) / trials
    assert abs(mean - truth) < 6 * math.sqrt(variance / trials) + 0.005 * truth
    squares = [each.deviation**2 for each in estimates]
    claimed = sum(squares) / trials
    spread = math.sqrt(sum((each - claimed) ** 2 for each in squares) / trials)
    assert abs(claimed - variance) < 6 * spread / math.sqrt(trials) + 0.02 * variance


def test_intervals_hold_the_truth(seed: int) -> None:
    rng, trials = random.Random(seed), 2000
    blocks = [(5000, 1 << 14)] * 1000
    estimates = [total_bytes(sampled(blocks, False, rng)) for _ in range(trials)]
    holding = sum(abs(each.value - 5_000_000) <= each.margin for each in estimates)
    assert abs(holding - 0.95 * trials) < 6 * math.sqrt(trials * 0.95 * 0.05) + 0.01 * trials


def test_what_was_never_sampled_is_bounded(seed: int) -> None:
    rng, period, trials = random.Random(seed), 1 << 16, 20000
    blocks = math.ceil(unseen_bytes(period) / 1024)
    unseen = sum(rng.random() < math.exp(-blocks * 1024 / period) for _ in range(trials))
    assert unseen < trials * 0.05 + 6 * math.sqrt(trials * 0.05 * 0.95)
    assert unseen_bytes(1) == 0
