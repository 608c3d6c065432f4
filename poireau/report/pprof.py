"""pprof's profile.proto, gzipped: what `go tool pprof`, Parca, Pyroscope, Grafana Alloy and Perfetto read.

Sample types are Go's, in Go's order, so that front ends know them and show bytes in use first. Values are unsampled:
each is an estimate, rounded so that totals are right. How sure it is stands in its labels ci_low and ci_high (of the
bytes in use, of those allocated where none are), since intervals don't add up as values do. `bytes` is the largest size
that its blocks may have, a power of two.

Addresses are return addresses, at run time within their mapping, in the process that told of that module first.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from poireau.report.profile import Profile
from poireau.report.protobuf import message, number, packed, text, varint
from poireau.stacks import runs

TYPES = (("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes"))
_SAMPLE_TYPE, _SAMPLE, _MAPPING, _LOCATION, _FUNCTION, _STRING = 1, 2, 3, 4, 5, 6
_TIME, _DURATION, _PERIOD_TYPE, _PERIOD, _COMMENT, _DEFAULT = 9, 10, 11, 12, 13, 14
NO_NAME = re.compile(r"(?:.*\+)?0x[0-9a-f]+", re.DOTALL)  # what a frame is called of which only the address is known
_PIECES = 4096  # that are compressed at a time


def write(profile: Profile, out: BinaryIO, default: str = "inuse_space") -> None:
    """`default`: the sample type that is shown first."""
    pieces = _pieces(profile, default)
    # No time and no name in the header: the same profile is the same file.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=out, mtime=0) as compressed:
        while some := b"".join(islice(pieces, _PIECES)):
            compressed.write(some)


class Strings:
    """Numbers in order of appearance; the empty one is 0."""

    def __init__(self) -> None:
        self._numbers = {"": 0}

    def __call__(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)


def _pieces(profile: Profile, default: str) -> Iterator[bytes]:
    strings = Strings()
    period, by_calls = profile.period
    for kind, unit in TYPES:
        yield message(_SAMPLE_TYPE, number(1, strings(kind)) + number(2, strings(unit)))
    yield from _samples(profile, strings)
    yield from _locations(profile, strings)
    kind, unit = ("objects", "count") if by_calls else ("space", "bytes")
    yield message(_PERIOD_TYPE, number(1, strings(kind)) + number(2, strings(unit)))
    yield number(_PERIOD, period) + number(_TIME, profile.until) + number(_DURATION, profile.until - profile.since)
    yield number(_DEFAULT, strings(default))
    every = f"a sample every {period} {'calls' if by_calls else 'bytes'}, mostly"
    yield packed(_COMMENT, [varint(strings(comment)) for comment in (*profile.comments, every)])
    for each in strings:
        yield text(_STRING, each)


def _samples(profile: Profile, strings: Strings) -> Iterator[bytes]:
    begins, ends, frames = profile.calls
    ids = [varint(frame + 1) for frame in range(len(profile.lines))]
    byte, low, high = (strings(key) for key in ("bytes", "ci_low", "ci_high"))
    sums, labels = profile.sums, _Labels(profile, strings)
    whose = zip(sums.keys["process"].tolist(), sums.keys["thread"].tolist())
    columns = zip(sums.keys["stack"].tolist(), whose, sums.largest.tolist(), _rows(sums.values), _rows(sums.interval))
    last, called = -1, b""
    for stack, owner, largest, values, interval in columns:
        if stack != last:  # those of one stack are together
            last, called = stack, packed(1, [ids[frame] for frame in frames[begins[stack] : ends[stack]].tolist()])
        yield message(
            _SAMPLE,
            called
            + message(2, b"".join(map(varint, values)))
            + labels.owner(owner)
            + labels.size(largest)
            + _label(low, interval[0], byte)
            + _label(high, interval[1], byte),
        )


def _rows(columns: Iterable[np.ndarray[tuple[int], np.dtype[np.int64]]]) -> Iterable[tuple[int, ...]]:
    return zip(*(column.tolist() for column in columns))


def _label(key: int, value: int, unit: int = 0) -> bytes:
    return message(3, number(1, key) + number(3, value) + number(4, unit))


class _Labels:
    """Those of processes, threads and sizes; kept, since there are few."""

    def __init__(self, profile: Profile, strings: Strings) -> None:
        self._pids = profile.processes["pid"].to_dict()
        self._threads = profile.threads
        self._strings = strings
        self._known: dict[tuple[int, int], bytes] = {}
        self._sizes: dict[int, bytes] = {}

    def owner(self, owner: tuple[int, int]) -> bytes:
        if owner not in self._known:
            process, thread = owner
            strings, name = self._strings, self._threads.get(owner, "")
            made = _label(strings("pid"), int(self._pids.get(process, 0))) + _label(strings("thread_id"), thread)
            made += message(3, number(1, strings("thread")) + number(2, strings(name))) if name else b""
            self._known[owner] = made
        return self._known[owner]

    def size(self, largest: int) -> bytes:
        if largest not in self._sizes:
            unit = self._strings("bytes")
            self._sizes[largest] = _label(unit, largest, unit)
        return self._sizes[largest]


def _locations(profile: Profile, strings: Strings) -> Iterator[bytes]:
    """Mappings, locations and functions."""
    tables, names, lines, used = profile.tables, profile.names, profile.lines, profile.frames
    module_of = np.asarray(tables.frame_module, np.int64)[used]
    address_of = np.asarray(tables.frame_address, np.uint64)[used]
    places = profile.places
    ids = {module: number for number, module in enumerate(places)}
    for module, (_, begin, end) in places.items():
        if module:
            yield message(
                _MAPPING,
                number(1, ids[module])
                + number(2, begin)
                + number(3, end)
                + number(5, strings(tables.modules[module].path))
                + number(6, strings(tables.modules[module].build_id))
                + _known_of(profile, used[module_of == module]),
            )
    functions: dict[tuple[int, int], int] = {}
    function, file, line = (np.asarray(each, np.int64) for each in (names.function, names.file, names.line))
    columns = (used, module_of, address_of, lines.begins[used], lines.ends[used])
    for frame, module, address, begin, end in zip(*(each.tolist() for each in columns)):
        rows = lines.places[begin:end]
        content = number(1, frame + 1) + number(2, ids[module]) + number(3, places[module][0] + address)
        for place in zip(function[rows].tolist(), file[rows].tolist(), line[rows].tolist()):
            its_function = functions.setdefault(place[:2], len(functions) + 1)
            content += message(4, number(1, its_function) + number(2, place[2]))
        yield message(_LOCATION, content)
    for (name, source), its_number in functions.items():
        called = strings(names.functions[name])
        content = number(1, its_number) + number(2, called) + number(3, called)
        yield message(_FUNCTION, content + number(4, strings(names.files[source])))


def _known_of(profile: Profile, frames: NDArray[np.int64]) -> bytes:
    """A module's flags: functions, files, lines, inlined ones. A reader that has the file may look up what isn't."""
    names, lines = profile.names, profile.lines
    rows = lines.places[runs(lines.begins[frames], lines.ends[frames] - lines.begins[frames])]
    functions = np.unique(np.asarray(names.function)[rows]).tolist()
    flags = [any(not NO_NAME.fullmatch(names.functions[function]) for function in functions)]
    flags += [bool(np.any(np.asarray(column)[rows])) for column in (names.file, names.line, names.inlined)]
    return b"".join(number(field, int(flag)) for field, flag in enumerate(flags, 7))
