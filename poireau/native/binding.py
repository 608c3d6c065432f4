"""Readers of traces, native: reader.h for Python. A batch is views of a reader's memory; tables are copies, of which
each call makes only what is new."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from ctypes import POINTER, Structure, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from enum import IntEnum
from functools import cache
from types import MappingProxyType
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from poireau.errors import Failure
from poireau.events import DTYPES, KINDS
from poireau.native.library import bound
from poireau.tables import Loss, Module, Tables

DECODE, BABELTRACE = "libpoireau-decode.so", "libpoireau-babeltrace.so"
Columns = Mapping[str, NDArray[Any]]
Batch = Mapping[str, Columns]
Path = Union[str, bytes, "os.PathLike[str]"]
_EVENTS = 1 << 16  # a batch


def dtype_of(field: str, kind: str) -> str:
    """Of a column: a number of what is in tables; times are since 1970."""
    return "i8" if field == "time" else "u4" if kind in ("text", "bytes", "frames") else DTYPES[kind]


OWN: Mapping[str, str] = MappingProxyType({"order": "u8", "process": "u4", "stamp": "i8"})
"""Columns of each kind of event besides its fields. A field of such a name, the id in a process event, is `pid`."""
DTYPE: Mapping[str, Mapping[str, np.dtype[Any]]] = MappingProxyType(
    {
        event: {
            # A process event has a field of the same name as the column: its pid.
            **{name if name != "process" else "pid": np.dtype(dtype_of(name, kind)) for name, kind in fields.items()},
            **{name: np.dtype(kind) for name, kind in OWN.items()},
        }
        for event, fields in KINDS.items()
    }
)
EMPTY: Batch = MappingProxyType(
    {event: {name: np.empty(0, dtype) for name, dtype in columns.items()} for event, columns in DTYPE.items()}
)


class Step(IntEnum):
    FAILED = -1
    END = 0
    BATCH = 1
    NOTHING_YET = 2


class _Rows(Structure):
    _fields_ = [
        ("count", c_uint64),
        ("order", c_void_p),
        ("process", c_void_p),
        ("stamp", c_void_p),
        ("fields", POINTER(c_void_p)),
    ]


class _Batch(Structure):
    _fields_ = [("events", c_uint64), ("kinds", POINTER(_Rows))]


_TABLES: list[tuple[str, Any]] = [
    ("strings", c_uint64),
    ("string_ends", c_void_p),
    ("string_bytes", c_void_p),
    ("modules", c_uint64),
    ("module_path", c_void_p),
    ("module_build_id", c_void_p),
    ("frames", c_uint64),
    ("frame_module", c_void_p),
    ("frame_process", c_void_p),
    ("frame_address", c_void_p),
    ("stacks", c_uint64),
    ("stack_ends", c_void_p),
    ("stack_frames", c_void_p),
    ("processes", c_uint64),
    ("process_source", c_void_p),
    ("process_id", c_void_p),
    ("losses", c_uint64),
    ("loss_process", c_void_p),
    ("loss_cause", c_void_p),
    ("loss_count", c_void_p),
]


class _Tables(Structure):
    _fields_ = _TABLES


@cache
def _library(name: str) -> ctypes.CDLL:
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "open": (c_void_p, [POINTER(c_char_p), c_size_t, c_int32]),
        "next": (c_int32, [c_void_p, c_uint64, POINTER(_Batch)]),
        "tables": (None, [c_void_p, POINTER(_Tables)]),
        "rewind": (None, [c_void_p, c_int32]),
        "complaint": (c_char_p, [c_void_p]),
        "progress": (None, [c_void_p, POINTER(c_uint64), POINTER(c_uint64)]),
        "close": (None, [c_void_p]),
    }
    if name == DECODE:
        signatures |= {"recognizes": (c_int32, [c_char_p]), "add": (c_uint32, [c_void_p, c_char_p])}
    return bound(name, {f"poireau_{function}": each for function, each in signatures.items()})


def recognizes(directory: Path) -> bool:
    """Whether it is a process's trace of our own layout."""
    return bool(_library(DECODE).poireau_recognizes(os.fsencode(directory)))


