"""Valgrind's suppressions: blocks that name the frames of a stack, from where memory was asked for outwards.

    {
       a name
       Memcheck:Leak
       match-leak-kinds: definite
       fun:malloc
       fun:load_*
       ...
       obj:*/libz.so*
    }

`*` and `?` are as in shells, and a name is matched whole; `src:FILE[:LINE]` is understood as well, and `...` stands for
any number of frames, none maybe. Frames further out don't matter. The allocating function itself, which is not among
our frames, is left out where a block begins with it. C++ functions are meant by their readable names, `ns::f(int)` or
`ns::f`; mangled ones, `_ZN...`, are never found. Blocks for other tools than Memcheck are left alone.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from poireau.stacks import Flags, Stacks, qualified

_ALLOCATORS = (
    "malloc,calloc,realloc,reallocarray,memalign,posix_memalign,aligned_alloc,valloc,_Znwm,_Znam,_ZnwmRKSt9nothrow_t,"
    "_ZnamRKSt9nothrow_t,_ZnwmSt11align_val_t,_ZnamSt11align_val_t,operator new(unsigned long),"
    "operator new[](unsigned long)"
).split(",")
_ANY = "..."
_KINDS = ("fun:", "obj:", "src:")


@dataclass(frozen=True)
class Block:
    name: str
    is_leak: bool
    frames: tuple[str, ...]


@dataclass
class Blocks:
    """Reads them, line by line."""

    inside: bool = False
    _lines: list[str] = field(default_factory=list)

    def takes(self, line: str) -> bool:
        return self.inside or line == "{"

    def add(self, line: str) -> Block | None:
        """The block that this line ends, if it is for us. Raises ValueError."""
        if line != "}":
            if self.inside and line and not line.startswith("#"):
                self._lines.append(line)
            self.inside = True
            return None
        name, tool, *rest = [*self._lines, "", ""][: max(2, len(self._lines))]
        self.inside, self._lines = False, []
        tools, colon, kind = tool.partition(":")
        if not colon:
            raise ValueError(f"a block should have a name, then Memcheck:Leak, then frames; not {tool[:40]!r}")
        if "Memcheck" not in tools.split(","):
            return None
        frames = [line for line in rest if line == _ANY or line.startswith(_KINDS)]
        others = [line for line in rest if line not in frames and not line.startswith("match-leak-kinds:")]
        if others and kind != "Param":
            raise ValueError(f"a frame is fun:, obj:, src: or ...; not {others[0][:40]!r}")
        if frames and frames[0].startswith("fun:") and any(map(_matcher(frames[0][4:]), _ALLOCATORS)):
            frames.pop(0)
        if not [frame for frame in frames if frame != _ANY]:
            raise ValueError(f"block {name[:40]!r} names no frame: that would be everything")
        return Block(name, kind == "Leak", tuple(frames))


def has_frames(stacks: Stacks, frames: Sequence[str]) -> Flags:
    """Of each stack, whether it begins with these."""
    asked = [None if frame == _ANY else _places(stacks, frame) for frame in frames]
    found = np.zeros(len(stacks), bool)
    # What no place of a stack is like, it can't begin with.
    maybe = np.ones(len(stacks), bool)
    for places in asked:
        if places is not None:
            maybe &= stacks.having(places)
    for stack in np.flatnonzero(maybe).tolist():
        found[stack] = _begins(asked, int(stacks.begins[stack]), int(stacks.ends[stack]))
    return found


def _begins(asked: Sequence[Flags | None], begin: int, end: int) -> bool:
    """Whether the places from `begin` on are such; after a gap, where it first works is as good as any other."""
    back: tuple[int, int] | None = None  # the frame after the last gap, and where to try it next
    at, place = 0, begin
    while at < len(asked):
        wanted = asked[at]
        if wanted is None:
            back = (at + 1, place)
            at += 1
        elif place < end and wanted[place]:
            at, place = at + 1, place + 1
        elif back is None or back[1] >= end:
            return False
        else:
            back = (back[0], back[1] + 1)
            at, place = back
    return True


def _places(stacks: Stacks, frame: str) -> Flags:
    kind, _, pattern = frame.partition(":")
    matches = _matcher(pattern)
    names = stacks.names
    if kind == "obj":
        modules = [matches(module.path) for module in stacks.tables.modules]
        return np.array(modules, bool)[np.asarray(stacks.tables.frame_module)][stacks.frames]
    if kind == "fun":
        functions = [matches(name) or matches(qualified(name)) for name in names.functions]
        return np.array(functions, bool)[names.function][stacks.places]
    file, _, line = pattern.rpartition(":") if pattern.rpartition(":")[2].isdecimal() else (pattern, "", "")
    of_file = _matcher(file)
    there = np.array([of_file(path) or of_file(os.path.basename(path)) for path in names.files], bool)[names.file]
    if line:
        there &= np.asarray(names.line) == int(line)
    return there[stacks.places]


@lru_cache(64)
def _matcher(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(fnmatch.translate(pattern.replace("[", "[[]")))
    return lambda text: compiled.match(text) is not None
