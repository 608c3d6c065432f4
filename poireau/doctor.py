"""Whether the library works here, and what it can see of a program: findings in plain words."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from poireau import doctor_machine, doctor_process, elf, guards, layout, loader, options, reach, target
from poireau.errors import Failure
from poireau.finding import NOTE, OK, PROBLEM, Finding
from poireau.target import Target

SCHEMA = "poireau.doctor"
SCHEMA_VERSION = 1
PRELOAD_FILE = Path("/etc/ld.so.preload")
PROBE_SECONDS = 20
REACH_SECONDS = 3.0


def examine(program: str | None, environment: Mapping[str, str], package: Path = layout.PACKAGE) -> list[Finding]:
    try:
        library = layout.library(package)
    except Failure as failure:
        return [Finding(PROBLEM, "library", str(failure)), *_system(environment)]
    about_program: Iterable[Finding] = () if program is None else _program(program, environment, library)
    if program is not None and program.isascii() and program.isdecimal():
        about_program = doctor_process.examine(int(program), library)
    settings = _settings(environment)
    machine = doctor_machine.examine(environment, package)
    return [*_library(library, environment), *settings, *_system(environment), *machine, *about_program]


def healthy(findings: Sequence[Finding]) -> bool:
    return all(finding.level != PROBLEM for finding in findings)


def as_text(findings: Sequence[Finding]) -> str:
    return "".join(f"{finding.level + ':':<9}{finding.about}: {finding.text}\n" for finding in findings)


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": SCHEMA_VERSION,
        "healthy": healthy(findings),
        "findings": [asdict(finding) for finding in findings],
    }


def _library(library: Path, environment: Mapping[str, str]) -> Iterator[Finding]:
    try:
        image = elf.read(library)
    except (elf.BadElf, OSError) as error:
        yield Finding(PROBLEM, "library", f"{library} can't be read: {error}")
        return
    build_id = f", build id {image.build_id}" if image.build_id else ""
    yield Finding(OK, "library", f"{library}, {image.bits}-bit{build_id}")
    loading = _probe(library, environment)
    yield loading
    protecting = _probe(library, {**environment, "POIREAU_PROTECT": "all"}) if loading.level == OK else loading
    walked = re.search(r"stacks by (\w+)", loading.text)
    if walked is not None:
        yield Finding(OK, "unwinder", f"stacks by {walked[1]}")
    if ": version " in loading.text:
        yield _reaching(library, environment)
    yield from guards.examine(f"{loading.text}\n{protecting.text}", environment.get("POIREAU_GUARD_MECHANISM"))
    missing = [family for family in layout.FAMILIES if not (library.parent / layout.extension(family)).is_file()]
    if missing:
        text = f"no library for {', '.join(missing)} beside it: calls of their own functions go unseen"
        yield Finding(NOTE, "extensions", text)
    else:
        yield Finding(OK, "extensions", f"libraries for {', '.join(layout.FAMILIES)} are beside it")


def _probe(library: Path, environment: Mapping[str, str]) -> Finding:
    """Runs `true` under the library and shows what the library says of itself."""
    program = shutil.which("true", path=environment.get("PATH", os.defpath)) or "/bin/true"
    chosen = {name: value for name, value in environment.items() if name not in ("POIREAU_ONLY", "POIREAU_EXCLUDE")}
    chosen |= {"LD_PRELOAD": str(library), "POIREAU_LOG": "info"}
    try:
        done = subprocess.run(
            [program], env=chosen, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(PROBLEM, "loading", f"{program} under the library: {error}")
    said = os.fsdecode(done.stderr).strip()
    if done.returncode != 0:
        return Finding(PROBLEM, "loading", f"{program} under the library ended with {done.returncode}; it said: {said}")
    if "cannot be preloaded" in said:
        return Finding(PROBLEM, "loading", said.splitlines()[0])
    if not said:
        return Finding(NOTE, "loading", f"{program} runs under the library, which said nothing (see `only` and `log`)")
    return Finding(OK, "loading", " / ".join(said.splitlines()))


def _reaching(library: Path, environment: Mapping[str, str]) -> Finding:
    """Whether a program can be spoken to: one that has sampled, and waits for what never comes."""
    ours = {"LD_PRELOAD": str(library), "POIREAU_SAMPLE_PERIOD": "1", "POIREAU_SINK": "none", "POIREAU_LOG": "off"}
    chosen = {name: value for name, value in environment.items() if not name.startswith("POIREAU_")} | ours
    cat = shutil.which("cat", path=environment.get("PATH", os.defpath)) or "/bin/cat"
    try:
        with subprocess.Popen([cat], env=chosen, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
            try:
                reach.reach(process.pid, REACH_SECONDS).connection.close()
            finally:
                process.kill()
    except Failure as failure:
        return Finding(NOTE, "socket", f"a program can't be asked anything: {failure}")
    except OSError as error:
        return Finding(NOTE, "socket", f"{cat}: {error.strerror}")
    return Finding(OK, "socket", "a program that it is in can be asked, by this user and root")


def _settings(environment: Mapping[str, str]) -> Iterator[Finding]:
    """What is wrong in the files and variables that the library reads."""
    try:
        settings, wrong = options.in_force(environment)
    except (Failure, OSError) as failure:
        yield Finding(NOTE, "options", f"unknown: {failure}")
        return
    for line in wrong:
        yield Finding(NOTE, "options", line)
    changed = [f"{each.name} = {each.value}" for each in settings if each.origin != "built-in"]
    yield Finding(OK, "options", f"{', '.join(changed) or 'as built in'} (config show --origin)")


def _system(environment: Mapping[str, str]) -> Iterator[Finding]:
    yield _c_library()
    yield Finding(OK, "kernel", " ".join((os.uname().sysname, os.uname().release, os.uname().machine)))
    yield _preloads("LD_PRELOAD", loader.preloads(environment), "kept, behind ours")
    try:
        listed = PRELOAD_FILE.read_text(errors="replace")
    except FileNotFoundError:
        listed = ""
    except OSError as error:
        yield Finding(NOTE, str(PRELOAD_FILE), f"can't be read: {error.strerror}")
        listed = ""
    entries = re.sub("#.*", "", listed).replace(":", " ").split()
    yield _preloads(str(PRELOAD_FILE), entries, "loaded into everything, behind ours")
    yield _limit("open files", resource.RLIMIT_NOFILE, "")
    for about, which in (("address space", resource.RLIMIT_AS), ("data segment", resource.RLIMIT_DATA)):
        yield _limit(about, which, "; the library's mappings stay under 1/64 of what is free of it")
    yield _seccomp()


def _c_library() -> Finding:
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION")
    except (OSError, ValueError):
        version = None
    if version is None:
        return Finding(NOTE, "C library", "this python3 does not run on glibc; the library serves glibc programs only")
    return Finding(OK, "C library", version)


def _preloads(about: str, entries: Sequence[str], fate: str) -> Finding:
    if not entries:
        return Finding(OK, about, "empty")
    return Finding(NOTE, about, f"{', '.join(entries)} ({fate})")


def _limit(about: str, which: int, remark: str) -> Finding:
    soft, hard = resource.getrlimit(which)
    if soft == resource.RLIM_INFINITY:
        return Finding(OK, about, "no limit")
    text = f"at most {soft}" + ("" if hard == soft else f" (can be raised to {'any' if hard < 0 else hard})")
    return Finding(NOTE if remark else OK, about, text + remark)


def _seccomp() -> Finding:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return Finding(NOTE, "seccomp", "unknown: /proc is not mounted")
    mode = re.search(r"^Seccomp:\s*(\d+)", status, re.MULTILINE)
    if mode is None or mode[1] == "0":
        return Finding(OK, "seccomp", "no filter")
    text = "this shell's programs inherit a system call filter; under one the library makes no unusual system call"
    return Finding(NOTE, "seccomp", text)


def _program(command: str, environment: Mapping[str, str], library: Path) -> Iterator[Finding]:
    try:
        found = target.examine(target.find(command, environment), environment, library)
    except (Failure, elf.BadElf) as error:
        yield Finding(PROBLEM, "program", str(error))
        return
    through = "" if found.program == found.path else f", run by {found.program}"
    yield Finding(OK, "program", f"{found.path}{through}")
    yield from _runtimes(found)
    if found.obstacle is not None:
        yield Finding(PROBLEM, "preload", f"{found.program} {found.obstacle}: `run` leaves it alone")
        return
    if found.image is None:
        yield Finding(NOTE, "preload", f"{found.program} can't be read, so nothing is known about its allocator")
        return
    yield from _allocators(found, library)
    yield _names(found.image)


def _names(image: elf.Elf) -> Finding:
    """Where its functions and lines can be looked up."""
    build_id = image.build_id or ""
    beside = Path("/usr/lib/debug/.build-id", build_id[:2], f"{build_id[2:]}.debug")
    if ".debug_info" in image.sections:
        return Finding(OK, "names", "functions and lines from its own debug information")
    if build_id and beside.is_file():
        return Finding(OK, "names", f"functions and lines from {beside}")
    remedy = "compile it with -g, install its -dbgsym package, or use --debuginfod"
    if ".symtab" in image.sections:
        return Finding(NOTE, "names", f"functions only, without lines: {remedy}")
    return Finding(NOTE, "names", f"it is stripped, so only exported functions have names: {remedy}")


def _runtimes(found: Target) -> Iterator[Finding]:
    needed = {os.path.basename(name) for each in found.objects for name in each.needed}
    if found.image is not None and ".go.buildinfo" in found.image.sections:
        yield _aside("Go", "Go's own heap does not come from malloc; only what C code takes (cgo) could be seen")
    if found.path.name == "java" or any(name.startswith(("libjli.so", "libjvm.so")) for name in needed):
        yield _aside("Java", "its objects do not come from malloc; only what the JVM itself takes could be seen")
    if found.path.name.startswith("wine") or any(name.startswith("libwine.so") for name in needed):
        yield _aside("Wine", "the heaps of Windows programs do not come from malloc; only Wine's own could be seen")


def _aside(runtime: str, why: str) -> Finding:
    return Finding(NOTE, "runtime", f'{runtime}: {why}. The library steps aside unless `runtimes` is "sample"')


def _allocators(found: Target, library: Path) -> Iterator[Finding]:
    allocator = found.allocator
    if allocator is None:
        yield Finding(NOTE, "allocator", "none of its libraries defines malloc")
    elif allocator is found.image:
        text = f"{found.program} defines malloc itself: its calls never reach a preloaded library. Link libpoireau.a"
        yield Finding(PROBLEM, "allocator", text)
    else:
        yield Finding(OK, "allocator", f"malloc comes from {allocator.path}")
    if not found.families:
        yield Finding(OK, "extensions", "it needs none of the extension libraries")
    for family in found.families:
        extension = library.parent / layout.extension(family)
        if extension.is_file():
            yield Finding(OK, "extensions", f"`run` adds {extension.name}, for the calls only {family} has")
        else:
            text = f"it may call functions only {family} has, and {extension.name} is missing: these go unseen"
            yield Finding(PROBLEM, "extensions", text)
