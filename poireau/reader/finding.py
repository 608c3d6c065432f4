"""Where traces lie: which inputs a target means, and who can read them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from poireau.errors import USAGE, Failure
from poireau.native import binding

_STREAM = re.compile(r"(facts|samples)_\d+").fullmatch
_PACKETS = (b"\x57\x1d\xd1\x75", b"\x75\xd1\x1d\x57")  # that metadata may be cut into
_DEEPEST = 16


@dataclass(frozen=True)
class Inputs:
    ours: tuple[str, ...] = ()  # directories
    foreign: tuple[str, ...] = ()  # directories and URLs
    packs: tuple[str, ...] = ()  # files


def inputs_of(target: str) -> Inputs:
    if "://" in target:
        return Inputs(foreign=(target,))
    if os.path.isfile(target):
        from poireau.reader.pack import is_pack

        if is_pack(target):
            return Inputs(packs=(target,))
        holder = os.path.dirname(target) or "."
        hint = f"; its trace is {holder}" if "metadata" in os.listdir(holder) else ""
        raise Failure(f"{target} is neither a pack nor a directory{hint}", USAGE)
    if not os.path.isdir(target):
        what = "neither a pack nor a directory" if os.path.lexists(target) else "not there"
        raise Failure(f"{target} is {what}", USAGE)
    if not os.access(target, os.R_OK | os.X_OK):
        raise Failure(f"{target} can't be read: Permission denied", USAGE)
    found = list(traces_in(target))
    if not found:
        raise Failure(
            f"{target} holds no trace: it is not, and has not below it, a directory with a CTF trace's `metadata`",
            USAGE,
        )
    foreign = {path for path in found if is_ctf(path) and not binding.recognizes(path)}
    return Inputs(ours=tuple(path for path in found if path not in foreign), foreign=tuple(sorted(foreign)))


def none_twice(paths: Iterable[str]) -> list[str]:
    """Without those that are others by another name."""
    return list({path if "://" in path else os.path.realpath(path): path for path in paths}.values())


def is_ctf(path: str) -> bool:
    """Anybody's, or ours of another version."""
    try:
        with open(os.path.join(path, "metadata"), "rb") as file:
            return file.read(8).startswith((b"/* CTF", *_PACKETS))
    except OSError:
        return False


def traces_in(root: str) -> Iterator[str]:
    """Directories of traces under it, or itself; by name, which is by age where the names are ours."""
    seen: set[tuple[int, int]] = set()  # links may lead in circles

    def look(directory: str, depth: int) -> Iterator[str]:
        try:
            info = os.stat(directory)
            with os.scandir(directory) as entries:
                inside = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError:
            return
        if (info.st_dev, info.st_ino) in seen:
            return
        seen.add((info.st_dev, info.st_ino))
        if is_ctf(directory) or any(_STREAM(entry.name) for entry in inside):
            yield directory
            return
        for entry in inside:
            if depth < _DEEPEST and os.path.isdir(entry.path):
                yield from look(entry.path, depth + 1)

    return look(root, 0)
