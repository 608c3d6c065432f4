"""What `doctor` finds about the machine and this user: what the kernel lets us do, and what else our commands need."""

from __future__ import annotations

import ctypes
import grp
import importlib.util
import mmap
import os
import resource
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from poireau import layout, traces
from poireau.errors import Failure
from poireau.finding import NOTE, OK, Finding
from poireau.text import as_size, plain

_MADV_GUARD_INSTALL = 102
_SYS_USERFAULTFD = 323
_UFFD_USER_MODE_ONLY = 1
_CAP_SYS_PTRACE = 1 << 19
_SMALL = 1 << 30  # bytes of disk
_FOR = {  # packages -> what needs them
    "numpy": "reading traces",
    "pandas": "reading traces",
    "matplotlib": "pictures (flame -o heap.svg, stream)",
    "prompt_toolkit": "the shell",
    "pyarrow": "export parquet",
}


def examine(environment: Mapping[str, str], package: Path, root: Path = Path("/")) -> Iterator[Finding]:
    yield from _kernel()
    yield _scanning(root)
    yield _file_size()
    yield _cores(root)
    yield _traces(environment)
    yield from _lttng(environment, package, root)
    yield _symbols(environment, package, root)
    yield _python(package)


def _kernel() -> Iterator[Finding]:
    """Tried, not asked for by version. What guards are made of in the end is the library's own word."""
    libc = ctypes.CDLL(None, use_errno=True)
    memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    where = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    done = libc.madvise(ctypes.c_void_p(where), ctypes.c_size_t(mmap.PAGESIZE), _MADV_GUARD_INSTALL)
    why = os.strerror(ctypes.get_errno())
    markers = "work" if done == 0 else f"don't ({why}; Linux 6.13 has them): guards are made in another way"
    yield Finding(OK, "guard markers", markers)
    descriptor = libc.syscall(_SYS_USERFAULTFD, os.O_CLOEXEC | os.O_NONBLOCK | _UFFD_USER_MODE_ONLY)
    why = os.strerror(ctypes.get_errno())
    if descriptor >= 0:
        os.close(descriptor)
    yield Finding(OK, "userfaultfd calls", "work" if descriptor >= 0 else f"don't ({why})")


def _scanning(root: Path) -> Finding:
    """Whether `leaks` and `whatis` may read a process's memory."""
    scope = _read(root / "proc/sys/kernel/yama/ptrace_scope") or "0"
    able = _capabilities() & _CAP_SYS_PTRACE != 0
    if able and scope != "3":
        return Finding(OK, "scanning", "we may read the memory of every process (CAP_SYS_PTRACE)")
    if scope == "0":
        return Finding(OK, "scanning", "we may read the memory of this user's processes")
    remedy = {
        "1": "only that of our own children: as root, or sysctl kernel.yama.ptrace_scope=0",
        "2": "only with CAP_SYS_PTRACE: as root, or sysctl kernel.yama.ptrace_scope=0",
    }.get(scope, "nobody may (kernel.yama.ptrace_scope = 3, until the machine starts anew)")
    return Finding(NOTE, "scanning", f"`leaks` and `whatis` read the memory of running processes: {remedy}")


def _capabilities() -> int:
    for line in _read(Path("/proc/self/status")).splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _file_size() -> Finding:
    soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if soft == resource.RLIM_INFINITY:
        return Finding(OK, "file size", "no limit")
    return Finding(NOTE, "file size", f"at most {as_size(soft)}: traces lose what doesn't fit (ulimit -f unlimited)")


def _cores(root: Path) -> Finding:
    soft = resource.getrlimit(resource.RLIMIT_CORE)[0]
    if soft == 0:
        return Finding(NOTE, "core dumps", "none are written here, so none can be looked at (ulimit -c unlimited)")
    return Finding(OK, "core dumps", f"go to {plain(_read(root / 'proc/sys/kernel/core_pattern')) or 'core'}")


def _traces(environment: Mapping[str, str]) -> Finding:
    """Where they go, whether they can, and whether there is room."""
    where = traces.parent(environment)
    there = where
    while not os.path.exists(there) and there != there.parent:
        there = there.parent
    name = plain(str(where))
    if not os.path.isdir(there) or not os.access(there, os.W_OK | os.X_OK):
        remedy = "name another: run --trace DIR, or the option trace"
        return Finding(NOTE, "traces", f"{name} can't be written to: {remedy}")
    disk = os.statvfs(there)
    free = disk.f_bavail * disk.f_frsize
    text = f"in {name}{'' if there == where else ' (made when needed)'}, {as_size(free)} free"
    if free < _SMALL:
        return Finding(NOTE, "traces", f"{text}: lower trace_total, or name a larger disk with run --trace DIR")
    return Finding(OK, "traces", text)


def _lttng(environment: Mapping[str, str], package: Path, root: Path) -> Iterator[Finding]:
    try:
        layout.native("libpoireau-lttng.so", package)
    except Failure:
        yield Finding(NOTE, "LTTng", "libpoireau-lttng.so is not beside the library: sink = lttng records nothing")
        return
    if shutil.which("lttng", path=environment.get("PATH", os.defpath)) is None:
        yield Finding(OK, "LTTng", "not installed (only sink = lttng needs it: apt install lttng-tools)")
        return
    running = any(_read(each / "comm") == "lttng-sessiond" for each in root.glob("proc/[0-9]*"))
    daemon = (
        "its session daemon runs" if running else "its session daemon does not run (poireau lttng start starts one)"
    )
    try:
        group = grp.getgrnam("tracing").gr_gid
        member = os.geteuid() == 0 or group in os.getgroups()
        rights = "" if member else "; we are not in the group tracing, so it is our own daemon only"
    except KeyError:
        rights = ""
    yield Finding(OK, "LTTng", daemon + rights)


def _symbols(environment: Mapping[str, str], package: Path, root: Path) -> Finding:
    try:
        layout.native("libpoireau-symbols.so", package)
    except Failure as failure:
        return Finding(NOTE, "symbols", f"functions stay addresses: {failure}")
    places = [str(each) for each in (root / "usr/lib/debug/.build-id", root / "usr/lib/debug") if each.is_dir()][:1]
    servers = environment.get("DEBUGINFOD_URLS", "").split()
    asked = f"{', '.join(map(plain, servers))} (only with --debuginfod)" if servers else "no DEBUGINFOD_URLS"
    return Finding(OK, "symbols", f"from binaries, {places[0] if places else 'no /usr/lib/debug'}, {asked}")


def _python(package: Path) -> Finding:
    missing = [name for name in _FOR if importlib.util.find_spec(name) is None]
    version = ".".join(map(str, sys.version_info[:3]))
    if not missing:
        return Finding(OK, "Python", f"{version}, with {', '.join(_FOR)}")
    ours = package.parent / ".venv" / "bin" / "python"
    if os.access(ours, os.X_OK):
        return Finding(OK, "Python", f"{version}; what reads traces runs under {ours}")
    uses = ", ".join(dict.fromkeys(_FOR[name] for name in missing))
    remedy = "make setup" if layout.in_checkout() else f"python3 -m pip install {' '.join(missing)}"
    return Finding(NOTE, "Python", f"{version} lacks {', '.join(missing)}, for {uses}: {remedy}")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
