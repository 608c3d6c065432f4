"""What a program may be confined to: an address space, memory that never leaves, the system calls it needs and those
that our README lists."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.conftest import ROOT, traces

FILTERS = ["filter from outside", "filter from inside"]
NAMES = ["address space", "locked", *FILTERS]
ULIMIT = ("bash", "-c", 'ulimit -v 4000000 && exec "$@"', "bash")
LOCK_ALL = ("bash", "-c", 'ulimit -l unlimited 2> /dev/null; exec "$@"', "bash")  # root may lock more anyway
# Whether a program comes to these is a matter of moments, or of who else has asked its malloc for something.
ANY_TIME = [
    *("futex", "restart_syscall", "sched_yield", "nanosleep", "clock_nanosleep", "rt_sigreturn"),
    *("brk", "mmap", "munmap", "mremap", "mprotect", "madvise"),
    *("exit", "exit_group"),  # which are not counted, since they don't return
    *("execve", "prctl"),  # of the test itself, to put the filter there or find it there
]


@dataclass(frozen=True)
class Limit:
    """A command before the program's own, libraries, variables."""

    name: str = ""
    command: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


UNLIMITED = Limit()


def numbers() -> dict[str, int]:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)", header)}


def listed() -> set[str]:
    """The system calls that the README admits to."""
    section = (ROOT / "README.md").read_text().partition("\n## What it does to the process\n")[2].partition("\n## ")[0]
    known = numbers()
    return {name for name in re.findall(r"`(\w+)(?:\([^`]*\))?`", section) if name in known}


def watched(log: Path) -> Limit:
    """Writes down which system calls the program makes."""
    return Limit("watched", ("strace", "-D", "-f", "-qq", "-c", "-U", "name", "-S", "name", "-o", str(log)))


def calls_in(log: Path) -> set[str]:
    deadline = time.monotonic() + 60
    while not (log.is_file() and "total" in log.read_text()):  # the watcher ends after the program
        assert time.monotonic() < deadline, f"no {log}"
        time.sleep(0.05)
    return set(re.findall(r"^(\w+)$", log.read_text(), re.MULTILINE)) & numbers().keys()


@dataclass(frozen=True)
class Limits:
    """All of them, by name."""

    program: Callable[..., Path]  # compiles one of tests/programs
    directory: Path

    @cached_property
    def _calls(self) -> dict[str, set[str]]:
        return {}

    def calls_of(self, what: str, run: Callable[[Limit], object]) -> set[str]:
        if what not in self._calls:
            log = self.directory / f"{what}.calls"
            run(watched(log))
            self._calls[what] = calls_in(log)
        return self._calls[what]

    def make(self, name: str, what: str, run: Callable[[Limit], object]) -> Limit:
        """`run` runs the program called `what` under a limit, without us."""
        if name == "":
            return UNLIMITED
        if name == "address space":
            return Limit(name, ULIMIT)
        if name == "locked":
            return Limit(name, LOCK_ALL, (str(self.program("locked.c", "-shared")),))
        known = numbers()
        allowed = self.calls_of(what, run) | listed() | set(ANY_TIME)
        # Who names a directory for traces says that files may be made: here nobody does.
        unnamed = (("POIREAU_TRACE", ""), ("XDG_STATE_HOME", traces()))
        environment = (("BOXED_ALLOWS", ",".join(str(known[each]) for each in sorted(allowed))), *unnamed)
        if name == "filter from outside":
            return Limit(name, (str(self.program("boxed.c")),), (), environment)
        assert name == "filter from inside"
        return Limit(name, (), (str(self.program("boxed.c", "-shared", "-DINSIDE")),), environment)
