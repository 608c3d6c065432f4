"""Heaps of programs that were run, from their traces."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import poireau
from poireau import opening
from poireau.errors import Failure
from poireau.model import ALIVE, FREED, RESIZED, Heap
from poireau.reader import open_trace
from tests import traces
from tests.conftest import ROOT, clean_environment
from tests.poireau.model_test import all_lives

# Does what its arguments tell it, one after the other; tells what it has of blocks of its own.
PROGRAM = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
enum { kMost = 4096 };
static void* kept[kMost];
static size_t sizes[kMost];
static int count;
static void show(void) {
  static char text[kMost * 48];
  int length = sprintf(text, "%d:", getpid());
  for (int i = 0; i < count; ++i)
    if (kept[i] != NULL) length += sprintf(text + length, " %lu,%zu", (unsigned long)kept[i], sizes[i]);
  text[length++] = '\n';
  if (write(1, text, (size_t)length) != length) _exit(8);
}
int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const char* what = argv[i];
    if (strcmp(what, "keep") == 0) {
      const int more = atoi(argv[++i]);
      for (int n = 0; n < more; ++n, ++count) kept[count] = malloc(sizes[count] = 1000 + (size_t)count);
    } else if (strcmp(what, "pass") == 0) {
      const int more = atoi(argv[++i]);
      for (int n = 0; n < more; ++n) free(malloc(10 + (size_t)n % 7));
    } else if (strcmp(what, "drop") == 0) {
      for (int n = 0; n < count; n += 2) free(kept[n]), kept[n] = NULL;
    } else if (strcmp(what, "fork") == 0) {
      if (fork() != 0) return show(), wait(NULL), 0;
    } else if (strcmp(what, "exec") == 0) {
      show();
      return execv("/proc/self/exe", argv + i), 7;
    } else if (strcmp(what, "wait") == 0) {
      char c;
      show();
      if (read(0, &c, 1) != 1) return 9;
    }
  }
  show();
}
"""
Shown = dict[int, list[tuple[int, int]]]


@pytest.fixture(scope="module")
def program(compile_c: Callable[..., Path]) -> Path:
    return compile_c(PROGRAM, ["-O1", "-fno-builtin"])


