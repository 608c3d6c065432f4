"""Cores made by hand: memory, records of sampled blocks, registers, files."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

REGION = 1 << 45
RECORDS = REGION + (9 << 40)  # tracked_alloc/region.h
HOMES = REGION + (2 << 39)  # an area of slots
RECORD = np.dtype(
    {
        "names": ["state", "address", "size", "pages", "home", "period", "time", "thread", "stack", "uses"],
        "formats": ["u4", "u8", "u8", "u4", "u8", "u8", "u8", "u4", "u4", "u4"],
        "offsets": [0, 16, 24, 32, 40, 48, 64, 72, 76, 96],
        "itemsize": 128,
    }
)
LIVE, FREED = 2, 4
PAGE = 4096


def records(blocks: Sequence[tuple[int, int]], state: int = LIVE) -> bytes:
    """Of blocks by address and size; the id of number i is 1 << 40 | i."""
    rows = np.zeros(len(blocks), RECORD)
    rows["state"], rows["uses"], rows["time"], rows["period"] = state, 1, 1 + np.arange(len(blocks)), 1
    rows["address"], rows["size"] = np.array(blocks, np.uint64).reshape(-1, 2).T
    rows["home"] = rows["address"] // PAGE * PAGE
    rows["pages"] = (rows["address"] % PAGE + rows["size"]) // PAGE + 1
    data = rows.tobytes()
    return data + bytes(-len(data) % PAGE)


def core(
    path: Path,
    memory: Mapping[int, bytes],
    threads: Sequence[Mapping[int, int]] = ({},),
    pid: int = 4711,
    files: Sequence[tuple[int, int, int, str]] = (),
) -> Path:
    """`threads`: words of their general registers, by number."""
    notes = b"".join(_status(pid + number, registers) for number, registers in enumerate(threads))
    notes += _note(3, _info(pid)) + _note(0x46494C45, _file_table(files))
    count = len(memory) + 1
    offset = 64 + 56 * count
    table = struct.pack("<IIQQQQQQ", 4, 0, offset, 0, 0, len(notes), 0, 4)
    at = offset + len(notes)
    at += -at % PAGE
    padding = at - offset - len(notes)
    body = b""
    for address, data in sorted(memory.items()):
        table += struct.pack("<IIQQQQQQ", 1, 6, at + len(body), address, 0, len(data), len(data), PAGE)
        body += data
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1".ljust(16, b"\0"), 4, 62, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0
    )
    path.write_bytes(header + table + notes + bytes(padding) + body)
    return path


def _status(tid: int, registers: Mapping[int, int]) -> bytes:
    words = [registers.get(number, 0) for number in range(27)]
    return _note(1, bytes(32) + struct.pack("<I", tid) + bytes(76) + struct.pack("<27Q", *words) + bytes(8))


def _info(pid: int) -> bytes:
    return bytes(24) + struct.pack("<I", pid) + bytes(12) + b"program".ljust(16, b"\0") + bytes(80)


def _file_table(files: Sequence[tuple[int, int, int, str]]) -> bytes:
    rows = b"".join(struct.pack("<QQQ", begin, end, offset) for begin, end, offset, _ in files)
    return struct.pack("<QQ", len(files), 1) + rows + b"".join(name.encode() + b"\0" for *_, name in files)


def _note(kind: int, data: bytes) -> bytes:
    return struct.pack("<III", 5, len(data), kind) + b"CORE\0\0\0\0" + data + bytes(-len(data) % 4)
