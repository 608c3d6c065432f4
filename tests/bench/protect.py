"""What protection of every block costs (`protect = all`): CPU time and memory of whole programs, of pairs, of many live
blocks, and what a small program pays to start.

The workloads allocate as programs do that allocators are measured by (workloads.cc); the others are in use. Memory is
the most that a program and its children had at once: their share of it, page tables, and what the library holds without
any page table showing it; taken in runs of their own. What protection was worth is beside it: which share of the freed
blocks could not be read any more, and since when.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import measure
import programs
from measure import BARE, BARE_AGAIN, WORK, Config, Spread, Verdict, noise_of, ratios, spread

PAIR_SIZE, PAIRS = 64, 3_000_000
PAIR_LIMIT_US, THREADS_LIMIT = 0.30, 1.5
LIVE_BLOCKS, LIVE_LIMIT = 100_000, 1.6
TIME_LIMIT, MEMORY_LIMIT = 1.40, 1.6
MEMORY_RUNS = 2
START = ("-S", "-c", "pass")


@dataclass(frozen=True)
class Whole:
    """CPU seconds by configuration and round, KiB at the peak by configuration and run, and what the library said."""

    seconds: dict[str, list[float]]
    kib: dict[str, list[float]]
    protection: dict[str, int]

    @property
    def time(self) -> Spread:
        return spread(ratios(self.seconds["all"], self.seconds["bare"]))

    @property
    def same(self) -> Spread:
        return spread(ratios(self.seconds["bare again"], self.seconds["bare"]))

    @property
    def memory(self) -> Spread:
        return spread(ratios(self.kib["all"], self.kib["bare"]))


@dataclass(frozen=True)
class Figures:
    pairs: dict[int, dict[str, list[float]]]  # ns by threads, configuration, round
    live: dict[str, dict[str, list[float]]]  # KiB by size, configuration, run
    start: dict[str, list[float]]  # ms
    wholes: dict[str, Whole]
    kernel: dict[str, list[float]]  # ns a page by what is asked of the kernel


def protected(library: Path) -> Config:
    return measure.preload("all", library, POIREAU_PROTECT="all")


def build() -> Path:
    flags = ("-x", "c++", "-std=c++20", "-pthread")
    target = WORK / "workloads"
    compiler = ["c++", "-O2", *flags, str(measure.SOURCES / "workloads.cc"), "-o", str(target)]
    subprocess.run(compiler, check=True)
    return target


def all_programs(workloads: Path) -> list[programs.Program]:
    names = subprocess.run([workloads], check=True, capture_output=True, text=True).stdout.split()

    def run(name: str) -> Callable[[Config, float], float]:
        return lambda config, scale: programs.cpu_of(config, [str(workloads), name, f"{scale:g}"])

    made = [programs.Program(name, "c++", "g++", run(name)) for name in names]
    return [*made, programs.COMPILER, programs.PYTHON, programs.SQLITE, programs.REDIS]


def watched(config: Config, name: str) -> tuple[Config, Path]:
    """The same, with somebody who looks at its memory."""
    record = WORK / f"memory-{name}.json"
    variables = [f"{key}={value}" for key, value in config.env.items()]
    watcher = (sys.executable, str(measure.SOURCES / "memory.py"), str(record), *variables, "--")
    return Config(config.name, {}, watcher), record


def peak(config: Config, name: str, run: Callable[[Config], object]) -> tuple[float, dict[str, int]]:
    """KiB, and what the library counted, in all processes together."""
    seen, record = watched(config, name)
    run(seen)
    deadline = time.monotonic() + 10
    while not record.exists() or not record.read_text():  # it ends a moment after the program
        if time.monotonic() > deadline:
            sys.exit(f"{name}: nobody wrote {record}")
        time.sleep(0.02)
    told = json.loads(record.read_text())
    counts: dict[str, int] = {}
    for process in told["protection"]:
        for key, value in process.items():
            if isinstance(value, int) and not isinstance(value, bool):
                counts[key] = counts.get(key, 0) + value
    return told["kib"], counts


def measure_whole(program: programs.Program, library: Path, rounds: int, scale: float, rng: random.Random) -> Whole:
    configs = [BARE, BARE_AGAIN, protected(library)]
    measure.step(f"protection: {program.name}")
    seconds = measure.interleave(configs, lambda config: program.run(config, scale), rounds, rng)
    kib: dict[str, list[float]] = {"bare": [], "all": []}
    counts: dict[str, int] = {}
    for _ in range(min(rounds, MEMORY_RUNS)):
        for config in (BARE, protected(library)):
            most, counted = peak(config, program.name, lambda seen: program.run(seen, scale))
            kib[config.name].append(most)
            counts = counted or counts
    return Whole(seconds, kib, counts)


def measure_live(workloads: Path, library: Path, scale: float) -> dict[str, dict[str, list[float]]]:
    """So many live blocks; that the program itself is there is in it, bare and not."""
    count = str(max(1000, int(LIVE_BLOCKS * scale)))
    found: dict[str, dict[str, list[float]]] = {}
    for what in ("64", "mixed"):
        measure.step(f"protection: live blocks, {what}")
        found[what] = {"bare": [], "all": []}
        for _ in range(MEMORY_RUNS):
            for config in (BARE, protected(library)):
                command = [str(workloads), "hold", count, what]
                kib, _ = peak(config, "hold", lambda seen, command=command: measure.output(seen, command))  # type: ignore[misc]
                found[what][config.name].append(kib)
    return found


def measure_start(library: Path, rounds: int, rng: random.Random) -> dict[str, list[float]]:
    measure.step("protection: a small program")
    command = ["python3", *START]
    configs = [BARE, BARE_AGAIN, protected(library)]
    return measure.interleave(configs, lambda config: 1000 * programs.cpu_of(config, command), 8 * rounds, rng)


def measure_kernel(program: Path, rounds: int) -> dict[str, list[float]]:
    """What closing blocks takes of the kernel: with their run, or one by one, by each engine."""
    measure.step("protection: the kernel's part")
    found: dict[str, list[float]] = {}
    for _ in range(max(3, rounds)):
        said = subprocess.run([program, "engines"], check=True, capture_output=True, text=True).stdout
        for what, pages, ns in (line.split(",") for line in said.splitlines()[1:]):
            found.setdefault(f"{what}, {pages} together" if int(pages) > 1 else what, []).append(float(ns))
    return found


def measure_all(pairs: Path, library: Path, rounds: int, scale: float, rng: random.Random) -> Figures:
    workloads = build()
    configs = [BARE, BARE_AGAIN, protected(library)]
    by_threads = {}
    for threads in (1, 2):
        measure.step(f"protection: pairs x {threads}")

        def ns(config: Config, threads: int = threads) -> float:
            return measure.pair_ns(pairs, config, PAIR_SIZE, threads, int(PAIRS * scale))

        by_threads[threads] = measure.interleave(configs, ns, 2 * rounds, rng)
    wholes = {
        program.name: measure_whole(program, library, rounds, scale, rng)
        for program in all_programs(workloads)
        if program.installed
    }
    live = measure_live(workloads, library, scale)
    kernel = measure_kernel(library.parent / "remap_bench", rounds)
    return Figures(by_threads, live, measure_start(library, rounds, rng), wholes, kernel)


# --- what came out ------------------------------------------------------------------------------


def mean(wholes: Sequence[Whole], of: Callable[[Whole], list[float]]) -> Spread:
    return spread(measure.geometric_rounds([of(whole) for whole in wholes]))


def time_mean(wholes: Sequence[Whole]) -> Spread:
    return mean(wholes, lambda whole: ratios(whole.seconds["all"], whole.seconds["bare"]))


def memory_mean(wholes: Sequence[Whole]) -> Spread:
    return mean(wholes, lambda whole: ratios(whole.kib["all"], whole.kib["bare"]))


def pair_us(figures: Figures, threads: int) -> Spread:
    return spread(ns / 1000 for ns in figures.pairs[threads]["all"])


def live_ratio(figures: Figures, what: str) -> Spread:
    return spread(ratios(figures.live[what]["all"], figures.live[what]["bare"]))


def verdicts(figures: Figures) -> list[Verdict]:
    one, two = pair_us(figures, 1), pair_us(figures, 2)
    wholes = list(figures.wholes.values())
    same = mean(wholes, lambda whole: ratios(whole.seconds["bare again"], whole.seconds["bare"]))
    return [
        Verdict("protected pair of 64 B", one.median, PAIR_LIMIT_US, "us", (one.q3 - one.q1) / 2),
        Verdict("the same, two threads / one", two.median / one.median, THREADS_LIMIT),
        *(
            Verdict(
                f"{LIVE_BLOCKS:,} protected blocks, {what}: memory / bare", live_ratio(figures, what).median, LIVE_LIMIT
            )
            for what in figures.live
        ),
        Verdict("protected programs: CPU / bare", time_mean(wholes).median, TIME_LIMIT, noise=noise_of(same)),
        Verdict("protected programs: memory / bare", memory_mean(wholes).median, MEMORY_LIMIT),
    ]


def shares(whole: Whole) -> list[str]:
    """Of the freed blocks, in percent: closed at once; with their run; used again, after a sweep; readable still."""
    freed = whole.protection.get("deallocations", 0)
    if freed == 0:
        return ["-"] * 4
    alone, again, still = (whole.protection.get(name, 0) / freed for name in ("closed_alone", "recycled", "open_dead"))
    return [f"{100 * part:.1f}" for part in (alone, max(0, 1 - alone - again - still), again, still)]


def report(figures: Figures) -> str:
    rows: list[tuple[object, ...]] = []
    for name, whole in figures.wholes.items():
        bare, mib = spread(whole.seconds["bare"]).median, spread(whole.kib["bare"]).median / 1024
        rows.append((name, f"{bare:.2f}", whole.same, whole.time, f"{mib:.1f}", whole.memory, *shares(whole)))
    wholes = list(figures.wholes.values())
    rows.append(("geometric mean", "", "", time_mean(wholes), "", memory_mean(wholes)))
    header = (
        "",
        "bare s",
        "bare again",
        "CPU",
        "bare MiB",
        "memory",
        "at once %",
        "with run %",
        "used again %",
        "open %",
    )
    parts = [
        measure.table("Every block protected: CPU time and memory / bare; what became of freed blocks", header, rows)
    ]

    pairs = [(f"{PAIR_SIZE} B x {n}", *(spread(ns) for ns in columns.values())) for n, columns in figures.pairs.items()]
    parts.append(measure.table("The same: malloc + free pairs, CPU ns", ("", *figures.pairs[1]), pairs))
    live = [
        (what, *(f"{spread(kib).median / 1024:.1f}" for kib in columns.values()), live_ratio(figures, what))
        for what, columns in figures.live.items()
    ]
    parts.append(measure.table(f"{LIVE_BLOCKS:,} live blocks, MiB of the process", ("", "bare", "all", "ratio"), live))
    start = [(" ".join(("python3", *START)), *(spread(ms) for ms in figures.start.values()))]
    parts.append(measure.table("Starting and ending, CPU ms", ("", *figures.start), start))
    kernel = [(what, spread(ns)) for what, ns in figures.kernel.items()]
    parts.append(measure.table("The kernel's part, CPU ns a page", ("", "ns"), kernel))
    return "\n".join(parts)


def record(figures: Figures) -> dict[str, Any]:
    def of(whole: Whole) -> dict[str, Any]:
        return {"CPU": asdict(whole.time), "memory": asdict(whole.memory), "protection": whole.protection}

    return {
        "pairs, ns": figures.pairs,
        "live blocks, KiB": figures.live,
        "start, ms": figures.start,
        "kernel, ns a page": figures.kernel,
        "programs": {name: of(whole) for name, whole in figures.wholes.items()},
    }
