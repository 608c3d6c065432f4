"""What is known and accepted: rules that keep leaks, and memory errors, out of a report.

Files are LeakSanitizer's, so that it, heaptrack and this read the same ones. A line is empty, a comment, or

    leak:PATTERN

which is meant for stacks that have PATTERN in a function, a file or a module's path, anywhere; `*` stands for any text,
`^` at the beginning and `$` at the end tie it down. Before the colon there may also be the kind of a memory error,
use-after-free, double-free and so on, or `error` for any of them. What those other tools take for a comment may say
more of the rule that follows it:

    #: until=2027-03-01 max=1MiB site reason=filled once, at the start
    leak:^load_tables$

    until   the last day on which it suppresses anything
    max     if all that it suppresses is more than this, it suppresses nothing
    site    only where PATTERN is what asks for the memory (see stacks.py), not merely among its callers
    reason  for people, to the end of the line

Valgrind's blocks are understood as well (suppressed_frames.py). A stack belongs to the first rule that is meant for it
and has room. What is wrong in a file is a usage error: who misspells a rule should hear of it before the release does.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from poireau.errors import USAGE, Failure
from poireau.stacks import NOWHERE, Flags, Stacks
from poireau.suppressed_frames import Block, Blocks, has_frames
from poireau.text import as_size, plain

LEAK, ANY_ERROR = "leak", "error"
ERRORS = (  # as the library calls them (preload/report_text.cc)
    "use after free,overflow,underflow,wild access,double free,invalid free,resize of a freed block,"
    "mismatched release,wrong size,short underflow,short overflow,write after free"
).split(",")
NOBODY = -1
_LEARNED = "learned "
_MOST_BYTES = 4 << 20
_SHOWN = 5
_SLACK = 1.25
_OF_LEAKS = ("function", "bytes_high", "known", "place")  # columns
_SIZE = re.compile(r"(\d{1,15})(?:([KMGT])(iB|i|B)?|B)?", re.IGNORECASE)
_NOTE = re.compile(r"(?:(until|max)=(\S+)|(site)|(reason)=(.*))(?:\s+|$)", re.DOTALL)


@dataclass(frozen=True)
class Rule:
    kind: str  # LEAK, ANY_ERROR or one of ERRORS
    pattern: str
    origin: str  # file:line
    reason: str = ""
    expires: date | None = None
    max_bytes: int | None = None
    site: bool = False
    frames: tuple[str, ...] = ()  # of a valgrind block

    @property
    def text(self) -> str:
        return f"{kind_of(self.kind)}:{self.pattern}"

    def is_for(self, kind: str) -> bool:
        return self.kind == kind or (self.kind == ANY_ERROR and kind != LEAK)

    def among(self, stacks: Stacks) -> Flags:
        """Of each stack, whether it is meant."""
        if self.frames:
            return has_frames(stacks, self.frames)
        places = stacks.found(expression(self.pattern))
        if self.site:
            sites = stacks.sites(stacks.wrappers())
            there = np.zeros(len(places), bool)
            there[sites[sites != NOWHERE]] = True
            places &= there
        return stacks.having(places)


@dataclass(frozen=True)
class Suppressions:
    rules: tuple[Rule, ...] = ()
    today: date = field(default_factory=date.today)

    def of(
        self, stacks: Stacks, numbers: NDArray[Any], bytes: NDArray[Any] | None = None, kind: str = LEAK
    ) -> NDArray[np.int64]:
        """Of stacks by number, the number of the rule that suppresses each; NOBODY: none does. `bytes`: what each of
        them has at the least, for rules that have a limit."""
        found = np.full(len(numbers), NOBODY, np.int64)
        for number, rule in enumerate(self.rules):
            if not rule.is_for(kind) or self.is_over(rule) or not len(numbers):
                continue
            meant = rule.among(stacks)[np.asarray(numbers, np.int64)] & (found == NOBODY)
            if rule.max_bytes is not None and bytes is not None and bytes[meant].sum() > rule.max_bytes:
                continue
            found[meant] = number
        return found

    def is_over(self, rule: Rule) -> bool:
        return rule.expires is not None and rule.expires < self.today

    def news(self, used: Iterable[int], kinds: Sequence[str] = (LEAK,)) -> list[str]:
        """A line for each rule of these kinds that has expired, or that nothing was suppressed by. `used`: numbers of
        rules, NOBODY among them perhaps."""
        there = set(used)
        lines = []
        for number, rule in enumerate(self.rules):
            if number in there or not any(rule.is_for(kind) for kind in kinds):
                continue
            if self.is_over(rule):
                lines.append(f"{plain(rule.origin)}: {plain(rule.text)} expired on {rule.expires}")
            else:
                beyond = f", or is more than {as_size(rule.max_bytes)}" if rule.max_bytes is not None else ""
                lines.append(f"{plain(rule.origin)}: {plain(rule.text)}: nothing is like that{beyond}")
        return lines


def read(paths: Iterable[str | os.PathLike[str]], today: date | None = None) -> Suppressions:
    """Raises Failure: a file can't be read, or something in it is wrong."""
    rules: list[Rule] = []
    wrong: list[str] = []
    for path in paths:
        _parse(_content(Path(path)), os.fspath(path), rules, wrong)
    if wrong:
        others = [complaint.partition(": ")[0] for complaint in wrong[1 : 1 + _SHOWN]]
        more = f"; {len(wrong) - 1} more: {', '.join(others)}{', ...' if len(wrong) > 1 + _SHOWN else ''}"
        raise Failure(wrong[0] + (more if others else ""), USAGE)
    return Suppressions(tuple(rules), today or date.today())


