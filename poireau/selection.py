"""Which part of a heap a question is about, and how people write it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from poireau.errors import USAGE, Failure

_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_UNITS["d"] = 24 * _UNITS["h"]
_DISTANCE = re.compile(rf"([+-]?)(\d{{1,15}}(?:\.\d{{1,15}})?) ?({'|'.join(_UNITS)})", re.ASCII)
_TIME_OF_DAY = re.compile(r"\d\d?:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
_MOST = 2**63 - 1


@dataclass(frozen=True)
class Selection:
    """Times are nanoseconds since 1970; None: from the beginning, to the end."""

    since: int | None = None
    until: int | None = None
    processes: tuple[int, ...] = ()  # numbers; none: all
    threads: tuple[str, ...] = ()  # names or ids; none: all
    focus: str = ""  # regular expressions, searched in functions, files and modules: stacks that have such a frame
    ignore: str = ""  # stacks that have none
    hide: str = ""  # frames that are left out
    wrappers: str = ""  # functions that only pass a request on, beside those that stacks.py knows


def check(selection: Selection) -> None:
    """Raises Failure: what it says makes no sense."""
    for name in ("focus", "ignore", "hide", "wrappers"):
        expression(getattr(selection, name), name)
    if None not in (selection.since, selection.until) and selection.since >= selection.until:  # type: ignore[operator]
        raise Failure("the window is empty: it ends before it begins", USAGE)


def expression(pattern: str, what: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise Failure(f"{what}: {pattern} is no regular expression: {error}", USAGE) from error


def distance(text: str) -> int | None:
    """Nanoseconds, of 60s, 5m, 1.5h, -200ms; None: it isn't one."""
    match = _DISTANCE.fullmatch(text.strip())
    if match is None:
        return None
    sign, number, unit = match.groups()
    return (-1 if sign == "-" else 1) * round(float(number) * _UNITS[unit])


def moment(text: str, begin: int, end: int) -> int:
    """Of a heap that is known from `begin` to `end`: 60s and -60s are before its end, +60s is after its beginning;
    13:05 and 13:05:40 are the last such time in it, or before it; 2026-03-01T13:05 and @1772366700 are absolute."""
    text = text.strip()
    words = {"begin": begin, "start": begin, "end": end, "now": end}
    if text in words:
        return words[text]
    try:
        apart = distance(text)
        if apart is not None:
            return _checked(begin + apart if text.startswith("+") else end - abs(apart), text)
        if text.startswith("@"):
            return _checked(round(float(text[1:]) * 10**9), text)
        if _TIME_OF_DAY.fullmatch(text):
            return _time_of_day(text, end)
        return _checked(_nanoseconds(datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))), text)
    except (ValueError, OverflowError, OSError) as error:
        raise Failure(
            f"{text} is no time: it should read 60s (before the end), 13:05:40 or 2026-03-01T13:05", USAGE
        ) from error


def clock(moment: int, long: bool = False) -> str:
    """The time of day, here; `long`: with the date."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S" if long else "%H:%M:%S", time.localtime(moment // 10**9))
    except (ValueError, OverflowError, OSError):
        return f"@{moment // 10**9}"


def _time_of_day(text: str, end: int) -> int:
    parts = [float(part) for part in text.split(":")]
    day = datetime.fromtimestamp(end // 10**9).replace(hour=0, minute=0, second=0)
    wanted = day.replace(hour=int(parts[0]), minute=int(parts[1]))
    wanted += timedelta(seconds=parts[2] if len(parts) == 3 else 0)
    found = _nanoseconds(wanted)
    return found if found <= end else _nanoseconds(wanted - timedelta(days=1))


def _nanoseconds(when: datetime) -> int:
    return round(when.timestamp() * 10**6) * 1000


def _checked(moment: int, text: str) -> int:
    if not -_MOST <= moment <= _MOST:
        raise ValueError(f"{text} is too far away")
    return moment
