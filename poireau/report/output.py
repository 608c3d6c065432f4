"""Files that are there whole or not at all, and are nobody's that was there before."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from poireau.errors import USAGE, Failure
from poireau.model import Heap

STANDARD = "-"
_FIELD = re.compile(r"%(.)")


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
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    if path.is_dir():
        raise Failure(f"{name} is a directory", USAGE)
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):  # a pipe, a device
        with open(path, "wb") as out:
            yield out
        return
    if path.exists() and not force:
        raise Failure(f"{name} is there already; -f replaces it", USAGE)
    path = path.resolve()  # what a link points to is replaced, not the link
    draft = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}")
    try:
        with open(draft, "xb") as out:
            yield out
        if force:
            os.replace(draft, path)
        else:
            _place(draft, path, name)
    finally:
        draft.unlink(missing_ok=True)


def _place(draft: Path, path: Path, name: str) -> None:
    """Somebody may have made it in the meantime."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise Failure(f"{name} is there already; -f replaces it", USAGE) from None
    except OSError:  # no hard links here
        os.replace(draft, path)
