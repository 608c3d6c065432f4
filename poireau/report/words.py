"""Estimates, places and keys in words, for reports in text."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from poireau.estimate import Estimate
from poireau.grouping import NOBODY
from poireau.report.spelling import as_written
from poireau.stacks import qualified
from poireau.text import as_size, plain

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_LEAST = 12  # characters of a function's name beside its place
_EVEN = 0.15  # ends of an interval that differ by less are as good as the same


def size(value: float, like: float | None = None) -> str:
    """`like`: what says the unit and the digits; a size that would be nothing in them has its own."""
    like = abs(value if like is None else like)
    unit = 0
    while unit < len(_UNITS) - 1 and like >= (1024 if unit == 0 else 1000):
        like /= 1024
        unit += 1
    if unit == 0 or like == 0:
        return ("-" if value < 0 else "") + as_size(abs(value))
    digits = 0 if like >= 100 else 1 if like >= 10 else 2
    text = f"{value / 1024**unit:.{digits}f}"
    if value and not float(text):
        return ("-" if value < 0 else "") + as_size(abs(value))
    return text + _UNITS[unit]


def byte_seconds(value: float, like: float | None = None) -> str:
    return f"{size(value, like)}·s"


def number(value: float, like: float | None = None) -> str:
    """To the one below ten thousand, else three digits: 12.3k, 4.56M."""
    like = abs(value if like is None else like)
    if like < 10_000:
        return f"{value:,.0f}" if like >= 10 else f"{value:.1f}".removesuffix(".0")
    for unit in ("k", "M", "G", "T"):
        like, value = like / 1000, value / 1000
        if like < 1000 or unit == "T":
            break
    return f"{value:.{0 if like >= 100 else 1 if like >= 10 else 2}f}{unit}"


def between(value: float, low: float, high: float, form: Any = size) -> str:
    """`± 0.30MiB`, `1.20 to 7.81MiB`, `< 1.50MiB` of nothing; empty: the figure is exact, as far as it is written."""
    if low == high:
        return ""
    if value == 0 and low == 0:
        return f"< {form(high)}"
    if abs((high - value) - (value - low)) <= _EVEN * (high - low):
        return f"± {form(max(high - value, value - low), value)}"
    first, last = form(low, value), form(high, value)
    if first == last:
        return ""
    unit = last.lstrip("+-0123456789.,")
    return f"{first[: -len(unit)] if unit and first.endswith(unit) else first} to {last}"


def margin(estimate: Estimate, form: Any = size) -> str:
    return between(estimate.value, estimate.low, estimate.high, form)


def whole(estimate: Estimate, form: Any = size) -> str:
    """`4.51MiB ± 0.30MiB`."""
    within = margin(estimate, form)
    if within.startswith("<"):
        return within
    return f"{form(estimate.value)} {within if within.startswith('±') or not within else f'({within})'}".rstrip()


def blocks(count: Estimate) -> str:
    said = whole(count, number)
    return f"{said} block{'s' * (said != '1')}"


def share(part: float, all: float) -> str:
    return f"{100 * part / all:.1f} %" if all else ""


def place(file: str, line: int) -> str:
    """config.cc:123."""
    name = plain(os.path.basename(file))
    return f"{name}:{line}" if name and line else name


def function(name: str, width: int | None = None) -> str:
    """In at most `width` characters: without its arguments if it must be, then without its middle."""
    name = as_written(name)
    if width is None or len(name) <= width:
        return name
    name = qualified(name)
    if len(name) <= width:
        return name
    kept = max(width - 1, 1)
    return name[: kept // 3] + "…" + name[len(name) - (kept - kept // 3) :] if kept > 2 else name[:width]


def key(row: Mapping[str, Any], by: str, several: bool, width: int | None = None) -> str:
    """What a row of a view's table is called. `several`: there are other processes."""
    if by in ("stack", "function", "line"):
        where = place(row["file"], row["line"])
        if width is not None and row["function"] and where:
            left = width - min(len(row["function"]), _LEAST) - 2
            where = cut(where, left) if left >= _LEAST // 2 else ""
        elif width is not None:
            where = cut(where, width)
        room = None if width is None else max(width - len(where) - 2, 1)
        parts = [function(row["function"], room), where]
        return "  ".join(part for part in (parts[::-1] if by == "line" else parts) if part)
    if by == "file":
        return cut(row["file"] or f"[{os.path.basename(row['module']) or 'no file'}]", width)
    if by == "module":
        return cut(row["module"] or "[no file]", width)
    if by == "size":
        low, high = row["smallest"], row["largest"]
        return as_size(high) if low == high else f"up to {as_size(high)}"
    if by == "call":
        return cut(row["call"], width)
    whose = f"{row['program']}[{row['pid']}]"
    if by == "process":
        return cut(whose, width)
    who = _thread(row["name"], row["thread"])
    if by == "threads":
        nobody = row["free_thread"] == NOBODY
        who += " → " + ("(in use)" if nobody else _thread(row["free_name"], row["free_thread"]))
    return cut(f"{whose} {who}" if several else who, width)


def cut(text: str, width: int | None) -> str:
    text = plain(text)
    return text if width is None or len(text) <= width else "…" + text[len(text) - max(width - 1, 1) :]


def _thread(name: str, number: int) -> str:
    return f"{name} ({number})" if name else str(number)
