"""`make bench`: what libpoireau.so costs in instructions, CPU time, memory and start-up.

Prints tables and the verdict on every limit; writes the same figures to build/bench.json.
"""

from __future__ import annotations

import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import front
import governor
import homes
import instructions
import measure
import million
import programs
import protect
import samples
import sinks
from measure import BARE, BARE_AGAIN, Config, Spread, Verdict, noise_of, ratios, spread

PERIODS = {"32M": "32M", "2M": "2M", "512K": "512K", "0": "off"}
THREADS = (1, 2)
PAIRS = {16: 4_000_000, 128: 4_000_000, 16 << 10: 1_500_000, 1 << 20: 200_000}

FLOOR_SIZES, FLOOR_PERIOD, FLOOR_LIMIT = (16, 128), "32M", 1.02
PROGRAM_PERIOD, PROGRAM_LIMIT = "512K", 1.01
EXEC_LIMIT_MS = 0.3
SIZE_LIMIT_KIB = 200
PRIVATE_LIMIT_KIB = 64


@dataclass(frozen=True)
class Rounds:
    """How often everything is repeated, and how much work each run is."""

    instructions: int
    pairs: int
    memory: int
    exec: int
    programs: int
    homes: int
    samples: int
    sinks: int
    protect: int
    scale: float


FULL = Rounds(
    instructions=3, pairs=21, memory=9, exec=500, programs=20, homes=11, samples=15, sinks=7, protect=3, scale=1
)
QUICK = Rounds(
    instructions=1, pairs=2, memory=1, exec=10, programs=1, homes=2, samples=1, sinks=1, protect=1, scale=0.1
)


@dataclass(frozen=True)
class Bench:
    library: Path
    pairs: Path
    floor: Config
    rounds: Rounds
    rng: random.Random

    def ours(self, period: str) -> Config:
        return measure.ours(self.library, period, PERIODS[period])


@dataclass(frozen=True)
class Part:
    """One part of the benchmark: its tables, its verdicts, its figures for the JSON."""

    text: str
    verdicts: list[Verdict]
    record: object


def size_name(size: int) -> str:
    return f"{size} B" if size < 1024 else f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"


def bench_instructions(bench: Bench) -> Part:
    costs = instructions.measure_all(bench.pairs, bench.floor, bench.library, bench.rounds.instructions)
    record = {name: vars(cost) for name, cost in costs.items()}
    return Part(instructions.report(costs), instructions.verdicts(costs), record)


# --- homes, samples -----------------------------------------------------------------------------


def bench_homes(bench: Bench) -> Part:
    program = bench.library.parent / "homes_bench"
    if not program.is_file():
        sys.exit(f"{program} is missing: it is built with the library, by the preset `release`")
    figures = homes.measure_all(program, bench.rounds.homes, bench.rounds.scale)
    return Part(homes.report(figures), homes.verdicts(figures), homes.record(figures))


def bench_samples(bench: Bench) -> Part:
    figures = samples.measure_all(bench.pairs, bench.library, bench.rounds.samples, bench.rounds.scale, bench.rng)
    return Part(samples.report(figures), samples.verdicts(figures), samples.record(figures))


def bench_sinks(bench: Bench) -> Part:
    figures = sinks.measure_all(bench.library, bench.rounds.sinks, bench.rounds.scale, bench.rng)
    return Part(sinks.report(figures), sinks.verdicts(figures), sinks.record(figures))


def bench_protect(bench: Bench) -> Part:
    rounds, scale = bench.rounds.protect, bench.rounds.scale
    figures = protect.measure_all(bench.pairs, bench.library, rounds, scale, bench.rng)
    return Part(protect.report(figures), protect.verdicts(figures), protect.record(figures))


def bench_governor(bench: Bench) -> Part:
    rounds, scale = bench.rounds.pairs, bench.rounds.scale
    figures = governor.measure_all(bench.pairs, bench.floor, bench.library, rounds, scale, bench.rng)
    return Part(governor.report(figures), governor.verdicts(figures), governor.record(figures))


