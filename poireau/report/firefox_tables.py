"""The tables of a thread of Firefox Profiler: stacks as a tree over frames, frames over functions, functions over
libraries. Each thread has only what it uses; strings, sources and libraries are the profile's."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau.stacks import Stacks, tree
from poireau.tables import Module

Numbers = NDArray[np.int64]
_LIBRARY = 1  # a kind of resource


class Strings:
    """Numbers in order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def __iter__(self) -> Any:
        return iter(self._numbers)


class Shared:
    def __init__(self, stacks: Stacks) -> None:
        self.strings = Strings()
        self.libraries: list[dict[str, Any]] = []
        self._stacks = stacks
        self._library_of: dict[int, int] = {}
        self._source_of: dict[int, int] = {}

    @property
    def sources(self) -> dict[str, Any]:
        names = [self.strings(self._stacks.names.files[file]) for file in self._source_of]
        return {"length": len(names), "uuid": [None] * len(names), "filename": names}

    def of(self, stacks: Numbers) -> tuple[Numbers, dict[str, dict[str, Any]]]:
        """What these stacks need, and of each stack of all its number among them; below 0: it has none."""
        names = self._stacks.names
        chosen = np.zeros(len(self._stacks), bool)
        chosen[stacks] = True
        # A row of the names is one inlined function at one address, and so one frame.
        nodes = tree(self._stacks, chosen, np.arange(len(names.function)))
        rows, frame = np.unique(self._stacks.places[nodes.place[1:]], return_inverse=True)
        parent = nodes.parent[1:].tolist()
        numbers = np.full(len(self._stacks), -1)
        numbers[chosen] = nodes.node[chosen] - 1
        return numbers, {
            "stackTable": {
                "frame": frame.reshape(-1).tolist(),
                "prefix": [node - 1 if node else None for node in parent],
                "length": len(parent),
            },
            **self._frames(rows),
        }

    def _frames(self, rows: Numbers) -> dict[str, dict[str, Any]]:
        names, tables = self._stacks.names, self._stacks.tables
        count = len(rows)
        ends = np.asarray(names.ends, np.int64)
        frames = np.searchsorted(ends, rows, side="right")
        modules = np.asarray(tables.frame_module, np.int64)[frames]
        # Return addresses; here they are to lie in the calls.
        addresses = np.where(modules > 0, np.asarray(tables.frame_address, np.uint64)[frames].astype(np.int64) - 1, -1)
        lines = np.asarray(names.line, np.int64)[rows]
        columns = np.stack([np.asarray(each, np.int64)[rows] for each in (names.function, names.file)] + [modules])
        functions, function = np.unique(columns, axis=1, return_inverse=True)
        used = np.unique(modules[modules > 0])
        return {
            "frameTable": {
                "address": addresses.tolist(),
                "inlineDepth": (ends[frames] - 1 - rows).tolist(),
                "category": [0] * count,
                "subcategory": [0] * count,
                "func": function.reshape(-1).tolist(),
                "nativeSymbol": [None] * count,
                "innerWindowID": [None] * count,
                "line": [line or None for line in lines.tolist()],
                "column": [None] * count,
                "length": count,
            },
            "funcTable": self._functions(functions.T.tolist(), {module: at for at, module in enumerate(used.tolist())}),
            "resourceTable": {
                "length": len(used),
                "lib": [self._library(module) for module in used.tolist()],
                "name": [self.strings(_name(tables.modules[module])) for module in used.tolist()],
                "host": [None] * len(used),
                "type": [_LIBRARY] * len(used),
            },
            "nativeSymbols": {"libIndex": [], "address": [], "name": [], "functionSize": [], "length": 0},
        }

    def _functions(self, functions: list[list[int]], resources: dict[int, int]) -> dict[str, Any]:
        names, count = self._stacks.names, len(functions)
        return {
            "name": [self.strings(names.functions[function]) for function, _, _ in functions],
            "isJS": [False] * count,
            "relevantForJS": [False] * count,
            "resource": [resources.get(module, -1) for _, _, module in functions],
            "source": [self._source(file) for _, file, _ in functions],
            "lineNumber": [None] * count,
            "columnNumber": [None] * count,
            "length": count,
        }

    def _source(self, file: int) -> int | None:
        return self._source_of.setdefault(file, len(self._source_of)) if file else None

    def _library(self, module: int) -> int:
        if module not in self._library_of:
            self._library_of[module] = len(self.libraries)
            self.libraries.append(_library(self._stacks.tables.modules[module]))
        return self._library_of[module]


def _name(module: Module) -> str:
    return os.path.basename(module.path) or "?"


def _library(module: Module) -> dict[str, Any]:
    name = _name(module)
    return {
        "arch": "x86_64",
        "name": name,
        "path": module.path,
        "debugName": name,
        "debugPath": module.path,
        "breakpadId": breakpad_id(module.build_id),
        "codeId": module.build_id or None,
    }


def breakpad_id(build_id: str) -> str:
    """Of the first 16 bytes a GUID, whose first three numbers are little-endian, and an age of 0."""
    b = build_id.upper().ljust(32, "0")[:32]
    return b[6:8] + b[4:6] + b[2:4] + b[0:2] + b[10:12] + b[8:10] + b[14:16] + b[12:14] + b[16:] + "0"
