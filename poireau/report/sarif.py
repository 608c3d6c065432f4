"""Problems as SARIF 2.1.0, which code hosts and editors show beside the lines."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from poireau.report.problems import Frame, Problem, Stack, text_of
from poireau.text import plain
from poireau.version import __version__

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_HELP = {"leak": "Memory that nothing points at any more when its program ends"}


def document(problems: Sequence[Problem], directory: str | None = None) -> dict[str, Any]:
    """`directory`: files below it are named from there on (the current one)."""
    directory = directory or os.getcwd()
    kinds = list(dict.fromkeys(problem.kind for problem in problems))
    rules = [
        {"id": kind, "shortDescription": {"text": _HELP.get(kind, f"Memory error: {kind.replace('-', ' ')}")}}
        for kind in kinds
    ]
    driver = {"name": "Poireau", "version": __version__, "rules": rules}
    results = [_result(problem, kinds.index(problem.kind), directory) for problem in problems]
    run = {"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(problem: Problem, rule: int, directory: str) -> dict[str, Any]:
    where = problem.where
    related = [_location(stack.frames[0], directory, stack.what) for stack in problem.stacks[1:] if stack.frames]
    functions = "\n".join(frame.function for stack in problem.stacks for frame in stack.frames)
    same = hashlib.sha256(f"{problem.kind}\n{functions}".encode("utf-8", "backslashreplace")).hexdigest()[:32]
    return {
        "ruleId": problem.kind,
        "ruleIndex": rule,
        "level": "error",
        "message": {"text": _text(text_of(problem).rstrip())},
        "locations": [_location(where, directory)] if where is not None else [],
        "relatedLocations": [{"id": number, **each} for number, each in enumerate(related, 1)],
        "stacks": [_stack(stack, directory) for stack in problem.stacks if stack.frames],
        "partialFingerprints": {"poireau/stacks/v1": same},
        "properties": dict(problem.facts),
    }


def _stack(stack: Stack, directory: str) -> dict[str, Any]:
    frames = [
        {"location": _location(frame, directory), "module": _text(os.path.basename(frame.module))}
        for frame in stack.frames
    ]
    return {"message": {"text": _text(stack.what)}, "frames": frames}


def _location(frame: Frame, directory: str, message: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": _text(frame.function), "kind": "function"}]}
    if frame.file:
        region = {"region": {"startLine": frame.line}} if frame.line > 0 else {}
        found["physicalLocation"] = {"artifactLocation": {"uri": _uri(frame.file, directory)}, **region}
    if message:
        found["message"] = {"text": _text(message)}
    return found


def _uri(path: str, directory: str) -> str:
    if not os.path.isabs(path):
        return quote(path.encode("utf-8", "backslashreplace"))
    path = os.path.normpath(path)
    below = os.path.relpath(path, directory)
    named = path if below.startswith("..") else below
    return ("file://" if named == path else "") + quote(named.encode("utf-8", "backslashreplace"))


def _text(text: str) -> str:
    return "\n".join(plain(line) for line in text.split("\n"))
