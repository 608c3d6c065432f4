"""`watch`: a running program's heap on a page that is drawn again and again, with keys that retune it; plain text where
there is no terminal."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from poireau import asking, ctl, figures, parsing, resident, shell_screen
from poireau.control import Request
from poireau.errors import Failure
from poireau.model import Heap
from poireau.preamble import Preamble
from poireau.report import objects
from poireau.report.text import Style, top
from poireau.shell_growth import Growth, Watched
from poireau.shell_page import BARS, PLAIN_BARS, SORTS, Asked, lines, ordered
from poireau.text import plain
from poireau.views import estimate_of, view

KEPT = 32 << 20  # bytes of lives that have ended
LIMIT = 20
BYS = ("line", "function", "stack", "thread", "module")  # that b goes through
_HELP = """\
q  leave                             p  pause
s  sort: in use, growth, rate        b  group: line, function, stack, thread, module
+  half the period: more samples     -  twice the period: fewer
a  arm or disarm                     /  only what this finds; nothing: everything
l  leaks, and back                   z  growth is since now
up, down, enter: a row's stack       ?  this, and back"""
_FOOTER = "q quit  ? help  p pause  s sort: {sort}  b by {by}  +/- period  a arm  / filter  l leaks"


def watch(parsed: argparse.Namespace) -> int:
    """Until it is left. Raises Failure."""
    heap = asking.opened(parsed, follow=True, kept=KEPT)
    parsed.limit = LIMIT if parsed.limit is None else parsed.limit
    watched = _Watch(parsed, heap)
    if parsed.json or parsed.count or not shell_screen.is_possible():
        return watched.as_text()
    return watched.on_screen()


