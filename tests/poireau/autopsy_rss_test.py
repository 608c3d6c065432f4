from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from poireau import autopsy_rss, autopsy_text
from poireau.autopsy_rss import Area, Killed, Part, Rss, areas, exactly, of_areas, parsed, where_did_rss_go
from poireau.errors import Failure
from poireau.estimate import Estimate
from poireau.processes import Mapping
from poireau.report.text import Style
from tests.poireau.histories import heap_of

MIB = 1 << 20
SMAPS = """\
555555554000-555555560000 r-xp 00000000 08:01 77                         /usr/bin/server
Size:                 48 kB
Rss:                  40 kB
Swap:                  0 kB
555555600000-555555700000 rw-p 00000000 00:00 0                          [heap]
Size:               1024 kB
Rss:                1000 kB
Swap:                 12 kB
208000000000-208000200000 rw-p 00000000 00:00 0
Rss:                 200 kB
7ffff0000000-7ffff0001000 ---p 00000000 00:00 0
Rss:                   0 kB
7ffff0001000-7ffff0801000 rw-p 00000000 00:00 0
Rss:                  16 kB
7ffff1000000-7ffff1100000 rw-p 00000000 00:00 0
Rss:                 300 kB
7ffff2000000-7ffff2100000 rw-s 00000000 00:01 9                          /dev/shm/x y (deleted)
Rss:                  64 kB
7ffff3000000-7ffff3010000 rw-s 00000000 08:01 9                          /traces/samples_3
Rss:                  60 kB
7ffff4000000-7ffff4010000 r--p 00000000 08:01 9                          /opt/libpoireau.so
Rss:                   4 kB
7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0                          [stack]
Rss:                  20 kB
7ffffffff000-800000000000 r-xp 00000000 00:00 0                          [vdso]
Rss:                   4 kB
VmFlags: rd ex
"""
KIB = 1024


def parts(rss: Rss) -> dict[str, float]:
    return {part.kind: part.bytes.value for part in rss.parts}


def test_every_mapping_is_of_a_kind() -> None:
    found = parsed(SMAPS)
    assert list(autopsy_rss.kinds(found, [])) == [
        "files", "anonymous", "region", "anonymous", "stacks", "anonymous", "shared", "other", "other", "stacks",
        "files",
    ]  # fmt: skip
    assert [area.resident // KIB for area in found] == [40, 1000, 200, 0, 16, 300, 64, 60, 4, 20, 4]
    assert sum(area.swapped for area in found) == 12 * KIB


def test_a_mapping_in_which_a_thread_stands_is_its_stack() -> None:
    assert list(autopsy_rss.kinds(parsed(SMAPS), [0x7FFFF1000800]))[5] == "stacks"


def test_an_arena_is_no_stack() -> None:
    below = Area(Mapping(0x7F0003FFF000, 0x7F0004000000, 0, ""), "---p", 0, 0)
    arena = Area(Mapping(0x7F0004000000, 0x7F0005000000, 0, ""), "rw-p", 5, 0)
    assert list(autopsy_rss.kinds([below, arena], []))[1] == "anonymous"


def test_the_parts_are_the_whole() -> None:
    live = Estimate(700.0 * KIB, 600.0 * KIB, 800.0 * KIB, 9, 0.0)
    rss = of_areas(parsed(SMAPS), [], live, 150.0 * KIB, 8 * KIB, "smaps")
    assert rss.total == 1708 * KIB
    assert sum(parts(rss).values()) == rss.total
    assert parts(rss)["slack"] == (1300 - (700 - 150)) * KIB
    assert parts(rss)["ours"] == (200 - 150 + 64) * KIB
    slack = rss.parts[1].bytes
    assert (slack.low, slack.high) == ((1300 - 650) * KIB, (1300 - 450) * KIB)
    assert {part.kind: part.bytes.value for part in rss.beside} == {"page tables": 8 * KIB, "swap": 12 * KIB}


def test_an_estimate_beyond_what_is_there_leaves_nothing_for_the_allocator() -> None:
    live = Estimate(9000.0 * KIB, 600.0 * KIB, 9900.0 * KIB, 9, 0.0)
    slack = of_areas(parsed(SMAPS), [], live, 0.0, 0, "").parts[1].bytes
    assert (slack.low, slack.value, slack.high) == (0, 0, 700 * KIB)


def test_without_a_heap_nothing_is_taken_for_one() -> None:
    rss = of_areas(parsed(SMAPS), [], None, 0.0, 0, "")
    assert parts(rss)["slack"] == 1300 * KIB
    assert sum(parts(rss).values()) == rss.total


def test_what_the_kernel_said_of_who_was_killed_is_shared_out() -> None:
    heap = heap_of([{"size": 3 * MIB}])
    rss = where_did_rss_go(heap, 0, Killed(10 * MIB, MIB, 2 * MIB, 4096))
    assert rss.total == 13 * MIB
    assert parts(rss) == {"heap": 3 * MIB, "slack": 7 * MIB, "files": MIB, "shared": 2 * MIB}


def test_of_who_has_ended_otherwise_only_the_estimate_is_known() -> None:
    rss = where_did_rss_go(heap_of([{"size": 3 * MIB}]), 0, Killed())
    assert (rss.total, parts(rss)) == (None, {"heap": 3 * MIB})
    assert "only the heap is known" in "\n".join(autopsy_text.bar(rss, Style()))


@pytest.fixture
def running() -> Iterator[int]:
    program = "import threading,mmap,sys; x=bytearray(30<<20); print(flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


def test_of_a_process_that_runs_the_parts_are_its_rss(running: int) -> None:
    rss = where_did_rss_go(None, pid=running)
    with open(f"/proc/{running}/smaps_rollup") as file:
        rollup = next(int(line.split()[1]) * KIB for line in file if line.startswith("Rss:"))
    assert rss.total == pytest.approx(rollup, rel=0.02)
    assert sum(parts(rss).values()) == rss.total
    assert parts(rss)["slack"] > 30 * MIB
    assert 0 < parts(rss)["stacks"] < MIB


def test_who_is_gone_or_hidden_is_told_in_a_line() -> None:
    with pytest.raises(Failure, match="no process"):
        areas(1 << 30)


@pytest.mark.parametrize("text", ["", "\n", "nonsense\n", "Rss: 5 kB\n", SMAPS[:300], "0-z rw-p\n"])
def test_what_is_no_smaps_is_nothing(text: str) -> None:
    assert sum(area.resident for area in parsed(text)) <= 40 * KIB


@pytest.mark.parametrize("shares", [(1.0,), (0.98, 0.01, 0.01), (0.5, 0.0, 0.5), (0.001,) * 6, (0.17,) * 6])
def test_a_bar_is_as_long_as_it_should_be_and_has_all_its_parts(shares: tuple[float, ...]) -> None:
    kinds = autopsy_rss.KINDS
    rss = Rss("smaps", 1e9, tuple(Part(kinds[at], exactly(each * 1e9), kinds[at]) for at, each in enumerate(shares)))
    line = list(autopsy_text.bar(rss, Style()))[1].strip()
    assert len(line) <= 60
    assert len(set(line)) == sum(share > 0 for share in shares)


def test_there_is_something_to_read_of_ourselves() -> None:
    assert areas(os.getpid())
    assert autopsy_rss.stack_pointers(1 << 30) == []
