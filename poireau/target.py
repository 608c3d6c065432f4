"""What a program is, as far as preloading goes: what the kernel maps for it, what the loader adds, what stands in
the way."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from poireau import elf, layout, loader
from poireau.elf import Elf
from poireau.errors import NOT_EXECUTABLE, NOT_FOUND, Failure

SHELL = Path("/bin/sh")  # runs a script without a #! line, as execvp(3) has it
MAX_INTERPRETERS = 5
GLIBC_LOADERS = ("ld-linux", "ld64.so", "ld.so")
SANITIZERS = {  # UBSan is not among them: it leaves malloc alone
    "__asan_init": "AddressSanitizer",
    "__hwasan_init": "HWAddressSanitizer",
    "__msan_init": "MemorySanitizer",
    "__tsan_init": "ThreadSanitizer",
    "__lsan_init": "LeakSanitizer",
}


@dataclass(frozen=True)
class Target:
    path: Path  # the file given to execve
    program: Path  # the file the kernel runs for it: the same, or the interpreter of a script
    objects: tuple[Elf, ...]  # the program and the libraries it starts with; empty when it can't be read
    obstacle: str | None  # completes "PROGRAM ..."; None when it can be preloaded
    families: tuple[str, ...]  # allocators whose extensions a library of the program defines

    @property
    def image(self) -> Elf | None:
        return self.objects[0] if self.objects else None

    @property
    def allocator(self) -> Elf | None:
        """The object whose malloc the program's libraries get."""
        return next((each for each in self.objects if each.defines("malloc")), None)


def find(command: str, environment: Mapping[str, str]) -> Path:
    """The file that `command` names, searched for as execvp(3) does."""
    places = [""] if "/" in command else environment.get("PATH", os.defpath).split(":")
    refused = None
    for place in places:
        candidate = os.path.join(place, command)
        if not os.path.exists(candidate):
            continue
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return Path(candidate)
        refused = refused or candidate
    if refused is None or not command:
        raise Failure(f"{command or 'an empty name'}: {os.strerror(errno.ENOENT)}", NOT_FOUND)
    reason = os.strerror(errno.EISDIR) if os.path.isdir(refused) else os.strerror(errno.EACCES)
    raise Failure(f"{refused}: {reason}", NOT_EXECUTABLE)


def examine(path: Path, environment: Mapping[str, str], library: Path) -> Target:
    """`library` is the one to be preloaded: a program for another machine is one it does not fit."""
    program = _program(path, environment)
    try:
        image = elf.read(program)
    except OSError:  # executable but not readable: nothing is known against it
        return Target(path, program, (), _dropped(program), ())
    except elf.BadElf as error:
        return Target(path, program, (), f"can't be examined ({error})", ())
    objects = tuple(loader.objects(image, environment))
    return Target(
        path=path,
        program=program,
        objects=objects,
        obstacle=_obstacle(image, elf.read(library)) or _dropped(program) or _sanitizer(objects),
        families=tuple(name for name, mark in layout.FAMILIES.items() if any(o.defines(mark) for o in objects[1:])),
    )


def _program(path: Path, environment: Mapping[str, str]) -> Path:
    for _ in range(MAX_INTERPRETERS):
        try:
            with open(path, "rb") as file:
                start = file.read(256)
        except OSError:
            return path
        if start.startswith(elf.MAGIC):
            return path
        if not start.startswith(b"#!"):
            path = SHELL
            continue
        words = os.fsdecode(start[2:].split(b"\n", 1)[0]).split(None, 1)
        if not words:
            path = SHELL
            continue
        path = Path(words[0])
        if not path.exists():
            raise Failure(f"{path}, the interpreter of a script: {os.strerror(errno.ENOENT)}", NOT_FOUND)
        if path.name == "env" and len(words) == 2:
            path = _behind_env(words[1], environment) or path
    return path


def _behind_env(arguments: str, environment: Mapping[str, str]) -> Path | None:
    """What `#!/usr/bin/env [-S] [NAME=value] PROGRAM` ends up running."""
    try:
        words = shlex.split(arguments)
    except ValueError:
        return None
    name = next((word for word in words if not word.startswith("-") and "=" not in word), None)
    found = shutil.which(name, path=environment.get("PATH", os.defpath)) if name else None
    return Path(found) if found else None


def _obstacle(image: Elf, ours: Elf) -> str | None:
    if image.bits != ours.bits:
        return f"is a {image.bits}-bit program and the library is {ours.bits}-bit"
    if not image.same_machine(ours):
        return "is a program for another processor"
    if image.interpreter is None and image.soname is None:  # ld.so, run by its name, has no interpreter either
        return "is static and has no loader that could preload"
    if image.interpreter is not None and not os.path.basename(image.interpreter).startswith(GLIBC_LOADERS):
        return f"uses another C library than glibc (its loader is {image.interpreter})"
    return None


def _dropped(program: Path) -> str | None:
    """Why the loader would ignore LD_PRELOAD: the program gains rights that its caller lacks."""
    status = program.stat()
    if os.statvfs(program).f_flag & os.ST_NOSUID:
        return None
    if status.st_mode & stat.S_ISUID and status.st_uid != os.getuid():
        return "is setuid, which makes the loader drop preloads"
    if status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IXGRP and status.st_gid != os.getgid():
        return "is setgid, which makes the loader drop preloads"
    if os.getuid() != 0 and _has_capabilities(program):
        return "has file capabilities, which make the loader drop preloads"
    return None


def _has_capabilities(program: Path) -> bool:
    try:
        return bool(os.getxattr(program, "security.capability"))
    except OSError:
        return False


def _sanitizer(objects: tuple[Elf, ...]) -> str | None:
    try:
        linked_in = elf.section(objects[0], ".strtab")  # gcc's static runtimes export nothing
    except (elf.BadElf, OSError):
        linked_in = b""
    for mark, name in SANITIZERS.items():
        if mark.encode() + b"\0" in linked_in or any(each.defines(mark) for each in objects):
            return f"is built with {name}, which has a malloc of its own to watch"
    return None
