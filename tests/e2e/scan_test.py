"""Who holds what, of programs that run and of their cores; and what an address is."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import poireau
from poireau import scan, scan_areas, scan_target
from poireau.errors import Failure
from poireau.model import Heap
from poireau.reached import STATES, Reached
from tests.conftest import ROOT, clean_environment
from tests.e2e.conftest import every_call
from tests.e2e.top_test import asked
from tests.e2e.top_test import poireau as command

EXPECTED = {  # tests/programs/held.c
    "global": ("reached", r"global in_global in program\d+"),
    "inside": ("reached", r"global inside in program\d+"),
    "packed": ("reached", r"global in_packed in program\d+"),
    "tls": ("reached", r'thread-local in_tls of thread \d+ "keeper"'),
    "stack": ("reached", r'stack of thread \d+ "keeper"'),
    "register": ("reached", r'register (rbx|r12) of thread \d+ "register"'),
    "unsampled": ("reached", r"anonymous memory \(an unsampled heap block, or mmap\)"),
    "read_only": ("reached", r"anonymous memory \(an unsampled heap block, or mmap\)"),
    "shared": ("reached", r"shared memory"),
    "epoll": ("reached", r"epoll descriptor \d+, for descriptor \d+"),
    "timer": ("reached", r"a timer"),
    "chain": ("reached", r"global chain in program\d+"),
    "chain_2": ("reached", r"sampled block from program\d+:\d+|sampled block from .*"),
    "chain_3": ("reached", r"sampled block from .*"),
    "freed_later": ("reached", r"global freed_later in program\d+"),
    "lost": ("lost", None),
    "lost_chain": ("lost", None),
    "lost_behind": ("indirect", r"sampled block from .*"),
    "circle": ("lost", r"sampled block from .*"),
    "circle_behind": ("indirect", r"sampled block from .*"),
    "self": ("lost", None),
    "xored": ("lost", None),  # as scan.LEFT_OUT says
    "end": ("lost", None),  # what points behind it is no pointer into it
}
KERNELS = {"epoll", "timer"}


class Held:
    """held.c at work."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self.process, self.directory = process, directory
        self.at: dict[str, int] = {}
        assert process.stdout
        for line in process.stdout:
            if line == "ready\n":
                return
            name, address = line.split()
            self.at[name] = int(address, 16)
        pytest.fail(f"it ended with {process.wait()}")

    def say(self, letter: str) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(letter)
        self.process.stdin.flush()
        return self.process.stdout.readline()

    def heap(self) -> Heap:
        return poireau.open(self.directory)

    def states(self, heap: Heap, found: Reached) -> dict[str, tuple[str, list[str]]]:
        lives = heap.live()
        rows = found.rows_of(lives["process"], lives["id"]).tolist()
        by_address = dict(zip(lives["address"].tolist(), rows))
        return {
            name: (STATES[found.state[by_address[at]]], found.holders(by_address[at])) for name, at in self.at.items()
        }


@pytest.fixture
def held(program: Callable[..., Path], library: Path, tmp_path: Path) -> Iterator[Callable[..., Held]]:
    started: list[subprocess.Popen[str]] = []

    def start(how: str = "r", **more: str) -> Held:
        environment = clean_environment(**every_call(tmp_path, {"LD_PRELOAD": str(library), **more}))
        pipe = subprocess.PIPE
        started.append(
            subprocess.Popen([program("held.c", "-O1"), how], env=environment, stdin=pipe, stdout=pipe, text=True)
        )
        return Held(started[-1], tmp_path)

    yield start
    for process in started:
        process.kill()
        process.wait()


def check(got: dict[str, tuple[str, list[str]]], but: dict[str, str] | None = None) -> None:
    for name, (state, holder) in EXPECTED.items():
        state = (but or {}).get(name, state)
        assert got[name][0] == state, (name, got[name])
        if holder is None or name in (but or {}):
            assert not got[name][1], (name, got[name])
        else:
            assert any(re.fullmatch(holder, each) for each in got[name][1]), (name, got[name])


