"""What it takes to read, name and answer: a million events to columns, addresses to functions, a trace to a report.

Each in a process of the Python that has numpy and pandas; what is compared is the median of some rounds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import measure
from measure import Verdict

PYTHON = measure.ROOT / ".venv" / "bin" / "python"
OWN_LIMIT, LTTNG_LIMIT = 1 / 3, 1 / 0.4  # us an event: 3 and 0.4 million a second
NEW_LIMIT, KEPT_LIMIT = 1e6 / 15_000, 1.0  # us an address: 15 thousand and a million a second
SECONDS_LIMIT, MEMORY_LIMIT = 6.0, 1024  # MiB
LEAKS_LIMIT, AGAIN_LIMIT = 6.0, 1.0  # s
SCAN_LIMIT, SCAN_RATE_LIMIT, SCAN_STOP_LIMIT = 4.0, 0.5, 50.0  # s of 4 GiB; ns a byte and core; ms
LISTING_LIMIT, START_LIMIT = 1.0, 0.1  # s


@dataclass(frozen=True)
class Figures:
    own: float  # us
    lttng: float
    new: float
    kept: float
    reports: dict[str, dict[str, float]]  # question -> seconds, cpu_seconds, bytes
    listing: dict[str, float]  # command -> seconds
    leaks: dict[str, dict[str, float]]  # cold, warm -> as reports
    scan: dict[str, float]  # of 4 GiB

    @property
    def slowest(self) -> float:
        return max(each["seconds"] for each in self.reports.values())

    @property
    def largest(self) -> float:
        return max(each["bytes"] for each in self.reports.values()) / (1 << 20)


def run(module: str, *arguments: str | Path) -> Any:
    if not PYTHON.is_file():
        raise SystemExit(f"{PYTHON} is missing: run `make setup`")
    measure.step(f"front end: {module}")
    command = [PYTHON, "-m", f"tests.bench.{module}", "--json", *arguments]
    return json.loads(subprocess.run(command, cwd=measure.ROOT, stdout=subprocess.PIPE).stdout)


def measure_all(library: Path) -> Figures:
    rates = run("reading", library)
    own, lttng = (1e6 / statistics.median(rates[name]) for name in ("own", "lttng"))
    named = run("symbolizing")
    reports, listing, told = run("reporting"), run("listing", library), run("leaks")
    return Figures(own, lttng, 1e6 / named["new"], 1e6 / named["kept"], reports, listing, told, run("scan"))


def verdicts(figures: Figures) -> list[Verdict]:
    return [
        Verdict("an event of our own layout to columns", figures.own, OWN_LIMIT, "us"),
        Verdict("an event of LTTng's", figures.lttng, LTTNG_LIMIT, "us"),
        Verdict("a new address named", figures.new, NEW_LIMIT, "us"),
        Verdict("an address named from the cache", figures.kept, KEPT_LIMIT, "us"),
        Verdict("a report of 1 M events, 100 k stacks", figures.slowest, SECONDS_LIMIT, "s"),
        Verdict("its memory", figures.largest, MEMORY_LIMIT, "MiB"),
        Verdict("`leaks` of 1 M events", figures.leaks["cold"]["seconds"], LEAKS_LIMIT, "s"),
        Verdict("`leaks`, asked again", figures.leaks["warm"]["seconds"], AGAIN_LIMIT, "s"),
        Verdict("a scan of 4 GiB", figures.scan["seconds"], SCAN_LIMIT, "s"),
        Verdict("a byte of it, on a core", 1e9 / figures.scan["rate"], SCAN_RATE_LIMIT, "ns"),
        Verdict("its process stopped", 1e3 * figures.scan["stopped"], SCAN_STOP_LIMIT, "ms"),
        Verdict("`ps` of 200 processes", figures.listing["ps"], LISTING_LIMIT, "s"),
        Verdict("`lib`, from start to end", figures.listing["lib"], START_LIMIT, "s"),
    ]


def report(figures: Figures) -> str:
    rows = [
        (name, f"{each['seconds']:.1f}", f"{each['cpu_seconds']:.1f}", f"{each['bytes'] / (1 << 20):.0f}")
        for name, each in {
            **figures.reports,
            **{f"leaks, {name}": each for name, each in figures.leaks.items()},
        }.items()
    ]
    return measure.table("`top`, `diff` and `leaks` of 1 M events, 100 k stacks", ("", "s", "s of CPU", "MiB"), rows)


def record(figures: Figures) -> dict[str, Any]:
    return asdict(figures)
