"""Files that are there whole or not at all, and are nobody's that was there before."""

from __future__ import annotations

import contextlib
import io
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from poireau.errors import USAGE, Failure
from poireau.model import Heap

STANDARD = "-"
_FIELD = re.compile(r"%(.)")
_CONTROLS = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]")


def named(pattern: str, heap: Heap) -> str:
    """%p: the pid of the first process, %e: its program, %h: its host; %t: the time of the last event; %%: %."""
    processes = heap.processes
    first = processes.iloc[0] if len(processes) else {"pid": 0, "executable": "", "host": ""}
    fields: Mapping[str, str] = {
        "p": str(first["pid"]),
        "e": os.path.basename(str(first["executable"])) or "program",
        "h": str(first["host"]).replace("/", "_") or "host",
        "t": time.strftime("%Y%m%d-%H%M%S", time.localtime(heap.end // 10**9)),
        "%": "%",
    }

    def field(match: re.Match[str]) -> str:
        if match[1] not in fields:
            raise Failure(f"{pattern}: {match[0]} stands for nothing: it is %p, %e, %h, %t or %%", USAGE)
        return fields[match[1]]

    return _FIELD.sub(field, pattern)


@contextlib.contextmanager
def opened(name: str | None, binary: bool, force: bool) -> Iterator[BinaryIO]:
    """`name`: None or -: standard output. A regular file appears when all is written, and takes the place of another
    only by `force`. Raises Failure."""
    if name is None or name == STANDARD:
        if binary and sys.stdout.isatty():
            raise Failure("that is nothing for a terminal: name a file with -o, or pipe it on", USAGE)
        sys.stdout.flush()
        with _failing_as("standard output"):
            yield cast(BinaryIO, _Terminal(sys.stdout.buffer)) if sys.stdout.isatty() else sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    path = Path(name)
    if path.is_dir():
        raise Failure(f"{name} is a directory", USAGE)
    draft = path.resolve().with_name(f".{path.resolve().name[:200]}.{secrets.token_hex(4)}")
    with _failing_as(name, str(draft)):
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):  # a pipe, a device
            with open(path, "wb") as out:
                yield out
            return
        if path.exists() and not force:
            raise Failure(f"{name} is there already; -f replaces it", USAGE)
        path = path.resolve()  # what a link points to is replaced, not the link
        try:
            with open(draft, "xb") as out:
                yield out
            if force:
                os.replace(draft, path)
            else:
                _place(draft, path, name)
        finally:
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def _failing_as(name: str, draft: str = "") -> Iterator[None]:
    """What can't be written is called as it was named."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename not in (None, name, draft):  # what is read fails
            raise
        raise Failure(f"{name}: {error.strerror or error}") from error


class _Terminal(io.RawIOBase):
    """Gets no control characters but ends of lines and tabs: texts may be anybody's."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._out.write(_CONTROLS.sub(b"?", bytes(content)))
        return len(content)


def _place(draft: Path, path: Path, name: str) -> None:
    """Somebody may have made it in the meantime."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise Failure(f"{name} is there already; -f replaces it", USAGE) from None
    except OSError:  # no hard links here
        os.replace(draft, path)