@pytest.mark.parametrize("guard", ["all", "off"])
def test_each_block_is_as_it_is_held(held: Callable[..., Held], guard: str) -> None:
    target = held(POIREAU_GUARD=guard)
    heap = target.heap()
    found = scan.look(heap, apart=0.05)
    check(target.states(heap, found))
    assert 2 <= len(found.scans) <= scan.MOST_SCANS
    assert 0 < found.stopped_seconds < 0.5 and found.left_out[: len(scan.LEFT_OUT)] == scan.LEFT_OUT
    assert scan_target.traced_by(target.process.pid) == 0 and target.say("f") == "freed\n"


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("budget", [0, scan.BUDGET])
def test_old_kernels_and_stopped_processes_tell_the_same(held: Callable[..., Held], plain: bool, budget: int) -> None:
    target = held(POIREAU_GUARD="all")
    seen = scan.of_process(target.process.pid, budget, plain)
    state = dict(zip(seen.columns.blocks["address"].tolist(), seen.columns.blocks["state"].tolist()))
    words = {"reached": 1, "lost": 2, "indirect": 3}
    assert {name: state[at] for name, at in target.at.items() if name in EXPECTED} == {
        name: words[EXPECTED[name][0]] for name in EXPECTED
    }
    assert seen.facts.bytes < 4 << 20 and seen.frozen == (budget > 0)


def test_what_was_never_touched_is_not_read(held: Callable[..., Held]) -> None:
    target = held("h")  # 16 TiB of addresses, of which two pages are in use
    before = resident_pages(target.process.pid)
    seen = scan.of_process(target.process.pid)
    assert seen.facts.bytes < 4 << 20
    assert resident_pages(target.process.pid) - before < 16
    plain = scan.of_process(target.process.pid, plain=True)
    assert plain.columns.too_wide == 16 << 40 and not plain.complete and not seen.columns.too_wide


