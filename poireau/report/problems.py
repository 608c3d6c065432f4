"""What is wrong with a program, one thing at a time, for people: a headline, stacks with what happened there, notes.

Memory errors (errors.py) and leaks (of `check`) are told in the same way, in text, JUnit (junit.py) and SARIF.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from poireau.naming import places
from poireau.report import words
from poireau.report.text import BOLD, GREY, RED, Style
from poireau.stacks import Stacks
from poireau.text import plain

FRAMES = 8
_OUTERMOST = {
    "_start",
    "__libc_start_main_impl",
    "__libc_start_main",
    "__libc_start_call_main",
    "clone3",
    "start_thread",
    "run_and_hold",  # native/hold.c
}


@dataclass(frozen=True)
class Frame:
    function: str
    file: str
    line: int
    module: str

    def text(self, width: int | None = None) -> str:
        if not self.file and "+0x" not in self.function:
            return f"{words.function(self.function, width)}  in {words.place(self.module, 0)}"
        place = {"function": self.function, "file": self.file, "line": self.line}
        return words.key(place, "function", False, width)


@dataclass(frozen=True)
class Stack:
    what: str  # happened there
    frames: tuple[Frame, ...]  # innermost first
    site: int = 0  # the first of them that does not just pass things on (stacks.py)


@dataclass(frozen=True)
class Problem:
    kind: str  # use-after-free, leak
    title: str  # use after free: 40 bytes into a freed 44-byte block
    stacks: tuple[Stack, ...]  # the first one is where it is
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)  # for programs

    @property
    def where(self) -> Frame | None:
        """In the source, if that is known."""
        if not self.stacks or not self.stacks[0].frames:
            return None
        stack = self.stacks[0]
        outwards = stack.frames[stack.site :]
        return next((frame for frame in outwards if frame.file), outwards[0])


class Frames:
    """Of stacks by number."""

    def __init__(self, stacks: Stacks | None, wrappers: str = "") -> None:
        self._stacks = stacks
        self._sites = [] if stacks is None else stacks.sites(stacks.wrappers(wrappers)).tolist()
        self._known: dict[int, Stack] = {}

    def stack(self, what: str, number: int) -> Stack:
        stacks = self._stacks
        if stacks is None:
            return Stack(what, ())
        if number not in self._known:
            self._known[number] = self._made(stacks, number)
        return replace(self._known[number], what=what)

    def _made(self, stacks: Stacks, number: int) -> Stack:
        begin = int(stacks.begins[number])
        columns = places(stacks, np.arange(begin, stacks.ends[number]))
        rows = zip(*(columns[name] for name in ("function", "file", "line", "module")))
        frames = tuple(Frame(str(function), str(file), int(line), str(module)) for function, file, line, module in rows)
        return Stack("", frames, max(0, self._sites[number] - begin))


def lines(problem: Problem, style: Style, frames: int | None = FRAMES) -> Iterator[str]:
    """`frames`: of each stack; None: all."""
    yield style.paint(plain(problem.title), f"{BOLD};{RED}")
    for stack in problem.stacks:
        yield f"  {plain(stack.what)}{':' if stack.frames else ''}"
        told = stack.frames if frames is None else _ours(stack.frames)[:frames]
        for frame in told:
            yield f"    {frame.text(None if style.width is None else style.width - 4)}"
        if frames is not None and len(_ours(stack.frames)) > frames:
            yield style.paint(f"    and {len(_ours(stack.frames)) - frames} more", GREY)
    for note in problem.notes:
        yield style.paint(f"  {plain(note)}", GREY)


def _ours(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """Without who calls main, and what begins a thread."""
    ends = (number for number, frame in enumerate(frames) if number and frame.function in _OUTERMOST)
    return frames[: next(ends, len(frames))]


def text_of(problem: Problem) -> str:
    """All of it, plain."""
    return "".join(f"{line}\n" for line in lines(problem, Style(), None))


def as_json(problem: Problem) -> dict[str, Any]:
    return {
        "kind": problem.kind,
        "title": problem.title,
        "stacks": [{"what": stack.what, "frames": [vars(frame) for frame in stack.frames]} for stack in problem.stacks],
        "notes": list(problem.notes),
        **problem.facts,
    }


def all_of(problems: Sequence[Problem], style: Style, frames: int | None = FRAMES) -> Iterator[str]:
    for problem in problems:
        yield from lines(problem, style, frames)
        yield ""
