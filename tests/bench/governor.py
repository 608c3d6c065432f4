"""What live control costs and keeps to: a dormant program, sampling within its budget when a program's rate jumps a
hundredfold, and how soon a request is answered."""

from __future__ import annotations

import json
import os
import random
import socket
import statistics
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import measure
from measure import Config, Verdict, noise_of, ratios, spread

SIZES, THREADS, PAIRS, FLOOR_LIMIT = (16, 128), (1, 2), 4_000_000, 1.02
BUDGET_LIMIT, SETTLED = 0.7, 2  # per cent of each second's CPU time, from so many seconds after the jump
JUMP_THREADS, QUIET_MB, QUIET, LOUD = (1, 4), 50, 2, 20
ANSWER_LIMIT, SLOW_MB, REQUESTS, PATIENCE = 0.5, 10, 40, 10
TURN_LIMIT, NONE_LIMIT, TURN_ROUNDS, TURNS = 250, 30, 21, 200_000
FLOOR_AGAIN = "floor again"


@dataclass(frozen=True)
class Turn:
    """Nanoseconds of a turn with nobody connected, of its poll alone, and of a sample that has none."""

    turn: float
    poll: float
    none: float


@dataclass(frozen=True)
class Figures:
    dormant: dict[tuple[int, int], dict[str, list[float]]]  # ns a pair, by size and threads, configuration and round
    jumps: dict[int, list[float]]  # per cent, by threads: each second from SETTLED on
    answers: list[float]  # seconds
    turns: list[Turn]


def measure_all(pairs: Path, floor: Config, library: Path, rounds: int, scale: float, rng: random.Random) -> Figures:
    configs = [floor, Config(FLOOR_AGAIN, floor.env), measure.preload("dormant", library, POIREAU_ARMED="0")]
    dormant = {}
    for threads in THREADS:
        for size in SIZES:
            measure.step(f"dormant: {size} B x {threads}")

            def nanoseconds(config: Config, size: int = size, threads: int = threads) -> float:
                return measure.pair_ns(pairs, config, size, threads, int(PAIRS * scale))

            dormant[size, threads] = measure.interleave(configs, nanoseconds, rounds, rng)
    flags = ("-O1", "-pthread", f"-I{measure.ROOT}")
    jump = measure.build("../programs/jump.c", "jump", *flags)
    jumps = {threads: settled(jump, library, threads, scale) for threads in JUMP_THREADS}
    return Figures(dormant, jumps, answers(jump, library, max(int(REQUESTS * scale), 1)), turns(library, scale))


def turns(library: Path, scale: float) -> list[Turn]:
    measure.step("turns")
    command = [str(library.parent / "turns_bench"), str(TURN_ROUNDS), str(int(TURNS * scale))]
    lines = measure.output(Config("bare", {}), command).splitlines()
    return [Turn(*map(float, line.split())) for line in lines]


def median_turn(figures: Figures) -> Turn:
    return Turn(
        *(statistics.median(getattr(each, name) for each in figures.turns) for name in ("turn", "poll", "none"))
    )


def settled(jump: Path, library: Path, threads: int, scale: float) -> list[float]:
    measure.step(f"a hundredfold jump x {threads}")
    loud = max(int(LOUD * scale), SETTLED + 1)
    command = [str(jump), str(threads), str(QUIET_MB), str(QUIET), str(loud)]
    lines = [line.split() for line in measure.output(traced(library), command).splitlines()]
    shares = [100 * float(sampling) / float(cpu) for phase, cpu, sampling, *_ in lines if phase == "loud"]
    return shares[SETTLED:]


def traced(library: Path, **env: str) -> Config:
    return measure.preload("ours", library, POIREAU_TRACE=str(measure.WORK / "traces"), **env)


