"""The events are what happened: blocks, functions, threads, modules, the process."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests import traces
from tests.conftest import ROOT

DEPTH = 4


@pytest.fixture(scope="module")
def known(program, run_preloaded, tmp_path_factory):
    """known_blocks.cc's own account in rows, and its trace."""
    parent = tmp_path_factory.mktemp("known")
    environment = {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_TRACE": str(parent), "POIREAU_STACK_DEPTH": str(DEPTH)}
    done = run_preloaded([program("known_blocks.cc")], environment)
    assert (done.returncode, done.stderr) == (0, ""), done
    rows = []
    for line in done.stdout.splitlines():
        what, thread, function, *numbers = line.split("\t")
        rows.append((what, int(thread), function, *map(int, numbers)))
    return rows, traces.read_one(parent)


def build_id_of(path: str) -> str:
    notes = subprocess.run(["readelf", "-nW", path], capture_output=True, text=True).stdout
    return "".join(re.findall(r"Build ID: ([0-9a-f]+)", notes))


def test_each_request_has_its_alloc_event(known):
    rows, trace = known
    expected = Counter(row[1:5] for row in rows if row[0] == "born")
    found = Counter((e["thread"], e["function"], e["address"], e["size"]) for e in trace.of("alloc"))
    assert not expected - found
    extra = found - expected  # libc's, for the thread and libstdc++
    assert sum(extra.values()) < 10, extra


def test_each_release_has_its_free_event(known):
    rows, trace = known
    born = {event["id"]: event for event in trace.of("alloc", "resize")}
    expected = Counter(row[1:4] for row in rows if row[0] == "gone")
    found = Counter((e["thread"], e["function"], born[e["id"]]["address"]) for e in trace.of("free"))
    assert not expected - found
    for event in trace.of("free"):
        assert event["address"] == born[event["id"]]["address"]
        assert event["time"] >= born[event["id"]]["time"]


def test_a_block_resized_in_place_goes_on_with_its_new_size(known):
    rows, trace = known
    expected = Counter(row[1:5] for row in rows if row[0] == "resized")
    found = Counter((e["thread"], e["function"], e["address"], e["size"]) for e in trace.of("resize"))
    assert found == expected


def test_ids_are_never_used_twice_and_say_where_a_block_lies(known):
    _, trace = known
    births = trace.of("alloc")
    assert len({event["id"] for event in births}) == len(births)
    homes: dict[int, int] = {}
    for event in births:
        home = event["id"] & traces.HOME
        assert homes.get(home, -1) < event["id"], "a higher id follows a lower one in the same home"
        homes[home] = event["id"]


def test_what_is_alive_in_the_end_is_what_was_not_freed(known):
    rows, trace = known
    left: dict[int, int] = {}
    for what, _, _, address, size, _ in rows:
        if what == "gone":
            del left[address]
        else:
            left[address] = size
    found = {event["address"]: event["size"] for event in traces.alive(trace.events).values()}
    assert left.items() <= found.items()
    assert len(found) - len(left) < 10


def test_alignments_are_those_asked_for_or_better(known):
    rows, trace = known
    at = {(event["address"], event["size"]): event for event in trace.of("alloc")}
    for what, _, _, address, size, alignment in rows:
        if what == "born":
            assert at[address, size]["alignment"] >= alignment
            assert address % at[address, size]["alignment"] == 0


def test_stacks_begin_in_the_program_and_say_whether_they_went_on(known, program):
    rows, trace = known
    (module,) = [each for each in trace.of("module") if each["path"] == str(program("known_blocks.cc").resolve())]
    main, worker = dict.fromkeys(row[1] for row in rows)
    born = {row[3:5] for row in rows if row[0] == "born"}
    for event in trace.of("alloc"):
        if (event["address"], event["size"]) in born:
            assert 0 <= event["frames"][0] - module["begin"] < module["size"], event
            # work, main, two of libc's and _start; work and two of libc's
            expected = {main: (DEPTH, 1), worker: (3, 0)}[event["thread"]]
            assert (len(event["frames"]), event["truncated"]) == expected, event


def test_modules_are_told_before_they_are_in_a_stack_with_their_build_ids(known):
    _, trace = known
    seen: list[dict] = []
    for event in trace.events:
        if event["event"] == "module":
            seen.append(event)
            assert bytes(event["build_id"]).hex() == build_id_of(event["path"]), event["path"]
        for pc in event.get("frames", []):
            assert any(0 <= pc - each["begin"] < each["size"] for each in seen), f"{pc:#x}"
    assert not [each["path"] for each in seen if "libpoireau" in each["path"]]


def test_threads_have_their_names(known):
    rows, trace = known
    names = {event["thread"]: event["name"] for event in trace.of("thread")}
    main, worker = dict.fromkeys(row[1] for row in rows)
    assert names[worker] == "a worker"
    assert main in names
    sampled = {event["thread"] for event in trace.of("alloc", "free", "resize")}
    assert sampled <= names.keys()


def test_with_every_call_sampled_each_sample_stands_for_itself(known):
    _, trace = known
    for event in trace.of("alloc", "resize"):
        assert event["period"] == 1
        assert event["since"] == event["size"] or (event["size"] == 0 and event["since"] <= 1), event


@pytest.mark.parametrize("period", [1000, 50000])
def test_bytes_since_the_last_sample_add_up_to_all_that_was_counted(tell, traces_parent, period):
    told = tell({"POIREAU_SAMPLE_PERIOD": str(period), "POIREAU_STACK_DEPTH": "1"})
    told("pass 40000 99")
    told.finish()
    trace = traces.read_one(traces_parent)
    total = sum(event["since"] for event in trace.of("alloc", "resize"))
    assert 0 <= 3960000 - total < 30 * period  # but for what came after the last one; e to the -30th
    assert trace.of("cost")[-1]["counted_bytes"] == total
    assert trace.of("cost")[-1]["samples"] == len(trace.of("alloc"))


def test_the_process_is_the_one_that_ran(tell, program, traces_parent):
    told = tell({"POIREAU_QUARANTINE_SLOTS": "77"})
    told("pass 1 1")
    process, _, _, start, high, low = told("who")[0].split()
    told.finish()
    trace = traces.read_one(traces_parent)
    event = trace.process
    executable = str(program("told.c").resolve())
    assert event["process"] == int(process)
    assert event["start_time"] == int(start)
    assert trace.run_id == (int(high, 16), int(low, 16))
    assert trace.parent_run_id == (0, 0)
    assert event["generation"] == 0
    assert event["executable"] == executable
    assert bytes(event["build_id"]).hex() == build_id_of(executable)
    assert event["page_size"] == os.sysconf("SC_PAGESIZE")
    assert event["host"] == socket.gethostname()
    assert Path(event["allocator"]).name == "libc.so.6"
    assert event["unwinder"] in ("rows", "libgcc")
    assert event["version"]
    assert event["arguments"] != 0


def test_all_options_in_force_are_told(tell, traces_parent):
    told = tell({"POIREAU_QUARANTINE_SLOTS": "77"})
    told("pass 1 1")
    told.finish()
    options = dict(line.split("=", 1) for line in traces.read_one(traces_parent).process["options"].splitlines())
    named = re.findall(r"^OPTION\((\w+),", (ROOT / "config" / "options.def").read_text(), re.MULTILINE)
    assert list(options) == named
    assert options["quarantine_slots"] == "77"
    assert options["sample_period"] == "1"
