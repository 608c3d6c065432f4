"""What the addresses of a file are called, by libpoireau-symbols.so: poireau/native/symbols.h is its contract."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau.native.library import bound
from poireau.symbol_places import Addresses, Places

LIBRARY = "libpoireau-symbols.so"
GOOD, PARTIAL, UNREADABLE, CRASHED, TOO_LONG, INTERRUPTED = range(6)


class _Files(ctypes.Structure):
    _fields_ = [("binary", ctypes.c_char_p), ("debug", ctypes.c_char_p), ("supplement", ctypes.c_char_p)]


class _Limits(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_double), ("memory", ctypes.c_uint64), ("no_places", ctypes.c_int32)]


class _Columns(ctypes.Structure):
    _fields_ = [
        ("addresses", ctypes.c_uint64),
        ("ends", ctypes.c_void_p),
        ("places", ctypes.c_uint64),
        ("function", ctypes.c_void_p),
        ("file", ctypes.c_void_p),
        ("line", ctypes.c_void_p),
        ("inlined", ctypes.c_void_p),
        ("functions", ctypes.c_void_p),
        ("files", ctypes.c_void_p),
        ("functions_size", ctypes.c_uint64),
        ("files_size", ctypes.c_uint64),
    ]


def look_up(
    binary: str | None,
    debug: str | None,
    supplement: str | None,
    addresses: Addresses,
    seconds: float,
    memory: int,
    places: bool = True,
) -> tuple[Places, int]:
    """And how it went. Without `places` only the tables of symbols are read. May be called by many threads at once."""
    library = _library()
    wanted = np.ascontiguousarray(addresses, dtype=np.uint64)
    files = _Files(*(None if path is None else os.fsencode(path) for path in (binary, debug, supplement)))
    limits = _Limits(seconds, memory, not places)
    found = library.poireau_symbolize(
        ctypes.byref(files), ctypes.c_void_p(wanted.ctypes.data), len(wanted), ctypes.byref(limits)
    )
    try:
        state = int(library.poireau_symbols_state(found))
        if state == INTERRUPTED:
            raise KeyboardInterrupt
        columns = _Columns()
        library.poireau_symbols_columns(found, ctypes.byref(columns))
        return _copied(columns, wanted), state
    finally:
        library.poireau_symbols_free(found)


def _copied(columns: _Columns, addresses: Addresses) -> Places:
    def column(name: str, count: int, kind: str) -> NDArray[Any]:
        address = getattr(columns, name)
        return np.frombuffer(ctypes.string_at(address, count * np.dtype(kind).itemsize) if address else b"", kind)

    def strings(name: str) -> list[str]:
        text = column(name, getattr(columns, f"{name}_size"), "u1").tobytes()
        return text.decode("utf-8", "backslashreplace").split("\0")[:-1] or [""]

    places = columns.places
    return Places(
        addresses=addresses,
        ends=column("ends", columns.addresses, "u8"),
        function=column("function", places, "u4"),
        file=column("file", places, "u4"),
        line=column("line", places, "u4"),
        inlined=column("inlined", places, "u1") != 0,
        functions=strings("functions"),
        files=strings("files"),
    )


@cache
def _library() -> ctypes.CDLL:
    declared: dict[str, tuple[Any, list[Any]]] = {
        "poireau_symbolize": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]),
        "poireau_symbols_state": (ctypes.c_int32, [ctypes.c_void_p]),
        "poireau_symbols_columns": (None, [ctypes.c_void_p, ctypes.c_void_p]),
        "poireau_symbols_free": (None, [ctypes.c_void_p]),
    }
    return bound(LIBRARY, declared)
