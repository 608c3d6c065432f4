"""`make bench-peers`: the same programs under libpoireau.so and under every peer that is installed.

A peer that brings its own allocator is also run with its profiler off, so that the allocator's speed
can be told from the profiler's price. heaptrack's figure is the target's share alone: its trace goes
to /dev/null, the interpreter that usually compresses it is not run. Slow peers get a fraction of the
work; every ratio is to `bare` with that same work, in the same round.
"""

from __future__ import annotations

import json
import os
import platform
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import measure
from measure import BARE, WORK, Config, Spread, preload, ratios, spread
from programs import PYTHON, SQLITE, Program

PAIRS = {(16, 1): 2_000_000, (16, 2): 2_000_000, (16 << 10, 1): 1_000_000}
PERIOD, PERIOD_BYTES, PERIOD_LOG2 = "512K", 512 << 10, 19
SLOW, VERY_SLOW = 0.05, 0.01
PROFILES = WORK / "profiles"


@dataclass(frozen=True)
class Peer:
    """A configuration, the Debian package it comes from, the share of the work it can do in time."""

    config: Config
    package: str
    scale: float = 1.0


@dataclass(frozen=True)
class Missing:
    name: str
    reason: str


def _library(soname: str) -> str | None:
    """The soname if the dynamic linker finds it."""
    ldconfig = shutil.which("ldconfig", path=os.defpath + ":/sbin:/usr/sbin")
    known = subprocess.run([ldconfig, "-p"], capture_output=True, text=True).stdout if ldconfig else ""
    return soname if any(line.split()[:1] == [soname] for line in known.splitlines()) else None


def _heaptrack() -> str | None:
    tool = shutil.which("heaptrack")
    found = tool and Path(tool).resolve().parent.parent / "lib/heaptrack/libheaptrack_preload.so"
    return str(found) if found and found.exists() else None


def _scudo() -> str | None:
    name = f"libclang_rt.scudo_standalone-{platform.machine()}.so"
    found = sorted(Path("/usr/lib").glob(f"llvm-*/lib/clang/*/lib/linux/{name}"))
    return str(found[-1]) if found else None


def _refused(config: Config) -> str | None:
    """What the dynamic linker or the allocator complains of, given these options."""
    process = measure.run(config, ["true"], stderr=subprocess.PIPE, text=True)
    _, text = process.communicate()
    found = re.search(r"^.*(?:invalid|error|cannot).*$", text, re.M | re.I)
    if found is None and process.returncode != 0:
        return f"status {process.returncode}"
    return found and found.group()


def heaptrack() -> list[Peer]:
    library = _heaptrack()
    config = preload("heaptrack", library or "", DUMP_HEAPTRACK_OUTPUT="/dev/null")
    return [Peer(config, "heaptrack", SLOW)] if library else []


def jemalloc() -> list[Peer]:
    library = _library("libjemalloc.so.2")
    if library is None:
        return []
    options = f"prof:true,lg_prof_sample:{PERIOD_LOG2},prof_prefix:{PROFILES}/jemalloc"
    return [
        Peer(preload("jemalloc, not profiling", library), "libjemalloc2"),
        Peer(preload("jemalloc profiling", library, MALLOC_CONF=options), "libjemalloc2"),
    ]


def tcmalloc() -> list[Peer]:
    library = _library("libtcmalloc.so.4")
    if library is None:
        return []
    sampling = {"TCMALLOC_SAMPLE_PARAMETER": str(PERIOD_BYTES)}
    profiling = {"HEAPPROFILE": f"{PROFILES}/tcmalloc"}  # every allocation, not a sample
    return [
        Peer(preload("tcmalloc, not profiling", library), "libgoogle-perftools4"),
        Peer(preload("tcmalloc sampling", library, **sampling), "libgoogle-perftools4"),
        Peer(preload("tcmalloc heap profiler", library, **profiling), "libgoogle-perftools4", VERY_SLOW),
    ]


def scudo() -> list[Peer]:
    library = _scudo()
    if library is None:
        return []
    off = preload("scudo, no GWP-ASan", library, SCUDO_OPTIONS="GWP_ASAN_Enabled=0")
    on = preload("scudo GWP-ASan", library, SCUDO_OPTIONS="GWP_ASAN_Enabled=1")
    return [Peer(off, "libclang-rt-14-dev"), Peer(on, "libclang-rt-14-dev")]