def answers(jump: Path, library: Path, requests: int) -> list[float]:
    """How long a program that requests SLOW_MB a second at 2 MiB takes to answer a `set`, each on a new connection."""
    measure.step("answers")
    command = [str(jump), "1", str(SLOW_MB), "1000", "0"]
    process = measure.run(traced(library, POIREAU_SAMPLE_PERIOD="2M"), command, stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)
        return [answer_seconds(process.pid, "2M" if i % 2 else "2097153") for i in range(requests)]
    finally:
        process.kill()
        process.wait()


def answer_seconds(pid: int, period: str) -> float:
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    request = {"do": "set", "option": "sample_period", "value": period}
    begin = time.perf_counter()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(f"\0poireau/{os.geteuid()}/{pid}/{started}")
        client.sendall(json.dumps(request).encode() + b"\n")
        with client.makefile() as lines:
            lines.readline()  # the greeting
            answer = json.loads(lines.readline())
    if answer.get("ok") is not True:
        raise SystemExit(f"set: {answer}")
    return time.perf_counter() - begin


# --- figures ------------------------------------------------------------------------------------


def verdicts(figures: Figures) -> list[Verdict]:
    found = []
    for (size, threads), ns in figures.dormant.items():
        ratio = spread(ratios(ns["dormant"], ns["floor"])).median
        noise = noise_of(spread(ratios(ns[FLOOR_AGAIN], ns["floor"])))
        found.append(Verdict(f"dormant pair CPU / floor, {size} B x {threads}", ratio, FLOOR_LIMIT, noise=noise))
    for threads, shares in figures.jumps.items():
        found.append(Verdict(f"worst second after a jump x {threads}", max(shares), BUDGET_LIMIT, "%"))
    found.append(Verdict("answer to a set, 10 MB/s at 2 MiB", statistics.median(figures.answers), ANSWER_LIMIT, "s"))
    turn = median_turn(figures)
    found.append(Verdict("turn of control, nobody connected", turn.turn, TURN_LIMIT, "ns"))
    found.append(Verdict("sample without a turn", turn.none, NONE_LIMIT, "ns"))
    return found


def report(figures: Figures) -> str:
    rows: list[tuple[object, ...]] = []
    for (size, threads), ns in figures.dormant.items():
        same, ours = (spread(ratios(ns[name], ns["floor"])) for name in (FLOOR_AGAIN, "dormant"))
        rows.append((f"{size} B x {threads}", f"{statistics.median(ns['floor']):.2f}", same, ours))
    header = ("size x threads", "floor ns", FLOOR_AGAIN, "dormant")
    text = [measure.table("Dormant (armed = off): CPU time of malloc + free pairs / floor", header, rows)]
    rows = [
        (f"{threads} threads", *(f"{share:.3f}" for share in (statistics.median(shares), max(shares))))
        for threads, shares in figures.jumps.items()
    ]
    title = f"After a hundredfold jump to {100 * QUIET_MB} MB/s a thread: % of a second's CPU time"
    text.append(measure.table(title, ("", "median", "worst"), rows))
    rows = [("a set", *(f"{seconds:.3f}" for seconds in (statistics.median(figures.answers), max(figures.answers))))]
    text.append(measure.table(f"Answers of a program at {SLOW_MB} MB/s and 2 MiB, s", ("", "median", "longest"), rows))
    turn = median_turn(figures)
    rows = [(f"{turn.turn:.0f}", f"{turn.poll:.0f}", f"{turn.none:.1f}")]
    text.append(measure.table("Control, nobody connected: ns of CPU", ("turn", "its poll alone", "no turn"), rows))
    return "\n".join(text)


def record(figures: Figures) -> dict[str, Any]:
    return {
        "dormant / floor": {
            f"{size} x {threads}": asdict(spread(ratios(ns["dormant"], ns["floor"])))
            for (size, threads), ns in figures.dormant.items()
        },
        "after a jump, %": {str(threads): shares for threads, shares in figures.jumps.items()},
        "answers, s": figures.answers,
        "turns, ns": [asdict(each) for each in figures.turns],
    }
