from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest

from poireau.leaks import find
from poireau.model import Heap
from poireau.preamble import Preamble
from poireau.reached import LOST, REACHED, Reached
from poireau.report.leaks import lines, rate
from poireau.report.leaks_document import document
from tests.poireau.leak_shapes import HONEST, SECOND, Blocks, Columns
from tests.poireau.report import goldens

MIB = 1 << 20


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def server(seconds: float) -> Heap:
    """A leak, a cache without bound, a full one, a table, and what comes and goes."""
    rng = np.random.default_rng(7)
    source = Columns()
    source.process(time=0, pid=4242, executable="/usr/bin/server")
    born = np.arange(0, seconds, seconds / 3000)
    lost = Blocks(born, np.full(3000, np.inf), np.full(3000, 400.0))
    kept = Blocks(np.sort(rng.uniform(0, seconds, 4000)), np.full(4000, np.inf), np.full(4000, 1000.0))
    full = Blocks(born, np.append(born[800:], np.full(800, np.inf)), np.full(3000, 2000.0))
    note = "operator new;note(std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >)"
    source.site(f"{note}@/src/server.cc:57;serve@/src/server.cc:80;main@/src/server.cc:99;_start", lost, rng, 16384)
    source.site("malloc;remember@/src/cache.c:12;serve@/src/server.cc:81;main@/src/server.cc:99", kept, rng, 16384)
    evict = "free;evict@/src/cache.c:40;main@/src/server.cc:99"
    source.site("malloc;put@/src/cache.c:33;serve@/src/server.cc:82", full, rng, 16384, freed_by=evict)
    for name in ("table", "busy"):
        source.site(f"malloc;{name}@/src/server.cc:5;main@/src/server.cc:97", HONEST[name](rng, seconds)[0], rng, 65536)
    source.event("checkpoint", 0, int(seconds * SECOND))
    return source.heap()


def told(heap: Heap, scanned: bool = False, **how: Any) -> str:
    live = heap.live()
    states = [LOST if size == 400 else REACHED for size in live["size"]]
    reached = Reached.of(live["process"], live["id"], states) if scanned else None
    answer = find(heap, reached=reached)
    opening = Preamble.of(heap, answer.selection, answer.periods, answer.stacks)
    said = "".join(f"{line}\n" for line in lines(document(heap, answer, opening), opening.lines(), **how))
    assert not re.search(r"\de[+-]?\d", said)  # as nobody writes numbers
    return said


def test_golden_of_a_server() -> None:
    heap = server(600)
    goldens.check("leaks.txt", told(heap))
    goldens.check("leaks_scanned.txt", told(heap, scanned=True, frames=None))
    goldens.check("leaks_why.txt", told(heap, scanned=True, why=True, limit=0))


def test_nothing_is_wider_than_the_terminal() -> None:
    heap = server(600)
    wide, narrow = (told(heap, scanned=True, why=True, limit=0, width=width) for width in (None, 60))
    assert max(map(len, narrow.splitlines())) <= 60 and narrow.split() == wide.split()


def test_golden_of_a_start() -> None:
    goldens.check("leaks_start.txt", told(server(0.02)))


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (41 * MIB, 35 * MIB, 47 * MIB, "41 ± 6 MiB/h"),
        (4.1 * MIB, 3.9 * MIB, 4.3 * MIB, "4.1 ± 0.2 MiB/h"),
        (1.29 * MIB, 1.25 * MIB, 1.33 * MIB, "1.29 ± 0.04 MiB/h"),
        (41 * MIB, 30 * MIB, 80 * MIB, "41 (30 to 80) MiB/h"),
        (14 * MIB, 2 * MIB, 30 * MIB, "14 (2 to 30) MiB/h"),  # it surely grows
        (500.0, 500.0, 500.0, "500 ± 0 B/h"),
        (0.0, 0.0, 3 * MIB, "0.0 (0.0 to 3.0) MiB/h"),
        (2048 * MIB, 1024 * MIB, 3072 * MIB, "2.0 ± 1.0 GiB/h"),
    ],
)
def test_a_rate_has_the_digits_that_its_interval_allows(value: float, low: float, high: float, text: str) -> None:
    assert rate({"value": value, "ci95": [low, high], "n": 1}) == text
