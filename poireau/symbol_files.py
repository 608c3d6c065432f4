"""Where the symbols of a module are: its file, its debug information, and what that shares with others.

A file is taken only if it is of the module's build, which its build id says (or, of debug information, the checksum
that the module has of it). One that is no longer where it was is looked for by its build id, and in processes that
still have it mapped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from poireau import roots
from poireau.symbol_elf import Facts, Link, NotElf, checksum, look
from poireau.tables import Module

DEBUG = "/usr/lib/debug"
DELETED = " (deleted)"
_MOST_PROCESSES = 64
_MOST_MAPS = 16 << 20  # bytes
_ROOT_OF_PROCESS = re.compile(r"/proc/\d+/root(?=/)")

# What was found, the best first.
COMPLETE, ALONE, SYMBOLS, EXPORTED, NOTHING = "debug", "debug-alone", "symbols", "exported", "nothing"
KINDS = (COMPLETE, ALONE, SYMBOLS, EXPORTED, NOTHING)
LACKS = {
    COMPLETE: "the address lies in no function that its debug information has",
    SYMBOLS: "it has no debug information, and the address lies in none of its functions",
    EXPORTED: "it has no debug information, only the names of what it exports",
    NOTHING: "it has neither debug information nor names",
}

Fetch = Callable[[str, str], "str | None"]  # (build id, "debuginfo" or "executable") -> a file


@dataclass(frozen=True)
class Found:
    kind: str
    binary: str | None = None
    debug: str | None = None  # apart from it
    supplement: str | None = None
    lack: str = ""  # why addresses may have no name, in words


@dataclass(frozen=True)
class _File:
    path: str
    facts: Facts

    @property
    def kind(self) -> str:
        facts = self.facts
        return (
            COMPLETE
            if facts.has_debug
            else SYMBOLS
            if facts.has_symbols
            else EXPORTED
            if facts.has_exported
            else NOTHING
        )


@dataclass(frozen=True)
class Search:
    sysroot: str = ""
    directories: Sequence[str] = ()  # that are like /usr/lib/debug
    processes: Sequence[int] = ()  # ids; which of them still live is found out
    fetch: Fetch | None = None

    def find(self, module: Module) -> Found:
        binary, lack = self._binary(module)
        best = binary
        for file in self._of_debug(module, binary):
            if best is None or KINDS.index(file.kind) < KINDS.index(best.kind):
                best = file
            if best.kind == COMPLETE:
                break
        if best is None:
            return Found(NOTHING, lack=lack)
        found = Found(
            best.kind,
            binary=binary.path if binary else None,
            debug=None if best is binary else best.path,
            lack=LACKS[best.kind],
        )
        if best.kind == COMPLETE and best.facts.supplement is not None:
            return self._with_supplement(found, best.path, best.facts.supplement)
        return found

    def _binary(self, module: Module) -> tuple[_File | None, str]:
        """Or why there is none."""
        path = module.path.removesuffix(DELETED)
        lack = "it is not there"
        for place in self._places(path):
            try:
                candidate = self._led(place)
                facts = look(candidate)
            except FileNotFoundError:
                continue
            except NotElf as error:
                lack = str(error)
            except OSError as error:
                lack = f"it can't be read: {error.strerror}"
            else:
                if facts.build_id == module.build_id:
                    return _File(candidate, facts), ""
                lack = "it is of another build than the one that ran"
        return None, lack

    def _places(self, path: str) -> Iterator[str]:
        if not path.startswith("/") or "\0" in path:
            return
        if self.sysroot:
            yield self.sysroot + path
        yield path
        for process, addresses in self._mapped.get(path, ()):
            yield f"/proc/{process}/root{path}"
            yield f"/proc/{process}/map_files/{addresses}"

    def _led(self, path: str) -> str:
        """Where it leads: below another root, links are meant from there. Raises OSError."""
        process = _ROOT_OF_PROCESS.match(path)
        root = process[0] if process else self.sysroot
        if not root or not path.startswith(root + "/"):
            return path
        place = Path(root if process else os.path.realpath(root))
        return str(roots.without_links(place, path[len(root) :]))

    @cached_property
    def _mapped(self) -> Mapping[str, list[tuple[int, str]]]:
        """Path -> processes that live and have such a file mapped, and where."""
        found: dict[str, dict[int, str]] = {}
        for process in sorted(set(self.processes) - {0})[-_MOST_PROCESSES:]:
            with suppress(OSError), open(f"/proc/{process}/maps", errors="surrogateescape") as maps:
                for line in maps.read(_MOST_MAPS).split("\n"):
                    fields = line.split(None, 5)
                    if len(fields) == 6 and fields[5].startswith("/"):
                        found.setdefault(fields[5].removesuffix(DELETED), {}).setdefault(process, fields[0])
        return {path: list(processes.items()) for path, processes in found.items()}

    @cached_property
    def _debug_directories(self) -> list[str]:
        beyond = [self.sysroot + DEBUG] if self.sysroot else []
        inside = sorted({process for processes in self._mapped.values() for process, _ in processes})
        others = [f"/proc/{process}/root" for process in inside if not _is_our_root(f"/proc/{process}/root")]
        return [*self.directories, *beyond, DEBUG, *(root + DEBUG for root in others)]

    def _of_debug(self, module: Module, binary: _File | None) -> Iterator[_File]:
        """Other files of the same build, in the order of what they cost."""
        if binary is not None and binary.kind == COMPLETE:
            return
        if module.build_id:
            yield from self._checked(self._by_build_id(module.build_id), module.build_id)
        link = binary.facts.debug_link if binary else None
        if binary is not None and link is not None:
            recorded = os.path.dirname(module.path)
            beside = [os.path.dirname(binary.path), *([self.sysroot + recorded] if self.sysroot else []), recorded]
            candidates = [f"{place}/{part}{link.name}" for place in beside for part in ("", ".debug/")]
            candidates += [f"{directory}{recorded}/{link.name}" for directory in self._debug_directories]
            yield from self._checked(candidates, module.build_id, link.checksum)
        if self.fetch is not None and module.build_id:
            for kind in ("debuginfo", *(() if binary else ("executable",))):
                path = self.fetch(module.build_id, kind)
                yield from self._checked([path] if path else [], module.build_id)

    def _by_build_id(self, build_id: str) -> list[str]:
        return [f"{each}/.build-id/{build_id[:2]}/{build_id[2:]}.debug" for each in self._debug_directories]

    def _checked(self, paths: Sequence[str], build_id: str, wanted: int | None = None) -> Iterator[_File]:
        for place in dict.fromkeys(paths):
            with suppress(OSError, NotElf):
                path = self._led(place)
                facts = look(path)
                if facts.build_id == build_id and (wanted is None or checksum(path) == wanted):
                    yield _File(path, facts)

    def _with_supplement(self, found: Found, path: str, link: Link) -> Found:
        beside = os.path.join(os.path.dirname(path), link.name)
        candidates = [*self._by_build_id(link.build_id), *([self.sysroot + beside] if self.sysroot else []), beside]
        fetched = self.fetch(link.build_id, "debuginfo") if self.fetch else None
        file = next(self._checked([*candidates, *([fetched] if fetched else [])], link.build_id), None)
        if file is None:
            return replace(
                found, kind=ALONE, lack=f"part of its debug information is in {link.name}, which is not there"
            )
        return replace(found, supplement=file.path)


def _is_our_root(path: str) -> bool:
    try:
        return os.path.samefile(path, "/")
    except OSError:
        return False
