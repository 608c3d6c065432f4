"""A heap without the words of the program it tells of: in their place are pseudonyms.

A pseudonym is a keyed hash of what it stands for, so that one text has one pseudonym, and who lacks the key can't try
words out. With a new key for each export nobody can; with the same one two exports can be compared.

Pseudonyms stand for the names of functions, of source files, modules, executables, threads and hosts, for directories,
and for the values of options that are words of their own. What says where in memory something was is 0. What stays
are numbers, times, structure, line numbers, and the build ids and offsets of modules: they mean something only to who
has the same binaries.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau.errors import USAGE, Failure
from poireau.events import KINDS
from poireau.model import Batch, Columns, Heap, Source
from poireau.naming import addresses
from poireau.selection import Selection
from poireau.tables import Loss, Names, Tables

LEAST_KEY, MOST_KEY = 16, 64
IN_MEMORY = {"address", "base", "begin"}
_HASHED = {"arguments"}  # without a key
_FALLBACK = re.compile(r"(.+)(\+0x[0-9a-f]+)", re.DOTALL)
_NO_SECRET = re.compile(
    r"[0-9.]*[KMGT]?i?B?|on|off|auto|bytes|calls|governed|all|none|error|info|debug|full|read|continue|report|abort|ctf|"
    r"lttng|both|rows|libgcc|libunwind|fp|slots|gib|markers|userfaultfd|mprotect|include|exclude|strip|keep|step_aside|sample"
)
_PATH = re.compile(r"\S*[/\\]\S*")


@dataclass(frozen=True)
class Pseudonyms:
    key: bytes
    _known: dict[tuple[str, str], str] = field(default_factory=dict, repr=False, compare=False)
    _programs: set[str] = field(default_factory=set, repr=False, compare=False)

    def of(self, kind: str, text: str) -> str:
        if not text:
            return text
        known = self._known.get((kind, text))
        if known is None:
            said = f"{kind}\0{text}".encode("utf-8", "surrogatepass")
            known = f"{kind}_{blake2b(said, key=self.key, digest_size=6).hexdigest()}"
            self._known[kind, text] = known
        return known

    def function(self, text: str) -> str:
        """Where only its module is known of a frame, its offset in that stays."""
        match = _FALLBACK.fullmatch(text)
        return self.of("function", text) if match is None else self.module(match[1]) + match[2]

    def file(self, text: str) -> str:
        return self.of("file", text)

    def module(self, path: str) -> str:
        """Of a file, wherever it lies; of a program, as its processes name it."""
        if path in self._programs:
            return self.program(path)
        return self.of("module", os.path.basename(path) or path)

    def program(self, path: str) -> str:
        self._programs.add(path)
        return self.of("executable", path)

    def option(self, value: str) -> str:
        return value if _NO_SECRET.fullmatch(value) else self.of("value", value)

    def options(self, lines: str) -> str:
        pairs = (line.partition("=") for line in lines.split("\n"))
        return "\n".join(name + equals + self.option(value) for name, equals, value in pairs)

    def loss(self, loss: Loss, modules: Mapping[str, str]) -> Loss:
        """Its cause is in our words, but for the names of files."""
        cause = _PATH.sub(lambda match: self.of("path", match[0]), loss.cause)
        for name in sorted(modules, key=len, reverse=True):
            cause = cause.replace(name, modules[name])
        return replace(loss, cause=cause)

    def names(self, names: Names, modules: Mapping[str, str]) -> Names:
        return replace(
            names,
            functions=[self.function(each) for each in names.functions],
            files=[self.file(each) for each in names.files],
            missing=[self.loss(each, modules) for each in names.missing],
        )

    def undone(self, processes: pd.DataFrame) -> pd.DataFrame:
        """For who is here and has the key."""
        known = {pseudonym: text for (_, text), pseudonym in self._known.items()}
        names = {name: [known.get(each, each) for each in processes[name]] for name in ("executable", "host")}
        return processes.assign(**names)

    def selection(self, selection: Selection, heap: Heap) -> Selection:
        """That asks the redacted heap what `selection` asks `heap`."""
        for path in heap.processes["executable"]:
            self.program(path)
        some = selection.focus or selection.ignore or selection.hide or selection.wrappers
        tables = heap.source.tables()
        names = _names(heap, tables, None) if some else None

        def pattern(original: str) -> str:
            if not original or names is None:
                return original
            search = re.compile(original).search
            kinds: list[tuple[Callable[[str], str], Iterator[str]]] = [
                (self.function, iter(names.functions)),
                (self.file, iter(names.files)),
                (self.module, (module.path for module in tables.modules)),
            ]
            found = {shown(text) for shown, texts in kinds for text in texts if text and search(text)}
            return f"^(?:{'|'.join(map(re.escape, sorted(found)))})$" if found else "^(?!)"

        return replace(
            selection,
            threads=tuple(each if each.isdecimal() else self.of("thread", each) for each in selection.threads),
            focus=pattern(selection.focus),
            ignore=pattern(selection.ignore),
            hide=pattern(selection.hide),
            wrappers=pattern(selection.wrappers),
        )


class Redacted:
    """A source that says what another one says."""

    def __init__(self, source: Source, pseudonyms: Pseudonyms) -> None:
        self._source = source
        self._pseudonyms = pseudonyms
        self._strings = [""]
        self._numbers: dict[str, NDArray[np.int64]] = {}  # by what is made of a text: old number -> new one, or -1
        known = pseudonyms
        self._made: dict[tuple[str, str], tuple[str, Callable[[str], str]]] = {
            ("process", "executable"): ("executable", known.program),
            ("process", "host"): ("host", lambda text: known.of("host", text)),
            ("process", "allocator"): ("module", known.module),
            ("process", "options"): ("options", known.options),
            ("module", "path"): ("module", known.module),
            ("thread", "name"): ("thread", lambda text: known.of("thread", text)),
            ("option", "value"): ("option", known.option),
        }

    def batches(self) -> Iterator[Batch]:
        for batch in self._source.batches():
            yield {kind: self._columns(kind, columns) for kind, columns in batch.items()}

    def tables(self) -> Tables:
        tables = self._source.tables()
        modules = self.module_names()
        nowhere = np.asarray(tables.frame_module) == 0
        return replace(
            tables,
            strings=list(self._strings),
            modules=[replace(each, path=self._pseudonyms.module(each.path)) for each in tables.modules],
            frame_address=np.where(nowhere, 0, np.asarray(tables.frame_address)),
            sources=[self._pseudonyms.of("source", each) for each in tables.sources],
            losses=[self._pseudonyms.loss(each, modules) for each in tables.losses],
        )

    def module_names(self) -> dict[str, str]:
        """What other words of a loss may be: the names that files have without their directories."""
        names = {os.path.basename(each.path) for each in self._source.tables().modules}
        return {name: self._pseudonyms.module(name) for name in names if name}

    def _columns(self, kind: str, columns: Columns) -> Columns:
        shown = dict(columns)
        for name, type_ in KINDS.get(kind, {}).items():
            if name in IN_MEMORY or name in _HASHED:
                shown[name] = np.zeros_like(columns[name])
            elif type_ in ("text", "bytes"):
                shown[name] = self._renumbered(kind, name, columns[name])
        return shown

    def _renumbered(self, kind: str, name: str, numbers: NDArray[np.integer]) -> NDArray[np.integer]:
        """Texts that have no pseudonym are ours, and stay."""
        what, make = self._made.get((kind, name), ("ours", str))
        known = self._numbers.get(what, np.zeros(1, np.int64))
        most = int(numbers.max(initial=0))
        if most >= len(known):
            known = np.concatenate([known, np.full(most + 1 - len(known), -1)])
            self._numbers[what] = known
        new = np.unique(numbers[known[numbers] < 0])
        if len(new):
            strings = self._source.tables().strings
            for number in new.tolist():
                known[number] = len(self._strings)
                self._strings.append(make(strings[number]))
        renumbered: NDArray[Any] = known[numbers].astype(numbers.dtype)
        return renumbered


def redacted(heap: Heap, pseudonyms: Pseudonyms) -> Heap:
    source = Redacted(heap.source, pseudonyms)

    def names(tables: Tables, frames: NDArray[Any] | None) -> Names:
        return pseudonyms.names(_names(heap, heap.source.tables(), frames), source.module_names())

    return Heap(source, names, heap.running)


def _names(heap: Heap, tables: Tables, frames: NDArray[Any] | None) -> Names:
    """As of now: what `heap` has kept is older where only the redacted one reads on."""
    return (heap.symbolize(tables, frames) if heap.symbolize is not None else None) or addresses(tables)


def new_key() -> bytes:
    return secrets.token_bytes(32)


def key_of(file: Path) -> bytes:
    """What is in it; a new one is made should it not be there. Raises Failure."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        key = file.read_bytes()
        if len(key) < LEAST_KEY:
            raise Failure(f"{file}: a key has at least {LEAST_KEY} bytes", USAGE) from None
        return key if len(key) <= MOST_KEY else blake2b(key).digest()
    key = new_key()
    with os.fdopen(descriptor, "wb") as out:
        out.write(key)
    return key
