"""Traces, whatever they are and wherever they lie, as batches of columns.

trace = open_trace(["traces/"])
for batch in trace.batches():
    batch["alloc"]["size"]       # see poireau.model.Batch
trace.tables()                   # what the columns' numbers stand for, as far as it was read
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from poireau.errors import USAGE, Failure
from poireau.native import binding
from poireau.reader import finding
from poireau.reader.merging import Merged, Trace
from poireau.reader.native import Native

__all__ = ["Trace", "open_trace"]


def open_trace(targets: Sequence[str | os.PathLike[str]], follow: bool = False) -> Trace:
    """A target is the directory of a process, of a run, or of any number of them; of an LTTng or another CTF trace; the
    URL of a live one (net://host/...); or a pack. `follow`: what is written later, and who comes later, is read too.

    Raises Failure: one of them is no trace.
    """
    if not targets:
        raise Failure("no trace is named", USAGE)
    found = [finding.inputs_of(os.fspath(target)) for target in targets]
    ours = finding.none_twice(path for each in found for path in each.ours)
    foreign = finding.none_twice(path for each in found for path in each.foreign)
    packs = finding.none_twice(path for each in found for path in each.packs)
    parts: list[Trace] = []
    if ours:
        parts.append(Native(binding.DECODE, ours, follow, [os.fspath(target) for target in targets]))
    if foreign:
        parts.append(Native(binding.BABELTRACE, foreign, follow))
    if packs:
        from poireau.reader.pack import open_pack

        parts += [open_pack(path) for path in packs]
    return parts[0] if len(parts) == 1 else Merged(parts)
