"""Several readers as one: each has numbers of its own for the same strings, modules, frames, stacks and processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from poireau.errors import Failure
from poireau.events import KINDS
from poireau.native.binding import EMPTY, Batch, Growing
from poireau.tables import EVERY, Loss, Module, Names, Tables


class Trace(Protocol):
    def batches(self) -> Iterator[Batch]:
        """From the beginning, each time with the same numbers; a batch is good until the next one. Who follows gets one
        without events when there is nothing more yet."""

    def tables(self) -> Tables:
        """As far as was read."""

    def progress(self) -> tuple[int, int]:
        """Bytes that have been read, of how many."""

    def close(self) -> None: ...


def is_empty(batch: Batch) -> bool:
    return not any(len(columns["order"]) for columns in batch.values())


class Merged:
    """One trace after the other; of who follows, in turn. One that fails is a loss, unless all do."""

    def __init__(self, parts: Sequence[Trace]) -> None:
        self._parts = [_Part(part) for part in parts]
        self._all = _All()
        self._failures: list[Failure] = []

    def batches(self) -> Iterator[Batch]:
        running = {part: self._until_failure(part) for part in self._parts}
        self._failures = []
        while running:
            quiet = True
            for part, batches in list(running.items()):
                for batch in batches:
                    part.learn(self._all)
                    if is_empty(batch):
                        break
                    quiet = False
                    yield part.renumbered(batch)
                else:
                    del running[part]
            if running and quiet:
                yield EMPTY

    def _until_failure(self, part: _Part) -> Iterator[Batch]:
        try:
            yield from part.trace.batches()
        except Failure as failure:
            self._failures.append(failure)
            if len(self._failures) == len(self._parts):
                raise

    def tables(self) -> Tables:
        for part in self._parts:
            part.learn(self._all)
        losses = [
            Loss(loss.process if loss.process == EVERY else int(part.processes[loss.process]), loss.cause, loss.count)
            for part in self._parts
            for loss in part.trace.tables().losses
        ]
        return self._all.tables([*losses, *(Loss(EVERY, str(failure), 1) for failure in self._failures)])

    def progress(self) -> tuple[int, int]:
        each = [part.trace.progress() for part in self._parts]
        return sum(done for done, _ in each), sum(everything for _, everything in each)

    def told(self) -> Iterator[tuple[Names, NDArray[Any]]]:
        """The names that packs have for their own frames, and what the numbers of those are here."""
        for part in self._parts:
            names = getattr(part.trace, "names", None)
            known = names() if names is not None else None
            if known is not None:
                part.learn(self._all)
                yield known, part.frames

    def close(self) -> None:
        with ExitStack() as closing:
            for part in self._parts:
                closing.callback(part.trace.close)


class _All:
    """The tables of all parts."""

    def __init__(self) -> None:
        self.strings: list[str] = []
        self.modules: list[Module] = []
        self._strings: dict[str, int] = {}
        self._modules: dict[Module, int] = {}
        self._frames: dict[tuple[int, int, int], int] = {}
        self._stacks: dict[bytes, int] = {}
        self._frame_columns = [Growing("u4"), Growing("u4"), Growing("u8")]
        self._stack_ends, self._stack_frames = Growing("u8"), Growing("u4")
        self.sources: list[str] = []
        self.process_ids: list[int] = []

    def string(self, text: str) -> int:
        number = self._strings.setdefault(text, len(self.strings))
        if number == len(self.strings):
            self.strings.append(text)
        return number

    def module(self, module: Module) -> int:
        number = self._modules.setdefault(module, len(self.modules))
        if number == len(self.modules):
            self.modules.append(module)
        return number

    def frames(self, columns: Sequence[NDArray[Any]]) -> NDArray[np.uint32]:
        count, rows = len(self._frames), list(zip(*(column.tolist() for column in columns)))
        numbers = np.array([self._frames.setdefault(row, len(self._frames)) for row in rows], np.uint32)
        _, first = np.unique(numbers, return_index=True)
        new = np.sort(first[numbers[first] >= count])
        for all_of, column in zip(self._frame_columns, columns):
            all_of.add(column[new])
        return numbers

    def stack(self, frames: NDArray[np.uint32]) -> int:
        number = self._stacks.setdefault(frames.tobytes(), len(self._stacks))
        if number == self._stack_ends.count:
            self._stack_frames.add(frames)
            self._stack_ends.add(np.array([self._stack_frames.count], np.uint64))
        return number

    def tables(self, losses: Sequence[Loss]) -> Tables:
        module, process, address = (column.all() for column in self._frame_columns)
        return Tables(
            strings=self.strings,
            modules=self.modules,
            frame_module=module,
            frame_process=process,
            frame_address=address,
            stack_ends=self._stack_ends.all(),
            stack_frames=self._stack_frames.all(),
            sources=self.sources,
            process_ids=tuple(self.process_ids),
            losses=losses,
        )


class _Part:
    """A trace, and what its numbers are in all."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._strings, self._modules, self._frames, self._stacks, self._processes = (Growing("u4") for _ in range(5))

    @property
    def processes(self) -> NDArray[Any]:
        return self._processes.all()

    @property
    def frames(self) -> NDArray[Any]:
        return self._frames.all()

    def learn(self, everything: _All) -> None:
        tables = self.trace.tables()
        self._strings.add(_numbers(everything.string(text) for text in tables.strings[self._strings.count :]))
        self._modules.add(_numbers(everything.module(each) for each in tables.modules[self._modules.count :]))
        for source in tables.sources[self._processes.count :]:
            self._processes.add(np.array([len(everything.sources)]))
            everything.sources.append(source)
            everything.process_ids.append(0)
        for own, number in zip(tables.process_ids, self.processes.tolist()):
            everything.process_ids[number] = own
        new = slice(self._frames.count, None)
        modules = self._modules.all()[tables.frame_module[new]]
        processes = np.where(modules == 0, self.processes[tables.frame_process[new]], 0) if len(modules) else modules
        self._frames.add(everything.frames([modules, processes, tables.frame_address[new]]))
        frames = self._frames.all()
        for stack in range(self._stacks.count, len(tables.stack_ends)):
            self._stacks.add(np.array([everything.stack(frames[tables.frames_of(stack)])]))

    def renumbered(self, batch: Batch) -> Batch:
        strings, stacks = self._strings.all(), self._stacks.all()
        numbers = {"text": strings, "bytes": strings, "frames": stacks}

        def columns_of(event: str) -> Mapping[str, NDArray[Any]]:
            kinds = KINDS[event]
            renumbered = {
                name: numbers[kinds[name]][column] if kinds.get(name) in numbers else column
                for name, column in batch[event].items()
            }
            return {**renumbered, "process": self.processes[batch[event]["process"]]}

        return {event: columns_of(event) for event in batch}


def _numbers(numbers: Iterator[int]) -> NDArray[np.uint32]:
    return np.fromiter(numbers, np.uint32)
