"""What the benchmarks share: configurations, interleaved runs, ratios with their spread, verdicts.

A figure is never taken alone. All configurations run once a round, in an order drawn anew each round,
and every ratio is formed within its round, so that a noisy machine's drift divides out. A second
`bare` among the configurations shows the noise that is left. The median of the rounds is reported
with half the distance of its quartiles (±) and a distribution-free 95 % interval.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parent
ROOT = SOURCES.parent.parent
WORK = ROOT / "build" / "bench"

PR_SET_THP_DISABLE = 41


@dataclass(frozen=True)
class Config:
    """One way to run a program: the environment it gets and what stands before its command."""

    name: str
    env: dict[str, str] = field(default_factory=dict)
    wrapper: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        # Nothing is inherited: a stray LD_PRELOAD, MALLOC_* or POIREAU_* would be measured too.
        home = str(WORK / "home")
        return {"PATH": os.defpath, "LC_ALL": "C", "HOME": home, "XDG_CONFIG_HOME": home} | self.env


BARE = Config("bare")
BARE_AGAIN = Config("bare again")  # the yardstick of noise


def preload(name: str, library: Path | str, **env: str) -> Config:
    return Config(name, {"LD_PRELOAD": str(library), **env})


def ours(library: Path, period: str, name: str | None = None) -> Config:
    return preload(name or period, library, POIREAU_SAMPLE_PERIOD=period)


def build(source: str, output: str, *flags: str) -> Path:
    """Compiles tests/bench/`source` into build/bench/`output`."""
    target = WORK / output
    target.parent.mkdir(parents=True, exist_ok=True)
    (WORK / "home").mkdir(exist_ok=True)
    compiler = os.environ.get("CC", "cc")
    command = [compiler, "-O2", "-Wall", "-Wextra", "-fno-builtin", "-fcf-protection=none", *flags]
    subprocess.run([*command, str(SOURCES / source), "-o", str(target)], check=True)
    return target


def build_pairs() -> Path:
    return build("pairs.c", "pairs", "-pthread")


def build_million() -> Path:
    return build("million.c", "million")


def build_floor() -> Config:
    return preload("floor", build("floor_shim.c", "libfloor.so", "-shared", "-fPIC"))


def disable_huge_pages() -> None:
    """For this process and all it starts: huge pages come and go with the machine's memory."""
    ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)


def run(config: Config, command: Sequence[str], cpu: int | None = None, **kwargs: Any) -> subprocess.Popen[Any]:
    """Starts `command` under `config` in build/bench, kept on one CPU if asked."""
    pin = None if cpu is None else lambda: os.sched_setaffinity(0, {cpu})
    return subprocess.Popen([*config.wrapper, *command], env=config.environment(), cwd=WORK, preexec_fn=pin, **kwargs)


def output(config: Config, command: Sequence[str]) -> str:
    process = run(config, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate()
    if process.returncode != 0:
        sys.exit(f"{config.name}: {' '.join(command)}: status {process.returncode}\n{err}")
    return str(out)


def wait_cpu(process: subprocess.Popen[Any]) -> tuple[int, float]:
    """Waits; returns the status and the user + system seconds of the process and its children."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def pair_ns(pairs: Path, config: Config, size: int, threads: int, count: int, mode: str = "pair") -> float:
    return float(output(config, [str(pairs), str(size), str(threads), str(count), mode]))


# --- statistics ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, its 95 % interval (low, high) and the quartiles."""

    median: float
    low: float
    high: float
    q1: float
    q3: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.median:.3f} ±{(self.q3 - self.q1) / 2:.3f}"


def spread(values: Iterable[float]) -> Spread:
    ordered = sorted(values)
    n = len(ordered)
    if n == 1:
        value = ordered[0]
        return Spread(value, value, value, value, value, n)
    q1, median, q3 = statistics.quantiles(ordered, n=4, method="inclusive")
    # The k-th smallest and k-th largest enclose the true median but for 2 P(Binomial(n, 1/2) < k).
    k, below = 0, 1 / 2**n
    while 2 * below <= 0.05:
        k += 1
        below += math.comb(n, k) / 2**n
    k = max(k, 1)
    return Spread(median, ordered[k - 1], ordered[n - k], q1, q3, n)


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below)]