def learn(path: str | os.PathLike[str], found: pd.DataFrame, today: date | None = None) -> list[Rule]:
    """Appends a rule for the site of each row of a table of leaks (leaks.py) that no rule covers: what it holds at the
    most, and a quarter more, since no run is like another, is known from today on. What the file says is kept, and a
    limit that was learned before is raised. Returns what was added or changed."""
    today = today or date.today()
    at = Path(os.path.realpath(path))
    before = _content(at) if at.exists() else ""
    known: list[Rule] = []
    wrong: list[str] = []
    lines = before.splitlines()
    _parse(before, os.fspath(path), known, wrong)
    if wrong:
        raise Failure(wrong[0], USAGE)
    changed: list[Rule] = []
    for pattern, most in _held(found).items():
        own = [rule for rule in known if (rule.kind, rule.pattern, rule.site) == (LEAK, pattern, True)]
        if any((rule.expires is None or rule.expires >= today) and _has_room(rule, most) for rule in own):
            continue
        rule = Rule(LEAK, pattern, os.fspath(path), f"{_LEARNED}{today}", max_bytes=most, site=True)
        notes = f"#: max={most} site reason={rule.reason}"
        learned = next((each for each in own if each.reason.startswith(_LEARNED)), None)
        row = None if learned is None else int(learned.origin.rpartition(":")[2]) - 1
        if row is not None and row > 0 and _LEARNED in lines[row - 1]:
            lines[row - 1] = notes
        else:
            lines += [notes, rule.text]
        changed.append(rule)
    if changed:
        _write(at, "".join(f"{line}\n" for line in lines))
    return changed


