"""Rates, intervals and verdicts of planted leaks and of look-alikes, in populations: many programs, many seeds. A share
in `make check`, all of it in `make soak`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import sqrt

import numpy as np
import pandas as pd
import pytest

from poireau.leaks import FOUND, find
from tests.conftest import Exercised
from tests.poireau.leak_shapes import HONEST, LEAKS, heap_of_shapes

CASES = 1000  # of each shape, in all
CERTAIN = 0.93  # of intervals hold the truth, at least
# Seconds that a program runs, and its period.
PROGRAMS = [(60, 16384), (600, 65536), (7200, 524288)]


def populations(shape: str, cases: int, seconds: float, period: int, seed: int) -> pd.DataFrame:
    """Sites of programs of 20 each, with their true rates, where there is a sample."""
    tables = []
    for number in range(max(cases // 20, 1)):
        heap, truth = heap_of_shapes(
            [{**LEAKS, **HONEST}[shape]], seed + number, each=min(cases, 20), seconds=seconds, period=period
        )
        table = find(heap).table
        tables.append(table[table["function"].isin(truth)].assign(right=table["function"].map(truth)))
    return pd.concat(tables, ignore_index=True)


@pytest.mark.slow
@pytest.mark.parametrize("shape", LEAKS)
def test_intervals_hold_the_true_rate(shape: str, seed: int, scale: Callable[[int], int], exercised: Exercised) -> None:
    found = pd.concat(
        [populations(shape, scale(CASES) // len(PROGRAMS), *program, seed) for program in PROGRAMS], ignore_index=True
    )
    held = ((found["rate_low"] <= found["right"]) & (found["right"] <= found["rate_high"])).to_numpy()
    exercised.count("intervals of rates that hold the truth, of a thousand", shape, int(1000 * held.mean()))
    assert held.mean() >= CERTAIN - 6 * sqrt(CERTAIN * (1 - CERTAIN) / len(found)), held.mean()
    # Those that are found are no other half than those that are not.
    ratio = found["rate"].sum() / found["right"].sum()
    assert 0.7 < ratio < 1.4, ratio


@pytest.mark.slow
@pytest.mark.parametrize("shape", LEAKS)
def test_leaks_with_enough_samples_are_found(shape: str, seed: int, scale: Callable[[int], int]) -> None:
    found = populations(shape, scale(CASES) // 4, 600, 16384, seed)
    enough = found[(found["samples"] >= 30) | found["resized"] & (found["bytes"] > 10 * 16384)]
    assert len(enough) >= len(found) // 2
    share = enough["verdict"].isin(FOUND).mean()
    assert share >= 0.95 - 6 * sqrt(0.95 * 0.05 / len(enough)), Counter(enough["verdict"])


@pytest.mark.slow
@pytest.mark.parametrize("shape", HONEST)
def test_look_alikes_are_not(shape: str, seed: int, scale: Callable[[int], int]) -> None:
    """Of all sites of a report, one in twenty that are called leaks may be none."""
    found = pd.concat([populations(shape, scale(CASES) // 8, *program, seed) for program in PROGRAMS])
    wrong = found["verdict"].isin(FOUND)
    assert wrong.mean() <= 0.01 + 6 * sqrt(0.01 / len(found)), found[wrong][["rate", "rate_low", "chance", "bursts"]]


@pytest.mark.slow
def test_one_leak_among_many_honest_sites_comes_first(seed: int, scale: Callable[[int], int]) -> None:
    first = []
    for number in range(max(scale(100), 3)):
        rng = np.random.default_rng(seed + number)
        leak = str(rng.choice(list(LEAKS)))
        heap, _ = heap_of_shapes([*HONEST.values(), LEAKS[leak]], seed + number, each=1, seconds=600, period=16384)
        first.append(str(find(heap).table["function"].iloc[0]).startswith(LEAKS[leak].__name__))
    assert np.mean(first) >= 0.95 - 6 * sqrt(0.95 * 0.05 / len(first))
