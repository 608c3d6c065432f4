"""Files of other processes, opened through their own roots, which may belong to somebody who means us harm.

A symbolic link in there would be followed from our root, not from theirs, and to open a pipe, or a device, does
something. So no link is ever followed by the kernel, and nothing is opened for reading before it is known to be a file.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc")
_MOST_LINKS = 40  # as in the kernel


def root_of(pid: int) -> Path:
    return PROC / str(pid) / "root"


def open_file(path: Path) -> io.FileIO:
    """To be read. No part of `path` may be a link, but for the root of a process."""
    with _found(path) as found:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(errno.EINVAL, f"{path.name} is not a file")
        return io.FileIO(os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))


def inode_of(path: Path) -> int:
    with _found(path) as found:
        return os.fstat(found).st_ino


def names_in(directory: Path, wanted: Callable[[str], object], most: int) -> list[str]:
    """Of `most` that are wanted, at most, in no order."""
    names: list[str] = []
    with _found(directory, os.O_DIRECTORY) as found, os.scandir(f"/proc/self/fd/{found}") as entries:
        for entry in entries:
            if wanted(entry.name):
                names.append(entry.name)
            if len(names) == most:
                break
    return names


def without_links(root: Path, path: str) -> Path:
    """Where `path` leads for a process with that root."""
    done: list[str] = []
    left = _parts(path)
    links = 0
    while left:
        part = left.pop(0)
        if part == "..":
            del done[-1:]
            continue
        with _found(root.joinpath(*done, part)) as found:
            is_link = stat.S_ISLNK(os.fstat(found).st_mode)
            told = os.readlink("", dir_fd=found) if is_link else ""
        if not is_link:
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        left = _parts(told) + left
        if told.startswith("/"):
            done = []
    return root.joinpath(*done)


@contextmanager
def _found(path: Path, flags: int = 0) -> Iterator[int]:
    """A descriptor that says what it is, and opens nothing."""
    start, parts = "/", path.absolute().parts[1:]
    if ".." in parts:
        raise OSError(errno.EINVAL, f"{path} may lead anywhere")
    if len(parts) >= 3 and (parts[0], parts[2]) == ("proc", "root"):  # the link that is meant to be followed
        start, parts = str(Path("/", *parts[:3])), parts[3:]
    at = os.open(start, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for left, part in zip(range(len(parts) - 1, -1, -1), parts):
            kind = os.O_DIRECTORY if left else flags
            below = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=at)
            os.close(at)
            at = below
        yield at
    finally:
        os.close(at)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
