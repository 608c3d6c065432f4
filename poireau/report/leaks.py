"""What leaks, as a document (JSON) and as lines of text, which are made of the document alone: it can be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from poireau.text import age, as_size, duration, plain

if TYPE_CHECKING:
    from poireau.leaks import Leaks
    from poireau.model import Heap
    from poireau.preamble import Preamble

VERSION = 1
LIMIT = 20
FRAMES = 2  # callers
SHOWN = ("lost", "leak", "likely", "growing", "levels off")
FOUND = ("lost", "leak", "likely")
_COLOURS = {"lost": "31", "leak": "31", "likely": "31", "growing": "1"}
_GREY = "2"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_EVEN = 0.15
_SURE = 0.03  # as far as a figure may be off, and nobody minds
_OUTERMOST = ("__libc_start", "_start", "start_thread", "clone")  # nobody's own
_MOST_FRAMES = 64
Paint = Callable[[str, str], str]


# The document.


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


# The text.


def lines(
    found: Mapping[str, Any],
    opening: Sequence[str],
    paint: Paint = lambda text, colour: text,
    *,
    limit: int = LIMIT,
    frames: int | None = FRAMES,
    why: bool = False,
    blame: Callable[[Mapping[str, Any]], str] | None = None,
) -> Iterator[str]:
    """`opening`: the lines of a Preamble. `frames`: callers shown of each; None: all."""
    yield from opening
    finer = found["finer"]
    if finer is not None:
        yield _hint(finer)
    scan = found["scan"]
    if scan is not None and scan["scans"]:
        yield _scanned(scan, why)
    yield from found["notes"]
    yield ""
    yield _summary(found)
    yield ""
    rows = [row for row in found["rows"] if not row["known"] and (limit == 0 or row["verdict"] in SHOWN)]
    shown = rows if limit == 0 else rows[:limit]
    wide = max((len(row["verdict"]) for row in shown), default=0)
    for row in shown:
        head, *rest = _told(row, found, why)
        yield paint(f"{row['verdict']:<{wide}}", _COLOURS.get(row["verdict"], _GREY)) + f"  {head}"
        margin = " " * (wide + 2)
        if row["verdict"] in SHOWN[:4] or why:
            callers = [frame for frame in row["frames"] if not frame["function"].startswith(_OUTERMOST)][
                : None if frames is None else frames + 1
            ]
            for frame in callers:
                yield margin + paint("  " + _frame(frame), _GREY)
        said = blame(row) if blame is not None else ""
        for text in [*rest, *([said] if said else [])]:
            yield margin + text
    left = [f"{count:,} {_kept(verdict)}" for verdict, count in _left(found, shown).items() if count]
    if left:
        yield f"and {', '.join(left)} (--limit 0 shows all)"


def _hint(finer: Mapping[str, Any]) -> str:
    period = as_size(finer["period"]).removesuffix("iB").removesuffix("B")
    how = (
        f"poireau.py ctl {finer['pid']} set sample_period {period}"
        if finer["pid"] is not None
        else f"poireau.py run -c {as_size(finer['period'])} -- PROGRAM"
    )
    return (
        f"at {as_size(finer['period'])} ± {_percent(finer['within'])} "
        f"becomes about ± {_percent(finer['becomes'])}: {how}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1g} %"


def _scanned(scan: Mapping[str, Any], why: bool) -> str:
    stopped = scan["stopped_seconds"]
    pause = f"stopped for {1000 * stopped:.0f} ms at most" if stopped else "nothing was stopped"
    out = f"; not seen: {'; '.join(map(plain, scan['left_out']))}" if scan["left_out"] and why else ""
    return f"scanned {as_size(scan['bytes'])} in {scan['seconds']:.1f} s; {pause}{out}"


def _summary(found: Mapping[str, Any]) -> str:
    count = found["found"]
    what = f"{count} leak{'s' * (count != 1)}, {rate(found['rate'])} in all" if count else "no leak found"
    known = f", {found['known']} more known" if found["known"] else ""
    return f"{what}{known}, in {duration(found['seconds'])}; {plain(found['why_older'])}"


def _told(row: Mapping[str, Any], found: Mapping[str, Any], why: bool) -> list[str]:
    where = plain((_place(row) if found["by"] != "function" else "") or row["function"])
    holds = f"holds {_whole(row['bytes'])}"
    if row["verdict"] == "levels off":
        until = f"until {_clock(row['since'])}, and not since" if row["since"] else "at first"
        return [f"{where} {holds}; levels off, not a leak: it grew {until}", *(_evidence(row, found) if why else [])]
    grows = f"{where} grows {rate(row['rate'])}, {holds}"
    reach = row["reach"]
    facts = [row["reason"]]
    if row["rate"]["value"] <= 0:
        grows = f"{where} {holds}"
    if reach is not None and reach["looked_at"] and row["verdict"] != "lost":
        left = reach["looked_at"] - reach["unreachable"]
        facts.append(f"{left:,} of {reach['looked_at']:,} objects reachable")
    elif reach is not None and reach["looked_at"]:
        facts = [
            f"{reach['looked_at'] - reach['unreachable']:,} of {reach['looked_at']:,} objects reachable",
            row["reason"],
        ]
    return [grows, "; ".join(facts), *(_evidence(row, found) if why else [])]


def _evidence(row: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    since = f" since {_clock(row['since'])} (before that {_rate(row['before'])})" if row["since"] else " all the time"
    chance = row["chance"]
    odds = "less than one in a billion" if chance < 1e-9 else f"{chance:.1g}"
    yield (f"growth: {rate(row['rate'])}{since}; as sure as {row['bursts']:,.0f} independent steps; by chance: {odds}")
    old, whole = row["old"]["value"], row["bytes"]["value"]
    own = row["threshold_seconds"]
    older = own if own is not None and own == own else found["older_seconds"]
    if older is not None:
        whose = "its own blocks" if own is not None and own == own else "blocks of all sites"
        yield f"age: {_percent(old / whole if whole else 0.0)} of it is older than {age(older)}, as {whose} tell"
    else:
        yield f"age: {plain(found['why_older'])}"
    freed = row["freed"]
    if freed["n"] and "by" in freed:
        who = ", ".join(
            f"{plain(_place(place) or place['function'])} ({_percent(place['share'])})" for place in freed["by"]
        )
        threads = ", ".join(plain(each["name"]) for each in freed["threads"])
        cross = freed["by_another_thread"]
        other = f"; {_percent(cross)} on another thread than asked for it" if cross > 0 else ""
        yield (
            f"freed: its siblings are freed by {who} on thread {threads} after {age(freed['median_seconds'])} "
            f"(median of {freed['n']:,}; {age(freed['longest_seconds'])} at most){other}"
        )
    elif not freed["n"]:
        yield "freed: none of its sampled blocks was"
    if row["threads"]:
        yield f"asked for by thread {', '.join(map(plain, row['threads']))}"
    reach = row["reach"]
    if reach is not None and reach["looked_at"]:
        yield f"reach: nothing points at {reach['unreachable']:,} of {reach['looked_at']:,} sampled blocks"
        for holder in reach["held_by"]:
            yield f"  {holder['n']:,} held by {plain(holder['holder'])}"


def _left(found: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    counts = dict(found["verdicts"])
    for row in shown:
        counts[row["verdict"]] -= 1
    for row in found["rows"]:
        if row["known"] and row not in shown:
            counts[row["verdict"]] -= 1
            counts["known"] = counts.get("known", 0) + 1
    return counts


def _kept(verdict: str) -> str:
    return {"steady": "that do not grow", "young": "that hold nothing old", "known": "known"}.get(
        verdict, f"({verdict})"
    )


def _frame(frame: Mapping[str, Any]) -> str:
    return "  ".join(filter(None, (plain(frame["function"]), plain(_place(frame)))))


def _place(row: Mapping[str, Any]) -> str:
    name = row["file"].rpartition("/")[2]
    return f"{name}:{row['line']}" if name and row["line"] else name


def rate(figure: Mapping[str, Any]) -> str:
    """41 ± 6 MiB/h."""
    (low, high), value = figure["ci95"], figure["value"]
    unit, digits = _scale(value or high)
    within = max(high - value, value - low) / unit[1]
    while digits < 3 and 0 < within < 0.95 * 10.0**-digits:
        digits += 1
    number = f"{value / unit[1]:.{digits}f}"
    # What surely grows is not shown as if it might not.
    crosses = low > 0 and max(high - value, value - low) >= value
    if abs((high - value) - (value - low)) <= _EVEN * (high - low) and not crosses:
        return f"{number} ± {within:.{digits}f} {unit[0]}/h"
    return f"{number} ({low / unit[1]:.{digits}f} to {high / unit[1]:.{digits}f}) {unit[0]}/h"


def _rate(value: float) -> str:
    unit, digits = _scale(value)
    return f"{value / unit[1]:.{digits}f} {unit[0]}/h"


def _scale(value: float) -> tuple[tuple[str, float], int]:
    size, unit = abs(value), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return (_UNITS[unit], 1024.0**unit), 0 if size >= 10 or unit == 0 else 1


def _whole(figure: Mapping[str, Any]) -> str:
    (low, high), value = figure["ci95"], figure["value"]
    if high <= low:
        return as_size(value)
    if abs((high - value) - (value - low)) <= _EVEN * (high - low):
        return f"{as_size(value)} ± {as_size(max(high - value, value - low))}"
    return f"{as_size(value)} ({as_size(max(low, 0.0))} to {as_size(high)})"


def _clock(moment: int) -> str:
    import time

    return time.strftime("%H:%M:%S", time.localtime(moment // 10**9))
