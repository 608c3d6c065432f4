"""From the evidence on a site to a verdict, and a sentence that says why. leaks.py has the meaning of each word."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau import leak_growth
from poireau.text import duration

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
SHARE = 0.05  # of what is called a leak, by chance at most
MAYBE = 0.2  # of what may be one
SOON = 5.0  # seconds; in less nothing is certain
BURSTS = 5.0  # independent ones, at least
STRAIGHT = 12.0  # bursts; what stopped before four fifths of the time have passed has fewer
FEW = 6  # samples; of fewer nothing is said but that it grows


class Verdict(str, Enum):
    LOST = "lost"
    LEAK = "leak"
    LIKELY = "likely"
    GROWING = "growing"
    LEVELS_OFF = "levels off"
    YOUNG = "young"
    STEADY = "steady"


RANK = {verdict.value: rank for rank, verdict in enumerate(Verdict)}
FOUND = (Verdict.LOST.value, Verdict.LEAK.value, Verdict.LIKELY.value)  # findings


def significant(chance: Floats, share: float = SHARE) -> Flags:
    """Rows that grow, of which at most that share do not (Benjamini and Hochberg, 1995)."""
    order = np.argsort(chance, kind="stable")
    passed = np.flatnonzero(chance[order] * len(chance) <= share * np.arange(1, len(chance) + 1))
    marks = np.zeros(len(chance), np.bool_)
    marks[order[: passed[-1] + 1 if len(passed) else 0]] = True
    return marks


def judged(table: pd.DataFrame, seconds: float) -> pd.DataFrame:
    if not len(table):
        return table.assign(verdict="", reason="")
    chance, bursts, up = (table[name].to_numpy() for name in ("chance", "bursts", "rate_low"))
    grows = significant(chance) & (bursts >= BURSTS) & (up > 0)
    maybe = significant(chance, MAYBE) & (bursts >= leak_growth.FEW) & (up > 0)
    stopped = (table["cell"] > 0).to_numpy() & (table["rate"] < leak_growth.FADED * table["before"]).to_numpy()
    enough = (table["samples"] >= FEW).to_numpy() | table["resized"].to_numpy()
    never = (table["freed"] == 0).to_numpy() | table["resized"].to_numpy()
    old = (table["old"] >= 0.2 * table["bytes"]).to_numpy() | never
    young = ~table["net"].to_numpy() | never
    verdict = np.full(len(table), Verdict.STEADY.value, object)
    verdict[(table["old"] == 0).to_numpy() & ~never] = Verdict.YOUNG.value
    verdict[maybe] = Verdict.GROWING.value
    told = young & old & enough & (seconds >= SOON)
    # The straighter all that comes and goes has grown (leak_growth.py), the less its second half has to say by itself.
    straight = np.where(table["net"], np.maximum(bursts / STRAIGHT, 1.0), 1.0)
    told &= (table["late_chance"] < SHARE * straight).to_numpy()
    verdict[maybe & told] = Verdict.LIKELY.value
    verdict[grows & told] = Verdict.LEAK.value
    stopped |= (table["full"] > 0).to_numpy()
    verdict[stopped & (seconds >= SOON)] = Verdict.LEVELS_OFF.value
    once = (table["unreachable"] > 0).to_numpy() & ~np.isin(verdict, FOUND)
    verdict[once] = Verdict.LIKELY.value
    verdict[(table["proven"] > 0).to_numpy()] = Verdict.LOST.value
    table = table.assign(verdict=verdict, stays=young & old)
    reasons = [_reason(row, seconds) for row in table.to_dict("records")]
    return table.assign(reason=reasons).drop(columns="stays")


def too_early(seconds: float) -> str:
    return f"in {duration(seconds)} nobody can tell a leak from a start: that takes {SOON:.0f} s and more"


def _reason(row: Mapping[str, Any], seconds: float) -> str:
    verdict = row["verdict"]
    if verdict == Verdict.LOST.value or (row["unreachable"] and verdict == Verdict.LIKELY.value):
        return f"nothing points at {row['unreachable']} of {row['looked_at']} sampled blocks any more"
    if verdict == Verdict.LEVELS_OFF.value:
        return "it grew, and does not any more"
    freed = row["freed"]
    if row["resized"]:
        tale = "its blocks are replaced again and again by larger ones"
    else:
        tale = "none of its blocks is ever freed" if not freed else "what it keeps is old, what it frees it frees young"
    reachable = row["looked_at"] and not row["unreachable"]
    held = "; it is all still reachable: an unbounded cache or data, not lost memory" if reachable else ""
    if verdict == Verdict.LEAK.value:
        return f"it grows all the time, and {tale}{held}"
    if verdict == Verdict.LIKELY.value:
        return f"it grows, and {tale}, but it is too early to be certain{held}"
    if verdict == Verdict.GROWING.value:
        if seconds < SOON:
            return "it grows, but it is too early to tell"
        return f"it grows, but {'too little was seen of it' if row['stays'] else 'old blocks of it are freed as well'}"
    if verdict == Verdict.YOUNG.value:
        return "nothing that it holds is old"
    return "it does not grow"
