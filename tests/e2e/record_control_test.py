"""What the trace does on request, and that none of it costs a block: checkpoints, changes of options, pauses."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import traces
from tests.control_client import Client, reach

QUICK = {"POIREAU_STACK_DEPTH": "3"}
Blocks = dict[int, int]  # sizes by address


class Driven:
    """told.c and a connection to it: an answer comes with one of its allocations."""

    def __init__(self, told) -> None:
        self.told = told
        self.told("pass 10 33")
        self.client: Client = self.meanwhile(lambda: reach(told.process.pid))

    def connect(self) -> None:
        """Anew."""
        self.client.socket.close()
        self.client = self.meanwhile(lambda: reach(self.told.process.pid))

    def ask(self, *request: object, refused: bool = False) -> Any:
        """Its answer."""
        return self.meanwhile(lambda: (self.client.refused if refused else self.client.ask)(*request))

    def meanwhile(self, wait: Callable[[], Any]) -> Any:
        """What it returns; the program goes on with what does not change what it keeps."""
        results: list[Any] = []
        waiting = threading.Thread(target=lambda: results.append(wait()))
        waiting.start()
        while waiting.is_alive():
            self.told("pass 50 33")
            waiting.join(0.001)
        assert results
        return results[0]


@pytest.fixture
def driven(tell):
    started: list[Driven] = []

    def start(**environment: str) -> Driven:
        started.append(Driven(tell({**QUICK, **environment})))
        return started[-1]

    yield start
    for each in started:
        each.client.socket.close()


def files_of(directory: Path) -> dict[int, Path]:
    return {int(path.name.partition("_")[2]): path for path in directory.glob("samples_*")}


def without_older(directory: Path, file: int) -> traces.Trace:
    for number, path in files_of(directory).items():
        if number < file:
            path.unlink()
    assert file in files_of(directory)
    return traces.read(directory)


def on_disk(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.iterdir() if path.name != "metadata")


def alive(trace: traces.Trace) -> Blocks:
    return {event["address"]: event["size"] for event in traces.alive(trace.events).values()}


def check(found: Blocks, kept: Blocks) -> None:
    assert kept.items() <= found.items(), "a block that is alive is missing"
    assert len(found) - len(kept) < 10, "a block that has gone appears to live"  # libc's own


def test_changes_of_options_are_events(driven, traces_parent):
    program = driven()
    program.ask("set", "stack_depth", "2")
    program.told("keep 1 7001")
    program.ask("set", "callers", "libssl.so.3=8")
    program.told.finish()
    trace = traces.read_one(traces_parent)
    assert [(e["name"], e["value"]) for e in trace.of("option")] == [("stack_depth", "2"), ("callers", "libssl.so.3=8")]
    (block,) = [event for event in trace.of("alloc") if event["size"] == 7001]
    assert trace.of("option")[0]["timestamp"] <= block["timestamp"] <= trace.of("option")[1]["timestamp"]
    assert len(block["frames"]) == 2


def test_a_checkpoints_files_hold_every_block_alive(driven, traces_parent):
    program = driven()
    program.told("keep 300 7001")
    program.told("pin")
    program.told("keep 300 100")
    program.told("swap 3000 100")  # several files
    answer = program.ask("flush")
    kept = program.told.kept()
    program.told("pass 100 33")
    program.told.process.kill()
    program.told.process.wait()
    assert Path(answer["trace"]) == traces.directories(traces_parent)[0]
    assert answer["file"] > 1
    assert len(kept) <= answer["live"] < len(kept) + 10
    assert sum(kept.values()) <= answer["live_bytes"] < sum(kept.values()) + 100_000
    trace = without_older(Path(answer["trace"]), answer["file"])
    check(alive(trace), kept)
    (said,) = trace.of("checkpoint")
    assert (said["oldest"], said["live"], said["live_bytes"]) == (answer["file"], answer["live"], answer["live_bytes"])
    assert trace.of("cost")


def test_checkpoints_one_after_the_other(driven):
    program = driven()
    program.told("keep 200 7001")
    files = []
    for _ in range(3):
        program.told("swap 2000 100")
        files.append(program.ask("flush")["file"])
        again = program.ask("flush")
        assert again["file"] in (files[-1], files[-1] + 1)
    assert files == sorted(files)
    assert files[-1] > files[0]
    kept = program.told.kept()
    program.told.finish()
    check(alive(without_older(Path(again["trace"]), again["file"])), kept)


def test_a_checkpoint_while_old_files_leave(driven, traces_parent):
    program = driven(POIREAU_TRACE_LIMIT="1M")
    program.told("keep 100 7001")
    program.told("pin")
    program.told("keep 400 100")
    for _ in range(6):
        program.told("swap 1500 100")
        answer = program.ask("flush")
    kept = program.told.kept()
    trace = traces.read_one(traces_parent)
    check(alive(trace), kept)
    assert min(files_of(trace.path)) > 1, "no file has left"
    assert "files removed early to keep within trace_limit" not in traces.drops(trace.events)
    check(alive(without_older(trace.path, answer["file"])), kept)


@pytest.mark.parametrize(
    "limit", [512 << 10, *(pytest.param(each, marks=pytest.mark.soak) for each in (1 << 20, 2 << 20))]
)
def test_a_limit_lowered_on_the_way_is_kept_and_costs_no_block(driven, traces_parent, limit):
    program = driven()
    program.told("keep 100 7001")
    program.told("pin")
    program.told("keep 100 100")
    program.told("swap 20000 100")
    program.connect()  # the first one was idle for too long
    program.ask("set", "trace_limit", limit)
    program.told("swap 8000 100")
    for _ in range(5):
        program.told("swap 700 100")
        trace = traces.read_one(traces_parent)
        check(alive(trace), program.told.kept())
        assert on_disk(trace.path) <= limit
    assert traces.drops(trace.events)["files removed early to keep within trace_limit"] > 0


def test_more_alive_than_there_is_room_for_has_no_checkpoint(driven, traces_parent):
    program = driven(POIREAU_TRACE_LIMIT="512K")
    program.told("keep 5000 7001")
    assert "trace_limit" in program.ask("flush", refused=True)
    drops = traces.drops(traces.read_one(traces_parent).events)
    assert drops["files removed early to keep within trace_limit"] > 0


def test_a_pause_ends_a_checkpoint(controlled):
    program = controlled({**QUICK, "POIREAU_SAMPLE_PERIOD": "1"}, work="keep 20000 40")
    program("work 1 1000 1")
    with reach(program.process.pid) as waiting, reach(program.process.pid) as other:
        waiting.request("flush")
        other.ask("set", "record", "off")
        answer = waiting.line()
        assert answer["ok"] or "written" in answer["error"] or "record" in answer["error"]
        other.ask("set", "record", "on")
        assert waiting.ask("flush")["live"] >= 20000


def test_a_childs_checkpoint_holds_what_it_has_inherited(driven, traces_parent):
    program = driven()
    program.told("keep 50 7001")
    program.told("fork fork")
    program.told("pass 10 33")
    child = int(program.told("who")[0].split()[0])
    with program.meanwhile(lambda: reach(child)) as client:
        program.told("keep 5 7002")
        answer = program.meanwhile(lambda: client.ask("flush"))
    kept = program.told.kept()
    program.told("end")
    program.told.finish()
    assert len(kept) == 55
    check(alive(without_older(Path(answer["trace"]), answer["file"])), kept)


def test_a_trace_that_was_removed_has_no_checkpoint(driven, traces_parent):
    program = driven()
    program.told("keep 100 7001")
    shutil.rmtree(traces_parent)
    assert "written" in program.ask("flush", refused=True)
    program.told("swap 500 100")
    assert program.ask("hello")["armed"] is True


@pytest.mark.parametrize("limit", ["128M", "1M"])
def test_a_pause_loses_no_block_and_leaves_no_phantom(driven, traces_parent, limit):
    program = driven(POIREAU_TRACE_LIMIT=limit)
    program.told("keep 200 7001")
    program.told("keep 200 100")
    program.ask("set", "record", "off")
    before = sum(path.stat().st_size for path in files_of(traces.directories(traces_parent)[0]).values())
    for _ in range(3):
        program.told("swap 1000 100")  # of those that the trace knows, and of those that it does not
        program.told("keep 100 7002")
    paused = traces.read_one(traces_parent)
    assert before == sum(path.stat().st_size for path in files_of(paused.path).values())
    assert [event["size"] for event in paused.of("alloc") if event["size"] == 7002] == []
    assert (paused.of("option")[-1]["name"], paused.of("option")[-1]["value"]) == ("record", "off")
    program.ask("set", "record", "on")
    answer = program.ask("flush")
    kept = program.told.kept()
    program.told.finish()
    trace = traces.read(paused.path)
    check(alive(trace), kept)
    assert "never written" not in traces.drops(trace.events)
    check(alive(without_older(trace.path, answer["file"])), kept)


def test_a_program_that_starts_with_a_pause_has_no_trace_until_it_ends(driven, traces_parent):
    program = driven(POIREAU_RECORD="off")
    program.told("keep 300 7001")
    program.told("swap 100 7002")
    assert "record" in program.ask("flush", refused=True)
    assert not traces_parent.exists()
    program.ask("set", "record", "on")
    program.told("pass 1000 33")
    kept = program.told.kept()
    program.told.finish()
    trace = traces.read_one(traces_parent)
    check(alive(trace), kept)


@pytest.mark.parametrize("limit", ["128M", "1M"])
def test_a_checkpoint_while_two_threads_allocate(controlled, traces_parent, limit):
    program = controlled({**QUICK, "POIREAU_SAMPLE_PERIOD": "1", "POIREAU_TRACE_LIMIT": limit}, work="keep 500 7001")
    program("work 2 1000 1")
    with reach(program.process.pid) as client:
        answers = [client.ask("flush") for _ in range(5)]
    kept = {int(line, 16): 7001 for line in program("show")}
    program.process.kill()
    program.process.wait()
    assert all(500 <= answer["live"] < 520 for answer in answers)
    trace = without_older(traces.directories(traces_parent)[0], answers[-1]["file"])
    assert len(kept) == 500
    check(alive(trace), kept)
