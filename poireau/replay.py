"""Makes a recorded program's calls again, on one allocator after the other, and compares them.

The work is done by poireau-replay (native/replay.cc), a process of its own for each run, under the allocator that is
preloaded. Here runs are put in order and their results read; replay_text.py tells them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poireau import elf, layout, loader
from poireau.errors import Failure
from poireau.text import as_size, plain

if TYPE_CHECKING:
    from poireau.model import Heap

MAGIC = b"POIRCALL"  # native/replay_calls.h
NEEDED = ("malloc", "calloc", "realloc", "free")
C_LIBRARY = re.compile(r"libc\.so\.6|libc-[\d.]+\.so")
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Allocator:
    name: str
    preload: str | None  # None: the C library's own
    recorded: bool = False


@contextlib.contextmanager
def file_of_calls(targets: Sequence[str], pid: int | None) -> Iterator[Path]:
    """The one that was given, or one made of the traces for as long as it takes."""
    if len(targets) == 1 and _is_calls(targets[0]):
        yield Path(targets[0])
        return
    from poireau import opening
    from poireau.report import calls
    from poireau.selection import Selection

    heap = opening.open(targets)
    number = process_of(heap, pid) if pid is not None else calls.busiest(heap)
    if pid is None and len(heap.processes) > 1:
        row = heap.processes.loc[number]
        which = f"{row['pid']} ({plain(str(row['executable']))})"
        print(f"poireau: of {len(heap.processes)} processes the one with most calls: {which}", file=sys.stderr)
    with tempfile.TemporaryFile() as file:  # without a name: whatever ends us, it goes
        calls.write(heap, Selection(processes=(number,)), file)
        yield Path(f"/proc/{os.getpid()}/fd/{file.fileno()}")


def process_of(heap: Heap, pid: int) -> int:
    numbers = heap.processes.index[heap.processes["pid"] == pid]
    if not len(numbers):
        raise Failure(f"no process {pid} is in it; there are {', '.join(map(str, heap.processes['pid']))}")
    return int(numbers[-1])


def _is_calls(target: str) -> bool:
    if not os.path.isfile(target):
        return False
    with open(target, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def look(path: Path) -> Result:
    """What a file of calls says of itself."""
    told = dict(_native(["--check", str(path)], {}))
    facts = dict(line.partition("=")[::2] for line in told["facts"].splitlines())
    return {**told, "facts": facts}


def recorded_allocator(facts: Result) -> Allocator:
    """As far as it can be had again: what is part of a program can't."""
    path = facts["facts"].get("allocator", "")
    name = os.path.basename(path)
    if not path or C_LIBRARY.fullmatch(name):
        return Allocator(name or "libc.so.6", None, True)
    try:
        return Allocator(name, allocator(path).preload, True)
    except Failure as failure:
        print(f"poireau: the recorded allocator can't be had, libc.so.6 takes its place: {failure}", file=sys.stderr)
        return Allocator("libc.so.6", None)


def allocator(name: str) -> Allocator:
    """Raises Failure: there is none of that name, or it is none."""
    native = elf.read(layout.native("poireau-replay"))
    try:
        found = loader.find(name, native, os.environ)
        image = elf.read(os.path.realpath(name)) if found is None else found
    except (OSError, elf.BadElf) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Failure(f"{name}: {reason}") from error
    if C_LIBRARY.fullmatch(os.path.basename(image.path)):
        return Allocator(os.path.basename(name), None)
    lacks = next((each for each in NEEDED if not image.defines(each)), None)
    if not image.same_machine(native) or lacks or image.interpreter is not None:
        reason = f"it has no {lacks}" if lacks else "it is not a library for this machine"
        raise Failure(f"{name} is no allocator: {reason}")
    if re.search("[ :]", str(image.path)):
        raise Failure(f"{name}: LD_PRELOAD takes no path with a space or a colon")
    return Allocator(os.path.basename(name), str(image.path.absolute()))


def memory(facts: Result, given: int | None) -> int:
    """Bytes that a replay may take. Raises Failure where that is not enough."""
    available = _available()
    most = given if given is not None else available // 2
    if facts["peak_bytes"] > most:
        raise Failure(
            f"{as_size(facts['peak_bytes'])} were alive at once, more than "
            + ("--max-memory" if given is not None else f"half of the {as_size(available)} available (--max-memory)")
        )
    return most


def _available() -> int:
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 1 << 30


def perform(path: Path, on: Allocator, options: Sequence[str]) -> Result:
    result = _native([*options, str(path)], {"LD_PRELOAD": on.preload} if on.preload else {})
    if on.preload and not os.path.samefile(result["allocator"] or "/", on.preload):
        raise Failure(f"{on.name} is no allocator: malloc is that of {result['allocator']}")
    return result


def _native(words: Sequence[str], more: Mapping[str, str]) -> Result:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [str(layout.native("poireau-replay")), *words]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**environment, **more}
    ) as process:
        try:
            out, said = process.communicate()
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        last = said.decode(errors="replace").strip().splitlines()[-1:] or [f"it ended with {process.returncode}"]
        raise Failure(last[0].removeprefix("poireau-replay: "))
    try:
        return json.loads(out)  # type: ignore[no-any-return]
    except ValueError as error:
        raise Failure(f"{words[-1]}: what poireau-replay said makes no sense") from error
