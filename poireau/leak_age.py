"""After which age what is still alive is not going to be freed: survival of sampled blocks.

The share of blocks that live longer than an age is that of Kaplan and Meier (1958), each sample weighed by how many
blocks it stands for. What is alive when nobody looks any more is censored; what is known from a checkpoint only, or was
born before the window, enters late, at the age that it had then.

The threshold is the least age, LEAST or more, beyond which at most SHARE of what survives it is freed, as far as can be
seen, and that must be WATCHED times as far as the threshold itself: where the hazard does not flatten there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
SHARE = 0.05
WATCHED = 3.0
ENOUGH = 20  # samples that were freed
LEAST = 0.1  # seconds; nobody calls younger blocks old
_AT_RISK = 5.0  # samples, where the curve ends


@dataclass(frozen=True)
class Survival:
    """Steps: `alive` of all blocks live longer than `age`. Ages are in seconds."""

    age: Floats  # at which some were freed
    alive: Floats
    seen: float  # the age up to which enough were watched
    freed: int  # samples
    watched: int  # samples, freed or not

    def at(self, age: float) -> float:
        step = int(np.searchsorted(self.age, age, side="right"))
        return float(self.alive[step - 1]) if step else 1.0


@dataclass(frozen=True)
class Threshold:
    age: float  # seconds
    freed_later: float  # of what gets older, the share that is freed before the age that survival.seen tells
    survival: Survival


def survival(entry: Floats, exit: Floats, freed: Flags, weight: Floats) -> Survival:
    """`entry`, `exit`: the ages from and up to which each sample was watched; `freed`: it ended at `exit`."""
    kept = exit > entry
    entry, exit, freed, weight = entry[kept], exit[kept], freed[kept], weight[kept]
    ages, which = np.unique(exit[freed], return_inverse=True)
    died = np.bincount(which, weight[freed], len(ages))
    entered, left = np.argsort(entry, kind="stable"), np.argsort(exit, kind="stable")
    at_risk = _before(entry[entered], weight[entered], ages) - _before(exit[left], weight[left], ages)
    steps = 1 - died / np.maximum(at_risk, np.maximum(died, 1e-300))
    # Where the curve ends: fewer than a few samples are left.
    seen = float(exit[left[-min(int(_AT_RISK), len(left))]]) if len(left) else 0.0
    return Survival(
        np.asarray(ages, np.float64),
        np.asarray(np.cumprod(np.maximum(steps, 0.0)), np.float64),
        seen,
        int(freed.sum()),
        len(entry),
    )


def threshold(entry: Floats, exit: Floats, freed: Flags, weight: Floats) -> Threshold | None:
    """None: too few were freed to tell, or those that get old are freed as well."""
    curve = survival(entry, exit, freed, weight)
    if curve.freed < ENOUGH:
        return None
    upto = curve.age[curve.age <= curve.seen]
    if not len(upto):
        return None
    alive = curve.alive[: len(upto)]
    flat = np.flatnonzero((alive[-1] >= (1 - SHARE) * alive) & (upto * WATCHED <= curve.seen) & (alive > 0))
    if not len(flat):
        return None
    age = max(_rounded(float(upto[flat[0]])), LEAST)
    if age * WATCHED > curve.seen:
        return None
    return Threshold(age, 1 - float(alive[-1]) / curve.at(age), curve)


def _before(sorted_ages: Floats, weight: Floats, ages: Floats) -> Floats:
    """The weight of those that are less than each of `ages`."""
    total = np.concatenate([[0.0], np.cumsum(weight)])
    return np.asarray(total[np.searchsorted(sorted_ages, ages)])


def _rounded(age: float) -> float:
    """To two digits, upwards: nobody needs 41.73 s."""
    if age <= 0:
        return 0.0
    unit = float(10.0 ** (math.floor(math.log10(age)) - 1))
    return math.ceil(round(age / unit, 6)) * unit
