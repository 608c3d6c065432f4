"""What leaks, as lines of text, which are made of the document alone (leaks_document.py): it can be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from poireau.report.spelling import as_written
from poireau.text import age, as_size, duration, plain

LIMIT = 20
FRAMES = 2  # callers
FULL = 5  # of those that level off; the others are told by number
SHOWN = ("lost", "leak", "likely", "growing", "levels off")
FOUND = ("lost", "leak", "likely")
_COLOURS = {"lost": "31", "leak": "31", "likely": "31", "growing": "1"}
_GREY = "2"
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_EVEN = 0.15
_OUTERMOST = ("__libc_start", "_start", "start_thread", "clone")  # nobody's own
Paint = Callable[[str, str], str]


def lines(
    found: Mapping[str, Any],
    opening: Sequence[str],
    paint: Paint = lambda text, colour: text,
    *,
    limit: int = LIMIT,
    frames: int | None = FRAMES,
    why: bool = False,
    blame: Callable[[Mapping[str, Any]], str] | None = None,
    width: int | None = None,
) -> Iterator[str]:
    """`opening`: the lines of a Preamble. `frames`: callers shown of each; None: all. `width`: columns; None: any
    number."""
    finer, scan = found["finer"], found["scan"]
    hint = [_hint(finer)] if finer is not None else []
    scanned = [_scanned(scan, why)] if scan is not None and scan["scans"] else []
    for text in (*opening, *hint, *scanned, *found["notes"], "", _summary(found), ""):
        yield from _wrapped(text, width) or [""]
    rows = [row for row in found["rows"] if not row["known"] and (limit == 0 or row["verdict"] in SHOWN)]
    shown = rows if limit == 0 else rows[:limit]
    if limit and not why:
        full = [row for row in shown if row["verdict"] == "levels off"][FULL:]
        shown = [row for row in shown if row not in full]
    wide = max((len(row["verdict"]) for row in shown), default=0)
    for row in shown:
        head, *rest = _told(row, found, why)
        margin = " " * (wide + 2)
        first, *more = _wrapped(head, width, margin)
        yield paint(f"{row['verdict']:<{wide}}", _COLOURS.get(row["verdict"], _GREY)) + first[wide:]
        yield from more
        if row["verdict"] in SHOWN[:4] or why:
            callers = [frame for frame in row["frames"] if not frame["function"].startswith(_OUTERMOST)][
                : None if frames is None else frames + 1
            ]
            for frame in callers:
                yield margin + paint("  " + _frame(frame), _GREY)
        said = blame(row) if blame is not None else ""
        for text in [*rest, *([said] if said else [])]:
            yield from _wrapped(text, width, margin)
    left = [f"{count:,} {_kept(verdict)}" for verdict, count in _left(found, shown).items() if count]
    if left:
        yield from _wrapped(f"and {', '.join(left)} (--limit 0 shows all)", width)


def _wrapped(text: str, width: int | None, margin: str = "") -> list[str]:
    """Between words."""
    if width is None:
        return [margin + text]
    import textwrap

    inside = len(text) - len(text.lstrip())  # what belongs to the line above
    return textwrap.wrap(
        text,
        max(width, 40),
        initial_indent=margin,
        subsequent_indent=margin + " " * inside,
        break_long_words=False,
        break_on_hyphens=False,
    )


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
    fast = f", {rate(found['rate'])} in all" if not found["too_early"] else ""
    held = sum(_held(row) for row in found["rows"] if row["verdict"] in FOUND and not row["known"])
    fast = f"{f' ({held} still reachable)' if held else ''}{fast}"
    what = f"{count} leak{'s' * (count != 1)}{fast}" if count else "no leak found"
    known = f", {found['known']} more known" if found["known"] else ""
    if found["too_early"]:
        return f"{what if count else 'no leak found yet'}{known}: {found['too_early']}"
    return f"{what}{known}, in {duration(found['seconds'])}; {plain(found['why_older'])}"


def _told(row: Mapping[str, Any], found: Mapping[str, Any], why: bool) -> list[str]:
    where = plain(_place(row) if found["by"] != "function" else "") or as_written(row["function"])
    holds = f"holds {_whole(row['bytes'])}"
    if row["verdict"] == "levels off":
        until = f"until {_clock(row['since'])}, and not since" if row["since"] else "at first"
        return [f"{where} {holds}; levels off, not a leak: it grew {until}", *(_evidence(row, found) if why else [])]
    # What a start of some milliseconds would be in an hour is of no use to anybody.
    growing = row["rate"]["value"] > 0 and not found["too_early"]
    grows = f"{where} grows {rate(row['rate'])}, {holds}" if growing else f"{where} {holds}"
    return [grows, "; ".join(_facts(row)), *(_evidence(row, found) if why else [])]


def _held(row: Mapping[str, Any]) -> bool:
    """All that was looked at is pointed at."""
    reach = row["reach"]
    return reach is not None and reach["looked_at"] > 0 and not reach["unreachable"]


def _facts(row: Mapping[str, Any]) -> list[str]:
    reach = row["reach"]
    if reach is None or not reach["looked_at"]:
        return [row["reason"]]
    left = reach["looked_at"] - reach["unreachable"]
    reachable = f"{left:,} of {reach['looked_at']:,} objects reachable"
    if row["verdict"] == "lost":  # which both say
        return [row["reason"] if left else reachable]
    held = f", held by {plain(reach['held_by'][0]['holder'])}" if reach["held_by"] else ""
    return [row["reason"], reachable + held]


def _evidence(row: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    since = f" since {_clock(row['since'])} (before that {_rate(row['before'])})" if row["since"] else " all the time"
    chance = row["chance"]
    odds = "less than one in a billion" if chance < 1e-9 else f"one in {float(f'{1 / chance:.2g}'):,.0f}"
    steps = f"{row['bursts']:,.0f} independent step{'s' * (row['bursts'] >= 1.5)}"
    yield f"growth: {rate(row['rate'])}{since}; as sure as {steps}; by chance: {odds}"
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
            f"{plain(_place(place)) or as_written(place['function'])} ({_percent(place['share'])})"
            for place in freed["by"]
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
    return "  ".join(filter(None, (as_written(frame["function"]), plain(_place(frame)))))


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
    if as_size(high) == as_size(max(low, 0.0)):
        return as_size(value)
    if abs((high - value) - (value - low)) <= _EVEN * (high - low):
        return f"{as_size(value)} ± {as_size(max(high - value, value - low))}"
    return f"{as_size(value)} ({as_size(max(low, 0.0))} to {as_size(high)})"


def _clock(moment: int) -> str:
    import time

    return time.strftime("%H:%M:%S", time.localtime(moment // 10**9))
