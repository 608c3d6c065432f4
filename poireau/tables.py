"""What columns name by number: strings, modules, the frames and stacks of a trace, and what frames are called.

Plain columns, for who reads and who symbolizes to fill and all others to look at. Number 0 is the empty string, the
empty stack, and the module of what lies in none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.integer]
EVERY = 0xFFFF_FFFF  # the process of a loss that belongs to none


@dataclass(frozen=True)
class Loss:
    """What could not be read."""

    process: int  # its number, or EVERY
    cause: str
    count: int


@dataclass(frozen=True)
class Module:
    """A file of one build id, wherever it was mapped."""

    path: str
    build_id: str  # hexadecimal; empty: it has none


@dataclass(frozen=True)
class Tables:
    strings: Sequence[str]
    modules: Sequence[Module]
    frame_module: Numbers
    frame_process: Numbers  # the process number of a frame that lies in no module; otherwise 0
    frame_address: Numbers  # return address: in the file as its symbols have it; of no module: in memory
    stack_ends: Numbers  # of stack s, in stack_frames; it begins where the one before ends
    stack_frames: Numbers  # innermost first
    sources: Sequence[str]  # of each process, by number: a directory or an URL
    process_ids: Sequence[int]  # of each; 0: not known
    losses: Sequence[Loss]

    def frames_of(self, stack: int) -> Numbers:
        begin = int(self.stack_ends[stack - 1]) if stack else 0
        return self.stack_frames[begin : int(self.stack_ends[stack])]


@dataclass(frozen=True)
class Names:
    """What each frame is called: one place in the source, or several where functions were inlined, innermost first.

    Where nothing is known of a frame, its function is its module and address, `libfoo.so+0x1234`, or the address.
    """

    ends: Numbers  # of frame f, in the columns that follow
    function: Numbers  # number in `functions`
    file: Numbers  # number in `files`; 0: not known
    line: Numbers  # 0: not known
    inlined: NDArray[np.bool_]  # into the one that follows
    functions: Sequence[str]
    files: Sequence[str]  # the first is empty
    missing: Sequence[Loss] = ()  # modules without symbols, and why
