"""Events read once, and their lives kept; or, where these are too many, read again for each look at all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from poireau.model_facts import Facts
from poireau.model_fold import Fold
from poireau.model_lives import ROW, Batch, Rows, Source, is_empty

_PART = 1 << 18  # lives at a time


class Reading:
    """`kept`: bytes of lives that have ended."""

    def __init__(self, source: Source, kept: int) -> None:
        self.begun = False
        self.fold, self.facts = Fold(), Facts()
        self._source = source
        self._events: Iterator[Batch] = iter(())
        self._whole = False  # what comes next in them is new
        self._ended: list[Rows] | None = []  # None: too many
        self._room = kept // ROW.itemsize

    def extend(self, seen: Callable[[Rows], object] | None = None) -> int:
        """To the end, or to what is there yet. The number of events there were. `seen` gets the lives that ended."""
        before = self.facts.events
        if not self._whole:
            self.begun = self._whole = True
            self._events = self._source.batches()
            self.fold, self.facts = Fold(), Facts()
        for batch in self._events:
            if is_empty(batch):
                break
            self.facts.add(batch)
            ended = self.fold.add(batch)
            self._keep(ended)
            if seen is not None and len(ended):
                seen(ended)
        return self.facts.events - before

    def _keep(self, ended: Rows) -> None:
        self._room -= len(ended)
        if self._ended is not None and len(ended):
            self._ended.append(ended)
        if self._room < 0:
            self._ended = None

    @property
    def at_hand(self) -> bool:
        return self._ended is not None

    def lives(self) -> Iterator[Rows]:
        """All, in parts. One look has to end before the next one begins."""
        if self._ended is None:
            yield from self._lives_again()
            return
        for rows in [*self._ended, self.fold.alive()]:
            for begin in range(0, len(rows), _PART):
                yield rows[begin : begin + _PART]

    def _lives_again(self) -> Iterator[Rows]:
        """The source may have more by now. What comes later is then read from where this ends."""
        fold, facts = Fold(), Facts()
        events = self._events = self._source.batches()
        self._whole = False
        for batch in events:
            facts.add(batch)
            rows = fold.add(batch)
            self._whole = is_empty(batch) or facts.events >= self.facts.events
            if self._whole:
                self.fold, self.facts = fold, facts
            yield rows
            if self._events is not events:
                raise RuntimeError("one look at all lives has to end before the next one begins")
            if self._whole:
                break
        yield fold.alive()
