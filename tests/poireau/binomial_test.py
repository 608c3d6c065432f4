"""Tails of the binomial distribution are those that adding up gives."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from poireau.binomial import upper_tail


def added_up(k: int, n: int, share: float) -> float:
    terms = [comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k, n + 1)]
    return sum(terms[1:]) + terms[0] / 2


def test_tails_are_sums_of_their_terms(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 190, 2000)
    k = rng.integers(0, n + 1)
    share = rng.choice([1e-6, 0.01, 0.3, 0.5, 0.9, 0.999], 2000)
    expected = [added_up(*each) for each in zip(k.tolist(), n.tolist(), share.tolist())]
    assert upper_tail(k.astype(float), n.astype(float), share) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_of_many_it_is_the_normal_tail() -> None:
    k, n, share = np.array([5100.0, 4900.0, 5e8]), np.array([1e4, 1e4, 1e9]), np.full(3, 0.5)
    assert upper_tail(k, n, share) == pytest.approx([added_up_normal(2), added_up_normal(-2), 0.5], rel=0.01)


def added_up_normal(z: float) -> float:
    from math import erfc, sqrt

    return erfc(z / sqrt(2)) / 2


def test_numbers_need_not_be_whole() -> None:
    k = np.linspace(0, 10, 101)
    tails = upper_tail(k, np.full(101, 10.0), np.full(101, 0.4))
    assert np.all(np.diff(tails) < 0) and tails[0] < 1 and tails[-1] > 0


def test_none_are_no_trouble() -> None:
    empty = np.zeros(0)
    assert len(upper_tail(empty, empty, empty)) == 0
    assert upper_tail(np.zeros(1), np.zeros(1), np.full(1, 0.5)) == pytest.approx([0.5])
