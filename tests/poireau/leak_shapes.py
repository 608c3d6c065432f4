"""Heaps with planted leaks and their look-alikes, made of columns: many sites at once, each a program of its own.

A shape gives the blocks of one site: when each was born, when it died (inf: never), and its size; `sampled` keeps those
that a sampler would have picked. Blocks of one `chain` are resized into each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poireau import events
from poireau.model import Batch, Heap
from tests.poireau.histories import BEGIN, SECOND, History

Floats = NDArray[np.float64]
HOUR = 3600.0


@dataclass(frozen=True)
class Blocks:
    born: Floats  # seconds
    died: Floats
    size: Floats
    chained: bool = False  # each is resized into the next one
    moved: bool = False  # each is freed where its successor is asked for

    def __add__(self, other: Blocks) -> Blocks:
        return Blocks(*(np.concatenate([getattr(self, x), getattr(other, x)]) for x in ("born", "died", "size")))


Shape = Callable[[np.random.Generator, float], tuple[Blocks, float]]  # blocks in so many seconds; bytes a second


def _never(born: Floats, size: Floats) -> Blocks:
    return Blocks(born, np.full(len(born), np.inf), size)


def churn(rng: np.random.Generator, seconds: float, rate: float, life: float, size: float) -> Blocks:
    """What comes and goes: so many a second, that live for so long on average."""
    born = np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))
    died = born + rng.gamma(2.0, life / 2, len(born))
    return Blocks(born, np.where(died < seconds, died, np.inf), np.full(len(born), size))


def steady(rng: np.random.Generator, seconds: float) -> tuple[Blocks, float]:
    rate, size = rng.uniform(3000, 50_000) / seconds, rng.choice([64, 500, 4096, 100_000])
    born = np.arange(rng.uniform(0, 1), rate * seconds) / rate
    return _never(born, np.full(len(born), float(size))), rate * size


def bursty(rng: np.random.Generator, seconds: float) -> tuple[Blocks, float]:
    """Some fifteen bursts or more, of very different sizes, each of some seconds."""
    often, many, size = rng.uniform(15, 60) / seconds, rng.uniform(50, 500), 1000.0
    starts = np.sort(rng.uniform(0, seconds, rng.poisson(often * seconds)))
    counts = rng.poisson(rng.exponential(many, len(starts)))
    born = np.repeat(starts, counts) + rng.exponential(seconds / 500, counts.sum())
    born = np.sort(born[born < seconds])
    return _never(born, np.full(len(born), size)), often * many * size


def per_connection(rng: np.random.Generator, seconds: float) -> tuple[Blocks, float]:
    """Connections come at random and go; each leaves a block of what it had."""
    often = rng.uniform(1000, 20_000) / seconds
    starts = np.sort(rng.uniform(0, seconds, rng.poisson(often * seconds)))
    left = rng.integers(1, 4, len(starts))
    size = rng.choice([256.0, 2048.0])
    born = np.repeat(starts, left)
    return _never(born, np.full(len(born), size)) + churn(
        rng, seconds, often * 5, 0.01 * seconds, size
    ), often * 2 * size


def cache(rng: np.random.Generator, seconds: float) -> tuple[Blocks, float]:
    """Without bound: what is not in it yet is put there, of all sizes; some entries are replaced soon."""
    often = rng.uniform(10_000, 100_000) / seconds
    born = np.sort(rng.uniform(0, seconds, rng.poisson(often * seconds)))
    size = rng.lognormal(6, 1, len(born))
    died = np.where(rng.random(len(born)) < 0.3, born + rng.exponential(0.005 * seconds, len(born)), np.inf)
    return Blocks(born, np.where(died < seconds, died, np.inf), np.floor(size) + 1), often * 0.7 * np.exp(6.5)


def growing_block(rng: np.random.Generator, seconds: float) -> tuple[Blocks, float]:
    """One block that is resized again and again."""
    often, step = rng.uniform(600, 10_000) / seconds, rng.choice([4096.0, 65536.0])
    born = np.sort(rng.uniform(0, seconds, max(rng.poisson(often * seconds), 2)))
    size = step * np.arange(1, len(born) + 1)
    return Blocks(born, np.append(born[1:], np.inf), size, chained=True), often * step


def _slots(rng: np.random.Generator, seconds: float, often: float, slots: int) -> tuple[Floats, Floats, Floats]:
    """When blocks of slots that are replaced at random are born and die, and the how manieth of its slot each is."""
    born = np.sort(rng.uniform(0, seconds, rng.poisson(often * seconds)))
    slot = rng.integers(slots, size=len(born))
    order = np.lexsort((born, slot))
    new = np.append(True, slot[order][1:] != slot[order][:-1])
    place = np.arange(len(born))
    nth, died = np.empty(len(born)), np.full(len(born), np.inf)
    nth[order] = place - np.maximum.accumulate(np.where(new, place, 0)) + 1
    died[order[:-1][~new[1:]]] = born[order[1:][~new[1:]]]
    return born, died, nth


def vectors(rng: np.random.Generator, seconds: float) -> tuple[Blocks, float]:
    """A hundred, each of which is copied to a larger block again and again."""
    often, step = rng.uniform(3000, 10_000) / seconds, rng.choice([200.0, 1000.0])
    born, died, nth = _slots(rng, seconds, often, 100)
    return Blocks(born, died, step * nth, moved=True), often * step


def replaced(rng: np.random.Generator, seconds: float) -> tuple[Blocks, float]:
    """As many as there are slots, soon, each by one as large."""
    born, died, _ = _slots(rng, seconds, rng.uniform(3000, 30_000) / seconds, rng.integers(20, 200))
    return Blocks(born, died, np.full(len(born), 4000.0), moved=True), 0.0


def table(rng: np.random.Generator, seconds: float) -> tuple[Blocks, float]:
    born = np.sort(rng.uniform(0, rng.uniform(0.01, 0.15) * seconds, 20_000))
    return _never(born, np.full(len(born), rng.choice([64.0, 1000.0]))), 0.0


def bounded(rng: np.random.Generator, seconds: float) -> tuple[Blocks, float]:
    """A cache that fills up, and then drops the oldest, or any, for each new one."""
    often, full = rng.uniform(5000, 20_000) / seconds, rng.uniform(0.03, 0.4)
    born = np.arange(often * seconds) / often
    most = int(full * seconds * often)
    size = np.full(len(born), 1000.0)
    if rng.random() < 0.5:
        died = np.append(born[most:], np.full(min(most, len(born)), np.inf))
    else:
        # Each slot's entries follow each other.
        slot = np.append(np.arange(min(most, len(born))), rng.integers(most, size=max(len(born) - most, 0)))
        order = np.lexsort((born, slot))
        died = np.full(len(born), np.inf)
        same = slot[order][1:] == slot[order][:-1]
        died[order[:-1][same]] = born[order[1:][same]]
    return Blocks(born, died, size), 0.0


def pool(rng: np.random.Generator, seconds: float) -> tuple[Blocks, float]:
    """Chunks, each twice the one before, until there are enough."""
    count = rng.integers(4, 9)
    born = np.sort(rng.uniform(0, rng.uniform(0.1, 0.5) * seconds, count))
    return _never(born, 65536.0 * 2.0 ** np.arange(count)), 0.0


def busy(rng: np.random.Generator, seconds: float) -> tuple[Blocks, float]:
    return churn(rng, seconds, rng.uniform(10_000, 100_000) / seconds, rng.choice([0.001, 0.02]) * seconds, 2000.0), 0.0


LEAKS: dict[str, Shape] = {
    "steady": steady, "bursty": bursty, "per connection": per_connection, "cache": cache,
    "growing block": growing_block, "vectors": vectors,
}  # fmt: skip
HONEST: dict[str, Shape] = {"table": table, "bounded": bounded, "pool": pool, "busy": busy, "replaced": replaced}


class Columns(History):
    """A Source whose blocks come as columns rather than one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[dict[str, Any]] = []
        self.next = 1 << 20

    def site(
        self, stack: str, blocks: Blocks, rng: np.random.Generator, period: int, process: int = 0, thread: int = 1,
        freed_by: str = "free;main",
    ) -> int:  # fmt: skip
        """The number of samples."""
        taken = rng.random(len(blocks.born)) < (1 - np.exp(-blocks.size / period) if period > 1 else 1.0)
        before = np.append(False, taken[:-1]) if blocks.chained else np.zeros(len(taken), bool)
        ids = self.next + np.cumsum(~(taken & before)) if blocks.chained else self.next + np.arange(len(taken))
        self.next += len(taken) + 1
        after = np.append(taken[1:], False) if blocks.chained else np.zeros(len(taken), bool)
        dies = taken & np.isfinite(blocks.died) & ~after
        number, by = self.stack(stack), self.stack(stack if blocks.moved else freed_by)
        for kind, chosen in (("alloc", taken & ~before), ("resize", taken & before), ("free", dies)):
            time = BEGIN + ((blocks.died if kind == "free" else blocks.born)[chosen] * SECOND).astype(np.int64)
            self.parts.append(
                {
                    "kind": kind, "time": time, "id": ids[chosen], "size": blocks.size[chosen], "process": process,
                    "stack": by if kind == "free" else number, "thread": thread, "period": period,
                }
            )  # fmt: skip
        return int(taken.sum())

    def batches(self) -> Iterator[Batch]:
        yield from super().batches()
        functions = {kind: self.text("realloc" if kind == "resize" else "malloc") for kind in ("alloc", "resize")}
        functions["free"] = self.text("free")
        rows: list[tuple[str, Any]] = []
        for part in self.parts:
            count = len(part["time"])
            row = {name: np.broadcast_to(np.asarray(part[name]), count) for name in part if name != "kind"}
            rows.append((part["kind"], row))
        whole: dict[str, dict[str, Any]] = {}
        for kind in ("alloc", "resize", "free"):
            own = [row for each, row in rows if each == kind]
            if own:
                whole[kind] = {name: np.concatenate([row[name] for row in own]) for name in own[0]}
        times = np.concatenate([columns["time"] for columns in whole.values()]) if whole else np.zeros(0, np.int64)
        kinds = np.concatenate([np.full(len(c["time"]), i) for i, c in enumerate(whole.values())]) if whole else times
        ranks = np.empty(len(times), np.int64)
        ranks[np.lexsort((kinds, times))] = np.arange(len(times))
        batch: dict[str, Any] = {}
        at = 0
        for kind, columns in whole.items():
            order = ranks[at : at + len(columns["time"])] + len(self.rows)
            at += len(order)
            types = {**events.COLUMNS[kind], "pid": "u4", "order": "u8", "process": "u4", "stamp": "i8", "time": "i8"}
            given = {
                **columns, "order": order, "stamp": columns["time"], "frames": columns["stack"],
                "since": columns["size"],
                "function": np.full(len(order), functions[kind]), "alignment": np.full(len(order), 16),
                "address": (1 << 45) + columns["id"].astype(np.int64) * 64,
            }  # fmt: skip
            names = {"frames" if what == "frames" else name for name, what in events.KINDS[kind].items()}
            sorted_ = np.argsort(order)
            batch[kind] = {
                name: np.asarray(given.get(name, np.zeros(len(order), np.int64)))[sorted_].astype(
                    "u4" if types.get(name) in ("O", None) or name == "frames" else types[name]
                )
                for name in {*names, "process", "order", "stamp", "time"}
            }
        yield batch


def heap_of_shapes(
    shapes: Sequence[Shape], seed: int, *, seconds: float = 600.0, period: int = 65536, each: int = 1
) -> tuple[Heap, dict[str, float]]:
    """`each` sites of every shape; and of each function its true rate, in bytes an hour."""
    rng = np.random.default_rng(seed)
    source = Columns()
    source.process(time=0)
    truth = {}
    for shape in shapes:
        for number in range(each):
            blocks, rate = shape(rng, seconds)
            name = f"{shape.__name__}_{number}"
            source.site(f"malloc;{name}@{shape.__name__}.cc:{number + 1};main@main.cc:1", blocks, rng, period)
            truth[name] = rate * HOUR
    source.event("checkpoint", 0, int(seconds * SECOND))
    return source.heap(), truth
