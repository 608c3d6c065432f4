"""Five leaks among things that only look like leaks, in a Python extension: see scenario.json.

Arguments: the directory of the extension, then those of the other programs. There are no annotations below on what is
a few lines' alone.
"""

from __future__ import annotations

import collections
import gc
import os
import random
import sys
import time
from typing import Any

sys.path.insert(0, sys.argv.pop(1))
import planted  # type: ignore[import-not-found]

SITES = "note rule peer entry history table cached job chunk request buffer".split()
TICK = 0.005
SEED, SECONDS, *NUMBERS = sys.argv[1:]
SIZE = dict(zip(SITES, map(float, NUMBERS[::2])))
RATE = dict(zip(SITES, map(float, NUMBERS[1::2])))
TICKS = int(float(SECONDS) / TICK)
toss = random.Random(int(SEED)).random


def some(site: str) -> int:
    return int(SIZE[site] * (0.5 + toss()))


def due(site: str, factor: float = 1) -> range:
    """As many blocks as this tick has of a site, `factor` times what its rate says."""
    return range(int(RATE[site] * TICK * factor / SIZE[site] + toss()))


def ticks(low: float, high: float) -> int:
    return int((low + (high - low) * toss()) / TICK)


def note_request() -> None:
    """Leak, steady."""
    planted.hold(planted.take_note(some("note")))


def reload_rules() -> None:
    """Leak, in bursts: a cycle, which nobody collects."""
    rules: list[Any] = [planted.take_rule(some("rule")) for _ in range(int(RATE["rule"] * 0.6 / SIZE["rule"]))]
    rules.append(rules)


def open_session() -> tuple[object, object]:
    """Leak, one a connection: the peer's name. The buffer goes with its session."""
    peer = planted.take_peer(some("peer"))
    planted.hold(peer)
    return peer, planted.take_buffer(some("buffer"))


def main() -> None:
    gc.disable()
    cache: dict[float, object] = {}
    histories = [planted.take_history(16) for _ in range(100)]
    sessions: dict[int, list[object]] = collections.defaultdict(list)
    tables: list[object] = []
    bounded: collections.deque[object] = collections.deque(
        maxlen=int(0.4 * float(SECONDS) * RATE["cached"] / SIZE["cached"])
    )
    jobs: list[object] = [None] * int(RATE["job"] / SIZE["job"])
    pool: list[object] = []
    burst = capacity = 0
    started = time.monotonic()
    for tick in range(TICKS):
        requests = [planted.take_request(some("request")) for _ in due("request")]
        for _ in due("note"):
            note_request()
        if tick >= burst:
            reload_rules()
            burst = tick + ticks(0.3, 0.9)
        for _ in due("peer"):
            sessions[tick + ticks(0.05, 0.5)].append(open_session())
        sessions.pop(tick, None)
        for _ in due("entry"):  # leak: a cache that nobody bounds
            cache[toss()] = planted.take_entry(some("entry"))
        for _ in due("history"):  # leak: what is appended to, for ever
            planted.extend_history(histories[int(toss() * len(histories))], some("history"))
        for _ in due("table", 10 if tick < 0.1 * TICKS else 0):
            tables.append(planted.take_table(some("table")))
        for _ in due("cached"):  # full after a while, then the oldest goes
            bounded.append(planted.take_cached(some("cached")))
        for _ in due("job"):  # they take a second, more or less
            jobs[int(toss() * len(jobs))] = planted.take_job(some("job"))
        if tick < 0.4 * TICKS and RATE["chunk"] * tick * TICK > capacity:  # doubles while the load grows
            size = int(SIZE["chunk"]) << len(pool)
            pool.append(planted.take_chunk(size))
            capacity += size
        time.sleep(max(0, (tick + 1) * TICK - (time.monotonic() - started)))
        requests.clear()
    planted.truth()
    os._exit(0)


main()
