"""The table: which weakness is told in which line. Its programs are made of it, of the ways that a pointer takes from
where it goes wrong to where it is used (flows.cc), and of the circumstances in between."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

DOUBLE = r"double free: AT, a freed BLOCK, given to BY"
RESIZE = r"resize of a freed block: AT, a freed BLOCK, given to realloc"
USE = r"use after free: BY at AT, 0 bytes into a freed BLOCK"
WITHIN = r"use after free: BY at AT, \d+ bytes? into a freed BLOCK"
NOWHERE = r"invalid free: AT, where no block is, given to BY"
INSIDE = r"invalid free: AT, BLOCK, given to BY"
OF_CONTAINER = r"\d+-byte block from operator new"

# Weakness: (its line, what BLOCK is there, what BY is).
LINES: dict[str, tuple[str, str, str]] = {
    "415 malloc": (DOUBLE, "100-byte block from malloc", "free"),
    **{
        f"415 malloc of {size}": (DOUBLE, f"{size}-byte block from malloc", "free") for size in (1, 800, 20000, 1000000)
    },
    "415 calloc": (DOUBLE, "100-byte block from calloc", "free"),
    "415 realloc": (DOUBLE, "100-byte block from realloc", "free"),
    "415 strdup": (DOUBLE, r"\d+-byte block from malloc", "free"),
    "415 aligned_alloc": (DOUBLE, "128-byte block from aligned_alloc", "free"),
    "415 resized to nothing": (DOUBLE, "100-byte block from malloc", "free"),
    "415 moved": (DOUBLE, "100-byte block from malloc", "free"),
    "415 resize": (RESIZE, "100-byte block from malloc", ""),
    "415 free and delete": (DOUBLE, "100-byte block from malloc", "operator delete"),
    "415 new": (DOUBLE, "100-byte block from operator new", "operator delete"),
    "415 new[]": (DOUBLE, r"100-byte block from operator new\[\]", r"operator delete\[\]"),
    "415 shallow copy": (DOUBLE, r"100-byte block from operator new\[\]", r"operator delete\[\]"),
    "415 unique_ptr": (DOUBLE, "4-byte block from operator new", "operator delete"),
    "415 shared_ptr": (DOUBLE, "4-byte block from operator new", "operator delete"),
    "416 read": (USE, "100-byte block from malloc", "read"),
    **{f"416 read of {size}": (USE, f"{size}-byte block from malloc", "read") for size in (1, 3000, 1000000)},
    "416 read of calloc": (USE, "100-byte block from calloc", "read"),
    "416 read of new": (USE, "100-byte block from operator new", "read"),
    "416 read inside": (USE.replace("0 bytes", "50 bytes"), "100-byte block from malloc", "read"),
    "416 read of moved": (USE, "100-byte block from malloc", "read"),
    "416 read of resized to nothing": (USE, "100-byte block from malloc", "read"),
    "416 write": (USE, "100-byte block from malloc", "write"),
    "416 write of new[]": (USE, r"100-byte block from operator new\[\]", "write"),
    "416 memcpy": (USE, "100-byte block from malloc", "read"),
    "416 strlen": (USE, "100-byte block from malloc", "read"),
    "416 printf": (USE, "100-byte block from malloc", "read"),
    "416 strcpy": (USE, "100-byte block from malloc", "write"),
    "416 virtual call": (USE, "16-byte block from operator new", "read"),
    "416 call through": (USE, "8-byte block from operator new", "read"),
    "416 returned": (USE, r"\d+-byte block from malloc", "read"),
    "416 assigned to itself": (USE, r"100-byte block from operator new\[\]", "read"),
    "416 write(2)": (USE, "100-byte block from malloc, in write", "read"),
    "416 read(2)": (USE, "100-byte block from malloc, in read", "write"),
    "416 writev(2)": (USE, "100-byte block from malloc, in writev", "read"),
    "416 sendmsg(2)": (USE, "100-byte block from malloc, in sendmsg", "read"),
    "416 open(2)": (USE, "100-byte block from malloc, in open", "read"),
    **{
        f"416 {container}": (WITHIN, OF_CONTAINER, "read")
        for container in (
            *("grown vector", "shrunk vector", "string", "temporary", "map", "unordered_map", "list", "deque"),
            *("unique_ptr", "shared_ptr", "captured"),
        )
    },
    "416 fclose": (USE, r"\d+-byte block from malloc", "read"),
    **{f"590 {place}": (NOWHERE, "", "free") for place in ("stack", "alloca", "static", "constant", "literal")},
    "590 function": (NOWHERE, "", "free"),
    **{f"590 {place} to delete": (NOWHERE, "", "operator delete") for place in ("stack", "static")},
    **{f"590 {place} to delete[]": (NOWHERE, "", r"operator delete\[\]") for place in ("stack", "static")},
    "590 stack to realloc": (NOWHERE, "", "realloc"),
    "761 searched": (INSIDE, "3 bytes into a 100-byte block from malloc", "free"),
    "761 token": (INSIDE, r"\d+ bytes into a 100-byte block from malloc", "free"),
    "761 one on": (INSIDE, "1 byte into a 100-byte block from malloc", "free"),
    "761 sixteen on": (INSIDE, "16 bytes into a 100-byte block from malloc", "free"),
    "761 last": (INSIDE, "99 bytes into a 100-byte block from malloc", "free"),
    "761 page on": (INSIDE, "4096 bytes into a 20000-byte block from malloc", "free"),
    "761 calloc": (INSIDE, "8 bytes into a 100-byte block from calloc", "free"),
    "761 delete": (INSIDE, "16 bytes into a 100-byte block from operator new", "operator delete"),
    "761 delete[]": (INSIDE, r"3 bytes into a 100-byte block from operator new\[\]", r"operator delete\[\]"),
    "761 realloc": (INSIDE, "16 bytes into a 100-byte block from malloc", "realloc"),
}
FLOWS = re.findall(r'^    \{"([^"]+)",', (HERE / "flows.cc").read_text(), re.MULTILINE)
CIRCUMSTANCES = re.findall(r'^    \{"([^"]+)", (?:true|false)', (HERE / "weaknesses.cc").read_text(), re.MULTILINE)
STRAIGHT, NOW = "straight", "now"
CALLS = ("416 virtual call", "416 call through")
TWINS = ("good source", "good sink")
OF_EACH_KIND = ("415 malloc", "415 new[]", "416 read", "416 grown vector", "590 stack", "590 static", "761 searched")


@dataclass(frozen=True)
class Case:
    weakness: str
    flow: str
    circumstance: str
    kind: str  # bad, or which part of it is good

    @property
    def arguments(self) -> list[str]:
        return [self.weakness, self.flow, self.circumstance, self.kind]

    @property
    def aged(self) -> bool:
        return "aged" in self.circumstance

    @property
    def lost(self) -> bool:
        """It goes where the block says, and what the block held may be gone."""
        return self.weakness in CALLS and self.kind == "bad" and (self.aged or "in a child" in self.circumstance)


def line_of(case: Case, address: str) -> str:
    """The regular expression of what is said first, without whose line it is."""
    if case.kind != "bad":
        return ""
    line, block, by = LINES[case.weakness]
    if case.aged:
        line = line.replace("a freed BLOCK", "(?:a freed BLOCK|a block freed long ago)")
    return line.replace("AT", address).replace("BLOCK", block).replace("BY", by)


def cases(everything: bool) -> list[Case]:
    """Each weakness, each flow and each circumstance; or each with each."""
    kinds = ("bad", *TWINS)
    if everything:
        return [Case(*each) for each in itertools.product(LINES, FLOWS, CIRCUMSTANCES, kinds)]
    chosen = [Case(weakness, STRAIGHT, NOW, kind) for weakness in LINES for kind in kinds]
    chosen += [Case(weakness, flow, NOW, "bad") for weakness in OF_EACH_KIND for flow in FLOWS]
    chosen += [Case(weakness, flow, NOW, kind) for weakness in OF_EACH_KIND[:3:2] for flow in FLOWS for kind in TWINS]
    chosen += [Case(*each) for each in itertools.product(OF_EACH_KIND, [STRAIGHT], CIRCUMSTANCES, kinds)]
    return list(dict.fromkeys(chosen))
