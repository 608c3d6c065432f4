"""The facts of an ELF file that decide whether a program can be preloaded, and over which allocator.

Nothing in the file is trusted: each offset and size is checked before use, and a file that lies raises BadElf. Only
what the dynamic loader itself goes by counts; a damaged section table costs the section names and nothing else.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

MAGIC = b"\x7fELF"
MAX_TABLE = 256 << 20  # bytes; no string or symbol table that a linker wrote comes near
MAX_SYMBOLS = 8 << 20
MAX_LIST = 1 << 20  # bytes of a dynamic section or of notes
MAX_NAME = 4096
MAX_HEADERS = 65_534

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE = 1, 2, 3, 4
DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SONAME, DT_RPATH, DT_RUNPATH = 1, 4, 5, 6, 10, 14, 15, 29
DT_GNU_HASH = 0x6FFFFEF5
SHT_DYNSYM = 11
NT_GNU_BUILD_ID = 3
STB_LOCAL = 0


class BadElf(ValueError):
    """Not an ELF file, or one whose tables contradict its length or each other."""


@dataclass(frozen=True)
class Elf:
    path: Path
    bits: int  # 32 or 64
    little_endian: bool
    machine: int  # e_machine: 62 is x86-64
    interpreter: str | None  # None in a library and in a static program
    needed: tuple[str, ...]
    soname: str | None
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    sections: Mapping[str, tuple[int, int]]  # name -> offset and size; empty when they are stripped
    build_id: str | None
    symbols: bytes = field(repr=False)  # the dynamic symbol table, as it lies in the file
    strings: bytes = field(repr=False)  # the names of these symbols

    def defines(self, name: str) -> bool:
        """Whether other objects of the process can bind to a `name` in this one."""
        return any(defined for defined in self._occurrences(name))

    def requires(self, name: str) -> bool:
        """Whether this object looks for a `name` that it does not define."""
        return any(not defined for defined in self._occurrences(name))

    def same_machine(self, other: Elf) -> bool:
        return (self.bits, self.little_endian, self.machine) == (other.bits, other.little_endian, other.machine)

    def _occurrences(self, name: str) -> Iterator[bool]:
        wanted = name.encode() + b"\0"
        if wanted not in self.strings:  # settles nearly every question without a look at the symbols
            return
        for offset, info, section in _Format(self.bits, self.little_endian).symbols(self.symbols):
            if info >> 4 != STB_LOCAL and self.strings.startswith(wanted, offset) and offset < len(self.strings):
                yield section != 0


def read(path: str | os.PathLike[str]) -> Elf:
    """Raises BadElf for what is no ELF file or a broken one, OSError when it can't be read."""
    with _opened(path) as file:
        return _read(Path(path), _Bytes(file))


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    # A fifo or a terminal in a program's place would block a plain open.
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), "rb")


def section(image: Elf, name: str) -> bytes:
    """Its content, b"" when there is none; read anew, so it may be large."""
    if name not in image.sections:
        return b""
    with _opened(image.path) as file:
        return _Bytes(file).at(*image.sections[name])


class _Bytes:
    """The file as an array that says BadElf where it ends."""

    def __init__(self, file: BinaryIO) -> None:
        self._descriptor = file.fileno()
        self.size = os.fstat(self._descriptor).st_size

    def at(self, offset: int, size: int) -> bytes:
        if size > MAX_TABLE or offset + size > self.size:
            raise BadElf(f"its tables reach beyond its end, byte {self.size}")
        got = os.pread(self._descriptor, size, offset)
        if len(got) != size:
            raise BadElf("it became shorter while it was read")
        return got

    def text(self, offset: int, size: int) -> str:
        return os.fsdecode(self.at(offset, min(size, MAX_NAME)).split(b"\0", 1)[0])


