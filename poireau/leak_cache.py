"""Answers that were given before, kept as JSON: a file for each question.

A question is the files of a trace (path, size, time of change, inode), everything that was asked, and the code that
answers. What still grows is never kept. A file is written beside and renamed; what is damaged, or somebody else's (but
for root's), counts as not there; where nothing can be written, nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from poireau.version import __version__

MOST = 64 << 20  # bytes of all answers
MOST_FILES = 100_000  # of a trace; of more nobody wants to know whether they have changed
_SUFFIX = ".leaks"
_MAGIC = b"Poireau answer 1\n"


def key(traces: Iterable[str], asked: Mapping[str, Any]) -> str | None:
    """None: what is asked about can't be told by its files."""
    sums = hashlib.sha256(repr((__version__, sorted(asked.items()))).encode("utf-8", "surrogateescape"))
    count = 0
    for trace in [*traces, *(str(path) for path in _code())]:
        for path, status in _files(trace):
            facts = (path, status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)
            sums.update(repr(facts).encode("utf-8", "surrogateescape"))
            count += 1
            if count > MOST_FILES:
                return None
        if not os.path.exists(trace):
            return None
    return sums.hexdigest()[:40]


def load(place: Path, name: str) -> dict[str, Any] | None:
    path = place / f"{name}{_SUFFIX}"
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()):
                return None
            data = file.read(min(status.st_size, MOST))
        body = data[len(_MAGIC) + 65 :]
        if data[: len(_MAGIC) + 64] != _MAGIC + hashlib.sha256(body).hexdigest().encode():
            return None
        kept = json.loads(body)
    except (OSError, ValueError, RecursionError):  # there is none, or it is damaged
        return None
    if not isinstance(kept, dict) or kept.get("until", 0) < time.time():
        return None
    with suppress(OSError):
        os.utime(path)  # it is of use still
    return kept


def store(place: Path, name: str, answer: Mapping[str, Any], seconds: float) -> None:
    """For so long at most."""
    body = json.dumps({**answer, "until": time.time() + seconds}, separators=(",", ":")).encode()
    data = _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body
    if len(data) > MOST // 8:
        return
    with suppress(OSError):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(prefix=".", suffix=".new", dir=place)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            os.replace(beside, place / f"{name}{_SUFFIX}")
        except BaseException:
            os.unlink(beside)
            raise
        _forget(place)


def _forget(place: Path) -> None:
    """What was not used for longest, until the rest has room; and what a writer left that didn't end."""
    files = []
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.name.endswith((_SUFFIX, ".new")) and entry.is_file(follow_symlinks=False):
                files.append((entry.stat(follow_symlinks=False), entry.path))
    left = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda file: file[0].st_mtime_ns):
        if left <= MOST:
            return
        with suppress(OSError):
            os.unlink(path)
            left -= status.st_size


def _files(trace: str) -> Iterator[tuple[str, os.stat_result]]:
    """In an order of their own."""
    if not os.path.isdir(trace):
        with suppress(OSError):
            yield os.path.realpath(trace), os.stat(trace)
        return
    for directory, below, names in os.walk(trace):
        below.sort()
        for name in sorted(names):
            path = os.path.join(directory, name)
            with suppress(OSError):
                yield os.path.realpath(path), os.stat(path)


def _code() -> Iterator[Path]:
    """What answers: all modules of the package."""
    here = Path(__file__).parent
    yield from sorted(here.glob("*.py"))
    yield from sorted(here.glob("re*/*.py"))  # reader, report
