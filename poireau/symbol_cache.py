"""Places that were looked up before, in the user's cache directory: a file for each build and kind of symbols.

A file is written beside and renamed: who reads sees it whole, and of two who write at once the later one stays. What is
damaged, or somebody else's (but for root's), counts as not there. Where nothing can be written, nothing is kept.
"""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poireau.symbol_places import Numbers, Places
from poireau.version import __version__

MOST = 512 << 20  # bytes of all files
_MAGIC = f"Poireau {__version__} places 1\n".encode()  # another version may know more
_COUNTS = struct.Struct("<5Q")  # checksum of the rest; addresses, places, bytes of functions and of files
_SUFFIX = ".places"


def directory() -> Path | None:
    """Of all that we keep for later, whether or not it is there. None: nobody says where."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    return Path(base) / "poireau" if os.path.isabs(base) else None


@dataclass(frozen=True)
class Cache:
    place: Path
    most: int = MOST

    def load(self, build: str, kind: str) -> Places | None:
        path = self._path(build, kind)
        try:
            places = _unpack(self._read(path))
        except (OSError, ValueError):  # there is none, or it is damaged
            return None
        with suppress(OSError):
            os.utime(path)  # it is of use still
        return places

    def store(self, build: str, kind: str, places: Places) -> None:
        data = _pack(places)
        if len(data) > self.most:
            return
        with suppress(OSError):
            self.place.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, beside = tempfile.mkstemp(prefix=".", suffix=".new", dir=self.place)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                os.replace(beside, self._path(build, kind))
            except BaseException:
                os.unlink(beside)
                raise
            self._forget()

    def _read(self, path: Path) -> bytes:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()):
                raise ValueError("not ours")
            return file.read(min(status.st_size, self.most))

    def _path(self, build: str, kind: str) -> Path:
        return self.place / f"{build}.{kind}{_SUFFIX}"

    def _forget(self) -> None:
        """What was not used for longest, until the rest has room; and what a writer left that didn't end."""
        files = []
        with os.scandir(self.place) as entries:
            for entry in entries:
                if entry.name.endswith((_SUFFIX, ".new")) and entry.is_file(follow_symlinks=False):
                    files.append((entry.stat(follow_symlinks=False), entry.path))
        left = sum(status.st_size for status, _ in files)
        for status, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
            if left <= self.most:
                return
            with suppress(OSError):
                os.unlink(path)
                left -= status.st_size


def _pack(places: Places) -> bytes:
    functions, files = (_text(strings) for strings in (places.functions, places.files))
    columns = [
        places.addresses.astype("<u8").tobytes(),
        places.ends.astype("<u8").tobytes(),
        *(column.astype("<u4").tobytes() for column in (places.function, places.file, places.line)),
        places.inlined.astype("u1").tobytes(),
        functions,
        files,
    ]
    body = b"".join(columns)
    counts = (len(places.addresses), len(places.function), len(functions), len(files))
    return _MAGIC + _COUNTS.pack(zlib.crc32(body, zlib.crc32(repr(counts).encode())), *counts) + body


def _unpack(data: bytes) -> Places:
    """Raises ValueError: it is damaged, or another version wrote it."""
    start = len(_MAGIC) + _COUNTS.size
    if not data.startswith(_MAGIC) or len(data) < start:
        raise ValueError("not ours")
    checksum, addresses, places, functions, files = _COUNTS.unpack_from(data, len(_MAGIC))
    body = memoryview(data)[start:]
    if checksum != zlib.crc32(body, zlib.crc32(repr((addresses, places, functions, files)).encode())):
        raise ValueError("damaged")
    at = start

    def column(kind: str, count: int) -> Numbers:
        nonlocal at
        got = np.frombuffer(data, kind, count, at)
        at += got.nbytes
        return got

    def strings(size: int) -> list[str]:
        return column("u1", size).tobytes().decode("utf-8", "backslashreplace").split("\0")

    return Places(
        addresses=column("<u8", addresses),
        ends=column("<u8", addresses),
        function=column("<u4", places),
        file=column("<u4", places),
        line=column("<u4", places),
        inlined=column("u1", places) != 0,
        functions=strings(functions),
        files=strings(files),
    )


def _text(strings: Sequence[str]) -> bytes:
    return "\0".join(strings).encode("utf-8", "backslashreplace")