class Reader:
    """Inputs read by one of the libraries, from the beginning as often as is asked for."""

    def __init__(self, name: str, inputs: Sequence[Path], follow: bool = False) -> None:
        self._library = _library(name)
        self._follow = follow
        paths = [os.fsencode(each) for each in inputs]
        self._reader = self._library.poireau_open((c_char_p * len(paths))(*paths), len(paths), follow)
        self._tables = _GrowingTables()

    def batches(self) -> Iterator[Batch]:
        """Good until the next one. Who follows gets one without events when there is nothing more yet."""
        self._library.poireau_rewind(self._reader, self._follow)
        got = _Batch()
        while True:
            step = Step(self._library.poireau_next(self._reader, _EVENTS, ctypes.byref(got)))
            if step is Step.FAILED:
                complaint: bytes = self._library.poireau_complaint(self._reader)
                raise Failure(complaint.decode("utf-8", "backslashreplace"))
            if step is Step.END:
                return
            yield _views(got) if step is Step.BATCH else EMPTY

    def add(self, directory: Path) -> None:
        """One more to read, of our own layout."""
        self._library.poireau_add(self._reader, os.fsencode(directory))

    def tables(self) -> Tables:
        native = _Tables()
        self._library.poireau_tables(self._reader, ctypes.byref(native))
        return self._tables.up_to(native)

    def progress(self) -> tuple[int, int]:
        done, everything = c_uint64(), c_uint64()
        self._library.poireau_progress(self._reader, ctypes.byref(done), ctypes.byref(everything))
        return done.value, everything.value

    def close(self) -> None:
        if self._reader is not None:
            self._library.poireau_close(self._reader)
            self._reader = None


def _view(address: int | None, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if not count or not address:
        return np.empty(0, dtype)
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    view: NDArray[Any] = np.frombuffer(memoryview(memory), dtype)
    view.flags.writeable = False
    return view


def _views(batch: _Batch) -> Batch:
    views = {}
    for number, (event, dtypes) in enumerate(DTYPE.items()):
        rows = batch.kinds[number]
        if rows.count == 0:
            views[event] = EMPTY[event]
            continue
        addresses = [*rows.fields[: len(KINDS[event])], rows.order, rows.process, rows.stamp]
        views[event] = {
            name: _view(address, rows.count, dtype) for (name, dtype), address in zip(dtypes.items(), addresses)
        }
    return views


class Growing:
    """An array that grows at its end. What `all` gave stays as it was."""

    def __init__(self, dtype: str) -> None:
        self._room = np.empty(256, dtype)
        self.count = 0

    def add(self, items: NDArray[Any]) -> None:
        end = self.count + len(items)
        if end > len(self._room):
            room = np.empty(max(end, 2 * len(self._room)), self._room.dtype)
            room[: self.count] = self._room[: self.count]
            self._room = room
        self._room[self.count : end] = items
        self.count = end

    def all(self) -> NDArray[Any]:
        view = self._room[: self.count]
        view.flags.writeable = False
        return view


class _GrowingTables:
    """Of a reader's tables what was copied so far."""

    def __init__(self) -> None:
        self._strings: list[str] = []
        self._string_bytes = 0
        self._modules: list[Module] = []
        self._frames = {
            name: Growing(dtype) for name, dtype in (("module", "u4"), ("process", "u4"), ("address", "u8"))
        }
        self._stack_ends, self._stack_frames = Growing("u8"), Growing("u4")
        self._sources: list[str] = []

    def up_to(self, native: _Tables) -> Tables:
        def new(name: str, done: int, count: int) -> NDArray[Any]:
            return _view(getattr(native, name), count, _DTYPES_OF_TABLES[name])[done:]

        ends = new("string_ends", len(self._strings), native.strings).tolist()
        if ends:
            text = bytes(new("string_bytes", 0, ends[-1])[self._string_bytes :])
            begins = [self._string_bytes, *ends[:-1]]
            self._strings += [
                text[begin - self._string_bytes : end - self._string_bytes].decode("utf-8", "surrogateescape")
                for begin, end in zip(begins, ends)
            ]
            self._string_bytes = ends[-1]
        modules = [new(f"module_{of}", len(self._modules), native.modules).tolist() for of in ("path", "build_id")]
        self._modules += [Module(self._strings[path], self._strings[build_id]) for path, build_id in zip(*modules)]
        for name, frames in self._frames.items():
            frames.add(new(f"frame_{name}", frames.count, native.frames))
        ends_of_stacks = new("stack_ends", self._stack_ends.count, native.stacks)
        if len(ends_of_stacks):
            self._stack_ends.add(ends_of_stacks)
            self._stack_frames.add(new("stack_frames", self._stack_frames.count, int(ends_of_stacks[-1])))
        sources = new("process_source", len(self._sources), native.processes).tolist()
        self._sources += [self._strings[source] for source in sources]
        losses = [new(f"loss_{of}", 0, native.losses).tolist() for of in ("process", "cause", "count")]
        return Tables(
            strings=self._strings,
            modules=self._modules,
            frame_module=self._frames["module"].all(),
            frame_process=self._frames["process"].all(),
            frame_address=self._frames["address"].all(),
            stack_ends=self._stack_ends.all(),
            stack_frames=self._stack_frames.all(),
            sources=self._sources,
            process_ids=new("process_id", 0, native.processes).tolist(),
            losses=[Loss(process, self._strings[cause], count) for process, cause, count in zip(*losses)],
        )


_DTYPES_OF_TABLES: Mapping[str, np.dtype[Any]] = {
    **{name: np.dtype("u4") for name, _ in _TABLES},
    **{name: np.dtype("u8") for name in ("string_ends", "frame_address", "stack_ends", "loss_count")},
    "string_bytes": np.dtype("u1"),
}
