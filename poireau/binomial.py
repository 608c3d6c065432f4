"""Tails of the binomial distribution, in columns, for numbers of samples that need not be whole."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_MANY = 100.0  # expected on either side, from which on the normal distribution does


def upper_tail(k: Floats, n: Floats, share: Floats) -> Floats:
    """P(more than k of n) + P(k of n) / 2, each with that chance (the mid-p rule)."""
    expected = n * np.minimum(share, 1 - share)
    few = (expected < _MANY) & (n < _MANY * _MANY)
    tail = np.empty(len(n))
    tail[few] = _of_few(k[few], n[few], share[few])
    deviation = np.sqrt((expected * np.maximum(share, 1 - share))[~few])
    tail[~few] = [math.erfc(z / math.sqrt(2)) / 2 for z in ((k - n * share)[~few] / deviation).tolist()]
    return tail


def _of_few(k: Floats, n: Floats, share: Floats) -> Floats:
    """The first is a regularized incomplete beta function, or one less that of the other side, where its continued
    fraction converges quickly."""
    a, b = k + 1, np.maximum(n - k, 0.0)
    logs = k * np.log(share) + b * np.log1p(-share) + _log_gamma(n + 1) - _log_gamma(a) - _log_gamma(b + 1)
    exactly_k = np.exp(np.minimum(logs, 0.0))
    turned = share > (a + 1) / (n + 3)
    x = np.where(turned, 1 - share, share)
    fraction = _continued_fraction(np.where(turned, b, a), np.where(turned, a, b), x)
    # x^a (1 - x)^b / B(a, b) / a, on either side
    above = exactly_k * b * share / a * fraction
    below = exactly_k * share * fraction
    return np.asarray(np.where(b == 0, 0.0, np.where(turned, 1 - below, above)) + exactly_k / 2)


def _continued_fraction(a: Floats, b: Floats, x: Floats) -> Floats:
    """Of the incomplete beta function (Lentz, 1976)."""
    tiny = 1e-300
    c = np.ones_like(x)
    d = 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 500):
        at = a + 2 * m
        before = fraction
        for step in (m * (b - m) * x / ((at - 1) * at), -(a + m) * (a + b + m) * x / (at * (at + 1))):
            d, c = 1 + step * d, 1 + step / c
            d, c = 1 / np.where(np.abs(d) < tiny, tiny, d), np.where(np.abs(c) < tiny, tiny, c)
            fraction = fraction * d * c
        if np.all(np.abs(fraction - before) <= 1e-9 * np.abs(fraction)):
            break
    return fraction


def _log_gamma(x: Floats) -> Floats:
    """Of 1 and more, by Stirling's series from 8 on."""
    product, y = np.ones_like(x), x.copy()
    for _ in range(7):
        small = y < 8
        product = np.where(small, product * y, product)
        y = np.where(small, y + 1, y)
    series = (1 / 12 - (1 / 360 - 1 / 1260 / y**2) / y**2) / y
    return np.asarray((y - 0.5) * np.log(y) - y + 0.5 * math.log(2 * math.pi) + series - np.log(product))