def resident_pages(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


def test_a_block_that_is_freed_in_between_is_gone(held: Callable[..., Held]) -> None:
    target = held()
    heap = target.heap()
    timer = threading.Timer(0.3, target.say, "f")
    timer.start()
    found = scan.look(heap, apart=1.0)
    timer.join()
    check(target.states(heap, found) | {"freed_later": ("gone", [])}, {"freed_later": "gone"})


def test_a_pointer_that_moves_all_the_time_is_never_missed(
    held: Callable[..., Held], scale: Callable[[int], int]
) -> None:
    target = held("rm")
    heap = target.heap()
    for _ in range(scale(100)):
        found = target.states(heap, scan.look(heap, apart=0))
        assert found["moving"][0] == "reached" and found["lost"][0] == "lost"


def test_what_was_held_in_one_scan_is_not_lost(held: Callable[..., Held]) -> None:
    target = held()
    heap = target.heap()
    timer = threading.Timer(0.3, target.say, "g")
    timer.start()
    found = scan.look(heap, apart=1.0)
    timer.join()
    assert target.states(heap, found)["global"][0] == "reached"
    assert target.states(heap, scan.look(heap, apart=0))["global"][0] == "lost"


def test_a_stopped_process_stays_stopped(held: Callable[..., Held]) -> None:
    target = held()
    heap = target.heap()
    os.kill(target.process.pid, signal.SIGSTOP)
    os.waitpid(target.process.pid, os.WUNTRACED)
    check(target.states(heap, scan.look(heap, apart=0)))
    status = Path(f"/proc/{target.process.pid}/status").read_text()
    assert re.search(r"^State:\tT \(stopped\)", status, re.MULTILINE), status
    os.kill(target.process.pid, signal.SIGCONT)
    assert target.say("f") == "freed\n"


def test_signals_that_come_meanwhile_arrive(compile_c: Callable[..., Path], library: Path, tmp_path: Path) -> None:
    source = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>
static volatile int count;
static void* volatile kept;
static void count_it(int number) { ++count; }
int main(void) {
  struct sigaction action = {.sa_handler = count_it, .sa_flags = SA_RESTART};
  char c;
  sigaction(SIGUSR1, &action, NULL);
  kept = malloc(100);
  puts("ready"), fflush(stdout);
  while (read(0, &c, 1) == 1) printf("%d\n", count), fflush(stdout);
  return 0;
}
"""
    environment = clean_environment(**every_call(tmp_path, {"LD_PRELOAD": str(library)}))
    pipe = subprocess.PIPE
    with subprocess.Popen([compile_c(source)], env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "ready\n"
        heap = poireau.open(tmp_path)
        sent = 0
        while sent < 200:
            scanning = threading.Thread(target=scan.look, args=[heap], kwargs={"apart": 0})
            scanning.start()
            while scanning.is_alive():
                before = answer(process)
                os.kill(process.pid, signal.SIGUSR1)
                sent += 1
                while answer(process) == before:
                    pass
            scanning.join()
        assert answer(process) == sent
        process.stdin.close()
        assert process.wait() == 0


def answer(process: subprocess.Popen[str]) -> int:
    assert process.stdin and process.stdout
    process.stdin.write("x")
    process.stdin.flush()
    return int(process.stdout.readline())


def test_a_process_outlives_who_scans_it(held: Callable[..., Held], scale: Callable[[int], int], seed: int) -> None:
    target = held()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from poireau import scan\n"
        "print('on', flush=True)\n"
        "while True: scan.of_process(int(sys.argv[2]), scan.BUDGET)\n"
    )
    chance = random.Random(seed)
    for _ in range(scale(10)):
        with subprocess.Popen(
            [sys.executable, "-c", code, ROOT, str(target.process.pid)], stdout=subprocess.PIPE, text=True
        ) as scanner:
            assert scanner.stdout and scanner.stdout.readline() == "on\n"
            time.sleep(chance.random() * 0.05)
            scanner.kill()
        assert scan_target.traced_by(target.process.pid) == 0
    assert target.say("f") == "freed\n"


@contextmanager
def debugger(pid: int) -> Iterator[int]:
    gdb = subprocess.Popen(
        ["gdb", "-q", "-nx", "-p", str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while scan_target.traced_by(pid) != gdb.pid:
            assert gdb.poll() is None
            time.sleep(0.02)
        yield gdb.pid
    finally:
        gdb.kill()
        gdb.wait()


def test_who_is_in_a_debugger_is_scanned_without_registers(held: Callable[..., Held]) -> None:
    target = held()
    heap = target.heap()
    with debugger(target.process.pid) as tracer:
        found = scan.look(heap, apart=0)
    states = target.states(heap, found)
    assert states["global"][0] == "reached" and states["lost"][0] == "lost"
    assert any(
        "registers of 3 of 3 threads" in line and f"process {tracer} traces it" in line for line in found.left_out
    )


def test_who_may_not_read_it_is_told_what_to_do(held: Callable[..., Held]) -> None:
    target = held()
    pid = target.process.pid
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from poireau import scan_target, scan_library\n"
        "from poireau.errors import Failure\n"
        "scan_library._library()\n"
        "if os.geteuid() == 0: os.setresuid(65534, 65534, 65534)\n"
        "try: scan_target.opened(int(sys.argv[2]))\n"
        "except Failure as failure: print(failure)\n"
    )
    asked_of = str(pid) if os.geteuid() == 0 else "1"
    done = subprocess.run([sys.executable, "-c", code, ROOT, asked_of], capture_output=True, text=True, check=True)
    assert re.fullmatch(r".+ \d+ belongs to another user: only root may read its memory \(sudo\)\n", done.stdout), done


def test_what_has_ended_needs_a_core(held: Callable[..., Held]) -> None:
    target = held()
    heap = target.heap()
    target.process.kill()
    target.process.wait()
    with pytest.raises(Failure, match="runs any more"):
        scan.look(target.heap())
    with pytest.raises(Failure, match=r"has ended|runs any more"):
        scan.look(heap)
    with pytest.raises(Failure, match="has ended"):
        scan_target.opened(target.process.pid)


def test_a_process_that_ends_meanwhile_is_said_to(held: Callable[..., Held], seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        target = held()
        heap = target.heap()
        assert len(heap.running) == 1
        timer = threading.Timer(chance.random() * 0.1, target.process.kill)
        timer.start()
        try:
            found = scan.look(heap, apart=0.2)
            assert {STATES[state] for state in found.state} <= {"unread", "gone"}
            assert any("ended" in line for line in found.left_out)
        except Failure as failure:
            assert "end" in str(failure) or "runs any more" in str(failure)
        timer.join()
        target.process.wait()


def dumped(target: Held) -> Path:
    where = target.directory / "dump"
    subprocess.run(["gcore", "-o", where, str(target.process.pid)], check=True, capture_output=True)
    return Path(f"{where}.{target.process.pid}")


def test_a_core_tells_the_same(held: Callable[..., Held]) -> None:
    # gdb doesn't dump mappings with guards in them.
    target = held(POIREAU_GUARD="off")
    heap = target.heap()
    path = dumped(target)
    found = scan.look(heap, core=str(path))
    states = target.states(heap, found)
    lost = {name: "once" for name, (state, _) in EXPECTED.items() if state in ("lost", "indirect")}
    assert {name: states[name][0] for name in EXPECTED} == {
        name: "once" if name in KERNELS else lost.get(name, "reached") for name in EXPECTED
    }
    for name in set(EXPECTED) - KERNELS:
        holder = EXPECTED[name][1]
        assert holder is None or any(re.fullmatch(holder, each) for each in states[name][1]), (name, states[name])


def test_a_core_without_homes_says_so(held: Callable[..., Held]) -> None:
    target = held(POIREAU_GUARD="all")
    heap = target.heap()
    found = scan.look(heap, core=str(dumped(target)))
    states = target.states(heap, found)
    assert scan.NO_HOMES in found.left_out
    assert states["global"][0] == "reached" and states["lost"][0] == states["chain_2"][0] == "unread"


def test_a_core_of_somebody_else_is_refused(held: Callable[..., Held], tmp_path: Path) -> None:
    first = held()
    path = dumped(first)
    other = tmp_path / "other"
    second = held(POIREAU_TRACE=str(other))
    heap = poireau.open(other)
    assert second.at
    with pytest.raises(Failure, match="the trace of"):
        scan.look(heap, core=str(path))


def test_what_lies_where(held: Callable[..., Held]) -> None:
    target = held()
    pid, at = target.process.pid, target.at
    target.say("f")
    areas = scan_areas.of_process(pid)
    stack = next(area for area in areas if area.path == "[stack]")
    heap = next(area for area in areas if area.path == "[heap]")
    library = next(area for area in areas if "libpoireau.so" in area.path and "w" in area.permissions)
    code = next(area for area in areas if "x" in area.permissions and "libc.so" in area.path)
    program = next(area for area in areas if area.path == os.readlink(f"/proc/{pid}/exe"))
    symbols = subprocess.run(["nm", program.path], capture_output=True, text=True, check=True).stdout
    main = program.begin + next(int(line.split()[0], 16) for line in symbols.split("\n") if line.endswith(" T main"))
    where = {"POIREAU_TRACE": str(target.directory)}
    cases: dict[int, str] = {
        at["chain"]
        + 12: r'12 bytes into a 64-byte object from .*:\d+ \(malloc\), thread \d+ "program\d+", allocated .* ago',
        at["global"]: r"the beginning of a 64-byte object from .*",
        at["freed_later"] + 3: r"3 bytes into a 64-byte object .*; freed .* ago by .*:\d+ \(free\) on thread .*",
        at["tls"] + 1: r'1 byte into a 64-byte object .*, thread \d+ "keeper", .*',
        stack.end - 64: r'on the stack of thread \d+ "program\d+" .*',
        stack.begin + 8: r"below the first thread's stack: not in use .*",
        heap.begin + 64: r"in \[heap\], where blocks are that were not sampled .*",
        library.begin + 8: r"the library's own, in libpoireau.so .*",
        code.begin: r"code of libc.so.6 .*",
        main + 4: r"main\+0x4, code of program\d+ .*",
        0x1234: r"not mapped: .* before .*",
    }
    done = command("whatis", pid, *map(hex, cases), **where)
    lines = {
        line.split(": ", 1)[0]: line.split(": ", 1)[1] for line in done.stdout.split("\n") if line.startswith("0x")
    }
    for address, text in cases.items():
        assert re.fullmatch(text, lines[hex(address)]), (hex(address), lines[hex(address)])
    answer = asked("whatis", pid, hex(at["chain_2"] + 5)[2:], "--held", **where)
    assert (answer["schema"], answer["version"]) == ("poireau.whatis", 1)
    (only,) = answer["addresses"]
    assert (only["kind"], only["objects"][0]["offset"], only["objects"][0]["fate"]) == ("object", 5, "alive")
    assert re.fullmatch(rf"sampled block from .*, at {at['chain']:#x}", only["holders"][0])
    core = dumped(target)
    target.process.kill()
    target.process.wait()
    done = command("whatis", core, hex(at["global"] + 4), "--held", **where)
    assert "4 bytes into a 64-byte object" in done.stdout and "held by global in_global in program" in done.stdout
    assert "before the end; freed" in command("whatis", pid, hex(at["freed_later"]), **where).stdout


def test_whatis_refuses_what_makes_no_sense(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    for arguments, line in [
        *((["1", text], "is no address") for text in ("zz", "", "1_0", "0x0x1", "0x", "+1", "f" * 17)),
        (["1", "-1"], ""),
        ([tmp_path / "nothing", "1"], "there is no"),
        ([tmp_path / "text", "1"], "is no core: it is not an ELF file"),
        ([sys.executable, "1"], "is an ELF file, but no core"),
    ]:
        done = command("whatis", *arguments, status=2, POIREAU_TRACE=str(tmp_path))
        assert line in done.stderr and "Traceback" not in done.stderr, done


def test_answers_are_json(held: Callable[..., Held]) -> None:
    target = held()
    text = command("whatis", target.process.pid, "0x10", "--json", status=1, POIREAU_TRACE=str(target.directory)).stdout
    answer: dict[str, Any] = json.loads(text)
    assert answer["addresses"][0]["kind"] == "unmapped"
