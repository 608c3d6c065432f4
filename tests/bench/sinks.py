"""What a sample costs with its stacks and with each way out of the process: every call sampled, beneath some frames.

The sink's share is the difference to `sink = none`, where the stacks are taken all the same; USDT probes are there too,
unheard. Beside it: what copying and writing the bytes of such events costs alone.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import measure
from measure import BARE, BARE_AGAIN, Config, Spread, Verdict, spread

DEPTHS = (0, 8, 20, 64)
PAIRS, CALLS, COPIES = 20_000, 200_000, 200_000
FRAMES = 20  # of the limits
LIMITS_US = {
    ("plain", "auto"): 1.4,
    ("plain", "libgcc"): 5.5,
    ("guarded", "auto"): 4.5,
    ("guarded", "libgcc"): 9.0,
}
SINK_LIMIT_US = 0.6
LATENCY_LIMIT_US = 100
MEMORY_LIMIT_KIB = 1024
MEMORY_PAIRS, MEMORY_SIZE = 65_536, 32 << 10  # 2 GiB: 4096 samples at 512 KiB
QUANTILES = ("50 %", "99 %", "99.9 %", "99.99 %", "longest")
SESSION = "poireau-bench"


@dataclass(frozen=True)
class Figures:
    pairs: dict[str, list[float]]  # CPU ns of a pair, by configuration and round
    depths: dict[tuple[str, int], list[float]]  # the same, by sink and frames
    copies: dict[tuple[str, int], float]  # ns of an event's bytes, by way and frames
    calls: dict[str, list[list[float]]]  # QUANTILES, in ns
    memory: dict[str, list[float]]  # KiB


def event_bytes(frames: int) -> int:
    """Of the two events of a pair, the mean: numbers, a short name, and as many addresses."""
    return 70 + 8 * frames


def measure_all(library: Path, rounds: int, scale: float, rng: random.Random) -> Figures:
    program = measure.build("sinks.cc", "sinks")
    with places() as (disk, memory), lttng_session() as session:
        return _measure(program, library, disk, memory, session, rounds, scale, rng)


def _measure(
    program: Path,
    library: Path,
    disk: Path,
    memory: Path,
    session: bool,
    rounds: int,
    scale: float,
    rng: random.Random,
) -> Figures:
    def config(name: str, **options: object) -> Config:
        env = {f"POIREAU_{option.upper()}": str(value) for option, value in options.items()}
        return measure.preload(name, library, **env)

    def output(config: Config, mode: str, frames: int, count: int, *size: int) -> list[float]:
        try:
            return [float(word) for word in run(config, program, mode, frames, int(count * scale), *size).split()]
        finally:
            for place in (disk, memory):
                for trace in place.iterdir():
                    shutil.rmtree(trace, ignore_errors=True)

    def pair_ns(config: Config) -> float:
        return output(config, "pairs", FRAMES, PAIRS)[0]

    measure.step("sampled pairs by sink and unwinder")
    configs = [BARE, BARE_AGAIN]
    for home, unwinder in LIMITS_US:
        guard = "off" if home == "plain" else "all"
        for sink in ("ctf", "none"):
            name = pair_name(home, unwinder, sink)
            options = {"sample_period": 1, "guard": guard, "unwinder": unwinder, "sink": sink, "trace": disk}
            configs.append(config(name, **options))
    pairs = measure.interleave(configs, pair_ns, rounds, rng)

    measure.step("sinks by frames")
    plain: dict[str, object] = {"sample_period": 1, "guard": "off"}
    sinks = [
        config("none", **plain, sink="none"),
        config("ctf, disk", **plain, sink="ctf", trace=disk),
        config("ctf, tmpfs", **plain, sink="ctf", trace=memory),
        config("lttng, recording" if session else "lttng, no session", **plain, sink="lttng"),
    ]
    depths: dict[tuple[str, int], list[float]] = {}
    for frames in DEPTHS:
        deep = [Config(each.name, each.env | {"POIREAU_STACK_DEPTH": str(frames)}) for each in sinks]

        def at_this_depth(config: Config, frames: int = frames) -> float:
            return output(config, "pairs", frames, PAIRS)[0]

        columns = measure.interleave(deep, at_this_depth, rounds, rng)
        depths |= {(name, frames): values for name, values in columns.items()}

    measure.step("copies and writes of the same bytes")
    copies = {}
    for way in ("memcpy", "write"):
        for frames in DEPTHS:
            size = event_bytes(frames)
            runs = [copy_ns(program, way, int(COPIES * scale), size, disk) for _ in range(max(rounds // 2, 1))]
            copies[way, frames] = statistics.median(runs)

    measure.step("single calls")
    calls: dict[str, list[list[float]]] = {}
    ours = config("sampled", **plain, trace=disk)
    for _ in range(max(rounds // 2, 1)):
        for each in (BARE, BARE_AGAIN, ours):
            calls.setdefault(each.name, []).append(output(each, "calls", FRAMES, CALLS))

    measure.step("memory of sink and unwinder")
    kept: dict[str, dict[str, object]] = {
        "sink and unwinder": {"trace": disk},
        "neither": {"sink": "none", "unwinder": "none"},
    }
    sides = [config(name, **options) for name, options in kept.items()]
    resident = measure.interleave(
        sides, lambda config: output(config, "memory", FRAMES, MEMORY_PAIRS, MEMORY_SIZE)[0], max(rounds // 2, 1), rng
    )
    return Figures(pairs, depths, copies, calls, resident)


def pair_name(home: str, unwinder: str, sink: str) -> str:
    return f"{home}, {unwinder}, {sink}"


def run(config: Config, program: Path, *arguments: object) -> str:
    return measure.output(config, [str(program), *map(str, arguments)])


def copy_ns(program: Path, way: str, count: int, size: int, place: Path) -> float:
    command = [str(program), way, "0", str(count), str(size)]
    with tempfile.TemporaryFile(dir=place) as file:
        process = measure.run(BARE, command, stdout=file, stderr=subprocess.PIPE, text=True)
        _, shown = process.communicate()
    return float(shown)


@contextmanager
def places() -> Iterator[tuple[Path, Path]]:
    """Directories for traces, on disk and in memory."""
    with tempfile.TemporaryDirectory(dir=measure.WORK) as disk, tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        yield Path(disk), Path(memory)


@contextmanager
def lttng_session() -> Iterator[bool]:
    """A session that overwrites its oldest events in memory; False: there can be none here."""
    if shutil.which("lttng") is None or shutil.which("lttng-sessiond") is None:
        yield False
        return
    daemon = None
    if not lttng("--no-sessiond", "list"):
        silent = subprocess.DEVNULL
        daemon = subprocess.Popen(["lttng-sessiond", "--no-kernel"], stdin=silent, stdout=silent, stderr=silent)
        for _ in range(50):
            if lttng("--no-sessiond", "list"):
                break
            time.sleep(0.1)
    channel = ("--overwrite", "--subbuf-size=256k", "--num-subbuf=4", "events")
    made = (
        lttng("create", SESSION, "--snapshot", f"--output={measure.WORK / SESSION}")
        and lttng("enable-channel", "-u", "-s", SESSION, *channel)
        and lttng("enable-event", "-u", "-s", SESSION, "-c", "events", "poireau:*")
        and lttng("start", SESSION)
    )
    try:
        yield made
    finally:
        lttng("--no-sessiond", "destroy", SESSION)
        if daemon is not None:
            daemon.terminate()
            daemon.wait()
        shutil.rmtree(measure.WORK / SESSION, ignore_errors=True)


def lttng(*arguments: str) -> bool:
    done = subprocess.run(["lttng", *arguments], capture_output=True, env=os.environ | {"LC_ALL": "C"}, timeout=60)
    return done.returncode == 0


# --- figures ------------------------------------------------------------------------------------


def _difference(above: list[float], below: list[float]) -> Spread:
    return spread(a - b for a, b in zip(above, below))


def _pair_us(figures: Figures, home: str, unwinder: str, sink: str) -> Spread:
    ours = figures.pairs[pair_name(home, unwinder, sink)]
    return spread(ns / 1000 for ns in ours)


def _sink_us(figures: Figures, home: str, unwinder: str) -> Spread:
    with_sink, without = (figures.pairs[pair_name(home, unwinder, sink)] for sink in ("ctf", "none"))
    return spread((a - b) / 1000 for a, b in zip(with_sink, without))


def _event_ns(figures: Figures, sink: str, frames: int) -> Spread:
    """Two events a pair."""
    added = _difference(figures.depths[sink, frames], figures.depths["none", frames])
    return spread([added.median / 2, added.q1 / 2, added.q3 / 2])


def _quantiles(figures: Figures, name: str) -> list[float]:
    return [statistics.median(column) for column in zip(*figures.calls[name])]


def _latency_us(figures: Figures, name: str) -> float:
    at = QUANTILES.index("99.99 %")
    return (_quantiles(figures, name)[at] - _quantiles(figures, "bare")[at]) / 1000


def _memory_kib(figures: Figures) -> Spread:
    return _difference(figures.memory["sink and unwinder"], figures.memory["neither"])


def verdicts(figures: Figures) -> list[Verdict]:
    all_of_them = []
    for (home, unwinder), limit in LIMITS_US.items():
        what = f"sampled pair, {FRAMES} frames, {home}, {unwinder}, ctf"
        cost = _pair_us(figures, home, unwinder, "ctf")
        all_of_them.append(Verdict(what, cost.median, limit, "us", (cost.q3 - cost.q1) / 2))
    for home in ("plain", "guarded"):
        share = _sink_us(figures, home, "auto")
        noise = (share.q3 - share.q1) / 2
        all_of_them.append(Verdict(f"of it the sink, {home}", share.median, SINK_LIMIT_US, "us", noise))
    noise = abs(_latency_us(figures, "bare again"))
    latency = _latency_us(figures, "sampled")
    all_of_them.append(Verdict("99.99 % of sampled calls, beyond bare", latency, LATENCY_LIMIT_US, "us", noise))
    memory = _memory_kib(figures)
    all_of_them.append(Verdict("RSS of sink and unwinder", memory.median, MEMORY_LIMIT_KIB, "KiB"))
    return all_of_them


def report(figures: Figures) -> str:
    rows: list[tuple[object, ...]] = [("bare", f"{statistics.median(figures.pairs['bare']) / 1000:.3f}")]
    for home, unwinder in LIMITS_US:
        both = [_pair_us(figures, home, unwinder, sink) for sink in ("none", "ctf")]
        rows.append((f"{home}, {unwinder}", *both, _sink_us(figures, home, unwinder)))
    title = f"Every call sampled, {FRAMES} frames: malloc + free, CPU us"
    text = [measure.table(title, ("home, unwinder", "sink=none", "sink=ctf", "of it the sink"), rows)]

    rows = [("sink=none, a pair", *(f"{statistics.median(figures.depths['none', n]):.0f}" for n in DEPTHS))]
    for sink in dict.fromkeys(sink for sink, _ in figures.depths):
        if sink != "none":
            rows.append((sink, *(f"{_event_ns(figures, sink, n).median:.0f}" for n in DEPTHS)))
    for way in dict.fromkeys(way for way, _ in figures.copies):
        rows.append((f"{way} of as many bytes", *(f"{figures.copies[way, n]:.0f}" for n in DEPTHS)))
    header = ("", *(f"{n} frames" for n in DEPTHS))
    text.append(measure.table("An event, CPU ns beyond sink=none (plain homes)", header, rows))

    rows = [(name, *(f"{ns / 1000:.2f}" for ns in _quantiles(figures, name))) for name in figures.calls]
    title = f"Each malloc and free, us: {2 * CALLS} calls, file rolls included"
    text.append(measure.table(title, ("", *QUANTILES), rows))

    rows = [(name, f"{statistics.median(kib):.0f}") for name, kib in figures.memory.items()]
    text.append(measure.table("RSS after 2 GiB at the default period, KiB", ("", "KiB"), rows))
    return "\n".join(text)


def record(figures: Figures) -> dict[str, Any]:
    return {
        "pairs, ns": {name: asdict(spread(values)) for name, values in figures.pairs.items()},
        "by frames, ns a pair": {f"{name}, {n}": asdict(spread(v)) for (name, n), v in figures.depths.items()},
        "copies, ns": {f"{way}, {n}": ns for (way, n), ns in figures.copies.items()},
        "calls, ns": {name: dict(zip(QUANTILES, _quantiles(figures, name))) for name in figures.calls},
        "RSS, KiB": {name: statistics.median(kib) for name, kib in figures.memory.items()},
    }
