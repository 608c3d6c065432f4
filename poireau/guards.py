"""What this machine gives guarded blocks: a mechanism that makes pages fault, and limits on mappings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from poireau.finding import NOTE, OK, Finding

_REASONS = {  # mechanism -> when `auto` takes it, and what it gives
    "markers": (OK, "the kernel has guard markers (Linux 6.13); any number of blocks"),
    "userfaultfd": (OK, "taken where guard markers (Linux 6.13) do not work; any number of blocks"),
    "mprotect": (NOTE, "taken where neither guard markers nor userfaultfd work; few blocks, for each takes mappings"),
    "none": (NOTE, "taken where nothing else works; blocks are checked when freed, but no access faults"),
}
_ENGINES = {  # of remapped homes -> what it gives
    "markers": (OK, "guard markers (Linux 6.13) close freed blocks one by one; what it takes to close a run, too"),
    "userfaultfd": (OK, "userfaultfd closes freed blocks one by one"),
    "runs": (NOTE, "neither guard markers nor userfaultfd work on shared memory: freed blocks become unreadable with "
     "their neighbours"),
    "guards": (NOTE, "blocks can't share memory here: each has pages of its own, with guards"),
    "none": (NOTE, "no block can be protected here"),
}  # fmt: skip
_ENGINE = re.compile(r"\b(protecting all|samples remapped) by (\w+)")
_USED = re.compile(r"\bguards by (\w+)")


def examine(said: str, forced: str | None, root: Path = Path("/")) -> Iterator[Finding]:
    """`said` is what the library said of itself, `forced` the mechanism asked for; `root` has a proc and a sys."""
    used = _USED.search(said)
    if used is not None:
        yield _mechanism(used[1], forced)
    engine = _ENGINE.search(said)
    if engine is not None:
        level, reason = _ENGINES.get(engine[2], (OK, "as the library says"))
        name = "protect = all" if engine[1] == "protecting all" else "placement = remap"
        yield Finding(level, name, f"by {engine[2]}: {reason}")
    mappings = _read(root / "proc/sys/vm/max_map_count")
    yield Finding(OK, "mappings", f"at most {mappings or 'an unknown number'} a process")
    if _read(root / "proc/sys/vm/overcommit_memory") == "2":
        yield Finding(
            NOTE,
            "overcommit",
            "never (vm.overcommit_memory = 2); the library's mappings stay under 1/64 of what is free",
        )
    else:
        yield Finding(OK, "overcommit", "mappings cost nothing before they are used")
    huge = re.search(r"\[(\w+)\]", _read(root / "sys/kernel/mm/transparent_hugepage/enabled"))
    yield Finding(OK, "huge pages", f"{huge[1] if huge else 'never'}; blocks below 2 MiB get small pages all the same")
    if _read(root / "proc/sys/vm/unprivileged_userfaultfd") == "0":
        yield Finding(OK, "userfaultfd", "for faults of user code only, which is enough")


def _mechanism(used: str, forced: str | None) -> Finding:
    level, reason = _REASONS.get(used, (OK, "as the library says"))
    if forced not in (None, "auto", used):
        level, reason = NOTE, f"guard_mechanism asks for {forced}, which does not work here"
    return Finding(level, "guards", f"by {used}: {reason}")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
