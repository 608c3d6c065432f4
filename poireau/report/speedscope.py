"""speedscope's own JSON: several profiles over one list of frames, inlined functions among them.

A frame is a function and its file: lines of calls would tell apart what is one function. Each view is three profiles:
its estimate, and the ends of each stack's 95 % interval, which don't add up: a sum of the lower ends is lower than the
lower end of the sum.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np

from poireau.naming import NO_STACK
from poireau.report.sums import whole
from poireau.stacks import number_pairs
from poireau.version import __version__
from poireau.views import WHATS, View

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
VIEWS = ("in-use", "allocated", "peak")
_BOUNDS = (("bytes", ""), ("bytes_low", ", at least (95 %)"), ("bytes_high", ", at most (95 %)"))


def write(views: Iterable[View], name: str, out: BinaryIO) -> None:
    """Piece by piece: of samples there may be many."""
    frames = _Frames()
    head = {"$schema": SCHEMA, "exporter": f"poireau {__version__}", "name": name, "activeProfileIndex": 0}
    out.write(_json(head)[:-1] + b',"profiles":[')
    separator = b""
    for view in views:
        samples = _json(frames.stacks_of(view))
        for column, more in _BOUNDS:
            weights = whole(view.table[column].to_numpy(np.float64))
            profile = {
                "type": "sampled",
                "name": WHATS[view.what] + more,
                "unit": "bytes" if view.unit == "bytes" else "none",
                "startValue": 0,
                "endValue": int(weights.sum()),
                "weights": weights.tolist(),
            }
            out.write(separator + _json(profile)[:-1] + b',"samples":' + samples + b"}")
            separator = b","
    out.write(b'],"shared":{"frames":' + _json(frames.rows) + b"}}\n")


class _Frames:
    """Functions of all views, numbered as they come."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []
        self._numbers: dict[tuple[str, str], int] = {}

    def stacks_of(self, view: View) -> list[list[int]]:
        """Of each row, outermost first."""
        stacks = view.stacks
        assert stacks is not None
        names = stacks.names
        function, file = np.asarray(names.function, np.int64), np.asarray(names.file, np.int64)
        pairs = number_pairs(function, file)
        _, first = np.unique(pairs, return_index=True)
        called = zip(function[first].tolist(), file[first].tolist())
        mine = np.array([self._number(names.functions[one], names.files[other]) for one, other in called], np.int64)
        places = mine[pairs][stacks.places]
        rows = view.table["stack"].to_numpy()
        spans = zip(stacks.begins[rows].tolist(), stacks.ends[rows].tolist())
        return [places[begin:end][::-1].tolist() or [self._number(NO_STACK, "")] for begin, end in spans]

    def _number(self, function: str, file: str) -> int:
        number = self._numbers.setdefault((function, file), len(self.rows))
        if number == len(self.rows):
            self.rows.append({"name": function, "file": file} if file else {"name": function})
        return number


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
