"""Sums that come and go are those of what is there."""

from __future__ import annotations

import random

import numpy as np
import pytest

from poireau import estimates
from poireau.serve_sums import Sums


def columns(lives: list[tuple[int, int, int, bool]]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    code, size, period, by_calls = (np.array(column) for column in zip(*lives)) if lives else (np.zeros(0, int),) * 4
    return code, {"size": size, "period": period, "by_calls": by_calls.astype(bool)}


def test_births_and_ends_in_any_order_leave_the_sums_of_what_is_alive(seed: int) -> None:
    draw = random.Random(seed)
    sums, alive = Sums(), list[tuple[int, int, int, bool]]()
    for _ in range(200):
        new = [
            (draw.randrange(300), draw.choice([0, 1, 40, 5000, 1 << 20]), draw.choice([1, 4096, 1 << 19]), False)
            for _ in range(draw.randrange(40))
        ]
        sums.add(*columns(new))
        alive += new
        draw.shuffle(alive)
        gone = [alive.pop() for _ in range(min(len(alive), draw.randrange(40)))]
        sums.add(*columns(gone), -1)
    codes, lives = columns(alive)
    right, found = estimates.grouped(codes, 300, lives), sums.all()
    for name in ("value", "variance", "third", "seen"):
        expected = getattr(right, name)[: len(found)]
        assert getattr(found, name) == pytest.approx(expected, rel=1e-9, abs=1e-6 * max(expected)), name
    assert found.samples.tolist() == right.samples[: len(found)].tolist()
    there = found.samples > 0
    assert (found.unit >= right.unit[: len(found)])[there].all()


def test_a_group_that_has_ended_has_nothing_left_of_others(seed: int) -> None:
    draw = random.Random(seed)
    lives = [(7, draw.randrange(1, 100_000), 4096, False) for _ in range(1000)]
    sums = Sums()
    sums.add(*columns(lives))
    draw.shuffle(lives)
    for begin in range(0, 1000, 10):
        sums.add(*columns(lives[begin : begin + 10]), -1)
    assert [float(getattr(sums.all(), name)[7]) for name in ("value", "variance", "third", "seen")] == [0, 0, 0, 0]


def test_what_has_no_sample_may_be_as_much_as_any_that_has_none() -> None:
    sums = Sums()
    sums.add(*columns([(0, 100, 4096, False)]))
    rows = sums.of(np.array([0]), 2)
    assert (rows.value[1], rows.high[1]) == (0, 3 * 4096)