@dataclass
class _Watch:
    parsed: argparse.Namespace
    heap: Heap

    def __post_init__(self) -> None:
        self.selection = asking.selection(self.parsed, self.heap)
        self.by, self.sort, self.page = self.parsed.by.replace("threads", "thread"), "in use", "table"
        self.at: int | None = None
        self.open = self.paused = self.said = False  # said: why some names are missing
        self.watched = Watched(self.heap, time.time_ns)
        self.growth: Growth | None = None
        self.leaks = ""
        encoding = (sys.stdout.encoding or "").lower().replace("-", "")
        self.bars = BARS if encoding == "utf8" else PLAIN_BARS

    # As text.

    def as_text(self) -> int:
        style, done = replace(Style.of(sys.stdout), width=None), 0
        while True:
            due = time.monotonic() + self.parsed.interval
            text = self._object() if self.parsed.json else "".join(f"{line}\n" for line in self._lines(style))
            sys.stdout.write(text)
            sys.stdout.flush()
            self.said = True
            done += 1
            if self.watched.ended or done == self.parsed.count:
                return 0
            time.sleep(max(0.0, due - time.monotonic()))
            self.watched.look()
            if not self.parsed.json:
                print()

    def _object(self) -> str:
        growth = self._grown()
        rows = ordered(growth, self.sort).head(self.parsed.limit)
        names = ("function", "file", "line", "module", "pid", "program", "thread", "name", "smallest", "largest")
        document = {
            "schema": "poireau.watch",
            "version": objects.VERSION,
            "time": self.watched.now.time,
            "since": self.watched.first.time,
            "by": self.by,
            "ended": self.watched.ended,
            "rss": self._rss(),
            "of": [self._preamble(growth).as_json()],
            "total": {name: getattr(growth, name).as_json() for name in ("total", "growth", "lately", "rate")},
            "rows": [
                {
                    **{name: row[name] for name in names if name in row},
                    **{name: estimate_of(row, name).as_json() for name in ("bytes", "growth", "lately", "rate")},
                    "grows": row["grows"],
                }
                for row in rows.to_dict("records")
            ],
        }
        return json.dumps(json.loads(objects.text_of(document))) + "\n"

    # On the screen.

    def on_screen(self) -> int:
        keys = {
            "p": self._pause, "s": self._sort, "b": self._by, "+": lambda: self._retune(0.5),
            "-": lambda: self._retune(2), "a": self._arm, "l": lambda: self._turn_to("leaks"),
            "?": lambda: self._turn_to("help"), "z": self.watched.begin_anew, "up": lambda: self._move(-1),
            "down": lambda: self._move(1), "enter": self._expand,
        }  # fmt: skip
        self.screen = shell_screen.Screen(self._draw, self.parsed.interval, keys, {"/": self._filter})
        self.screen.show()
        return 0

    def _draw(self, columns: int, rows: int, due: bool) -> str:
        if due and not self.paused:
            self.watched.look()
            self.leaks = ""
        style = Style(columns, True)
        if self.page == "help":
            body = _HELP.splitlines()
        elif self.page == "leaks":
            body = self._leaks().splitlines()
        else:
            body = list(self._lines(style, rows))
        state = "PAUSED  " if self.paused else "THE PROGRAM HAS ENDED  " if self.watched.ended else ""
        footer = state + _FOOTER.format(sort=self.sort, by=self.by)
        body = body[: rows - 1] + [""] * max(0, rows - 1 - len(body))
        return "\n".join([*body, style.paint(footer[:columns], "7")])

    def _lines(self, style: Style, rows: int = 0) -> Iterator[str]:
        if self.parsed.what != "in-use":
            answer = view(self.heap, self.parsed.what, self.by, self.selection)
            preamble = Preamble.of(self.heap, self.selection, answer.periods, answer.stacks)
            yield from top(answer, preamble, style, max(rows - 6, 3) if rows else self.parsed.limit, 0)
            return
        growth = self._grown()
        most = max(rows - 8, 3) if rows else self.parsed.limit
        asked = Asked(self.sort, most, 0, self.at, self.open, max(rows // 5, 2) if rows else 0)
        preamble = self._preamble(growth)
        preamble = replace(preamble, unnamed={}) if self.said else preamble
        yield from lines(self.watched, growth, preamble, style, asked, self._rss(), self.bars)
        if not rows and self.watched.ended:
            yield "the program has ended"

    def _grown(self) -> Growth:
        self.growth = self.watched.growth(self.by, self.selection)
        return self.growth

    def _preamble(self, growth: Growth) -> Preamble:
        return Preamble.of(self.heap, self.selection, growth.periods, growth.stacks)

    def _pids(self) -> list[int]:
        chosen = self.selection.processes
        return [pid for number, pid in resident.pids(self.heap.processes).items() if not chosen or number in chosen]

    def _rss(self) -> int:
        return sum(rss_of(pid) for pid in self._pids())

    def _leaks(self) -> str:
        if not self.leaks:
            asked = parsing.parse(["leaks"])
            asked.focus, asked.ignore = self.selection.focus, self.selection.ignore
            before, asking.keeper = asking.keeper, lambda paths, settings: self.heap
            asked.targets = list(self.parsed.targets)
            try:
                self.leaks = shell_screen.captured(lambda: asked.act(asked))
            finally:
                asking.keeper = before
        return self.leaks

    # Keys.

    def _pause(self) -> None:
        self.paused = not self.paused

    def _sort(self) -> None:
        names = list(SORTS)
        self.sort = names[(names.index(self.sort) + 1) % len(names)]

    def _by(self) -> None:
        self.by = BYS[(BYS.index(self.by) + 1) % len(BYS)] if self.by in BYS else BYS[0]
        self.open = False

    def _turn_to(self, page: str) -> None:
        self.page = "table" if self.page == page else page

    def _move(self, by: int) -> None:
        most = 0 if self.growth is None else len(self.growth.table) - 1
        self.at = 0 if self.at is None else min(max(self.at + by, 0), max(most, 0))

    def _expand(self) -> None:
        self.open = not self.open if self.at is not None else True
        self.at = self.at or 0

    def _filter(self, text: str) -> None:
        try:
            re.compile(text)
        except re.error as error:
            raise Failure(f"{text} is no regular expression: {error}") from None
        self.selection = replace(self.selection, focus=text)

    def _retune(self, factor: float) -> None:
        for pid in self._live():
            period = figures.number(self._asked(pid, Request("stats")), "period")
            if period == 0:
                raise Failure(f"{pid} samples nothing now: a arms it")
            answer = self._asked(pid, Request("set", "sample_period", str(max(round(period * factor), 1))))
            before, now = plain(str(answer.get("before"))), plain(str(answer.get("value")))
            self.screen.said = f"{pid}: sample_period {before} -> {now}"

    def _arm(self) -> None:
        for pid in self._live():
            armed = self._asked(pid, Request("hello")).get("armed") is True
            self._asked(pid, Request("disarm" if armed else "arm"))
            self.screen.said = f"{pid} is {'dormant: a arms it' if armed else 'armed'}"

    def _live(self) -> list[int]:
        pids = self._pids()
        if not pids:
            raise Failure("no process of this is running: there is nobody to ask")
        return pids

    def _asked(self, pid: int, request: Request) -> Any:
        outcome = ctl.ask(pid, [request], None)
        if outcome.refusals:
            raise Failure(outcome.refusals[0])
        if outcome.waiting is not None:
            raise Failure(ctl.queued(outcome))
        return outcome.answers[0]


def rss_of(pid: int) -> int:
    """0: it can't be told."""
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
