"""Totals with their errors, from samples: one at a time, and without numpy. estimates.py has the same on columns.

A request of s bytes is sampled with probability

    q = 1 - exp(-s / p)    if the period p counts bytes: every byte is equally likely to be the one that is picked,
    q = 1 - exp(-1 / p)    if it counts calls,
    q = 1                  if p is 1: every call is taken.

Each request that was sampled stands for 1 / q requests like it (Horvitz and Thompson, 1952). Be y what is summed: its
bytes, 1 to count requests, its bytes times the seconds it lived. It weighs w = y / q, which is y, that is certainly
there, and the excess e = w - y, that stands for others. Requests are sampled independently of each other, so that over
all samples

    sum of w         is the total,
    sum of e w       is the variance of that, which is (1 - q) w^2 a sample,
    sum of e^2 w     is how far the two vary together,

each without bias, whatever the sizes are. All three add up over stacks, processes and hosts.

The interval holds the truth with 95 % certainty. The fewer samples, the less is it symmetric: where they were few by
chance, their variance is taken for too small. To first order both ends shift by (2 z^2 + 1) / 6 deviations times the
skewness g = sum of e^2 w / (sum of e w)^(3/2) (Hall, 1992). For n samples that weigh the same, g is 1 / sqrt(n), and
that is the Poisson interval with the mid-p rule (Lancaster, 1961); `above` and `below` follow it down to one sample.
Samples that do not weigh the same count for as many as have their skewness. One that was not seen may stand for more
than most that were: for a `unit`, the greatest excess of any. Half of what it has more is added, and the upper end is
not below that of the gamma distribution with the unit and its square added to mean and variance (Fay and Feuer, 1997).

With no sample at all there is less than 3 units, periods of bytes: exp(-3) is 5 %, and the same rule gives it.

Of bytes by bytes the unit is a period, whatever was sampled: blocks that are certain to be sampled are certainly there,
and yet less than 3 periods of small ones may hide where these were asked for. So a figure is exact at period 1 only.

Bytes by bytes are held as promised from the first sample on, since no excess is above a period. Where what is summed
varies much between requests of the same chance, as byte-seconds do, bytes by calls, and counts of all sizes by bytes,
the few that count most may all be missed: with lifetimes that are exponential it takes some 50 samples, with sizes that
are log-normal (1.0) some 200, to be within 2 % of the promise.

A period of c calls is one of c s bytes to a request of s, so that the first formula does for all.

Where only totals of groups of samples are known, each sample is taken for the mean one of its group. A group has those
of about one size and period, within a factor of two each: the estimate is at most 1.3 % too low with one period, and
some 3 % with many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

CERTAINTY = 1.959964  # standard deviations on either side hold 95 %
ONE_SIDED = 1.644854  # on one
NONE_SEEN = 3.0  # so many units


@dataclass(frozen=True)
class Estimate:
    """The truth is from `low` to `high` with 95 % certainty, and never below what was seen itself."""

    value: float
    low: float
    high: float
    samples: int
    deviation: float  # standard

    @property
    def margin(self) -> float:
        """How far the farther end of the interval is."""
        return max(self.high - self.value, self.value - self.low)

    @property
    def exact(self) -> bool:
        return self.low == self.high

    def as_json(self) -> dict[str, object]:
        return {"value": self.value, "ci95": [self.low, self.high], "n": self.samples}


@dataclass(frozen=True)
class Group:
    """Live samples of about one size, drawn with about one period."""

    samples: int
    bytes: int
    periods: int  # the sum of those that they were drawn with, in bytes


def pick_probability(size: float, period: float) -> float:
    return 1.0 if period <= 1 else -math.expm1(-size / period)


def unseen_bytes(period: float) -> float:
    """What there may be where nothing was sampled, with 95 % certainty."""
    return NONE_SEEN * period if period > 1 else 0.0


def above(skewness: Any) -> Any:
    """From the value to the upper end, in deviations, within 0.002 of the Poisson interval; of columns, too."""
    return CERTAINTY + skewness * (1.447153 + skewness * (0.602785 - skewness * 0.076512))


def below(skewness: Any) -> Any:
    """From the lower end to the value."""
    return CERTAINTY - skewness * (1.447153 - skewness * (0.587108 - skewness * 0.150620))


def gamma_end(mean: Any, variance: Any) -> Any:
    """Where 95 % of a gamma distribution end (Wilson and Hilferty, 1931). Far too low for shapes below 0.1."""
    shape = mean * mean / variance
    return mean * (1 - 1 / (9 * shape) + ONE_SIDED / (3 * shape**0.5)) ** 3


def of_sums(value: float, variance: float, third: float, seen: float, samples: int, unit: float = 0.0) -> Estimate:
    """Of the three sums, the sum of y, and what one more sample might stand for."""
    if samples == 0:
        return Estimate(0.0, 0.0, NONE_SEEN * unit, 0, 0.0)
    deviation = math.sqrt(max(variance, 0.0))
    low = high = value
    if deviation > 0:
        skewness = min(third / (variance * deviation), 1.0)
        low = max(value - deviation * below(skewness), min(seen, value))
        high = value + deviation * above(skewness) + max(unit - third / variance, 0.0) / 2
    if unit > 0:
        high = max(high, seen + gamma_end(value - seen + unit, variance + unit * unit))
    return Estimate(value, low, high, samples, deviation)


def excess(size: float, period: float) -> float:
    """That of a sample of so many bytes."""
    return size / pick_probability(size, period) - size if size > 0 else 0.0


def total_bytes(groups: Iterable[Group], period: float = 0.0) -> Estimate:
    """Bytes of the population that the samples were drawn from; `period` is in force now, in bytes."""
    value = variance = third = seen = unit = 0.0
    samples = 0
    for group in groups:
        if group.samples <= 0 or group.bytes <= 0:
            continue
        size, drawn_with = group.bytes / group.samples, group.periods / group.samples
        e = excess(size, drawn_with)
        w = size + e
        value += group.samples * w
        variance += group.samples * e * w
        third += group.samples * e * e * w
        seen += group.bytes
        unit = max(unit, drawn_with if drawn_with > 1 else 0.0)
        samples += group.samples
    return of_sums(value, variance, third, seen, samples, unit if samples else unseen_bytes(period) / NONE_SEEN)