def geometric_rounds(columns: Sequence[Sequence[float]]) -> list[float]:
    """The geometric mean over the columns, round by round."""
    return [statistics.geometric_mean(values) for values in zip(*columns)]


def interleave(
    configs: Sequence[Config], measure: Callable[[Config], float], rounds: int, rng: random.Random
) -> dict[str, list[float]]:
    """Measures every configuration once a round, in random order; the first round only warms up."""
    columns: dict[str, list[float]] = {config.name: [] for config in configs}
    for number in range(rounds + 1):
        for config in rng.sample(configs, len(configs)):
            value = measure(config)
            if number > 0:
                columns[config.name].append(value)
    return columns


# --- verdicts and tables ------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """A figure against its limit. `noise` is what an unchanged program shows in the same rounds."""

    what: str
    value: float
    limit: float
    unit: str = ""
    noise: float = 0.0

    @property
    def word(self) -> str:
        if self.value <= self.limit:
            return "met"
        return "within noise" if self.value <= self.limit + self.noise else "NOT MET"

    def row(self) -> tuple[str, ...]:
        noise = f"{self.noise:.3f}" if self.noise else "-"
        return (self.what, f"{self.value:.3f}", f"{self.limit:g} {self.unit}".strip(), noise, self.word)

    def record(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.word}


def noise_of(same: Spread) -> float:
    """How far from 1 the ratio of a program to itself may lie: the farther end of its interval."""
    return max(same.high - 1, 1 - same.low)


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Short rows are filled up with empty cells."""
    rows = [(*row, *[""] * (len(header) - len(row))) for row in rows]
    lines = [tuple(map(str, header)), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = []
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:])]
        text.append("  ".join([line[0].ljust(widths[0]), *cells]).rstrip())
    text.insert(1, "-" * max(map(len, text)))
    return "\n".join(["", title, *text])


def verdict_table(verdicts: Iterable[Verdict]) -> str:
    rows = (verdict.row() for verdict in verdicts)
    return table("Limits", ("", "measured", "limit", "noise", "verdict"), rows)


def step(text: str) -> None:
    print(f"  {text} ...", file=sys.stderr, flush=True)


# --- the machine --------------------------------------------------------------------------------


def _read(path: str, missing: str = "not exposed") -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return missing


def machine() -> dict[str, str]:
    models = [line.split(":")[1] for line in _read("/proc/cpuinfo").splitlines() if "model name" in line]
    return {
        "cpu": models[0].strip() if models else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release(),
        "glibc": platform.libc_ver()[1],
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "huge pages": _read("/sys/kernel/mm/transparent_hugepage/enabled") + " (off here by prctl)",
        "load average": " ".join(_read("/proc/loadavg").split()[:3]),
    }


def machine_text(state: dict[str, str]) -> str:
    lines = [f"{name + ':':14}{value}" for name, value in state.items()]
    return "\n".join([*lines, "Medians over interleaved rounds, ± half the distance of the quartiles."])


# --- the command line ---------------------------------------------------------------------------


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    default = ROOT / "build" / "release" / "libpoireau.so"
    parser.add_argument("--library", type=Path, default=default, help="what to measure (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of runs (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a smoke test: figures mean nothing")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    options = parser.parse_args()
    options.library = options.library.resolve()
    if not options.library.is_file():
        parser.error(f"{options.library} is missing: build it, or name another with --library")
    if set(":; \t\n") & set(str(options.library)):
        parser.error(f"LD_PRELOAD can't hold the path {options.library}")
    WORK.mkdir(parents=True, exist_ok=True)
    disable_huge_pages()
    return options


def require(tool: str, package: str) -> str:
    found = shutil.which(tool)
    if found is None:
        sys.exit(f"{tool} is missing: apt-get install {package}")
    return found
