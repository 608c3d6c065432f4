"""A million live tracked blocks in guarded homes: mappings, memory, page tables, and how long a fork takes."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import measure
from measure import BARE, Config, Spread, Verdict

COUNT, SIZE, FORKS = 1_000_000, 64, 7
MECHANISMS = ("markers", "userfaultfd")  # mprotect has too few mappings for it
NEEDED_GIB = 8
MAPPINGS_LIMIT, FORK_LIMIT_MS = 64, 200
BYTES_LIMIT = 4.3 * 1024 + 200  # a block: its page, its share of what is around, its record


@dataclass(frozen=True)
class Crowd:
    """What `count` live blocks added, and the CPU milliseconds of each fork: the parent's and the child's."""

    count: int
    mappings: int
    bytes_each: float
    page_tables_kib: int
    forks: list[tuple[float, float]]

    @property
    def fork_ms(self) -> Spread:
        return measure.spread(parent + child for parent, child in self.forks)


def available_gib() -> float:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    return int(found.group(1)) / (1 << 20) if found else 0.0


def _figures(pid: int) -> dict[str, int]:
    process = Path("/proc") / str(pid)
    status = re.findall(r"^(VmRSS|VmPTE):\s+(\d+) kB", (process / "status").read_text(), re.M)
    mappings = (process / "maps").read_text().count("\n")
    return {name: int(value) for name, value in status} | {"mappings": mappings}


def gather(program: Path, config: Config, count: int) -> Crowd:
    command = [str(program), str(count), str(SIZE), str(FORKS)]
    process = measure.run(config, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    figures = []
    for word in ("ready\n", "done\n"):
        if process.stdout.readline() != word:
            sys.exit(f"{config.name}: {' '.join(command)}: not {word.strip()}")
        figures.append(_figures(process.pid))
        process.stdin.write("\n")
        process.stdin.flush()
    out, _ = process.communicate()
    if process.returncode != 0:
        sys.exit(f"{config.name}: {' '.join(command)}: status {process.returncode}")
    added = {name: figures[1][name] - value for name, value in figures[0].items()}
    forks = [(int(parent) / 1e6, int(child) / 1e6) for parent, child in map(str.split, out.splitlines())]
    return Crowd(count, added["mappings"], added["VmRSS"] * 1024 / count, added["VmPTE"], forks)


def measure_all(program: Path, library: Path, scale: float) -> dict[str, Crowd]:
    """By configuration; nothing where memory is short."""
    if available_gib() < NEEDED_GIB:
        return {}
    found = {}
    environment = {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "all"}
    ours = [measure.preload(name, library, **environment, POIREAU_GUARD_MECHANISM=name) for name in MECHANISMS]
    for config in (BARE, *ours):
        measure.step(f"a million blocks: {config.name}")
        found[config.name] = gather(program, config, int(COUNT * scale))
    return found


def verdicts(crowds: dict[str, Crowd]) -> list[Verdict]:
    found = []
    for name in MECHANISMS:
        if name not in crowds:
            continue
        crowd = crowds[name]
        found.append(Verdict(f"mappings added by 1 M blocks, {name}", crowd.mappings, MAPPINGS_LIMIT))
        found.append(Verdict(f"memory of each of 1 M blocks, {name}", crowd.bytes_each, BYTES_LIMIT, "B"))
        fork = crowd.fork_ms
        noise = (fork.q3 - fork.q1) / 2
        found.append(Verdict(f"fork with 1 M blocks, {name}", fork.median, FORK_LIMIT_MS, "ms", noise))
    return found


def report(crowds: dict[str, Crowd]) -> str:
    rows: list[tuple[object, ...]] = []
    for name, crowd in crowds.items():
        child = statistics.median(child for _, child in crowd.forks)
        memory = (crowd.mappings, f"{crowd.bytes_each:.0f}", crowd.page_tables_kib)
        rows.append((name, *memory, crowd.fork_ms, f"{child:.1f}"))
    if not rows:
        rows.append((f"skipped: less than {NEEDED_GIB} GiB available",))
    header = ("", "mappings", "RSS B each", "VmPTE KiB", "fork CPU ms", "of it the child")
    return measure.table(f"A million live blocks of {SIZE} B, every one sampled and guarded: added", header, rows)


def record(crowds: dict[str, Crowd]) -> dict[str, object]:
    return {name: asdict(crowd) for name, crowd in crowds.items()}
