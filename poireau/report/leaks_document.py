"""What leaks, as a document (JSON)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from poireau.report.leaks import SHOWN

if TYPE_CHECKING:
    from poireau.leaks import Leaks
    from poireau.model import Heap
    from poireau.preamble import Preamble

VERSION = 1
_SURE = 0.03  # as far as a figure may be off, and nobody minds
_MOST_FRAMES = 64


def document(heap: Heap, leaks: Leaks, preamble: Preamble, limit: int = 0) -> dict[str, Any]:
    """`limit`: rows; 0: all. What is found is always there."""
    import numpy as np

    from poireau.leak_freeing import freeing
    from poireau.leaks import Verdict

    table = leaks.table
    shown = table["verdict"].isin(SHOWN).to_numpy() if len(table) else np.zeros(0, bool)
    kept = (
        table if limit == 0 else table[(np.arange(len(table)) < limit) | (shown & (np.arange(len(table)) < 10 * limit))]
    )
    rows = kept.to_dict("records")
    told = [int(row["site"]) for row in rows[: limit or None]]
    freed = freeing(heap, leaks, told)
    holders = _holders(leaks, told)
    counts = table["verdict"].value_counts().to_dict() if len(table) else {}
    return {
        "schema": "poireau.leaks",
        "version": VERSION,
        "by": leaks.by,
        "since": leaks.begin,
        "until": leaks.end,
        "seconds": leaks.seconds,
        "of": [preamble.as_json()],
        "older_seconds": leaks.older,
        "why_older": leaks.why_older,
        "too_early": leaks.too_early,
        "rate": leaks.total.as_json(),
        "found": len(leaks.found),
        "known": int((table["known"] != "").sum()) if len(table) else 0,
        "verdicts": {verdict.value: int(counts.get(verdict.value, 0)) for verdict in Verdict},
        "scan": _scan(leaks),
        "notes": list(leaks.notes),
        "finer": _finer(heap, leaks, preamble),
        "rows": [_row(leaks, row, siblings, held) for row, siblings, held in zip_longest(rows, freed, holders)],
        "more": len(table) - len(rows),
    }


def _row(leaks: Leaks, row: Mapping[str, Any], freed: Any, held: Sequence[tuple[str, int]] | None) -> dict[str, Any]:
    from poireau.views import estimate_of

    looked = int(row["looked_at"])
    return {
        **{name: row[name] for name in ("function", "file", "line", "module")},
        "frames": _frames(leaks, row),
        **{name: row[name] for name in ("verdict", "reason", "known")},
        **{name: estimate_of(row, name).as_json() for name in ("rate", "bytes", "count", "old")},
        "since": int(row["begin"]) if row["cell"] else None,
        "before": float(row["before"]),
        "chance": float(row["chance"]),
        "bursts": float(row["bursts"]),
        "threshold_seconds": float(row["threshold"]),
        "freed": {
            "n": int(row["freed"]),
            "median_seconds": freed.median,
            "longest_seconds": freed.longest,
            "by_another_thread": freed.elsewhere,
            "by": list(freed.places),
            "threads": [{"name": name, "share": share} for name, share in freed.threads],
        }
        if freed is not None
        else {"n": int(row["freed"])},
        "threads": list(freed.askers) if freed is not None else [],
        "reach": {
            "looked_at": looked,
            "unreachable": int(row["unreachable"]),
            "held_by": [{"holder": text, "n": count} for text, count in held or ()],
        }
        if leaks.reached is not None
        else None,
    }


def _frames(leaks: Leaks, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From the site outwards."""
    import numpy as np

    from poireau.naming import places
    from poireau.stacks import NOWHERE

    if leaks.stacks is None or row["place"] == NOWHERE:
        return []
    first, end = int(row["place"]), int(leaks.stacks.ends[row["stack"]])
    columns = places(leaks.stacks, np.arange(first, min(end, first + _MOST_FRAMES)))
    return [
        {"function": str(function), "file": str(file), "line": int(line), "module": str(module)}
        for function, file, line, module in zip(*(columns[name] for name in ("function", "file", "line", "module")))
    ]


def _holders(leaks: Leaks, sites: Sequence[int]) -> list[list[tuple[str, int]]]:
    import numpy as np

    reached, lives, row = leaks.reached, leaks.lives, leaks.sites
    if reached is None or lives is None or row is None:
        return [[] for _ in sites]
    alive = np.flatnonzero(lives.alive & np.isin(row, sites))
    at = reached.rows_of(lives["process"][alive], lives["id"][alive])
    return [reached.holders_of(at[(row[alive] == site) & (at >= 0)].tolist()) for site in sites]


def _scan(leaks: Leaks) -> dict[str, Any] | None:
    reached = leaks.reached
    if reached is None:
        return None
    return {
        "scans": len(reached.scans),
        "seconds": sum(scan.seconds for scan in reached.scans),
        "stopped_seconds": reached.stopped_seconds,
        "bytes": sum(scan.bytes for scan in reached.scans),
        "left_out": list(reached.left_out),
    }


def _finer(heap: Heap, leaks: Leaks, preamble: Preamble) -> dict[str, Any] | None:
    """What an eighth of the period would do for the first row that is not sure; with the pid of who can be told so."""
    sampled = [period for period, by_calls in preamble.periods if period > 1 and not by_calls]
    if not sampled or not len(leaks.table):
        return None
    unsure = leaks.table["bytes_high"] - leaks.table["bytes_low"] > 2 * _SURE * leaks.table["bytes"]
    if not unsure.any():
        return None
    row = leaks.table[unsure].iloc[0]
    if row["bytes"] <= 0:
        return None
    period = max(sampled)
    finer = max(1 << max((period // 8).bit_length() - 1, 0), 1)
    within = float(row["bytes_high"] - row["bytes_low"]) / 2 / float(row["bytes"])
    numbers = leaks.selection.processes or tuple(heap.processes.index)
    running = [number for number in numbers if heap.running.get(number)]
    return {
        "period": finer,
        "within": within,
        "becomes": within * (finer / period) ** 0.5,
        "pid": int(heap.processes["pid"][running[0]]) if running else None,
    }
