"""Estimates against populations that are known: random ones, at 6 sigma."""

from __future__ import annotations

import math
import random

import pytest

from poireau.estimate import Estimate, Group, pick_probability, total_bytes, unseen_bytes

Block = tuple[int, int]  # its size, and the period it is drawn with


def sampled(blocks: list[Block], rng: random.Random) -> list[Group]:
    """By classes, as the library tells it."""
    classes: dict[tuple[int, int], list[Block]] = {}
    for size, period in blocks:
        if rng.random() < pick_probability(size, period):
            classes.setdefault((size.bit_length(), period.bit_length()), []).append((size, period))
    return [Group(len(all), sum(s for s, _ in all), sum(p for _, p in all)) for all in classes.values()]


def test_a_period_of_one_is_exact() -> None:
    assert total_bytes([Group(3, 300, 3), Group(1, 5000, 1)]) == Estimate(5300, 0)


def test_nothing_is_nothing() -> None:
    assert total_bytes([]) == Estimate(0, 0)
    assert total_bytes([Group(0, 0, 0), Group(2, 0, 2 << 20)]) == Estimate(0, 0)


def test_probabilities_are_the_samplers() -> None:
    assert pick_probability(1 << 20, 1 << 20) == pytest.approx(1 - math.exp(-1))
    assert pick_probability(1, 1 << 40) == pytest.approx(2.0**-40)
    assert pick_probability(1 << 40, 1 << 20) == 1
    assert pick_probability(1 << 40, 100 << 40) == pytest.approx(-math.expm1(-0.01))  # one of a hundred calls


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


def test_intervals_hold_the_truth(seed: int) -> None:
    rng, trials = random.Random(seed), 2000
    blocks = [(5000, 1 << 14)] * 1000
    estimates = [total_bytes(sampled(blocks, rng)) for _ in range(trials)]
    holding = sum(abs(each.value - 5_000_000) <= each.margin for each in estimates)
    assert abs(holding - 0.95 * trials) < 6 * math.sqrt(trials * 0.95 * 0.05) + 0.01 * trials


def test_what_was_never_sampled_is_bounded(seed: int) -> None:
    rng, period, trials = random.Random(seed), 1 << 16, 20000
    blocks = math.ceil(unseen_bytes(period) / 1024)
    unseen = sum(rng.random() < math.exp(-blocks * 1024 / period) for _ in range(trials))
    assert unseen < trials * 0.05 + 6 * math.sqrt(trials * 0.05 * 0.95)
    assert unseen_bytes(1) == 0
