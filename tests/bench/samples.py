"""What samples cost in the whole shim: each one taken (period 1), and large blocks, nearly all of which are.

A large block of the real allocator keeps its pages from one free to the next malloc. Given fresh ones each time, the
program would wait for the kernel to find and zero them.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import measure
from measure import BARE, BARE_AGAIN, Config, Spread, Verdict, noise_of, ratios, spread

SAMPLE_SIZE, SAMPLES = 64, 20_000
BLOCK, BLOCK_LIMIT = 15 << 20, 1.2
LOOPS = {"pages": "15 MiB, each page touched", "sizes": "10 to 20 MiB, each page touched", "first": "15 MiB, one page"}
BLOCKS = {"pages": 1000, "sizes": 300, "first": 10_000}
MECHANISMS = ("markers", "userfaultfd", "mprotect")


@dataclass(frozen=True)
class Figures:
    """Nanoseconds a block, by configuration and round."""

    samples: dict[str, list[float]]
    loops: dict[str, dict[str, list[float]]]  # by mode of pairs.c


def _every_call(library: Path) -> list[Config]:
    def config(name: str, **options: object) -> Config:
        env = {f"POIREAU_{option.upper()}": str(value) for option, value in options.items()}
        return measure.preload(name, library, POIREAU_SAMPLE_PERIOD="1", **env)

    guarded = [
        config(f"{mechanism}, stack {depth}", guard="all", guard_mechanism=mechanism, stack_depth=depth)
        for mechanism in MECHANISMS
        for depth in (0, 64)
    ]
    return [config(f"plain, stack {depth}", guard="off", stack_depth=depth) for depth in (0, 64)] + guarded


def measure_all(pairs: Path, library: Path, rounds: int, scale: float, rng: random.Random) -> Figures:
    def interleave(configs: Sequence[Config], size: int, count: int, mode: str) -> dict[str, list[float]]:
        def nanoseconds(config: Config) -> float:
            return measure.pair_ns(pairs, config, size, 1, int(count * scale), mode)

        return measure.interleave(configs, nanoseconds, rounds, rng)

    measure.step("samples")
    samples = interleave([BARE, BARE_AGAIN, *_every_call(library)], SAMPLE_SIZE, SAMPLES, "first")
    loops = {}
    for mode, what in LOOPS.items():
        measure.step(f"large blocks: {what}")
        loops[mode] = interleave([BARE, BARE_AGAIN, measure.ours(library, "512K")], BLOCK, BLOCKS[mode], mode)
    return Figures(samples, loops)


def _added(figures: Figures, name: str) -> Spread:
    return spread(ours - base for ours, base in zip(figures.samples[name], figures.samples["bare"]))


def verdicts(figures: Figures) -> list[Verdict]:
    loop = figures.loops["pages"]
    noise = noise_of(spread(ratios(loop["bare again"], loop["bare"])))
    value = spread(ratios(loop["512K"], loop["bare"])).median
    return [Verdict("loop over 15 MiB blocks CPU / bare, 512K", value, BLOCK_LIMIT, noise=noise)]


def report(figures: Figures) -> str:
    bare = statistics.median(figures.samples["bare"])
    rows: list[tuple[object, ...]] = [("bare", f"{bare:.1f}")]
    rows += [(f"{name} adds", _added(figures, name)) for name in figures.samples if name != "bare"]
    text = measure.table(f"Every call sampled: malloc({SAMPLE_SIZE}), touch, free", ("", "ns"), rows)
    rows = []
    for mode, loop in figures.loops.items():
        us = f"{statistics.median(loop['bare']) / 1000:.2f}"
        rows.append((LOOPS[mode], us, *(spread(ratios(loop[name], loop["bare"])) for name in ("bare again", "512K"))))
    title = "Loops over large blocks: malloc, touch, free; CPU time / bare"
    return "\n".join([text, measure.table(title, ("", "bare us", "bare again", "512K"), rows)])


def record(figures: Figures) -> dict[str, Any]:
    loops = {
        LOOPS[mode]: {
            "ns": {name: statistics.median(values) for name, values in loop.items()},
            "to bare": {name: asdict(spread(ratios(values, loop["bare"]))) for name, values in loop.items()},
        }
        for mode, loop in figures.loops.items()
    }
    added = {name: asdict(_added(figures, name)) for name in figures.samples if name != "bare"}
    return {"every call, ns": {"bare": statistics.median(figures.samples["bare"]), "added": added}, "loops": loops}
