"""The text profile of gperftools, jemalloc and Go, for jeprof, google-pprof and people: numbers, addresses, what these
are called in comments, and which files were mapped.

Numbers are unsampled, and the header says so by a period of 1. With the true one readers would undo the sampling a
second time, and by the mean size of each stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from poireau.report.profile import Profile


def write(profile: Profile, out: BinaryIO) -> None:
    begins, ends, frames = profile.calls
    addresses, called = _addresses(profile)
    values = np.stack(profile.sums.values)
    stacks, first = np.unique(profile.sums.keys["stack"], return_index=True)
    rows = np.add.reduceat(values, first, axis=1).T.tolist() if len(stacks) else []
    out.write(f"heap profile: {_figures(values.sum(axis=1).tolist())} @ heap_v2/1\n".encode())
    for begin, end, row in zip(begins[stacks].tolist(), ends[stacks].tolist(), rows):
        its = frames[begin:end].tolist()
        line = f"{_figures(row)} @ {' '.join(addresses[frame] for frame in its)}\n"
        out.write((line + "".join(called[frame] for frame in its)).encode("utf-8", "replace"))
    for comment in profile.comments:
        out.write(f"# {_one_line(comment)}\n".encode("utf-8", "replace"))
    out.write(b"\nMAPPED_LIBRARIES:\n")
    for module, (_, begin, end) in profile.places.items():
        if module:
            path = _one_line(profile.tables.modules[module].path)
            out.write(f"{begin:x}-{end:x} r-xp 00000000 00:00 0 {path}\n".encode("utf-8", "replace"))


def _figures(values: Sequence[int]) -> str:
    allocated_count, allocated_bytes, used_count, used_bytes = values
    return f"{used_count}: {used_bytes} [{allocated_count}: {allocated_bytes}]"


def _addresses(profile: Profile) -> tuple[dict[int, str], dict[int, str]]:
    """Of each frame, its address, and its comments."""
    tables, names, lines = profile.tables, profile.names, profile.lines
    addresses, called = {}, {}
    for frame in profile.frames.tolist():
        shift = profile.places[int(tables.frame_module[frame])][0]
        address = f"{shift + int(tables.frame_address[frame]):#x}"
        rows = lines.places[lines.begins[frame] : lines.ends[frame]].tolist()
        places = [(names.functions[names.function[row]], names.files[names.file[row]], names.line[row]) for row in rows]
        addresses[frame] = address
        called[frame] = "".join(
            f"#\t{address}\t{_one_line(function)}{_one_line(f'	{file}:{line}') if file else ''}\n"
            for function, file, line in places
        )
    return addresses, called


def _one_line(text: str) -> str:
    return text.replace("\n", " ").replace("\r", " ")
