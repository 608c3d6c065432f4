"""Inputs that one of the native readers reads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from poireau.native import binding
from poireau.native.binding import Batch
from poireau.reader import finding
from poireau.tables import Tables

_LOOK_AROUND = 1.0  # seconds


class Native:
    """`roots`: where new processes come, for who follows."""

    def __init__(self, library: str, inputs: Sequence[str], follow: bool, roots: Sequence[str] = ()) -> None:
        self._reader = binding.Reader(library, inputs, follow)
        self._known = set(inputs)
        self._roots = roots if follow else ()

    def batches(self) -> Iterator[Batch]:
        looked = time.monotonic()
        for batch in self._reader.batches():
            yield batch
            if self._roots and time.monotonic() - looked >= _LOOK_AROUND:
                self._look_for_newcomers()
                looked = time.monotonic()

    def tables(self) -> Tables:
        return self._reader.tables()

    def progress(self) -> tuple[int, int]:
        return self._reader.progress()

    def close(self) -> None:
        self._reader.close()

    def _look_for_newcomers(self) -> None:
        for root in self._roots:
            for path in finding.traces_in(root):
                if path not in self._known and binding.recognizes(path):
                    self._known.add(path)
                    self._reader.add(path)
