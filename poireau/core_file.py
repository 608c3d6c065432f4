"""What a core holds: memory, threads with their registers, files that were mapped. As the kernel writes it, or gdb.

Nothing in it is trusted: what it says beyond its end is not there, and a core that was cut short is read as far as it
goes, which is said.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from poireau.errors import USAGE, Failure
from poireau.scan_areas import Area
from poireau.scan_library import SEGMENT, THREAD, Rows
from poireau.text import as_size, plain

if TYPE_CHECKING:
    from poireau.model import Heap

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_CORE, _X86_64 = 4, 62
_LOAD, _NOTE = 1, 4
_STATUS, _INFO, _XSTATE, _FILES = 1, 3, 0x202, 0x46494C45
_TOP = (1 << 64) - 4096
_MANY = 0xFFFF  # segments: the first section says how many
_MOST_SEGMENTS, _MOST_NOTES = 1 << 20, 256 << 20
_PID, _REGISTERS = 32, slice(112, 112 + 27 * 8)  # of a status
_RSP, _FS = 19, 21
_INFO_PID, _INFO_NAME = 24, slice(40, 56)


@dataclass(frozen=True)
class Core:
    path: str
    pid: int
    program: str
    areas: Sequence[Area]
    segments: Rows  # of scan_library.SEGMENT
    threads: Rows  # of scan_library.THREAD
    registers: Sequence[tuple[int, int, bytes]]  # number of the thread, of the set, and what it holds
    names: dict[int, str]
    missing: int  # bytes that it says it has, and has not

    @property
    def is_cut(self) -> bool:
        return self.missing > 0

    @property
    def left_out(self) -> tuple[str, ...]:
        return (
            (f"{as_size(self.missing)} that are missing in {plain(self.path)}: it was cut short",)
            if self.missing
            else ()
        )


def is_core(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(18)
    except OSError:
        return False
    return head[:4] == b"\x7fELF" and len(head) == 18 and head[16:18] == b"\x04\0"


def read(path: str) -> Core:
    """Raises Failure: it is none of ours."""
    shown = plain(path)
    try:
        if not os.path.isfile(path):
            raise Failure(f"{shown} is no file" if os.path.exists(path) else f"there is no {shown}", USAGE)
        with open(path, "rb") as file:
            return _read(path, file.fileno(), os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise Failure(f"{shown}: {error.strerror}", USAGE) from None


def _read(path: str, descriptor: int, size: int) -> Core:
    def at(offset: int, count: int) -> bytes:
        return os.pread(descriptor, count, offset) if 0 <= offset < size and count <= _MOST_NOTES else b""

    head = at(0, _HEADER.size)
    if head[:4] != b"\x7fELF":
        raise Failure(
            f"{plain(path)} is no core: it is not an ELF file (is it compressed? coredumpctl dump unpacks it)", USAGE
        )
    if len(head) < _HEADER.size or head[4:6] != b"\x02\x01":
        raise Failure(f"{plain(path)} is no core of a 64-bit program of this machine", USAGE)
    header = _HEADER.unpack(head)
    if header[1] != _CORE:
        raise Failure(f"{plain(path)} is an ELF file, but no core", USAGE)
    if header[2] != _X86_64:
        raise Failure(f"{plain(path)} is a core of another kind of machine", USAGE)
    count = header[10]
    if count == _MANY:
        count = int.from_bytes(at(header[6] + 44, 4), "little")
    table = at(header[5], min(count, _MOST_SEGMENTS) * _SEGMENT.size)
    segments = list(_SEGMENT.iter_unpack(table[: len(table) // _SEGMENT.size * _SEGMENT.size]))
    loads = [segment for segment in segments if segment[0] == _LOAD]
    notes = [note for segment in segments if segment[0] == _NOTE for note in _notes(at(segment[2], segment[5]))]
    missing = sum(min(segment[5], max(0, segment[2] + segment[5] - size)) for segment in loads)
    if not any(kind == _STATUS for kind, _ in notes):
        why = "it was cut short before its threads" if missing or len(segments) < count else "it has no threads"
        raise Failure(f"{plain(path)} can't be used: {why}", USAGE)
    return _made(path, loads, notes, missing)


def _notes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 12 <= len(data):
        name, size, kind = struct.unpack_from("<III", data, at)
        begin = at + 12 + -(-name // 4) * 4
        if begin + size > len(data):
            return
        yield kind, data[begin : begin + size]
        at = begin + -(-size // 4) * 4


def _made(path: str, loads: Sequence[tuple[int, ...]], notes: Sequence[tuple[int, bytes]], missing: int) -> Core:
    rows: list[tuple[int, ...]] = []
    registers: list[tuple[int, int, bytes]] = []
    pid, program = 0, ""
    files: list[tuple[int, int, int, str]] = []
    for kind, data in notes:
        if kind == _STATUS and len(data) >= _REGISTERS.stop:
            general = data[_REGISTERS]
            words = struct.unpack("<27Q", general)
            tid = int.from_bytes(data[_PID : _PID + 4], "little")
            registers.append((len(rows), 0, general))
            rows.append((words[_RSP], words[_FS], 0, 0, 0, tid, 0))
        elif kind == _XSTATE and rows:
            registers.append((len(rows) - 1, 1, data))
        elif kind == _INFO and len(data) >= _INFO_NAME.stop:
            pid = int.from_bytes(data[_INFO_PID : _INFO_PID + 4], "little")
            program = data[_INFO_NAME].split(b"\0")[0].decode(errors="backslashreplace")
        elif kind == _FILES:
            files = _files(data)
    pid = pid or rows[0][5]
    main = next((row[0] for row in rows if row[5] == pid), 0)
    areas = [_area(load, files, main) for load in loads if load[6]]
    begins = {area.begin for area in areas}
    # gdb writes no segment for what it leaves out.
    areas += [Area(begin, end, "r--p", offset, 1, name) for begin, end, offset, name in files if begin not in begins]
    areas.sort(key=lambda area: area.begin)
    in_file = [(load[3], load[2], load[5]) for load in loads if load[5]]
    return Core(
        path=path,
        pid=pid,
        program=program,
        areas=areas,
        segments=np.array(in_file, SEGMENT),
        threads=np.array(rows, THREAD),
        registers=registers,
        names={pid: program} if program else {},
        missing=missing,
    )


def _files(data: bytes) -> list[tuple[int, int, int, str]]:
    """Where each begins and ends, and its offset in the file, in bytes."""
    if len(data) < 16:
        return []
    count, page = struct.unpack_from("<QQ", data)
    if count > len(data) // 24:
        return []
    names = data[16 + 24 * count :].split(b"\0")
    rows = struct.iter_unpack("<QQQ", data[16 : 16 + 24 * count])
    return [
        (begin, min(end, _TOP), offset * page, os.fsdecode(name))
        for (begin, end, offset), name in zip(rows, names)
        if begin < end
    ]


def _area(load: tuple[int, ...], files: Sequence[tuple[int, int, int, str]], main: int) -> Area:
    _, flags, _, address, _, _, size, _ = load
    permissions = "".join(letter if flags & bit else "-" for letter, bit in (("r", 4), ("w", 2), ("x", 1))) + "p"
    area = Area(address, min(address + size, _TOP), permissions, 0, 0, "")
    for begin, end, offset, name in files:
        if begin <= address < end:
            return replace(area, path=name, offset=offset + address - begin, inode=1)
    return replace(area, path="[stack]") if area.begin <= main < area.end else area


def or_from_files(core: Core, read: Callable[[int, int], bytes]) -> Callable[[int, int], bytes]:
    """Headers of files that the core leaves out are in the files."""

    def either(at: int, size: int) -> bytes:
        got = read(at, size)
        if len(got) == size:
            return got
        for area in core.areas:
            if area.is_file and area.begin <= at < area.end and "w" not in area.permissions:
                try:
                    with open(area.path, "rb") as file:
                        return os.pread(file.fileno(), size, area.offset + at - area.begin)
                except OSError:
                    return got
        return got

    return either


def process_of(heap: Heap, core: Core, blocks: Rows) -> int:
    """The number of the process that it is of, by its pid, or (in a container it has another) by its blocks. Raises
    Failure."""
    table = heap.processes
    same = table.index[table["pid"] == core.pid]
    if len(same):
        return int(same[-1])
    lives = heap.live()
    keys = pd.MultiIndex.from_arrays([blocks[name] for name in ("id", "address", "thread")])
    here = lives["process"][pd.MultiIndex.from_frame(lives[["id", "address", "thread"]]).isin(keys)]
    if 2 * len(here) > len(keys) > 0:
        return int(here.mode().iloc[0])
    there = ", ".join(f"{plain(os.path.basename(row.executable))}[{row.pid}]" for row in table.head(3).itertuples())
    raise Failure(
        f"{plain(core.path)} is of {plain(core.program) or 'a process'}[{core.pid}], the trace of {there or 'nobody'}",
        USAGE,
    )
