"""Whole processes whose every allocation is known, estimated from their traces: programs/ledger.c keeps the truth,
while periods change, threads come and go, and children are forked."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import poireau
from poireau import estimates, requested
from poireau.estimates import Estimates, joined
from tests.claims import Claim, usual_error
from tests.conftest import ROOT, Exercised, clean_environment
from tests.control_client import reach

PROCESSES = 100
CALLS = 200_000
ATTEMPTS = 5
OF_A_THREAD = 288  # bytes that glibc asks for to start one
SITES, HISTORIES = 24, 16
SITE = np.dtype([(name, "u8") for name in ("bytes", "calls", "live_bytes", "live")] + [("byte_seconds", "f8")])
HISTORY = np.dtype([("process", "u8"), ("thread", "u8"), ("ended", "u8"), ("site", SITE, SITES)])
LEDGER = np.dtype([("began", "u8"), ("begin", "u8", SITES), ("history", HISTORY, HISTORIES)])
OFTENER, SELDOMER = (8, "8"), (1 / 4, "1/4")  # places, by turns


@dataclass(frozen=True)
class Way:
    """How a process is run."""

    by: str = "bytes"
    periods: Sequence[int] = (8 << 10,)  # the second and later ones are set while it runs
    threads: int = 0
    children: int = 0
    multipliers: bool = False
    budget: str = "off"


WAYS = {
    "threads and children": Way(threads=3, children=3),
    "changed while running": Way(periods=(32 << 10, 4 << 10, 16 << 10), threads=1, children=1),
    "calls": Way(by="calls", periods=(60,), threads=2, children=1),
    "multipliers": Way(periods=(16 << 10,), threads=1, multipliers=True),
    "governed": Way(periods=(2 << 10,), threads=1, budget="0.5%"),
}


@dataclass(frozen=True)
class Run:
    ledger: NDArray[Any]
    heap: Any
    rates: NDArray[np.float64]


@pytest.fixture(scope="module")
def ledger(compile_c: Callable[..., Path]) -> Path:
    source = (ROOT / "tests" / "programs" / "ledger.c").read_text()
    return compile_c(source, ["-O1", "-fno-builtin", "-no-pie", "-pthread"])


@pytest.fixture(scope="module")
def rates(ledger: Path) -> tuple[str, NDArray[np.float64]]:
    """The option `callers` for some of the places, and how much oftener each is sampled."""
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", ledger], capture_output=True, text=True, check=True
    )
    rates, entries = np.ones(SITES), []
    for place, code in re.findall(r"<place_(\d+)>:\n(.*?)\n\n", listing.stdout, re.DOTALL):
        if int(place) % 4 != 0:
            continue
        rates[int(place)], rate = (OFTENER, SELDOMER)[int(place) // 4 % 2]
        returns = re.findall(r"call .*<(?:malloc|realloc)@plt>\n +([0-9a-f]+):", code)
        assert len(returns) == 2, code
        entries += [f"{ledger.name}+0x{address}={rate}" for address in returns]
    return ", ".join(entries), rates


@pytest.fixture
def run(
    ledger: Path, rates: tuple[str, NDArray[np.float64]], library: Path, tmp_path: Path, exercised: Exercised
) -> Callable[[Way, int], Run]:
    def run(way: Way, seed: int) -> Run:
        place = tmp_path / f"{seed:x}"
        options = {
            "TRACE": f"{place}.trace", "TRACE_LIMIT": "256MiB", "STACK_DEPTH": "2", "SAMPLE_BY": way.by,
            "SAMPLE_PERIOD": str(way.periods[0]), "OVERHEAD_BUDGET": way.budget, "GUARD": "off",
            "CALLERS": rates[0] if way.multipliers else "",
        }  # fmt: skip
        environment = clean_environment(LD_PRELOAD=str(library), **{f"POIREAU_{k}": v for k, v in options.items()})
        if way.children == 0:  # seeded alike, children of one process would draw alike
            environment["POIREAU_SEED"] = str(seed)
        waits = ["wait"] if len(way.periods) > 1 else []
        command = [ledger, f"{place}.ledger", str(seed), str(CALLS), str(way.threads), str(way.children), *waits]
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        with process:
            if waits:
                with reach(process.pid) as client:
                    for period in way.periods[1:]:
                        client.ask("set", "sample_period", str(period))
            _, complaints = process.communicate(b"\n", timeout=120)
        assert (process.returncode, complaints) == (0, b"")
        heap = poireau.open(f"{place}.trace", bar=False)
        truth = np.fromfile(f"{place}.ledger", LEDGER)[0]
        return Run(truth, heap, rates[1] if way.multipliers else np.ones(SITES))

    def run_without_loss(way: Way, seed: int) -> Run:
        # Who holds the trace and is kept from the processor for long costs others their samples, which is counted.
        for attempt in range(ATTEMPTS):
            got = run(way, seed + attempt)
            if not got.heap.losses:
                return got
            exercised.count("processes run again", ", ".join(sorted({loss.cause for loss in got.heap.losses})))
        raise AssertionError(got.heap.losses)

    return run_without_loss


Figures = tuple[Estimates, NDArray[np.float64], NDArray[np.float64]]  # what is said, the truth, its usual error


def figures(way: Way, run: Run) -> Iterator[tuple[str, Figures]]:
    by_calls, history = way.by == "calls", run.ledger["history"]
    what, asked, alive = ("count", "calls", "live") if by_calls else ("bytes", "bytes", "live_bytes")
    processes, lives = run.heap.processes, pd.concat(list(run.heap.lives()), ignore_index=True)
    changes = run.heap.options[run.heap.options["name"] == "sample_period"]
    parent = history["process"] == history["process"][0]
    period = max([float(lives["period"].max()), *map(in_bytes, changes["value"])])
    longest = None if way.multipliers else period

    def of(lives: pd.DataFrame, what: str, **more: Any) -> Estimates:
        site = sites(run, lives)
        there = lives[site < SITES]
        return estimates.grouped(site[site < SITES], SITES, there, what, period=longest, **more)

    def of_sites(got: Estimates, truth: NDArray[Any], least: float = 2) -> Figures:
        truth = truth.astype(np.float64)
        samples = truth * run.rates / period
        return got.take(samples >= least), truth[samples >= least], usual_error(truth, samples)[samples >= least]

    got, truth = of(lives, what), history["site"][asked].sum(0)
    yield f"{what} of a place", of_sites(got, truth)
    whole = np.array([truth.sum()], np.float64)
    yield f"{what} in all", (got.grouped(np.zeros(SITES, np.intp), 1), whole, usual_error(whole, whole / period))

    of_fork = processes["parent"].to_numpy() >= 0
    inherited = of_fork[lives["process"]] & (processes["pid"].to_numpy()[lives["process"]] == lives["thread"])
    order = np.argsort(lives["born"], kind="stable")
    counted = requested.asked_for(lives.iloc[order], inherited.to_numpy()[order], longest=period)
    whole = np.array([history["site"]["bytes"].sum() + way.threads * OF_A_THREAD], np.float64)
    unit = np.array([period * (history["site"]["bytes"].sum() / history["site"]["calls"].sum() if by_calls else 1)])
    yield "bytes asked for", (counted.grouped(np.zeros(len(counted), np.intp), 1), whole, unit)

    first = int(np.flatnonzero(~of_fork)[0])
    at_end = run.heap.live()
    truth = history["site"][alive][parent].sum(0)
    yield f"{what} alive", of_sites(of(at_end[at_end["process"] == first], what), truth, 1)

    if not by_calls:
        window = int(run.ledger["began"]), int(history["ended"][0])
        account = history["site"][parent]
        truth = (account["byte_seconds"] + account["live_bytes"] * ((window[1] - window[0]) * 1e-9)).sum(0)
        got = of(lives[lives["process"] == first], "byte_seconds", window=window)
        many = account["bytes"].sum(0) * run.rates / period >= 50
        yield "byte-seconds of a place", (got.take(many), truth[many], usual_error(truth, many * 50.0)[many])


def in_bytes(size: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+) ?(\w*)", size).groups()  # type: ignore[union-attr]
    return float(number) * {"": 1, "B": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]


def sites(run: Run, lives: pd.DataFrame) -> NDArray[np.intp]:
    """The number of the place of each; SITES: it is in none, but the program's start."""
    if lives.empty:
        return np.zeros(0, np.intp)
    tables, begin = run.heap.tables, run.ledger["begin"].astype(np.int64)
    stacks, of_life = np.unique(lives["stack"], return_inverse=True)
    callers = np.array([(*tables.frames_of(int(stack))[:1], 0)[0] for stack in stacks])
    address = tables.frame_address[callers].astype(np.int64)
    order = np.argsort(begin)
    nearest = np.searchsorted(begin[order], address, side="right") - 1
    within = (nearest >= 0) & (address - begin[order][nearest] <= np.diff(begin[order]).max())
    return np.where(within, order[nearest], SITES)[of_life]


# Intervals that may be too wide: of few samples, and where longer periods are only taken for possible.
LOOSE = ("alive",)


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_processes_are_estimated_without_bias_and_with_honest_intervals(
    name: str, run: Callable[[Way, int], Run], seed: int, scale: Callable[[int], int], exercised: Exercised
) -> None:
    rng = Random(seed)
    found: dict[str, list[Figures]] = defaultdict(list)
    for _ in range(max(1, scale(PROCESSES) // len(WAYS))):
        for claim, figure in figures(WAYS[name], run(WAYS[name], rng.getrandbits(32))):
            found[claim].append(figure)
    for claim, several in found.items():
        said, truth, scales = zip(*several)
        covers = (0.93, 1) if claim.endswith(LOOSE) else (0.93, 0.97)
        if sum(map(len, truth)) == 0:
            continue  # too few samples anywhere
        check = Claim(claim, joined(said), np.concatenate(truth), np.concatenate(scales), covers)
        exercised.add(f"95 % intervals of processes, {name}", check.check())
