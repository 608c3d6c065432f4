"""Which libraries the dynamic loader maps for a program, in the order in which it looks symbols up in them.

Follows ld.so(8) as far as files can tell: preloads first, then DT_NEEDED breadth first, through DT_RPATH,
LD_LIBRARY_PATH, DT_RUNPATH, the cache and the default directories. What is not found is left out: saying so is the
loader's own business.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from poireau import elf
from poireau.elf import Elf

DEFAULT_DIRECTORIES = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
CACHE_READERS = ("/sbin/ldconfig", "/usr/sbin/ldconfig")
MAX_OBJECTS = 10_000


def preloads(environment: Mapping[str, str]) -> list[str]:
    """The entries of LD_PRELOAD; the loader takes spaces and colons alike and knows no way to quote them."""
    return [entry for entry in re.split("[ :]+", environment.get("LD_PRELOAD", "")) if entry]


def objects(program: Elf, environment: Mapping[str, str]) -> list[Elf]:
    """The program and all it loads at its start, the first definition of a symbol first."""
    found = [program]
    known = {os.path.realpath(program.path)}
    asked: set[str] = set()
    waiting: list[tuple[str, tuple[Elf, ...]]] = [
        (name, (program,)) for name in [*preloads(environment), *program.needed]
    ]
    for name, owners in waiting:  # grows while it is read
        if name in asked or len(found) == MAX_OBJECTS:
            continue
        library = _find(name, owners, environment)
        if library is None:
            continue
        asked.add(name)
        real = os.path.realpath(library.path)
        if real not in known:
            known.add(real)
            found.append(library)
            waiting += [(needed, (library, *owners)) for needed in library.needed]
    return found


def find(name: str, program: Elf, environment: Mapping[str, str]) -> Elf | None:
    """What the loader takes for `name` when `program` asks for it."""
    return _find(name, (program,), environment)


def _find(name: str, owners: tuple[Elf, ...], environment: Mapping[str, str]) -> Elf | None:
    """`owners` are the object that asks, the one that asked for that, and so on up to the program."""
    for candidate in _candidates(name, owners, environment):
        try:
            library = elf.read(candidate)
        except (elf.BadElf, OSError):
            continue
        if library.same_machine(owners[-1]):
            return library
    return None


def _candidates(name: str, owners: tuple[Elf, ...], environment: Mapping[str, str]) -> Iterator[str]:
    asking = owners[0]
    if "/" in name:
        yield from _expanded([name], asking)
        return
    if not asking.runpath:  # a RUNPATH switches the RPATHs of all its owners off
        for owner in owners:
            if not owner.runpath:
                yield from (os.path.join(place, name) for place in _expanded(owner.rpath, owner))
    for place in _expanded(re.split("[:;]", environment.get("LD_LIBRARY_PATH", "")), owners[-1]):
        yield os.path.join(place, name)
    yield from (os.path.join(place, name) for place in _expanded(asking.runpath, asking))
    yield from _cache().get(name, ())
    yield from (os.path.join(place, name) for place in DEFAULT_DIRECTORIES)
    yield from (os.path.join("/usr", place, name) for place in _lib_directories())


def _expanded(places: Iterable[str], owner: Elf) -> Iterator[str]:
    origin = os.path.dirname(os.path.realpath(owner.path))
    for place in places:
        if "$" not in place:
            yield place
            continue
        at_origin = re.sub(r"\$(ORIGIN\b|\{ORIGIN\})", lambda _: origin, place)
        for directory in _lib_directories():
            yield re.sub(r"\$(LIB\b|\{LIB\})", lambda _, to=directory: to, at_origin)  # type: ignore[misc]


def _lib_directories() -> list[str]:
    """What $LIB may stand for: distributions differ, and only one of these will hold the library."""
    multiarch = sorted(str(path.relative_to("/usr")) for path in Path("/usr/lib").glob("*-linux-gnu*"))
    return [*multiarch, "lib64", "lib"]


@lru_cache(maxsize=1)
def _cache() -> dict[str, list[str]]:
    """Name -> paths, as ldconfig wrote them down for the loader."""
    for reader in CACHE_READERS:
        try:
            listing = subprocess.run(
                [reader, "-p"], stdin=subprocess.DEVNULL, capture_output=True, env={"LC_ALL": "C"}, timeout=10
            ).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        cache: dict[str, list[str]] = {}
        for line in os.fsdecode(listing).splitlines():
            name, arrow, path = line.strip().partition(" => ")
            if arrow:
                cache.setdefault(name.split(" (")[0], []).append(path)
        return cache
    return {}
