"""libpoireau-scan.so: poireau/native/scan.h for Python."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from ctypes import c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau.native.library import bound

LIBRARY = "libpoireau-scan.so"
SHARED, STACK = 1, 2  # how a range is read
UNKNOWN, REACHED, LOST, INDIRECT = range(4)
IN_MEMORY, IN_REGISTER, IN_BLOCK, IN_KERNEL = range(4)  # where a hit is
AT_A_TIME = 256 << 20  # bytes, between two chances to be interrupted

RANGE = np.dtype([("begin", "u8"), ("end", "u8"), ("how", "u4")], align=True)
SEGMENT = np.dtype([("address", "u8"), ("offset", "u8"), ("size", "u8")])
BLOCK = np.dtype(
    [(name, "u8") for name in ("address", "size", "id", "period", "since", "time")]
    + [(name, "u4") for name in ("thread", "state")]
)
HIT = np.dtype([("at", "u8"), ("inside", "u8"), ("block", "u4"), ("from", "u4"), ("who", "u4"), ("set", "u4")])
THREAD = np.dtype(
    [(name, "u8") for name in ("sp", "fs", "dead_begin", "dead_end", "stopped")]
    + [(name, "u4") for name in ("tid", "error")]
)
Rows = NDArray[Any]


class Gone(Exception):
    """The process has ended."""


class _Columns(ctypes.Structure):
    _fields_ = [
        ("blocks", c_uint64),
        ("block", c_void_p),
        ("hits", c_uint64),
        ("hit", c_void_p),
        ("threads", c_uint64),
        ("thread", c_void_p),
        ("read", c_uint64),
        ("swapped", c_uint64),
        ("too_wide", c_uint64),
        ("stopped", c_uint64),
    ]


@dataclass(frozen=True)
class Columns:
    blocks: Rows
    hits: Rows
    threads: Rows
    read: int
    swapped: int
    too_wide: int
    stopped: int  # nanoseconds


class Scan:
    """Of a process, or of a core of these segments. `plain`: as on old kernels. Raises OSError."""

    def __init__(self, pid: int = 0, core: str = "", segments: Rows | None = None, plain: bool = False) -> None:
        self._library = _library()
        if segments is None:
            self._scan = self._library.poireau_scan_process(pid, plain)
        else:
            rows = np.ascontiguousarray(segments, SEGMENT)
            self._scan = self._library.poireau_scan_core(os.fsencode(core), rows.ctypes.data, len(rows))
        if number := self._library.poireau_scan_error(self._scan):
            self.close()
            raise OSError(number, os.strerror(number), core or f"/proc/{pid}/pagemap")

    def __enter__(self) -> Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._scan:
            self._library.poireau_scan_free(self._scan)
            self._scan = None

    def read(self, at: int, size: int) -> bytes:
        """As much as there is from there without a gap."""
        buffer = ctypes.create_string_buffer(size)
        got = self._library.poireau_scan_read(self._scan, at, buffer, size)
        return buffer.raw[:got]

    def find_blocks(self, homes: Rows) -> bool:
        """False: the records of them are another version's, and not understood."""
        rows = np.ascontiguousarray(homes, RANGE)
        return not self._check(self._library.poireau_scan_blocks(self._scan, rows.ctypes.data, len(rows)))

    def know(self, threads: Rows) -> None:
        """Those of a core."""
        rows = np.ascontiguousarray(threads, THREAD)
        self._check(self._library.poireau_scan_know(self._scan, rows.ctypes.data, len(rows)))

    def begin(self, ranges: Rows, budget: int = 0) -> None:
        """`budget`: nanoseconds that the whole process may be stopped; 0: each thread by itself, for a moment."""
        rows = np.ascontiguousarray(ranges, RANGE)
        self._check(self._library.poireau_scan_begin(self._scan, rows.ctypes.data, len(rows), budget))

    def count(self, words: bytes, kind: int, who: int, register_set: int = 0) -> None:
        """Words that are in no memory."""
        self._library.poireau_scan_bytes(self._scan, words, len(words), kind, who, register_set)

    def complete(self) -> None:
        while self._check(self._library.poireau_scan_step(self._scan, AT_A_TIME)):
            pass

    def finish(self) -> None:
        self._check(self._library.poireau_scan_finish(self._scan))

    def columns(self) -> Columns:
        got = _Columns()
        self._library.poireau_scan_columns(self._scan, ctypes.byref(got))

        def copied(address: int | None, count: int, dtype: np.dtype[Any]) -> Rows:
            return np.frombuffer(ctypes.string_at(address, count * dtype.itemsize) if address else b"", dtype)

        return Columns(
            copied(got.block, got.blocks, BLOCK),
            copied(got.hit, got.hits, HIT),
            copied(got.thread, got.threads, THREAD),
            got.read,
            got.swapped,
            got.too_wide,
            got.stopped,
        )

    def _check(self, status: int) -> int:
        if status == -1:
            raise Gone
        if status < 0:
            raise OSError(errno.ENOMEM, "there is no memory for this many blocks")
        return status


def ranges(rows: Sequence[tuple[int, int, int]]) -> Rows:
    return np.array(rows, RANGE)


def words(data: bytes, plain: bool = False) -> Rows:
    """Where in it words are that lie in our region. `plain`: found in the way that works everywhere."""
    out = np.empty(len(data) // 4 + 1, np.uint32)
    return out[: _library().poireau_scan_words(data, len(data), out.ctypes.data, plain)]


def demangled(symbol: str) -> str:
    if not symbol.startswith("_Z"):
        return symbol
    buffer = ctypes.create_string_buffer(4096)
    size = _library().poireau_scan_demangle(os.fsencode(symbol), buffer, len(buffer))
    return buffer.raw[: size - 1].decode("utf-8", "backslashreplace") if size else symbol


@cache
def _library() -> ctypes.CDLL:
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "process": (c_void_p, [c_int32, c_int32]),
        "core": (c_void_p, [c_char_p, c_void_p, c_size_t]),
        "error": (c_int32, [c_void_p]),
        "free": (None, [c_void_p]),
        "read": (c_size_t, [c_void_p, c_uint64, c_void_p, c_size_t]),
        "blocks": (c_int32, [c_void_p, c_void_p, c_size_t]),
        "know": (c_int32, [c_void_p, c_void_p, c_size_t]),
        "begin": (c_int32, [c_void_p, c_void_p, c_size_t, c_uint64]),
        "bytes": (None, [c_void_p, c_char_p, c_size_t, c_uint32, c_uint32, c_uint32]),
        "step": (c_int32, [c_void_p, c_uint64]),
        "finish": (c_int32, [c_void_p]),
        "columns": (None, [c_void_p, c_void_p]),
        "words": (c_size_t, [c_char_p, c_size_t, c_void_p, c_int32]),
        "demangle": (c_size_t, [c_char_p, c_char_p, c_size_t]),
    }
    return bound(LIBRARY, {f"poireau_scan_{function}": each for function, each in signatures.items()})
