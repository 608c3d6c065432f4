"""What of live blocks is in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import poireau
from poireau import resident
from poireau.resident import PAGE
from tests.poireau.histories import History
from tests.poireau.opening_test import started

# A block of 64 pages and of some more, of which it touches what its arguments say, page by page.
PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char** argv) {
  char c;
  for (int i = 1; i < argc; i += 2) {
    const long pages = atol(argv[i]), touched = atol(argv[i + 1]);
    char* block = malloc((size_t)pages * 4096);
    for (long page = 0; page < touched; ++page) block[page * 4096 + 100] = 1;
    printf("%lu ", (unsigned long)block);
  }
  printf("\n");
  fflush(stdout);
  return read(0, &c, 1) == 1 ? 0 : 9;
}
"""
BLOCKS = [(64, 0), (64, 64), (64, 10), (1000, 3), (5000, 5000), (300000, 2)]


@pytest.fixture(scope="module")
def program(compile_c: Callable[..., Path]) -> Path:
    return compile_c(PROGRAM, ["-O1", "-fno-builtin"])


def test_pages_that_were_touched_are_resident(program: Path, library: Path, tmp_path: Path) -> None:
    arguments = [str(number) for block in BLOCKS for number in block]
    with started(program, library, tmp_path, *arguments, POIREAU_GUARD="none") as child:
        assert child.stdin and child.stdout
        addresses = list(map(int, child.stdout.readline().split()))
        heap = poireau.open(tmp_path)
        found = resident.of(heap)
        assert found.complaints == ()
        table = found.lives.set_index("address")
        for address, (pages, touched) in zip(addresses, BLOCKS):
            row = table.loc[address]
            # Blocks need not begin with a page; their neighbours touch the first and the last.
            assert touched * PAGE - PAGE <= row["resident"] + row["swapped"] <= min(touched + 2, pages) * PAGE, row
        assert (found.lives["resident"] <= found.lives["size"]).all()
        child.stdin.write("x")
        child.stdin.flush()
        assert child.wait(30) == 0
        (complaint,) = resident.of(heap).complaints
        assert "has ended" in complaint


def test_bytes_are_those_of_the_pages_that_are_there() -> None:
    """Of memory of ours, against what is known of each page."""
    import mmap

    pages = 3000
    memory = mmap.mmap(-1, pages * PAGE)
    rng = np.random.default_rng(5)
    touched = np.unique(np.concatenate([[0, pages - 1], rng.integers(0, pages, 700)]))
    for page in touched.tolist():
        memory[page * PAGE] = 1
    begin = np.frombuffer(memory, np.uint8).__array_interface__["data"][0]
    there = np.zeros(pages, np.bool_)
    there[touched] = True
    offset = rng.integers(0, pages * PAGE - 1, 100)
    size = np.minimum(
        rng.choice([0, 1, 100, PAGE, 9 * PAGE, 999 * PAGE], 100) + rng.integers(0, 99, 100), pages * PAGE - offset
    )
    for most in (1 << 16, 7):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(resident, "_MOST_PAGES", most)
            patch.setattr(resident, "_GAP", most // 3)
            found, swapped = resident.pages(os.getpid(), (begin + offset).astype(np.uint64), size.astype(np.uint64))
        for at, length, bytes_there in zip(offset.tolist(), size.tolist(), (found + swapped).tolist()):
            each = np.arange(at, at + max(length, 1))
            if length < 10 * PAGE or most > 7:
                assert bytes_there == there[each // PAGE].sum()


def test_another_process_of_the_same_pid_is_not_asked() -> None:
    history = History()
    start = resident._started(os.getpid())
    assert start
    own = os.path.realpath("/proc/self/exe")
    same = {"host": os.uname().nodename, "executable": own, "pid": os.getpid()}
    history.process(**same, start_time=start)
    history.process(**same, start_time=start - 1)  # its pid is ours now
    history.process(**{**same, "host": "elsewhere"}, start_time=start)
    history.process(**{**same, "executable": "/bin/other"}, start_time=start - 2)
    processes = history.heap().processes
    assert resident.pids(processes) == {0: os.getpid()}
    executed = History()
    executed.process(**same, start_time=start)
    executed.process(**same, start_time=start, time=5)
    assert resident.pids(executed.heap().processes) == {1: os.getpid()}
    executed.process(**{**same, "executable": "/bin/other"}, start_time=start, time=6)
    assert resident.pids(executed.heap().processes) == {}
    assert resident.pids(pd.DataFrame(processes.iloc[:0])) == {}


def test_who_may_not_be_asked_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    history.process(
        host=os.uname().nodename,
        executable=os.path.realpath("/proc/self/exe"),
        pid=os.getpid(),
        start_time=resident._started(os.getpid()),
    )
    history.alloc(1 << 40, size=100)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(resident, "pages", refuse)
    found = resident.of(history.heap())
    assert len(found.lives) == 0 and len(found.complaints) == 1 and "Permission denied" in found.complaints[0]
    assert replace(found, complaints=()).complaints == () and {"resident", "swapped"} <= set(found.lives)


def test_what_is_damaged_has_nothing_resident() -> None:
    wild = np.array([0, 1 << 63, (1 << 64) - 1, 1 << 47, 64], np.uint64)
    found, swapped = resident.pages(os.getpid(), wild, np.array([1 << 30, 9, 1 << 40, 1 << 63, 0], np.uint64))
    assert (found >= 0).all() and (swapped == 0).all() and found.max() < 1 << 40
