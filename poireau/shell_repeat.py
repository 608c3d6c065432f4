"""`watch leaks 10`: a command again and again, in place, until a key is pressed; as plain text where there is no
terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from poireau import asking, shell_screen
from poireau.errors import USAGE, Failure
from poireau.selection import clock
from poireau.text import plain

SECONDS = 2.0
SHORTEST, LONGEST = 0.1, 1e6


def repeat(words: Sequence[str], act: Callable[[list[str]], int], count: int = 0) -> int:
    """`words` of the command; the last is the seconds from one to the next, if it is a number. `count`: 0 is for
    ever."""
    words = list(words)
    if "--count" in words[:-1]:
        at = words.index("--count")
        count = asking.natural(words[at + 1])
        del words[at : at + 2]
    seconds = _seconds(words[-1]) if len(words) > 1 else None
    if seconds is not None:
        words.pop()
    interval = SECONDS if seconds is None else seconds
    if not count and shell_screen.is_possible():
        return _in_place(words, act, interval)
    return _one_after_the_other(words, act, interval, count)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        return None
    if not SHORTEST <= seconds <= LONGEST:
        raise Failure(f"{text}: it may be repeated every {SHORTEST:g} to {LONGEST:g} seconds", USAGE)
    return seconds


def _in_place(words: Sequence[str], act: Callable[[list[str]], int], interval: float) -> int:
    page, status = "", 0

    def draw(columns: int, rows: int, due: bool) -> str:
        nonlocal page, status
        if due:

            def once() -> None:
                nonlocal status
                status = act(list(words))

            text = shell_screen.captured(once)
            page = f"{plain(' '.join(words))}, every {interval:g} s; {clock(time.time_ns())}; any key ends it\n\n{text}"
        return "\n".join(page.splitlines()[:rows])

    shell_screen.Screen(draw, interval, any_key=True).show()
    return status


def _one_after_the_other(words: Sequence[str], act: Callable[[list[str]], int], interval: float, count: int) -> int:
    done = status = 0
    while True:
        due = time.monotonic() + interval
        status = act(list(words))
        done += 1
        if done == count:
            return status
        print(flush=True)
        sys.stdout.flush()
        time.sleep(max(0.0, due - time.monotonic()))
