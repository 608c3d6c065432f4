"""What it takes to become a program with the library preloaded: the same process, its own stdin and stdout."""

from __future__ import annotations

import errno
import os
import re
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from poireau import elf, layout, loader, target
from poireau.errors import NOT_EXECUTABLE, NOT_FOUND, Failure

_SANITIZER = re.compile(r"lib(asan|hwasan|lsan|msan|rtsan|tsan|tysan|ubsan|clang_rt\.\w*san\w*)\b")


@dataclass(frozen=True)
class Launch:
    path: Path
    arguments: tuple[str, ...]  # [0] is the name as it was typed
    environment: dict[str, str]
    warning: str | None  # why the program runs without the library


def inherited_environment() -> dict[str, str]:
    """What we were started with. Python adds LC_CTYPE to its own copy in some locales; the program must not see it."""
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = os.fsdecode(file.read()).split("\0")
    except OSError:
        return dict(os.environ)
    return {name: value for name, equals, value in (entry.partition("=") for entry in entries) if equals}


def run_name(program: str, process: int, now: float, random: str) -> str:
    """What the directory of this run's traces is called, as preload/trace_names.h has it. `random`: hexadecimal."""
    sane = re.sub(r"[^A-Za-z0-9._+-]", "_", os.path.basename(program))[:32] or "unknown"
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{sane}-{process}-{random}"


def plan(command: Sequence[str], options: Mapping[str, str], environment: Mapping[str, str], library: Path) -> Launch:
    """`options` are POIREAU_* variables. Raises Failure when there is no such program or library."""
    path = target.find(command[0], environment)
    try:
        found = target.examine(path, environment, library)
    except elf.BadElf as error:
        raise Failure(f"{library} can't be preloaded: {error}") from error
    if found.obstacle is not None:
        warning = f"{found.program} {found.obstacle}: running it without the shim"
        return Launch(path, tuple(command), dict(environment), warning)
    ours = [library]
    ours += [each for each in (library.parent / layout.extension(f) for f in found.families) if each.is_file()]
    return Launch(path, tuple(command), {**environment, **options, "LD_PRELOAD": _preload(ours, environment)}, None)


def _preload(ours: Iterable[Path], environment: Mapping[str, str]) -> str:
    paths = [str(path) for path in ours]
    for path in paths:
        if " " in path or ":" in path:
            raise Failure(f"{path}: LD_PRELOAD takes no path with a space or a colon; install us elsewhere")
    mine = {layout.LIBRARY, *map(layout.extension, layout.FAMILIES)}
    theirs = [entry for entry in loader.preloads(environment) if os.path.basename(entry) not in mine]
    # A sanitizer's runtime insists on being the first.
    first = [entry for entry in theirs if _SANITIZER.match(os.path.basename(entry))]
    return ":".join([*first, *paths, *(entry for entry in theirs if entry not in first)])


def become(launch: Launch) -> NoReturn:
    """Replaces this process; returns only by raising Failure."""
    # Python ignores these two from its start on, and what is ignored stays so through exec.
    for each in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(each, signal.SIG_DFL)
    try:
        try:
            os.execve(launch.path, launch.arguments, launch.environment)
        except OSError as error:
            if error.errno != errno.ENOEXEC or _is_elf(launch.path):
                raise
            script = [str(target.SHELL), str(launch.path), *launch.arguments[1:]]
            os.execve(target.SHELL, script, launch.environment)
    except OSError as error:
        status = NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE
        raise Failure(f"{launch.path}: {error.strerror}", status) from error
    except ValueError as error:  # a NUL in an argument
        raise Failure(f"{launch.path}: {error}") from error


def _is_elf(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == elf.MAGIC