def environment_of(place: Path, **more: str) -> dict[str, str]:
    return {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_TRACE": str(place), "POIREAU_TRACE_LIMIT": "64M", **more}


def shown(text: str) -> Shown:
    """Of each process, by pid, the blocks it had last."""
    found = {}
    for line in text.splitlines():
        pid, _, blocks = line.partition(":")
        found[int(pid)] = sorted(tuple(map(int, each.split(","))) for each in blocks.split())
    return found  # type: ignore[return-value]


def had(heap: Heap) -> Shown:
    """The same, of blocks of a thousand bytes and more."""
    live = heap.live()
    live = live[(live["size"] >= 1000) & (live["size"] < 1000 + 4096) & (heap.text(live["function"]) == "malloc")]
    pids = heap.processes["pid"].to_numpy()[live["process"]]
    found: Shown = {pid: [] for pid in heap.processes["pid"].tolist()}
    for pid, address, size in zip(pids.tolist(), live["address"].tolist(), live["size"].tolist()):
        found[pid].append((address, size))
    return {pid: sorted(blocks) for pid, blocks in found.items()}


@pytest.fixture
def run(program: Path, run_preloaded: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[Heap, Shown]]:
    def run(*arguments: str, **more: str) -> tuple[Heap, Shown]:
        done = run_preloaded([program, *arguments], environment_of(tmp_path, **more))
        assert (done.returncode, done.stderr) == (0, ""), done
        return poireau.open(tmp_path), shown(done.stdout)

    return run


def test_what_is_live_is_what_the_program_has(run: Callable[..., tuple[Heap, Shown]], tmp_path: Path) -> None:
    heap, told = run("keep", "300", "pass", "1000", "drop", "keep", "10")
    assert had(heap) == told and heap.complete and len(told) == 1
    # And what another reader makes of the same trace.
    trace = traces.read_one(tmp_path)
    live = heap.live()
    assert dict(zip(live["id"], live["size"])) == {id: e["size"] for id, e in traces.alive(trace.events).items()}
    assert (all_lives(heap)["fate"] == FREED).sum() == len(trace.of("free"))
    (process,) = heap.processes.itertuples()
    assert (process.pid, process.start_time) == (trace.process["process"], trace.process["start_time"])
    assert process.run_id == "{:016x}{:016x}".format(*trace.run_id) and process.options["sample_period"] == "1"
    assert process.executable == trace.process["executable"] and process.allocator == trace.process["allocator"]
    stamps = [event["timestamp"] for event in trace.events]
    assert (heap.begin, heap.end) == (min(stamps), max(stamps))
    assert int(heap.counted()["bytes"].sum()) == sum(e["since"] for e in trace.of("alloc", "resize"))


def test_known_blocks_have_their_sizes_threads_and_fates(
    compile_c: Callable[..., Path], run_preloaded: Callable[..., Any], tmp_path: Path
) -> None:
    source = (ROOT / "tests" / "programs" / "known_blocks.cc").read_text()
    flags = ["-std=c++20", "-fno-builtin", "-pthread", f"-I{ROOT}", f"-I{ROOT / 'tests' / 'programs'}"]
    done = run_preloaded([compile_c(source, flags, "c++", "c++")], environment_of(tmp_path))
    assert (done.returncode, done.stderr) == (0, ""), done
    heap = poireau.open(tmp_path)
    blocks, gone, resized = {}, 0, 0
    for line in done.stdout.splitlines():
        what, thread, function, *numbers = line.split("\t")
        address, size, alignment = map(int, numbers)
        if what == "gone":
            gone += blocks.pop(address, None) is not None
        else:
            resized += what == "resized"
            blocks[address] = (size, int(thread), function, alignment)
    live, lives = heap.live(), all_lives(heap)
    names = heap.text(live["function"])
    found = {
        address: row for address, *row in zip(live["address"], live["size"], live["thread"], names, live["alignment"])
    }
    for address, (size, number, function, alignment) in blocks.items():
        assert found[address][:3] == [size, number, function] and found[address][3] % alignment == 0
    assert len(found) - len(blocks) < 10  # libc's own
    assert (lives["fate"] == RESIZED).sum() == resized
    assert set(heap.threads["name"]) >= {"a worker"}
    table = heap.live(names=True)
    assert set(table.loc[table["call"] != "calloc", "function"]) >= {"work(void*)"}
    assert table.loc[table["function"] == "work(void*)", "line"].str.fullmatch(r".+:\d+").all()


def test_a_child_has_what_it_asked_for_and_its_parent_keeps_the_rest(run: Callable[..., tuple[Heap, Shown]]) -> None:
    heap, told = run("keep", "100", "fork", "drop", "keep", "50")
    parent, child = (heap.processes.loc[heap.processes["generation"] == each].iloc[0] for each in (0, 1))
    assert (parent.parent, child.parent) == (-1, parent.name) and heap.complete
    # The child still has half of what it inherited, which is told of its parent.
    inherited = {block for block in told[child.pid] if block[1] < 1100}
    assert len(inherited) == 50 and had(heap)[parent.pid] == told[parent.pid]
    assert had(heap)[child.pid] == sorted(set(told[child.pid]) - inherited)


def test_who_executes_another_program_leaves_its_blocks_behind(run: Callable[..., tuple[Heap, Shown]]) -> None:
    heap, told = run("keep", "40", "exec", "keep", "7")
    assert heap.processes["pid"].nunique() == heap.processes["start_time"].nunique() == 1
    assert len(heap.processes) == 2 and set(heap.processes["parent"]) == {-1}
    before, after = heap.processes.sort_values("begin").index
    first, second = (heap.live()[heap.live()["process"] == each] for each in (before, after))
    sizes = [sorted(each.loc[each["size"].between(1000, 5095), "size"]) for each in (first, second)]
    assert sizes == [list(range(1000, 1040)), list(range(1000, 1007))] and len(told) == 1
    at_end = heap.live(heap.end)
    assert set(at_end["process"]) == {after} and len(heap.live(heap.end, ended=True)) == len(heap.live())


def test_what_has_left_with_old_files_is_known_from_the_checkpoint(run: Callable[..., tuple[Heap, Shown]]) -> None:
    heap, told = run("keep", "200", "pass", "60000", "keep", "20", POIREAU_TRACE_LIMIT="1M")
    assert had(heap) == told
    live = heap.live()
    assert live["late"].any() and len(heap.checkpoints) and heap.checkpoints["oldest"].max() > 1
    assert heap.live()["born"].min() < heap.begin or not heap.losses


def test_a_heap_is_followed_while_its_program_runs(program: Path, library: Path, tmp_path: Path) -> None:
    with started(
        program, library, tmp_path, "keep", "5", "wait", "drop", "keep", "100", "pass", "300", "wait"
    ) as child:
        assert child.stdin and child.stdout
        now = shown(child.stdout.readline())
        heap = poireau.open(tmp_path, follow=True)
        wait_for(lambda: had(heap) == now, heap)
        assert heap.running == {0: True}
        forgetful = Heap(open_trace([tmp_path], follow=True), kept=0)
        assert sorted(all_lives(forgetful)["id"]) == sorted(all_lives(heap)["id"])
        before = heap.end
        child.stdin.write("x")
        child.stdin.flush()
        now = shown(child.stdout.readline())
        wait_for(lambda: had(heap) == now, heap)
        wait_for(lambda: had(forgetful) == now, forgetful)
        assert len(all_lives(forgetful)) == len(all_lives(heap)) and forgetful.extend() == heap.extend() == 0
        assert heap.end > before and len(heap.live(before)) < len(heap.live())
        assert sum(len(part) for part in heap.lives()) == heap.counted()["samples"].sum()
        child.stdin.write("x")
        child.stdin.flush()
        assert child.wait(30) == 0
        wait_for(lambda: heap.running == {}, heap)
        assert poireau.open(tmp_path).running == {}


def test_what_the_source_keeps_is_enough(run: Callable[..., tuple[Heap, Shown]]) -> None:
    heap, _ = run("keep", "300", "pass", "5000", "drop")
    again = Heap(heap.source, kept=0)
    assert sorted(all_lives(again)["id"]) == sorted(all_lives(heap)["id"])
    assert again.peak()[0] == heap.peak()[0]
    assert again.over_time(9).bytes.value.tolist() == pytest.approx(heap.over_time(9).bytes.value.tolist())
    assert np.array_equal(again.live(heap.begin).sort_values("id"), heap.live(heap.begin).sort_values("id"))
    assert (heap.live()["fate"] == ALIVE).all()


def test_several_targets_make_one_heap(program: Path, run_preloaded: Callable[..., Any], tmp_path: Path) -> None:
    told: Shown = {}
    for name in ("a", "b"):
        done = run_preloaded([program, "keep", "9"], environment_of(tmp_path / name))
        told |= shown(done.stdout)
    heap = poireau.open([tmp_path / "a", str(tmp_path / "b")])
    assert had(heap) == told and len(heap.processes) == 2


def test_what_is_not_there_is_a_failure_of_one_line(tmp_path: Path) -> None:
    for place in (tmp_path / "nothing", tmp_path):
        with pytest.raises(Failure) as failure:
            poireau.open(place)
        assert "\n" not in str(failure.value) and str(place) in str(failure.value)


def test_to_import_the_package_is_to_import_nothing_heavy() -> None:
    code = (
        "import sys, poireau; print(sorted({'numpy', 'pandas', 'ctypes'} & set(sys.modules)), callable(poireau.open))"
    )
    done = subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "[] True\n", done


def test_a_bar_is_drawn_on_a_terminal_only_when_it_takes_long(
    run: Callable[..., tuple[Heap, Shown]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("keep", "10")
    for patience, expected in ((60.0, False), (0.0, True)):
        leader, follower = pty.openpty()
        with os.fdopen(leader, "rb", buffering=0) as reading, os.fdopen(follower, "w") as terminal:
            monkeypatch.setattr("poireau.opening.PATIENCE", patience)
            monkeypatch.setattr("sys.stderr", terminal)
            poireau.open(tmp_path)
            print("end", file=terminal, flush=True)
            drawn = b""
            while not drawn.endswith(b"end\r\n"):
                drawn += reading.read(1 << 16)
            monkeypatch.undo()
        assert (b"reading [" in drawn) == expected
        assert not expected or b"\r\x1b[Kend" in drawn


class started:
    """A program that goes on until it is told to."""

    def __init__(self, program: Path, library: Path, place: Path, *arguments: str, **more: str) -> None:
        environment: Mapping[str, str] = clean_environment(**environment_of(place, **more), LD_PRELOAD=str(library))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._child = subprocess.Popen([program, *arguments], env=environment, **pipes)  # type: ignore[call-overload]

    def __enter__(self) -> subprocess.Popen[str]:
        return self._child

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()


def wait_for(condition: Callable[[], bool], heap: Heap, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, heap
        time.sleep(0.02)
        heap.extend()


def test_what_takes_long_without_anybody_knowing_how_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = threading.Event()

    class Terminal(io.StringIO):
        def flush(self) -> None:
            told.set()

    monkeypatch.setattr(opening, "PATIENCE", 0.0)
    monkeypatch.setattr(sys, "stderr", shown := Terminal())
    with opening._waiting("looking up"):
        assert told.wait(20)
    assert shown.getvalue().startswith("\rlooking up: 0 s\x1b[K") and shown.getvalue().endswith("\r\x1b[K")
