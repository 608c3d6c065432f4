"""Bytes asked for are counted; only what came after each thread's last sample is estimated."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, sqrt
from typing import Any

import numpy as np
import pytest

from poireau import estimates
from poireau.requested import Tails, asked_for, shared_out

PERIOD = 1000.0
Births = dict[str, Any]


def births_of(sizes: Any, sampled: Any, thread: int = 1, process: int = 0, period: float = PERIOD) -> Births:
    """Of one thread's requests, those that are sampled."""
    sizes, sampled = np.asarray(sizes), np.flatnonzero(sampled)
    since = np.diff(np.cumsum(np.maximum(sizes, 1))[sampled], prepend=0)
    columns = {"size": sizes[sampled], "since": since, "period": np.full(len(sampled), period)}
    same = {"process": np.full(len(sampled), process), "thread": np.full(len(sampled), thread)}
    return {**columns, **same, "by_calls": np.zeros(len(sampled), bool)}


def together(*parts: Births) -> Births:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_at_period_one_it_is_exact() -> None:
    births = births_of([100, 0, 50], [True] * 3, period=1)
    total = asked_for(births).sum()
    assert (total.value, total.low, total.high) == (151, 151, 151), "a request of no bytes counts as one"


def test_what_was_counted_is_certain() -> None:
    births = births_of([10] * 10_000, np.arange(10_000) % 100 == 99)
    total = asked_for(births).sum()
    assert total.low >= 100_000
    assert total.value == pytest.approx(100_000 + PERIOD, rel=0.01)
    assert total.high < 100_000 + 4 * PERIOD
    assert total.deviation < estimates.total(births).deviation / 8


def test_each_thread_has_a_tail_of_its_own() -> None:
    one = births_of([10] * 1000, np.arange(1000) % 100 == 50)
    several = [
        births_of([10] * 1000, np.arange(1000) % 100 == 50, thread, process) for thread in (1, 2) for process in (0, 1)
    ]
    rows = asked_for(together(*several))
    assert len(rows) == 4
    assert rows.value.tolist() == pytest.approx([asked_for(one).value[0]] * 4)
    assert rows.samples.tolist() == [10] * 4


def test_threads_may_be_mixed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [births_of(rng.integers(0, 300, 500), rng.random(500) < 0.1, thread) for thread in range(1, 5)]
    whole = together(*parts)
    place = np.concatenate([np.sort(rng.random(len(part["size"]))) for part in parts]).argsort()
    mixed = {name: column[place] for name, column in whole.items()}
    assert asked_for(mixed).value.tolist() == pytest.approx(asked_for(whole).value.tolist())


def test_of_births_that_come_in_parts_only_the_first_and_the_last_have_to_be_kept(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [
        births_of(rng.integers(0, 300, requests), rng.random(requests) < 0.1, thread)
        for thread, requests in enumerate((5000, 20, 300, 200, 220), 1)
    ]
    whole = together(*parts)
    whole["time"] = np.arange(len(whole["size"]))
    tails = Tails()
    at = 0
    while at < len(whole["size"]):
        upto = at + int(rng.integers(0, 40))
        tails.add({name: column[at:upto] for name, column in whole.items()})
        tails.births()
        at = upto
    kept = tails.births()
    assert max(np.bincount(kept["thread"])) <= 22 < len(whole["size"])
    for inherited in (False, True):
        got, want = (asked_for(each, np.full(len(each["size"]), inherited)) for each in (kept, whole))
        for name, column in vars(want).items():
            assert getattr(got, name).tolist() == pytest.approx(column.tolist()), name
    assert len(asked_for(Tails().births())) == 0


def test_no_births_are_no_bytes() -> None:
    assert asked_for(births_of([], [])).sum() == estimates.total(births_of([], []))


Draw = Callable[[np.random.Generator], np.ndarray[Any, Any]]
SEQUENCES: dict[str, Draw] = {
    "small": lambda rng: np.full(500, 10),
    "of all sizes": lambda rng: np.exp(rng.normal(4, 2, 60)).astype(int),
    "larger and larger": lambda rng: np.arange(1, 100),
    "short": lambda rng: np.full(20, 10),
}


@pytest.mark.parametrize("inherited", [False, True])
@pytest.mark.parametrize("kind", SEQUENCES)
def test_it_is_unbiased_and_so_is_its_variance(kind: str, inherited: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = SEQUENCES[kind](rng)
    q = estimates.chance(sizes, PERIOD)
    count = 1500
    parts = [births_of(sizes, rng.random(len(sizes)) < q, process=process) for process in range(count)]
    births = together(*parts)
    if inherited:
        births["since"][np.r_[True, np.diff(births["process"]) != 0]] += 12_345
    rows = asked_for(births, np.full(len(births["size"]), inherited))
    # Those without a sample have no row, and count for nothing.
    error = np.r_[rows.value, np.zeros(count - len(rows))] - np.maximum(sizes, 1).sum()
    assert abs(error.mean()) < 6 * error.std() / sqrt(count)
    claimed = np.r_[rows.variance, np.zeros(count - len(rows))]
    spread = np.sqrt((claimed.var() + (error**2).var()) / count)
    assert claimed.mean() > (error**2).mean() - 6 * spread
    # Where blocks are large it is taken for no less than small ones would have.
    if kind in ("small", "short"):
        assert claimed.mean() < 1.6 * (error**2).mean() + 6 * spread


def test_a_thread_too_short_for_a_sample_is_mostly_not_seen(seed: int) -> None:
    rng, count = np.random.default_rng(seed), 5000
    sizes = np.full(10, 10)
    births = together(*(births_of(sizes, rng.random(10) < estimates.chance(sizes, PERIOD), p) for p in range(count)))
    rows = asked_for(births)
    seen = 1 - exp(-0.1)
    assert len(rows) == pytest.approx(count * seen, abs=6 * sqrt(count * seen))
    total = rows.sum()
    assert total.value == pytest.approx(count * 100, abs=6 * total.deviation)


def test_shared_out_totals_add_up_and_large_shares_become_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.full(30_000, 10)
    stack = (rng.random(len(sizes)) < 0.2).astype(int)
    truth = np.bincount(stack, sizes)
    errors = []
    for _ in range(400):
        sampled = rng.random(len(sizes)) < estimates.chance(sizes, PERIOD)
        births = births_of(sizes, sampled)
        rows, known = estimates.grouped(stack[sampled], 2, births), asked_for(births)
        better = shared_out(rows, known.sum())
        assert better.value.sum() == pytest.approx(known.value.sum())
        assert np.all(better.value >= better.seen) and np.all(better.variance <= rows.variance)
        errors.append([rows.value - truth, better.value - truth])
    before, after = np.sqrt((np.array(errors) ** 2).mean(0))
    assert after[0] < 0.6 * before[0] and after[1] < 1.05 * before[1]
    assert abs(np.array(errors)[:, 1].mean(0)).max() < 6 * after.max() / sqrt(400)


def test_what_is_exact_is_left_alone() -> None:
    births = births_of([100, 200], [True, True], period=1)
    rows = estimates.grouped(np.array([0, 1]), 2, births)
    assert shared_out(rows, asked_for(births).sum()) is rows
