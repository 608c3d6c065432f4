"""What sticks in the shell: whose heap, which time, what of it. Every command that has such an option gets it, where
its line does not say otherwise."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from poireau.selection import expression, moment
from poireau.text import plain

TIMES = ("since", "until", "at")
PATTERNS = ("focus", "ignore", "hide")
WHOSE = ("process", "thread")
STICKY = (*TIMES, *PATTERNS, *WHOSE)


@dataclass(frozen=True)
class State:
    targets: tuple[str, ...] = ()  # as commands take them; none: the newest run
    name: str = ""  # of it, for people
    since: str = ""
    until: str = ""
    at: str = ""
    focus: str = ""
    ignore: str = ""
    hide: str = ""
    process: tuple[str, ...] = ()
    thread: tuple[str, ...] = ()

    def said(self) -> list[str]:
        """Window and filters, a text each."""
        found = []
        for name in STICKY:
            value = getattr(self, name)
            if value:
                found.append(f"{name} {plain(value if isinstance(value, str) else ', '.join(value))}")
        return found

    def with_(self, name: str, text: str) -> State:
        """Raises Failure: `text` makes no sense there."""
        if name in TIMES:
            now = time.time_ns()
            moment(text, now, now)
            # What is in use at a time has no window.
            cleared = self.without(TIMES if name == "at" else ("at",))
            return cleared._set(name, text)
        if name in PATTERNS:
            expression(text, name)
            return self._set(name, text)
        return self._set(name, tuple(text.replace(",", " ").split()))

    def _set(self, name: str, value: Any) -> State:
        return replace(self, **{name: value})

    def without(self, names: Sequence[str] = STICKY) -> State:
        empty: dict[str, Any] = {name: () if name in WHOSE else "" for name in names}
        return replace(self, **empty)


def said_by(parser: argparse.ArgumentParser, words: Sequence[str]) -> set[str]:
    """The options that are on a line, abbreviated maybe."""
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    return {
        action.dest
        for action in parser._actions
        for option in action.option_strings
        if any(option.startswith(word) for word in given)
    }


def apply(state: State, parsed: argparse.Namespace, said: set[str]) -> None:
    """To a line that has been parsed."""
    if getattr(parsed, "targets", None) == [] and not getattr(parsed, "trace", None):
        parsed.targets = list(state.targets)
    for name in (*PATTERNS, *WHOSE):
        value = getattr(state, name)
        if value and hasattr(parsed, name) and name not in said:
            setattr(parsed, name, value if isinstance(value, str) else list(value))
    if said & {*TIMES, "before", "after", "older"}:
        return
    for name in ("since", "until"):
        if getattr(state, name) and hasattr(parsed, name):
            setattr(parsed, name, getattr(state, name))
    if state.at and hasattr(parsed, "at") and getattr(parsed, "what", "in-use") == "in-use":
        parsed.at = state.at
    elif state.at and hasattr(parsed, "until"):
        parsed.until = state.at
