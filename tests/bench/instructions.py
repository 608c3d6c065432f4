"""Instructions that each call costs, counted by callgrind.

A run of N calls and one of 2N differ by exactly N calls: starting and ending cancel. What a library
adds to one call is its count less the bare one's. free is the batch of blocks allocated and freed
less the batch only allocated; calloc is the calloc + free pair less that free; realloc stays in place.
Draws of the sampler fall at random, so each figure is the median of several runs.
"""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import measure
from measure import BARE, Config, Verdict

MODES = ("pair", "calloc", "realloc", "malloc", "free")
SIZE = 16
CALLS = 20_000
LIMITS = {"malloc + free": 9, "calloc": 9, "realloc": 10}


@dataclass(frozen=True)
class Cost:
    """Instructions a call."""

    pair: float
    malloc: float
    free: float
    calloc: float
    realloc: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(**{name: value - getattr(other, name) for name, value in vars(self).items()})


def _run(pairs: Path, config: Config, mode: str, calls: int) -> int:
    valgrind = measure.require("valgrind", "valgrind")
    command = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += [str(pairs), str(SIZE), "1", str(calls), mode, "quiet"]
    process = measure.run(config, command, stdout=-1, stderr=-1, text=True)
    _, log = process.communicate()
    found = re.search(r"Collected : (\d+)", log)
    if process.returncode != 0 or found is None:
        sys.exit(f"callgrind failed under {config.name}:\n{log}")
    return int(found.group(1))


def _per_call(pairs: Path, config: Config, mode: str) -> float:
    return (_run(pairs, config, mode, 2 * CALLS) - _run(pairs, config, mode, CALLS)) / CALLS


def count(pairs: Path, config: Config, repeats: int) -> Cost:
    # Counts don't feel a busy machine, so all cores may work.
    with ThreadPoolExecutor() as pool:
        runs = {mode: [pool.submit(_per_call, pairs, config, mode) for _ in range(repeats)] for mode in MODES}
    each = {mode: statistics.median(run.result() for run in runs[mode]) for mode in MODES}
    free = each["free"] - each["malloc"]
    return Cost(each["pair"], each["malloc"], free, each["calloc"] - free, each["realloc"])


def measure_all(pairs: Path, floor: Config, library: Path, repeats: int) -> dict[str, Cost]:
    configs = [measure.ours(library, period) for period in ("32M", "1T", "0")]
    costs = {}
    for config in (BARE, floor, *configs):
        measure.step(f"instructions: {config.name}")
        costs[config.name] = count(pairs, config, repeats if config in configs else 1)
    return costs


def verdicts(costs: dict[str, Cost]) -> list[Verdict]:
    added = costs["32M"] - costs["bare"]
    values = {"malloc + free": added.pair, "calloc": added.calloc, "realloc": added.realloc}
    # A draw more in one of the two runs shows in the second decimal.
    return [Verdict(f"instructions added to {call}", round(values[call], 1), limit) for call, limit in LIMITS.items()]


def report(costs: dict[str, Cost]) -> str:
    def row(name: str, cost: Cost, form: str) -> Sequence[str]:
        values = (cost.pair, cost.malloc, cost.free, cost.calloc, cost.realloc)
        return (name, *(format(value, form) for value in values))

    bare = costs["bare"]
    rows = [row("bare", bare, ".2f")]
    rows += [row(f"{name} adds", cost - bare, "+.2f") for name, cost in costs.items() if name != "bare"]
    header = ("", "malloc + free", "malloc", "free", "calloc", "realloc")
    return measure.table(f"Instructions a call, {SIZE} B (ours by sample period)", header, rows)


def main() -> None:
    options = measure.parse(measure.arguments("Instructions that each call costs."))
    pairs, floor = measure.build_pairs(), measure.build_floor()
    costs = measure_all(pairs, floor, options.library, 1 if options.quick else 5)
    print(report(costs))
    print(measure.verdict_table(verdicts(costs)))


if __name__ == "__main__":
    main()
