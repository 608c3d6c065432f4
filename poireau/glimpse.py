"""A glimpse at the end of a trace that is being written: when its process sampled last, and how often it does.

This is what a program's own silence is explained with, so it is cheap: the newest packets, nothing else. How events lie
in packets is preload/ctf.cc's; what they hold is in events.py.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from poireau import roots
from poireau.events import KINDS

PACKET = 64 << 10
MOST_IN_FILE = 64  # packets: preload/trace.cc makes no larger files
MOST_FILES = 1 << 14
MAGIC = 0xC1FC1FC1
HEADER = struct.Struct("<I16sIQQQII")  # ..., stream class, bits of content, of the packet, sequence, process, file
SAMPLED = ("alloc", "resize")
_EVENT = struct.Struct("<HQ")
_NAMES = tuple(KINDS)
_MAYBE_ERROR = re.compile(re.escape(struct.pack("<H", _NAMES.index("error"))) + rb".{8}[a-z -]+\0", re.DOTALL)
_NUMBERS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "hex": 8}
_ITEMS = {"bytes": 1, "frames": 8}
_MOST_PACKETS, _MOST_FACTS = 4, 64  # looked at


@dataclass(frozen=True)
class Pace:
    last: int | None = None  # the last sample, in nanoseconds of CLOCK_MONOTONIC
    gap: float | None = None  # mean nanoseconds between the last samples

    def silence(self, now: int) -> float | None:
        """Seconds since the last sample."""
        return None if self.last is None else max(0, now - self.last) / 1e9

    def wait(self, now: int) -> float | None:
        """Seconds in which the next sample is to be expected: as ever, or as long again as it has been silent."""
        silence = self.silence(now)
        return None if silence is None else max(silence, (self.gap or 0) / 1e9)


def pace_of(trace: Path) -> Pace:
    times: list[int] = []
    for seen, packet in enumerate(_packets_backwards(trace, "samples")):
        times = [time for name, time, _ in events(packet) if name in SAMPLED] + times
        if len(times) >= 2 or seen + 1 == _MOST_PACKETS:
            break
    if not times:
        return Pace()
    return Pace(times[-1], (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else None)


def settings_of(trace: Path) -> dict[str, str]:
    """The options in force, by name, as far as the trace tells."""
    settings: dict[str, str] = {}
    for packet in islice(_packets_backwards(trace, "facts"), _MOST_FACTS):
        newer, settings = settings, {}
        for name, _, fields in events(packet):
            if name == "process":
                lines = fields["options"].splitlines()
                settings.update(line.split("=", 1) for line in lines if "=" in line)
            elif name == "option" and fields["name"] not in ("phase", "keep"):
                settings[fields["name"]] = fields["value"]
        settings.update(newer)
    return settings


def counters_of(trace: Path) -> tuple[int, dict[str, int]]:
    """Blocks sampled, and what could not be recorded by cause, as far as the last packets tell."""
    since = 0  # blocks sampled since it was told how many
    drops: dict[str, int] = {}
    for packet in islice(_packets_backwards(trace, "samples"), MOST_IN_FILE + 1):
        told, before, older = None, 0, dict[str, int]()
        for name, _, fields in events(packet):
            if name == "cost":
                told, before = fields["samples"], 0
            elif name == "drops":
                older[fields["cause"]] = fields["count"]
            before += name in SAMPLED
        drops = {**older, **drops}
        since += before
        if told is not None:
            return told + since, drops
    return since, drops


def errors_of(trace: Path) -> Counter[str]:
    """How many memory errors it tells of, by kind."""
    kinds: Counter[str] = Counter()
    for packet in _packets_backwards(trace, "facts"):
        if _MAYBE_ERROR.search(packet):  # most hold none, and to take one apart takes long
            kinds.update(fields["error"] for name, _, fields in events(packet) if name == "error")
    return kinds


def number_of(file: Path) -> int:
    """A file's number. One that is overwritten gets a new one, which only its packets tell; 0: it holds nothing."""
    try:
        with roots.open_file(file) as opened:
            header = HEADER.unpack(opened.read(HEADER.size))
    except (OSError, struct.error):
        return 0
    return int(header[7]) if header[0] == MAGIC else 0


def files_of(trace: Path, stream: str) -> list[Path]:
    """In the order of their events."""
    try:
        names = roots.names_in(trace, re.compile(stream + r"_\d{1,20}").fullmatch, MOST_FILES)
    except OSError:
        return []
    return sorted((trace / name for name in names), key=number_of)


def events(packet: bytes) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Name, time and fields of each, up to what is damaged."""
    at = HEADER.size
    try:
        while at < len(packet):
            kind, time = _EVENT.unpack_from(packet, at)
            at += _EVENT.size
            fields = {}
            for name, form in KINDS[_NAMES[kind]].items():
                fields[name], at = _field(packet, at, form)
            yield _NAMES[kind], time, fields
    except (struct.error, ValueError, IndexError):
        return


def _field(packet: bytes, at: int, form: str) -> tuple[Any, int]:
    """What it is, and where the next one begins."""
    if form in _NUMBERS:
        end = at + _NUMBERS[form]
        return int.from_bytes(packet[at:end], "little"), end
    if form == "text":
        end = packet.index(b"\0", at)
        return packet[at:end].decode("utf-8", "surrogateescape"), end + 1
    end = at + 2 + int.from_bytes(packet[at : at + 2], "little") * _ITEMS[form]
    return packet[at + 2 : end], end


def _packets_backwards(trace: Path, stream: str) -> Iterator[bytes]:
    """Those that hold events, each as far as it is filled."""
    for path in reversed(files_of(trace, stream)):
        try:
            with roots.open_file(path) as file:
                end = min(file.seek(0, 2) // PACKET, MOST_IN_FILE) * PACKET
                for at in range(end - PACKET, -1, -PACKET):
                    file.seek(at)
                    header = HEADER.unpack(file.read(HEADER.size))
                    content = min(header[3] // 8, PACKET)
                    if header[0] == MAGIC and content > HEADER.size:
                        file.seek(at)
                        yield file.read(content)
        except (OSError, struct.error):
            continue