def bytes_of(text: str) -> int | None:
    """1MiB, 1M and 1Mi are 1048576, 1MB is 1000000, as for the library's options; None: it is no size."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    number, unit, kind = match.groups()
    power = "KMGT".index(unit.upper()) + 1 if unit else 0
    base: int = 1000 if (kind or "").upper() == "B" else 1024
    return int(number) * int(base**power)


def kind_of(error: str) -> str:
    """As it is written before the colon."""
    return error.replace(" ", "-")


def expression(pattern: str) -> re.Pattern[str]:
    body, tied, _ = pattern.removeprefix("^").partition("$")
    any_text = ".*".join(re.escape(part) for part in re.split(r"\*+", body))
    return re.compile((r"\A" if pattern.startswith("^") else "") + any_text + (r"\Z" if tied else ""), re.DOTALL)


def _content(path: Path) -> str:
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", USAGE) from error
    if len(text) > _MOST_BYTES:
        raise Failure(f"{path}: more than {as_size(_MOST_BYTES)} of suppressions", USAGE)
    return text


def _parse(text: str, name: str, rules: list[Rule], wrong: list[str]) -> None:
    notes: Mapping[str, Any] = {}
    blocks = Blocks()
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        origin = f"{name}:{number}"
        try:
            if blocks.takes(line):
                block = blocks.add(line)
                if block is not None:
                    rules.append(_of_block(block, origin, notes))
                    notes = {}
            elif line.startswith("#:"):
                notes = _notes(line[2:].strip())
            elif line and not line.startswith("#"):
                rules.append(_rule(line, origin, notes))
                notes = {}
        except ValueError as error:
            notes = {}
            wrong.append(f"{plain(origin)}: {plain(str(error))}")
    if blocks.inside:
        wrong.append(f"{plain(name)}:{len(text.splitlines())}: a block that does not end")


def _rule(line: str, origin: str, notes: Mapping[str, Any]) -> Rule:
    kind, colon, pattern = line.partition(":")
    kinds = {LEAK: LEAK, ANY_ERROR: ANY_ERROR, **{kind_of(error): error for error in ERRORS}}
    if not colon or kind not in kinds:
        raise ValueError(f"{line[:60]}: it should read leak:PATTERN, error:PATTERN, use-after-free:PATTERN, ...")
    if not pattern.strip("*^$ "):
        raise ValueError(f"{line[:60]}: that would be everything")
    return Rule(kinds[kind], pattern, origin, **notes)


def _of_block(block: Block, origin: str, notes: Mapping[str, Any]) -> Rule:
    kind = LEAK if block.is_leak else ANY_ERROR
    return Rule(kind, block.name, origin, **{"reason": block.name, **notes, "frames": block.frames})


def _notes(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    at = 0
    while at < len(text):
        match = _NOTE.match(text, at)
        if match is None:
            raise ValueError(f"{text[at : at + 40]}: notes are until=2027-03-01, max=1MiB, site, reason=...")
        name, value, site, reason, words = match.groups()
        if site:
            found["site"] = True
        elif reason:
            found["reason"] = words.strip()
        elif name == "max":
            size = bytes_of(value)
            if size is None:
                raise ValueError(f"max={value[:40]} is no size: 1MiB, 500KB")
            found["max_bytes"] = size
        else:
            with contextlib.suppress(ValueError):
                found["expires"] = date.fromisoformat(value)
            if "expires" not in found:
                raise ValueError(f"until={value[:40]} is no date: 2027-03-01")
        at = match.end()
    return found


def _held(found: pd.DataFrame) -> dict[str, int]:
    """Patterns of sites, and the most that they hold, all lines of one together."""
    held: dict[str, float] = {}
    for function, high, known, place in zip(*(found[name].tolist() for name in _OF_LEAKS)):
        if not known and place != NOWHERE:
            # What has a meaning of its own in a pattern, or would end it, is matched as any text is.
            name = "".join("*" if c == "$" or not c.isprintable() else c for c in function)
            pattern = f"^{name.strip()}$"
            held[pattern] = held.get(pattern, 0.0) + high
    return {pattern: math.ceil(_SLACK * high) for pattern, high in held.items()}


def _has_room(rule: Rule, most: int) -> bool:
    return rule.max_bytes is None or rule.max_bytes >= most


def _write(path: Path, text: str) -> None:
    """All or nothing."""
    try:
        mode = os.stat(path).st_mode & 0o7777 if path.exists() else 0o666 & ~_umask()
        number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with open(number, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
