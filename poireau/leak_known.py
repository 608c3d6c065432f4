"""What others know of each site: whether a scan found anybody who points at its blocks, and whether a rule says that it
is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau.leak_lives import Lives
from poireau.reached import ONCE, Reached
from poireau.stacks import Stacks

if TYPE_CHECKING:
    from poireau.suppressions import Suppressions

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


def looked(lives: Lives, row: Numbers, count: int, reached: Reached | None) -> dict[str, Any]:
    if reached is None or not len(reached):
        return dict.fromkeys(("looked_at", "unreachable", "proven"), np.zeros(count, np.int64))
    its = np.flatnonzero(lives.alive & (row >= 0))
    at = reached.rows_of(lives["process"][its], lives["id"][its])
    its, at = its[at >= 0], at[at >= 0]
    looked, lost = reached.is_known[at], reached.is_lost[at]
    proven = lost & (reached.state[at] != ONCE)
    return {
        "looked_at": np.bincount(row[its[looked]], minlength=count),
        "unreachable": np.bincount(row[its[lost]], minlength=count),
        "proven": np.bincount(row[its[proven]], minlength=count),
    }


def known(rules: Suppressions | None, stacks: Stacks, lives: Lives, row: Numbers, count: int, low: Floats) -> list[str]:
    """A site is known where the stacks are that have most of what it holds."""
    if rules is None or not count or not rules.rules:
        return [""] * count
    alive = np.flatnonzero(lives.alive & (row >= 0))
    sums = pd.Series(lives.bytes[alive]).groupby([row[alive], lives["stack"][alive].astype(np.int64)]).sum()
    rows, numbers = (np.asarray(sums.index.get_level_values(level), np.int64) for level in (0, 1))
    weight = sums.to_numpy()
    whole = np.bincount(rows, weight, count)
    least = weight * (low / np.where(whole > 0, whole, 1.0))[rows]
    rule = rules.of(stacks, numbers, least)
    covered = np.bincount(rows[rule >= 0], weight[rule >= 0], count)
    texts = [""] * count
    order = np.argsort(weight, kind="stable")
    for site, number in zip(rows[order].tolist(), rule[order].tolist()):
        if number >= 0 and covered[site] >= 0.5 * whole[site]:
            texts[site] = rules.rules[number].text
    return texts