def bench_front(bench: Bench) -> Part:
    figures = front.measure_all(bench.library)
    return Part(front.report(figures), front.verdicts(figures), front.record(figures))


def bench_million(bench: Bench) -> Part:
    crowds = million.measure_all(measure.build_million(), bench.library, bench.rounds.scale)
    return Part(million.report(crowds), million.verdicts(crowds), million.record(crowds))


# --- malloc + free pairs ------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One size and thread count: nanoseconds a pair, by configuration and round."""

    size: int
    threads: int
    ns: dict[str, list[float]]

    @property
    def name(self) -> str:
        return f"{size_name(self.size)} x {self.threads}"

    def ratio(self, name: str, base: str) -> Spread:
        return spread(ratios(self.ns[name], self.ns[base]))


def bench_pairs(bench: Bench) -> Part:
    floor_again = Config("floor again", bench.floor.env)
    configs = [BARE, BARE_AGAIN, bench.floor, floor_again, *map(bench.ours, PERIODS)]
    cells = []
    for threads in THREADS:
        for size, full in PAIRS.items():
            measure.step(f"pairs: {size_name(size)} x {threads}")
            count = int(full * bench.rounds.scale)

            def nanoseconds(config: Config, size: int = size, threads: int = threads, count: int = count) -> float:
                return measure.pair_ns(bench.pairs, config, size, threads, count)

            ns = measure.interleave(configs, nanoseconds, bench.rounds.pairs, bench.rng)
            cells.append(Cell(size, threads, ns))

    ours = list(PERIODS.values())
    text = [ratio_table(cells, "bare", ["bare again", "floor", *ours])]
    text.append(ratio_table(cells, "floor", ["floor again", *ours]))
    verdicts = [
        Verdict(
            f"pair CPU / floor, {cell.name}, {FLOOR_PERIOD}",
            cell.ratio(FLOOR_PERIOD, "floor").median,
            FLOOR_LIMIT,
            noise=noise_of(cell.ratio("floor again", "floor")),
        )
        for cell in cells
        if cell.size in FLOOR_SIZES
    ]
    return Part("\n".join(text), verdicts, [cell_record(cell) for cell in cells])


def geometric_mean(cells: list[Cell], name: str, base: str) -> Spread:
    return spread(measure.geometric_rounds([ratios(cell.ns[name], cell.ns[base]) for cell in cells]))


def ratio_table(cells: list[Cell], base: str, names: list[str]) -> str:
    rows = []
    for cell in cells:
        ns = statistics.median(cell.ns[base])
        rows.append((cell.name, f"{ns:.2f}", *(cell.ratio(name, base) for name in names)))
    for threads in THREADS:
        some = [cell for cell in cells if cell.threads == threads]
        means = [geometric_mean(some, name, base) for name in names]
        rows.append((f"geometric mean x {threads}", "", *means))
    rows.append(("geometric mean", "", *(geometric_mean(cells, name, base) for name in names)))
    title = f"malloc + free pairs: CPU time / {base}; ours by sample period"
    return measure.table(title, ("size x threads", f"{base} ns", *names), rows)


def cell_record(cell: Cell) -> dict[str, Any]:
    def by_name(base: str) -> dict[str, Any]:
        return {name: asdict(cell.ratio(name, base)) for name in cell.ns if name != base}

    medians = {name: statistics.median(values) for name, values in cell.ns.items()}
    return {
        "size": cell.size,
        "threads": cell.threads,
        "ns": medians,
        "ratio to bare": by_name("bare"),
        "ratio to floor": by_name("floor"),
    }


# --- memory and size ----------------------------------------------------------------------------

IDLE_FIELDS = ("VmRSS", "VmPTE", "VmSize", "mappings", "private", "private, library")


