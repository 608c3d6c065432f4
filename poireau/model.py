"""The heap as its samples tell it: events folded into the lives of sampled blocks.

A life is a row of these columns; `LIFE` has their types. Nothing here knows a file, a text or a clock.

    process         number of the process (Heap.processes has a row for each)
    id, address     of the block
    size, alignment, function, period, since, by_calls, guarded, guard_chance, thread    as in its birth's event
    stack           that asked for it
    born            nanoseconds since 1970
    died            the same; NEVER: it is alive
    fate            ALIVE, FREED, RESIZED (sampled anew in place: its next life has the same id), LOST (gone: its home
                    was used again; nobody saw when, so `died` is when the next one was born)
    free_function, free_thread, free_stack    that ended it
    late            its birth was before what is left of the trace, and is known from a checkpoint

What is alive when its process ends stays ALIVE: at times after that end it is not there any more, but it is among what
`live()` gives, which asks each process for what it had last. A fork child has its parent's blocks, too; they count for
the parent only, unless the child is all there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from poireau import model_names, model_time, requested
from poireau.estimate import Estimate
from poireau.model_lives import ALIVE as ALIVE
from poireau.model_lives import FATES as FATES
from poireau.model_lives import FREED as FREED
from poireau.model_lives import LIFE as LIFE
from poireau.model_lives import LOST as LOST
from poireau.model_lives import NEVER as NEVER
from poireau.model_lives import RESIZED as RESIZED
from poireau.model_lives import ROW, Rows, frame_of
from poireau.model_lives import Batch as Batch
from poireau.model_lives import Columns as Columns
from poireau.model_lives import Source as Source
from poireau.model_reading import Reading
from poireau.model_time import Part
from poireau.model_time import Series as Series
from poireau.tables import Loss, Names, Tables

Symbolize = Callable[[Tables, NDArray[Any] | None], Names | None]
Running = Mapping[int, bool]
_NOT_AT_ALL = re.compile(r"= *0*(?:\.0*)?(?:/| *(?:,|$))")  # a caller that is never sampled, and counted all the same
KEPT = 256 << 20  # bytes of lives that need not be read again


class Heap:
    """`running`: of a process's number, whether it goes on; or what tells that of `processes`. All others have ended
    with their last event."""

    flame: Callable[..., Any]  # pictures; notebook.py, which may see what draws them, puts these here
    stream: Callable[..., Any]

    def __init__(
        self,
        source: Source,
        symbolize: Symbolize | None = None,
        running: Running | Callable[[pd.DataFrame], Running] = MappingProxyType({}),
        kept: int = KEPT,
    ) -> None:
        self.source = source
        self._running = running
        self.symbolize = symbolize
        self._reading = Reading(source, kept)
        self._known: dict[str, Any] = {}  # what has been asked for
        self._known_of = 0  # events

    def extend(self, ended: Callable[[Rows], object] | None = None) -> int:
        """Reads on: to the end, or to what is there yet. The number of events there were. `ended` gets the lives that
        have ended in them."""
        return self._reading.extend(ended)

    def _read(self) -> Reading:
        if not self._reading.begun:
            self.extend()
        return self._reading

    def _once(self, name: str, make: Callable[[Reading], Any]) -> Any:
        reading = self._read()
        if reading.facts.events != self._known_of:
            self._known_of = reading.facts.events
            self._known.clear()
        if name not in self._known:
            self._known[name] = make(reading)
        return self._known[name]

    @property
    def at_hand(self) -> bool:
        """Whether a look at all lives reads nothing again."""
        return self._read().at_hand

    # Whose heap, and what else is known of it.

    @property
    def tables(self) -> Tables:
        tables: Tables = self._once("tables", lambda reading: self.source.tables())
        return tables

    @property
    def processes(self) -> pd.DataFrame:
        def make(reading: Reading) -> pd.DataFrame:
            table = reading.facts.processes(self.tables)
            incomplete = {loss.process for loss in self.losses}
            return table.assign(complete=[number not in incomplete for number in table.index])

        return self._once("processes", make)

    @property
    def running(self) -> Running:
        tell = self._running
        if not callable(tell):
            return tell
        running: Running = self._once("running", lambda reading: tell(self.processes))
        return running

    @running.setter
    def running(self, running: Running) -> None:
        self._running = running

    @property
    def threads(self) -> pd.DataFrame:
        """Each with its last name."""
        return self._table("thread", "name")[["process", "thread", "name"]]

    @property
    def modules(self) -> pd.DataFrame:
        """Where each was mapped in a process."""
        return self._table("module", "path", "build_id")

    @property
    def drops(self) -> pd.DataFrame:
        """What could not be recorded, from each process's start to its last word of it."""
        return self._table("drops", "cause")[["process", "cause", "count"]]

    @property
    def costs(self) -> pd.DataFrame:
        """The same of what sampling has cost."""
        return self._table("cost")

    @property
    def options(self) -> pd.DataFrame:
        """Changes; what was in force at first is in `processes`."""
        return self._table("option", "name", "value")

    @property
    def errors(self) -> pd.DataFrame:
        return self._table("error", "error", "function")

    @property
    def checkpoints(self) -> pd.DataFrame:
        return self._table("checkpoint")

    def counted(self, process: int | None = None) -> pd.DataFrame:
        """Of each process and thread: the bytes it asked for up to its last sample, to the byte, as far as the trace
        has it; its samples, and the times of the first and the last."""
        table: pd.DataFrame = self._once("counted", lambda reading: reading.facts.counted())
        return table if process is None else table[table["process"] == process]

    def asked_for(self, processes: tuple[int, ...] = ()) -> Estimate | None:
        """Bytes that these processes, or all, have asked for in all, by the same count: only what came after each
        thread's last sample is estimated. None: births are missing, or what was counted is not what they are of."""
        table = self.processes if not processes else self.processes[self.processes.index.isin(processes)]
        options = self.options
        unknown = options["name"].isin(["armed", "record", "callers"]) | (options["value"] == "0")
        if self.losses or unknown.any() or (len(self.checkpoints) and self.checkpoints["oldest"].max() > 1):
            return None
        if any(_NOT_AT_ALL.search(options.get("callers", "")) for options in table["options"]):
            return None
        tails = self._read().facts.tails
        births = tails.births()
        if processes:
            own = np.isin(births["process"], processes)
            births = {name: column[own] for name, column in births.items()}
        if not len(births["size"]) or births["by_calls"].any() or tails.of_nothing:
            return None
        # A fork's child goes on counting where its parent was.
        forked, pid = self.processes["generation"].to_numpy() > 0, self.processes["pid"].to_numpy()
        inherited = forked[births["process"]] & (pid[births["process"]] == births["thread"])
        return requested.asked_for(births, inherited, longest=births["period"].max()).sum()

    def _table(self, kind: str, *texts: str) -> pd.DataFrame:
        table: pd.DataFrame = self._once(kind, lambda reading: reading.facts.table(kind, texts, self.tables))
        return table

    @property
    def begin(self) -> int:
        """Of the first event."""
        seen = [time for time in self.processes["begin"] if time]
        return min(seen, default=0)

    @property
    def end(self) -> int:
        return int(self.processes["end"].max()) if len(self.processes) else 0

    @property
    def losses(self) -> list[Loss]:
        """All that is missing, as far as it is known."""

        def make(reading: Reading) -> list[Loss]:
            found = list(self.tables.losses)
            found += [Loss(*row) for row in self.drops.itertuples(index=False) if row[2]]
            facts = reading.facts.processes(self.tables)
            shortened = (
                set(self.checkpoints.loc[self.checkpoints["oldest"] > 1, "process"]) if len(self.checkpoints) else set()
            )
            for number, count in enumerate(reading.fold.unseen.tolist()):
                # Its parent's blocks, or those of files that have left.
                if count and facts["generation"][number] == 0 and number not in shortened:
                    found.append(Loss(number, "births that were not recorded", count))
            ends = enumerate(reading.fold.lost.tolist())
            found += [Loss(number, "ends that were not recorded", count) for number, count in ends if count]
            return found

        losses: list[Loss] = self._once("losses", make)
        return losses

    @property
    def complete(self) -> bool:
        return not self.losses

    def names(self, frames: NDArray[Any] | None = None) -> Names | None:
        """None: there is nobody who could tell."""
        symbolize = self.symbolize
        if symbolize is None:
            return None
        if frames is not None:
            return model_names.printed(symbolize(self.tables, frames))
        names: Names | None = self._once("names", lambda reading: model_names.printed(symbolize(self.tables, None)))
        return names

    def text(self, numbers: ArrayLike) -> NDArray[np.object_]:
        """The strings of these numbers, as columns may hold them: what wasn't UTF-8 is escaped."""
        return model_names.texts(self.tables.strings, np.asarray(numbers))

    # Lives.

    def lives(self, since: int | None = None, until: int | None = None) -> Iterator[pd.DataFrame]:
        """Every life of which some is in [since, until), in parts and in no order."""
        for rows, gone in self._parts():
            if since is not None or until is not None:
                there = np.ones(len(rows), np.bool_)
                if since is not None:
                    there &= gone > since
                if until is not None:
                    there &= rows["born"] < until
                rows = rows[there]
            if len(rows):
                yield frame_of(rows)

    def live(self, at: int | str | None = None, *, ended: bool = False, names: bool = False) -> pd.DataFrame:
        """What was alive at a time, in nanoseconds or as text; without one, at the end of each process, or now.
        `ended`: what a process had when it ended counts as alive for ever. `names`: to be read by people."""
        if at is None:
            rows = self._own(self._read().fold.alive())
        else:
            moment = at if isinstance(at, int) else pd.Timestamp(at).value
            found = [
                rows[(rows["born"] <= moment) & ((gone > moment) | (ended & (rows["fate"] == ALIVE)))]
                for rows, gone in self._parts()
            ]
            rows = np.concatenate(found) if found else np.empty(0, ROW)
        lives = frame_of(rows)
        return model_names.readable(self, lives) if names else lives

    def peak(
        self,
        chosen: Callable[[Rows], NDArray[np.bool_]] | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> tuple[int, pd.DataFrame]:
        """When the estimated bytes alive were most, of all lives or the `chosen` ones, within [since, until), and what
        was alive then, of the same lives."""

        def parts() -> Iterator[Part]:
            for rows, gone in self._parts():
                kept = np.ones(len(rows), np.bool_) if chosen is None else chosen(rows)
                if since is not None:
                    kept = kept & (gone > since)
                if until is not None:
                    kept = kept & (rows["born"] < until)
                rows, gone = rows[kept], gone[kept]
                if since is not None:
                    rows["born"] = np.maximum(rows["born"], since)
                yield rows, gone

        if chosen is None and since is None and until is None:
            at: int | None = self._once("peak", lambda reading: model_time.peak(self._parts))
            return (self.end, self.live()) if at is None else (at, self.live(at))
        at = model_time.peak(parts)
        if at is None:
            return self.end if until is None else until, frame_of(np.empty(0, ROW))
        found = [rows[(rows["born"] <= at) & (gone > at)] for rows, gone in parts()]
        return at, frame_of(np.concatenate(found))

    def over_time(
        self,
        points: int | NDArray[np.int64] = 200,
        groups: int = 1,
        codes: Callable[[Rows], NDArray[np.int64]] | NDArray[np.int64] | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> Series:
        """What was alive at so many times, or at these, of each group. `codes`: the group of each stack, or of each
        life of an array of them; below 0: of none."""
        self._read()
        if isinstance(points, int):
            first, last = self.begin if since is None else since, self.end if until is None else until
            points = np.linspace(0, last - first, points).astype(np.int64) + first
        if codes is None:
            group: Callable[[Rows], NDArray[np.int64]] = lambda rows: np.zeros(len(rows), np.int64)  # noqa: E731
        elif callable(codes):
            group = codes
        else:
            of_stack = np.asarray(codes)
            group = lambda rows: of_stack[rows["stack"]]  # noqa: E731
        return model_time.over_time(self._parts(), points, groups, group)

    def _parts(self) -> Iterator[Part]:
        """All lives, and when each is gone."""
        reading = self._read()
        events, gone = reading.facts.events, self._gone()
        for rows in reading.lives():
            if reading.facts.events != events:
                events, gone = reading.facts.events, self._gone()
            rows = self._own(rows)
            yield rows, np.where(rows["fate"] == ALIVE, gone[rows["process"]], rows["died"])

    def _gone(self) -> NDArray[np.int64]:
        """When what is alive in each process is not there any more."""
        ends = self.processes["end"].to_numpy(np.int64)
        goes_on = np.array([self.running.get(number, False) for number in self.processes.index], np.bool_)
        return np.where(goes_on, NEVER, ends + 1)

    def _own(self, rows: Rows) -> Rows:
        """Without what a child has inherited of a parent that is there itself."""
        forked = self._forked()
        if forked is None or not rows["late"].any():
            return rows
        own: Rows = rows[~(rows["late"] & (rows["born"] < forked[rows["process"]]))]
        return own

    def _forked(self) -> NDArray[np.int64] | None:
        """When, at the latest, each process whose parent is here came to be."""

        def make(reading: Reading) -> NDArray[np.int64] | None:
            parents = self.processes["parent"].to_numpy()
            when = np.full(len(parents), -NEVER)
            for number, time in reading.facts.introduced().items():
                if parents[number] >= 0:
                    when[number] = time
            return when if (parents >= 0).any() else None

        forked: NDArray[np.int64] | None = self._once("forked", make)
        return forked

    def __repr__(self) -> str:
        return model_names.summary(self)
