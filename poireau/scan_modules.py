"""Files whose code is mapped, as their own headers in memory have them; and their variables and functions by name."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from poireau.scan_areas import Area
from poireau.scan_library import demangled
from poireau.symbol_files import Search
from poireau.tables import Module as File

Read = Callable[[int, int], bytes]
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
_LOAD, _NOTE, _TLS = 1, 4, 7
_SYMTAB, _DYNSYM = 2, 11
_OBJECT, _FUNCTION, _COMMON, _OF_THREAD, _INDIRECT = 1, 2, 5, 6, 10
_MOST_SEGMENTS, _MOST_SECTIONS, _MOST_SYMBOLS = 256, 65_536, 256 << 20


@dataclass(frozen=True)
class Module:
    path: str
    build_id: str
    bias: int  # what its addresses are shifted by
    begin: int
    end: int
    tls: int = 0  # bytes that it has of each thread
    tls_alignment: int = 1

    @property
    def name(self) -> str:
        return os.path.basename(self.path.removesuffix(" (deleted)"))

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("libpoireau")


def of(areas: Sequence[Area], read: Read) -> list[Module]:
    """By address."""
    found = []
    for area in areas:
        if area.is_file and area.offset == 0 and not area.shared:
            module = _module(area, read)
            if module is not None:
                found.append(module)
    return sorted(found, key=lambda module: module.begin)


def _module(area: Area, read: Read) -> Module | None:
    head = read(area.begin, _HEADER.size)
    if len(head) < _HEADER.size or head[:6] != b"\x7fELF\x02\x01":
        return None
    header = _HEADER.unpack(head)
    offset, size, count = header[5], header[9], min(header[10], _MOST_SEGMENTS)
    if size != _SEGMENT.size:
        return None
    table = read(area.begin + offset, count * size)
    segments = list(_SEGMENT.iter_unpack(table[: len(table) // size * size]))
    loads = [segment for segment in segments if segment[0] == _LOAD]
    if not loads:
        return None
    bias = area.begin - (loads[0][3] & ~0xFFF)
    build_id, tls, alignment = "", 0, 1
    for kind, _, _, address, _, _, in_memory, aligned in segments:
        if kind == _NOTE and not build_id and in_memory <= 1 << 16:
            build_id = _build_id(read(bias + address, in_memory), 8 if aligned == 8 else 4)
        if kind == _TLS:
            tls, alignment = in_memory, max(aligned, 1)
    end = max(bias + segment[3] + segment[6] for segment in loads)
    return Module(area.path, build_id, bias, area.begin, end, tls, alignment)


def _build_id(notes: bytes, step: int) -> str:
    while len(notes) >= 12:
        name, size, kind = struct.unpack_from("<III", notes)
        begin = 12 + -(-name // step) * step
        if kind == 3 and notes[12:16] == b"GNU\0" and 0 < size <= 64:
            return notes[begin : begin + size].hex()
        notes = notes[begin + -(-size // step) * step :]
    return ""


@dataclass(frozen=True)
class Named:
    """By address, as the file has them; of what each thread has, by place among that."""

    begin: NDArray[np.uint64]
    end: NDArray[np.uint64]
    names: tuple[bytes, NDArray[np.uint32]]  # strings, and where each name begins

    def __len__(self) -> int:
        return len(self.begin)

    def name(self, address: int) -> str:
        """Of what has the byte there; "" if nothing is known to."""
        number = int(np.searchsorted(self.begin, np.uint64(max(address, 0)), "right")) - 1
        if number < 0 or not self.begin[number] <= address < self.end[number]:
            return ""
        return self._text(number)

    def of_name(self, name: str) -> int | None:
        """Where it is."""
        return next((int(self.begin[i]) for i in range(len(self)) if self._raw(i) == name), None)

    def _raw(self, number: int) -> str:
        strings, offsets = self.names
        at = int(offsets[number])
        return os.fsdecode(strings[at : max(at, strings.find(b"\0", at))])

    def with_offset(self, address: int) -> str:
        """`name+0x12`; "" if nothing is known to have the byte there."""
        name = self.name(address)
        offset = address - int(self.begin[np.searchsorted(self.begin, np.uint64(address), "right") - 1]) if name else 0
        return f"{name}+{offset:#x}" if offset else name

    def _text(self, number: int) -> str:
        return demangled(self._raw(number))


@dataclass(frozen=True)
class Symbols:
    """A module's variables and functions."""

    module: Module
    processes: tuple[int, ...] = ()

    @cached_property
    def _tables(self) -> list[tuple[Named, ...]]:
        found = Search(processes=self.processes).find(File(self.module.path, self.module.build_id))
        files = filter(None, (found.debug, found.binary))
        return [tables for path in files for kind in (_SYMTAB, _DYNSYM) if (tables := _named(path, kind)) is not None]

    def _first(self, which: int) -> Named:
        """That there are any of, in the file that says most."""
        nothing = Named(np.empty(0, np.uint64), np.empty(0, np.uint64), (b"", np.empty(0, np.uint32)))
        return next((tables[which] for tables in self._tables if len(tables[which])), nothing)

    @property
    def common(self) -> Named:
        return self._first(0)

    @property
    def of_threads(self) -> Named:
        return self._first(1)

    @property
    def functions(self) -> Named:
        return self._first(2)


def _named(path: str, wanted: int) -> tuple[Named, ...] | None:
    """Variables, those of each thread, and functions. Nothing in the file is trusted."""
    try:
        with open(path, "rb") as file:
            data = np.memmap(file, np.uint8, "r")
    except (OSError, ValueError):
        return None

    def at(offset: int, size: int) -> bytes:
        return data[offset : offset + size].tobytes() if 0 <= size <= _MOST_SYMBOLS and offset < len(data) else b""

    head = at(0, _HEADER.size)
    if len(head) < _HEADER.size or head[:6] != b"\x7fELF\x02\x01":
        return None
    header = _HEADER.unpack(head)
    offset, size, count = header[6], header[11], header[12]
    if size != _SECTION.size or not offset:
        return None
    rows = at(offset, min(count, _MOST_SECTIONS) * size)
    sections = list(_SECTION.iter_unpack(rows[: len(rows) // size * size]))
    for section in sections:
        if section[1] != wanted or section[6] >= len(sections):
            continue
        table = at(section[4], section[5])
        symbols = np.frombuffer(table[: len(table) // _SYMBOL.itemsize * _SYMBOL.itemsize], _SYMBOL)
        strings = at(sections[section[6]][4], sections[section[6]][5])
        symbols = symbols[(symbols["section"] != 0) & (symbols["size"] > 0) & (symbols["name"] < len(strings))]
        kind = symbols["info"] & 15
        return (
            _sorted(symbols[(kind == _OBJECT) | (kind == _COMMON)], strings),
            _sorted(symbols[kind == _OF_THREAD], strings),
            _sorted(symbols[(kind == _FUNCTION) | (kind == _INDIRECT)], strings),
        )
    return None


def _sorted(symbols: NDArray[np.void], strings: bytes) -> Named:
    symbols = symbols[np.argsort(symbols["value"], kind="stable")]
    begin = symbols["value"].astype(np.uint64)
    size = np.minimum(symbols["size"], np.uint64(1 << 40))
    return Named(begin, begin + size, (strings, symbols["name"].astype(np.uint32)))