def massif() -> list[Peer]:
    tool = shutil.which("valgrind")
    wrapper = (tool or "", "-q", "--tool=massif", "--massif-out-file=/dev/null")
    return [Peer(Config("massif", wrapper=wrapper), "valgrind", SLOW)] if tool else []


PEERS: dict[str, tuple[Callable[[], list[Peer]], str]] = {
    "heaptrack": (heaptrack, "heaptrack"),
    "jemalloc profiling": (jemalloc, "libjemalloc2"),
    "tcmalloc profiling": (tcmalloc, "libgoogle-perftools4"),
    "scudo with GWP-ASan": (scudo, "libclang-rt-14-dev"),
    "massif": (massif, "valgrind"),
}


def find_peers() -> tuple[list[Peer], list[Missing]]:
    peers, missing = [], []
    for name, (find, package) in PEERS.items():
        found = find()
        if not found:
            missing.append(Missing(name, f"not installed: apt-get install {package}"))
        for peer in found:
            complaint = _refused(peer.config)
            if complaint:
                missing.append(Missing(peer.config.name, f"refused: {complaint}"))
            else:
                peers.append(peer)
    return peers, missing


# One thing measured: its column's title, and a function of (configuration, scale) -> a cost.
Task = tuple[str, Callable[[Config, float], float]]


def pair_tasks(pairs: Path) -> list[Task]:
    def task(size: int, threads: int, full: int) -> Task:
        name = f"{size} B x {threads}" if size < 1024 else f"{size >> 10} KiB x {threads}"
        return name, lambda config, scale: measure.pair_ns(pairs, config, size, threads, int(full * scale))

    return [task(size, threads, full) for (size, threads), full in PAIRS.items()]


def program_tasks(programs: Sequence[Program]) -> list[Task]:
    return [(program.name, program.run) for program in programs if program.installed]


def measure_task(task: Task, peers: Sequence[Peer], rounds: int, scale: float, rng: random.Random) -> dict[str, Spread]:
    """The ratio to bare, by peer; those of one scale share a bare run a round."""
    name, cost = task
    found: dict[str, Spread] = {}
    for share in sorted({peer.scale for peer in peers}):
        measure.step(f"{name}, {share:.0%} of the work")
        group = [BARE, *(peer.config for peer in peers if peer.scale == share)]

        def at_scale(config: Config, work: float = share * scale) -> float:
            return cost(config, work)

        columns = measure.interleave(group, at_scale, rounds if share == 1 else max(1, rounds // 3), rng)
        bare = columns.pop("bare")
        found |= {name: spread(ratios(column, bare)) for name, column in columns.items()}
    return found


def main() -> None:
    options = measure.parse(measure.arguments("The same programs under libpoireau.so and its peers."))
    rounds, scale = (1, 0.1) if options.quick else (9, 1.0)
    rng = random.Random(options.seed)
    PROFILES.mkdir(parents=True, exist_ok=True)
    pairs = measure.build_pairs()
    state = measure.machine()
    found, missing = find_peers()
    ours = Peer(measure.ours(options.library, PERIOD, f"poireau {PERIOD}"), "")
    peers = [ours, Peer(measure.BARE_AGAIN, ""), *found]
    for program in (PYTHON, SQLITE):
        if not program.installed:
            missing.append(Missing(program.name, f"not installed: apt-get install {program.package}"))

    tasks = [*pair_tasks(pairs), *program_tasks((PYTHON, SQLITE))]
    results = {task[0]: measure_task(task, peers, rounds, scale, rng) for task in tasks}
    shutil.rmtree(PROFILES)

    print(measure.machine_text(state))
    names = [peer.config.name for peer in peers]
    rows = [(name, *(results[task][name] for task in results)) for name in names]
    print(measure.table("CPU time / bare glibc", ("", *results), rows))
    if missing:
        print(measure.table("Not measured", ("", "why"), ((m.name, m.reason) for m in missing)))
    output = measure.ROOT / "build" / "bench-peers.json"
    record = {
        "machine": state,
        "seed": options.seed,
        "ratio to bare": {t: {n: asdict(s) for n, s in column.items()} for t, column in results.items()},
        "not measured": [asdict(m) for m in missing],
    }
    output.write_text(json.dumps(record, indent=2) + "\n")
    print(f"\nAll figures in {output}.")


if __name__ == "__main__":
    main()