def idle_figures(bench: Bench, config: Config) -> dict[str, int]:
    """KiB (and a number of mappings) of a process that allocated eight blocks and waits."""
    command = [str(bench.pairs), "16", "1", "0", "idle"]
    # A twin stays alive: file pages that one process alone maps would count as private.
    processes = [measure.run(config, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            sys.exit(f"{config.name}: the idle process did not start")
    figures = read_figures(Path("/proc") / str(processes[0].pid), bench.library)
    for process in processes:
        process.communicate()
    return figures


def read_figures(process: Path, library: Path) -> dict[str, int]:
    status = dict(re.findall(r"^(\w+):\s+(\d+) kB", (process / "status").read_text(), re.M))
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", (process / "smaps").read_text(), flags=re.M)[1:]

    def private(text: str) -> int:
        return sum(map(int, re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", text, re.M)))

    own = [text for text in mappings if text.splitlines()[0].endswith(str(library))]
    figures = {name: int(status[name]) for name in ("VmRSS", "VmPTE", "VmSize")}
    figures |= {"mappings": len(mappings), "private": sum(map(private, mappings))}
    return figures | {"private, library": sum(map(private, own)), "library mapped": len(own)}


def text_and_data(library: Path) -> int:
    """Bytes in the file that get loaded."""
    size = measure.require("size", "binutils")
    report = subprocess.run([size, str(library)], check=True, capture_output=True, text=True).stdout
    text, data = report.splitlines()[1].split()[:2]
    return int(text) + int(data)


def bench_memory(bench: Bench) -> Part:
    measure.step("memory")
    configs = [BARE, bench.floor, bench.ours("512K"), bench.ours("0")]
    figures = {}
    for config in configs:
        runs = [idle_figures(bench, config) for _ in range(bench.rounds.memory)]
        figures[config.name] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    if not figures["512K"]["library mapped"]:
        sys.exit(f"{bench.library} is not mapped in the program it was preloaded into")

    rows = [(name, *(f"{value[field]:g}" for field in IDLE_FIELDS)) for name, value in figures.items()]
    added = figures["512K"]["private"] - figures["bare"]["private"]
    loaded = text_and_data(bench.library) / 1024
    verdicts = [
        Verdict("private memory added, 512K", added, PRIVATE_LIMIT_KIB, "KiB"),
        Verdict("library text + data", loaded, SIZE_LIMIT_KIB, "KiB"),
    ]
    text = measure.table("An idle process, KiB (medians)", ("", *IDLE_FIELDS), rows)
    return Part(text, verdicts, {"idle": figures, "text and data": loaded})


# --- starting a program -------------------------------------------------------------------------


def bench_exec(bench: Bench) -> Part:
    measure.step("exec")
    command = [str(bench.pairs), "16", "1", "0", "exit"]

    def milliseconds(config: Config) -> float:
        environment = config.environment()
        begin = time.perf_counter_ns()
        _, status = os.waitpid(os.posix_spawn(command[0], command, environment), 0)
        elapsed = (time.perf_counter_ns() - begin) / 1e6
        if status != 0:
            sys.exit(f"{config.name}: a trivial program ended with status {status}")
        return elapsed

    configs = [BARE, BARE_AGAIN, bench.floor, bench.ours("512K"), bench.ours("0")]
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})  # and all children
    columns = measure.interleave(configs, milliseconds, bench.rounds.exec, bench.rng)
    os.sched_setaffinity(0, everywhere)

    bare = columns.pop("bare")
    added = {name: spread(ours - base for ours, base in zip(column, bare)) for name, column in columns.items()}
    rows = [("bare", spread(bare)), *((f"{name} adds", value) for name, value in added.items())]
    text = measure.table("Starting a trivial program, ms", ("", "ms"), rows)
    same = added["bare again"]
    noise = max(abs(same.low), abs(same.high))
    verdicts = [Verdict("exec of a trivial program, 512K", added["512K"].median, EXEC_LIMIT_MS, "ms", noise)]
    record = {"bare": asdict(spread(bare)), "added": {name: asdict(value) for name, value in added.items()}}
    return Part(text, verdicts, record)


# --- whole programs -----------------------------------------------------------------------------


def bench_programs(bench: Bench) -> Part:
    configs = [BARE, BARE_AGAIN, bench.ours(PROGRAM_PERIOD)]
    rows: list[tuple[object, ...]] = []
    verdicts: list[Verdict] = []
    record: dict[str, Any] = {}
    per_round: list[list[float]] = []
    for program in programs.PROGRAMS:
        if not program.installed:
            rows.append((program.name, "skipped:", "apt-get install", program.package))
            record[program.name] = {"skipped": program.package}
            continue
        measure.step(f"program: {program.name}")

        def seconds(config: Config, program: programs.Program = program) -> float:
            return program.run(config, bench.rounds.scale)

        columns = measure.interleave(configs, seconds, bench.rounds.programs, bench.rng)
        per_round.append(ratios(columns[PROGRAM_PERIOD], columns["bare"]))
        same = spread(ratios(columns["bare again"], columns["bare"]))
        ours = spread(per_round[-1])
        bare = statistics.median(columns["bare"])
        rows.append((program.name, f"{bare:.2f}", same, ours, f"[{ours.low:.3f}, {ours.high:.3f}]"))
        what = f"{program.name} CPU / bare, {PROGRAM_PERIOD}"
        verdicts.append(Verdict(what, ours.median, PROGRAM_LIMIT, noise=noise_of(same)))
        record[program.name] = {"bare s": bare, "bare again": asdict(same), PROGRAM_PERIOD: asdict(ours)}
    if per_round:
        mean = spread(measure.geometric_rounds(per_round))
        rows.append(("geometric mean", "", "", mean, f"[{mean.low:.3f}, {mean.high:.3f}]"))
    header = ("", "bare s", "bare again", PROGRAM_PERIOD, "95 % interval")
    title = "Whole programs: user + system CPU / bare"
    return Part(measure.table(title, header, rows), verdicts, record)


PARTS: dict[str, Callable[[Bench], Part]] = {
    "instructions": bench_instructions,
    "pairs": bench_pairs,
    "memory": bench_memory,
    "exec": bench_exec,
    "homes": bench_homes,
    "samples": bench_samples,
    "sinks": bench_sinks,
    "governor": bench_governor,
    "million": bench_million,
    "programs": bench_programs,
    "protect": bench_protect,
    "front": bench_front,
}


def main() -> None:
    parser = measure.arguments("What libpoireau.so costs.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument("--output", type=Path, default=measure.ROOT / "build" / "bench.json")
    options = measure.parse(parser)
    rounds = QUICK if options.quick else FULL
    rng = random.Random(options.seed)
    bench = Bench(options.library, measure.build_pairs(), measure.build_floor(), rounds, rng)

    begin = time.monotonic()
    state = measure.machine()
    print(measure.machine_text(state))
    parts = {}
    for name in options.only:
        parts[name] = PARTS[name](bench)
        print(parts[name].text, flush=True)
    verdicts = [verdict for part in parts.values() for verdict in part.verdicts]
    print(measure.verdict_table(verdicts))

    minutes = (time.monotonic() - begin) / 60
    record = {
        "machine": state,
        "library": options.library.name,
        "seed": options.seed,
        "quick": options.quick,
        "rounds": asdict(rounds),
        "minutes": minutes,
        "limits": [verdict.record() for verdict in verdicts],
    } | {name: part.record for name, part in parts.items()}
    options.output.write_text(json.dumps(record, indent=2) + "\n")
    warning = " --quick: the figures mean nothing." if options.quick else ""
    print(f"\n{minutes:.1f} minutes, seed {options.seed}; all figures in {options.output}.{warning}")


if __name__ == "__main__":
    main()
