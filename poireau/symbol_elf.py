"""What an ELF file says of symbols: its build id, what it has of them, and where the rest of them lies.

Nothing in the file is trusted. What it says beyond its end, or against itself, is not there; only what is no ELF file
at all raises NotElf.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_MAGIC = b"\x7fELF"
_MOST_SECTIONS = 65_536
_MOST_NOTES = 1 << 20  # bytes, of all notes, links and names of sections
_SHT_NOTE, _SHT_NOBITS, _PT_NOTE = 7, 8, 4
_NT_GNU_BUILD_ID = 3
_DEBUG = {b".debug_info", b".zdebug_info"}


_Read = Callable[[int, int], bytes]


class NotElf(ValueError):
    pass


@dataclass(frozen=True)
class Link:
    """To another file: by its name and its checksum, or its name and its build id."""

    name: str
    checksum: int = 0
    build_id: str = ""


@dataclass(frozen=True)
class Facts:
    build_id: str  # hexadecimal; empty: it has none
    has_debug: bool
    has_symbols: bool  # all of them, not only those that other files see
    has_exported: bool
    debug_link: Link | None
    supplement: Link | None  # dwz moved there what several files have in common


@dataclass(frozen=True)
class _Part:
    name: bytes
    kind: int
    offset: int
    size: int
    alignment: int


def look(path: str) -> Facts:
    """Raises NotElf, and OSError: it can't be read, or is no plain file."""
    with _opened(path) as file:
        descriptor = file.fileno()

        def at(offset: int, size: int) -> bytes:
            return os.pread(descriptor, size, offset) if offset < 1 << 62 and size <= _MOST_NOTES else b""

        head = at(0, 64)
        if head[:4] != _MAGIC or len(head) < 52 or head[4] not in (1, 2) or head[5] not in (1, 2):
            raise NotElf("it is not an ELF file")
        segments, sections = _parts(head, at)
        there = {part.name: part for part in sections if part.kind != _SHT_NOBITS}
        notes = [p for p in sections if p.kind == _SHT_NOTE] + [p for p in segments if p.kind == _PT_NOTE]
        return Facts(
            build_id=next(
                (found for part in notes for found in _build_ids(at(part.offset, part.size), head, part)), ""
            ),
            has_debug=bool(_DEBUG & there.keys()),
            has_symbols=b".symtab" in there or b".gnu_debugdata" in there,
            has_exported=b".dynsym" in there,
            debug_link=_debug_link(there.get(b".gnu_debuglink"), head, at),
            supplement=_supplement(there.get(b".gnu_debugaltlink"), at),
        )


def checksum(path: str) -> int:
    """As a debug link has it."""
    total = 0
    with _opened(path) as file:
        while part := file.read(1 << 20):
            total = zlib.crc32(part, total)
    return total


def _opened(path: str) -> io.FileIO:
    """What is no file is not opened to find that out: to open a device does something."""
    found = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, "it is not a file", path)
        return io.FileIO(os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    finally:
        os.close(found)


def _parts(head: bytes, at: _Read) -> tuple[list[_Part], list[_Part]]:
    wide, order = head[4] == 2, "<" if head[5] == 1 else ">"
    layout = "HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"
    header = struct.unpack_from(order + layout, head.ljust(64, b"\0"), 16)
    segments_at, sections_at = header[4], header[5]
    segment_size, segment_count, section_size, section_count, names = header[8:13]
    section = struct.Struct(order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII"))
    segment = struct.Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))

    def rows(shape: struct.Struct, offset: int, size: int, count: int) -> Iterator[tuple[int, ...]]:
        if size != shape.size or not offset:
            return
        for begin in range(0, count * size, size << 10):  # as many as can be read at once
            data = at(offset + begin, min(size << 10, count * size - begin))
            yield from shape.iter_unpack(data[: len(data) // size * size])

    first = next(rows(section, sections_at, section_size, 1), None)
    if first is not None and not section_count:  # more than the header has room for
        section_count = min(first[5], _MOST_SECTIONS)
    if first is not None and names == 0xFFFF:
        names = first[6]
    table = list(rows(section, sections_at, section_size, section_count))
    text = at(table[names][4], table[names][5]) if names < len(table) else b""
    sections = [_Part(_text(text, row[0]), row[1], row[4], row[5], row[8]) for row in table]
    programs = list(rows(segment, segments_at, segment_size, segment_count))
    if wide:
        segments = [_Part(b"", row[0], row[2], row[5], row[7]) for row in programs]
    else:
        segments = [_Part(b"", row[0], row[1], row[4], row[7]) for row in programs]
    return segments, sections


def _build_ids(notes: bytes, head: bytes, part: _Part) -> Iterator[str]:
    step = 8 if part.alignment == 8 else 4
    word = struct.Struct("<III" if head[5] == 1 else ">III")
    while len(notes) >= word.size:
        name_size, size, kind = word.unpack_from(notes)
        begin = word.size + -(-name_size // step) * step
        if kind == _NT_GNU_BUILD_ID and notes[12:16] == b"GNU\0" and 0 < size <= min(64, len(notes) - begin):
            yield notes[begin : begin + size].hex()
        notes = notes[begin + -(-size // step) * step :]


def _debug_link(part: _Part | None, head: bytes, at: _Read) -> Link | None:
    data = b"" if part is None else at(part.offset, part.size)
    name = data.split(b"\0", 1)[0]
    end = len(name) // 4 * 4 + 4
    if not name or b"/" in name or len(data) < end + 4:
        return None
    return Link(os.fsdecode(name), checksum=int.from_bytes(data[end : end + 4], "little" if head[5] == 1 else "big"))


def _supplement(part: _Part | None, at: _Read) -> Link | None:
    name, _, build_id = (b"" if part is None else at(part.offset, part.size)).partition(b"\0")
    return Link(os.fsdecode(name), build_id=build_id.hex()) if name and build_id else None


def _text(strings: bytes, offset: int) -> bytes:
    return strings[offset : max(offset, strings.find(b"\0", offset))]