class _Format:
    """The layouts, which depend on the word size and the byte order."""

    def __init__(self, bits: int, little_endian: bool) -> None:
        self.bits = bits
        wide = bits == 64
        order = "<" if little_endian else ">"
        self.header = struct.Struct(order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"))
        self.segment = struct.Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
        self.section = struct.Struct(order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII"))
        self.dynamic = struct.Struct(order + ("QQ" if wide else "II"))
        self.symbol = struct.Struct(order + ("IBBHQQ" if wide else "IIIBBH"))
        self.word = struct.Struct(order + "I")
        self.words = order + "%dI"

    def symbols(self, table: bytes) -> Iterator[tuple[int, int, int]]:
        """(offset of the name, info, section) of each; section 0 means undefined here."""
        whole = memoryview(table)[: len(table) // self.symbol.size * self.symbol.size]
        for entry in self.symbol.iter_unpack(whole):
            if self.bits == 64:
                yield entry[0], entry[1], entry[3]
            else:
                yield entry[0], entry[3], entry[5]


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int  # in the file
    alignment: int


def _read(path: Path, data: _Bytes) -> Elf:
    if data.size < 52 or data.at(0, 4) != MAGIC:
        raise BadElf("it is not an ELF file")
    word_size, order = data.at(4, 2)
    if word_size not in (1, 2) or order not in (1, 2):
        raise BadElf("its word size or byte order is unknown")
    layout = _Format(32 * word_size, order == 1)
    header = layout.header.unpack(data.at(16, layout.header.size))
    segments = _segments(data, layout, header)
    interpreter = next((data.text(s.offset, s.size) for s in segments if s.kind == PT_INTERP), None)
    dynamic = _dynamic(data, layout, segments)

    def first(tag: int) -> int | None:
        return dynamic.get(tag, [None])[0]

    strings = b""
    strings_at, strings_size = first(DT_STRTAB), first(DT_STRSZ)
    if strings_at is not None and strings_size is not None:
        strings = data.at(_offset(segments, strings_at), strings_size)

    def name(offset: int) -> str:
        end = strings.find(b"\0", offset, offset + MAX_NAME)
        if end < 0:
            raise BadElf("a name lies outside its string table")
        return os.fsdecode(strings[offset:end])

    def directories(tag: int) -> tuple[str, ...]:
        return tuple(entry for offset in dynamic.get(tag, []) for entry in name(offset).split(":") if entry)

    sections = _sections(data, layout, header)
    soname = first(DT_SONAME)
    return Elf(
        path=path,
        bits=layout.bits,
        little_endian=order == 1,
        machine=header[1],
        interpreter=interpreter,
        needed=tuple(name(offset) for offset in dynamic.get(DT_NEEDED, [])),
        soname=None if soname is None else name(soname),
        rpath=directories(DT_RPATH),
        runpath=directories(DT_RUNPATH),
        sections={section.name: (section.offset, section.size) for section in sections},
        build_id=_build_id(data, layout, segments),
        symbols=_symbols(data, layout, segments, sections, dynamic),
        strings=strings,
    )


def _segments(data: _Bytes, layout: _Format, header: tuple[int, ...]) -> list[_Segment]:
    offset, entry_size, count = header[4], header[8], header[9]
    if count and (entry_size != layout.segment.size or count > MAX_HEADERS):
        raise BadElf("its program headers have an unknown size")
    segments = []
    for entry in layout.segment.iter_unpack(data.at(offset, count * entry_size)):
        if layout.bits == 64:
            kind, _, at, address, _, size, _, alignment = entry
        else:
            kind, at, address, _, size, _, _, alignment = entry
        segments.append(_Segment(kind, at, address, size, alignment))
    return segments


def _offset(segments: list[_Segment], address: int) -> int:
    for segment in segments:
        if segment.kind == PT_LOAD and segment.address <= address < segment.address + segment.size:
            return address - segment.address + segment.offset
    raise BadElf(f"address {address:#x} lies in none of its segments")


def _dynamic(data: _Bytes, layout: _Format, segments: list[_Segment]) -> dict[int, list[int]]:
    entries: dict[int, list[int]] = {}
    for segment in segments:
        if segment.kind != PT_DYNAMIC:
            continue
        whole = min(segment.size, MAX_LIST) // layout.dynamic.size * layout.dynamic.size
        for tag, value in layout.dynamic.iter_unpack(data.at(segment.offset, whole)):
            if tag == 0:
                break
            entries.setdefault(tag, []).append(value)
    return entries


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    address: int
    offset: int
    size: int


def _sections(data: _Bytes, layout: _Format, header: tuple[int, ...]) -> list[_Section]:
    """Empty when the table is stripped or broken: the loader does without it, so must we."""
    offset, entry_size, count, names_index = header[5], header[10], header[11], header[12]
    if entry_size != layout.section.size or names_index >= count:
        return []
    try:
        entries = list(layout.section.iter_unpack(data.at(offset, count * entry_size)))
        names = data.at(entries[names_index][4], entries[names_index][5])
    except BadElf:
        return []
    return [_Section(os.fsdecode(names[e[0] : e[0] + 256].split(b"\0", 1)[0]), e[1], *e[3:6]) for e in entries]


def _symbols(
    data: _Bytes,
    layout: _Format,
    segments: list[_Segment],
    sections: list[_Section],
    dynamic: dict[int, list[int]],
) -> bytes:
    if DT_SYMTAB not in dynamic:
        return b""
    table = dynamic[DT_SYMTAB][0]
    size = next((s.size for s in sections if s.kind == SHT_DYNSYM and s.address == table), None)
    if size is None:  # no section says how many there are; the hash table that the loader searches does
        if DT_HASH in dynamic:
            at = _offset(segments, dynamic[DT_HASH][0])
            (count,) = layout.word.unpack(data.at(at + 4, 4))
        elif DT_GNU_HASH in dynamic:
            count = _count_by_gnu_hash(data, layout, _offset(segments, dynamic[DT_GNU_HASH][0]))
        else:
            count = 0
        return data.at(_offset(segments, table), count * layout.symbol.size)
    return data.at(_offset(segments, table), size)


def _count_by_gnu_hash(data: _Bytes, layout: _Format, at: int) -> int:
    """The table holds no count: its last chain ends at the last symbol, where the low bit is set."""
    first_hashed: int
    buckets, first_hashed, bloom_words, _ = struct.unpack(layout.words % 4, data.at(at, 16))
    at += 16 + bloom_words * layout.bits // 8
    last = max(struct.unpack(layout.words % buckets, data.at(at, 4 * buckets)), default=0)
    if last < first_hashed:
        return first_hashed
    chains = at + 4 * buckets
    while last < MAX_SYMBOLS:
        block_at = chains + 4 * (last - first_hashed)
        block = data.at(block_at, max(4, min(4096, data.size - block_at) // 4 * 4))
        for (link,) in layout.word.iter_unpack(block):
            last += 1
            if link & 1:
                return last
    raise BadElf("the chains of its hash table never end")


def _build_id(data: _Bytes, layout: _Format, segments: list[_Segment]) -> str | None:
    for segment in segments:
        if segment.kind != PT_NOTE:
            continue
        notes = data.at(segment.offset, min(segment.size, MAX_LIST))
        align = 8 if segment.alignment == 8 else 4
        at = 0
        while at + 12 <= len(notes):
            name_size, size, kind = struct.unpack_from(layout.words % 3, notes, at)
            content = at + _up(12 + name_size, align)
            if kind == NT_GNU_BUILD_ID and notes[at + 12 : at + 16] == b"GNU\0":
                return notes[content : content + min(size, 64)].hex()
            at = content + _up(size, align)
    return None


def _up(size: int, align: int) -> int:
    return -(-size // align) * align
