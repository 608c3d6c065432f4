"""A full disk harms nobody: events are dropped and counted, and deaths that found no room are told later."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests import traces
from tests.control_client import reach
from tests.e2e.record_control_test import Driven, alive, check, without_older

pytestmark = pytest.mark.slow

OWN = range(7000, 7010)


@pytest.fixture
def small_disk(tmp_path):
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "poireau", directory], check=True)
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


@pytest.fixture
def told(tell, small_disk):
    return tell({"POIREAU_TRACE": str(small_disk / "traces"), "POIREAU_STACK_DEPTH": "6"})


def phantoms(trace: traces.Trace) -> list[traces.Event]:
    return [event for event in traces.alive(trace.events).values() if event["size"] in OWN]


def test_a_program_goes_on_when_the_disk_is_full(told, small_disk):
    told("keep 1000 7001")
    told("pass 6000 7002")
    told("drop")
    complaints = told.finish()
    assert complaints.count("\n") == 1, complaints
    assert "space" in complaints.lower() or "full" in complaints.lower()
    trace = traces.read_one(small_disk / "traces")
    assert len(trace.of("alloc")) > 1000


def test_a_disk_that_is_full_from_the_start_harms_nobody(tell, small_disk):
    (small_disk / "ballast").write_bytes(bytes((1 << 20) - 4096))
    told = tell({"POIREAU_TRACE": str(small_disk / "traces")})
    told("keep 100 7001")
    told("drop")
    assert told.finish().count("\n") == 1


def test_what_died_while_the_disk_was_full_is_told_once_there_is_space(told, small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(400 << 10))
    told("keep 1000 7001")
    told("pass 3000 7002")
    told("drop")
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)
    # It may look for space but now and then.
    for _ in range(20):
        told("keep 100 7003")
        told("drop")
        time.sleep(0.01)
    told.finish()
    trace = traces.read_one(small_disk / "traces")
    assert sum(traces.drops(trace.events).values()) > 0
    assert trace.of("alloc")[-1]["size"] == 7003
    assert phantoms(trace) == []


def test_a_disk_that_fills_again_and_again_leaves_no_phantoms(told, small_disk):
    ballast = small_disk / "ballast"
    told("pass 1 7003")  # the trace is there before the disk is full
    for _ in range(6):
        ballast.write_bytes(bytes(max(0, free_bytes(small_disk) - 8192)))
        told("keep 200 7001")
        told("swap 500 3000")
        told("drop")
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
        for _ in range(5):
            told("keep 100 7003")
            told("drop")
    told.finish()
    trace = traces.read_one(small_disk / "traces")
    assert phantoms(trace) == []
    assert not [each for each in traces.alive(trace.events).values() if 3000 <= each["size"] <= 6000]


def fill(directory) -> None:
    (directory / "ballast").write_bytes(bytes(max(0, free_bytes(directory))))


def empty(directory) -> None:
    (directory / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=32m", directory], check=True)
    time.sleep(1.2)  # it may look for space but once a second


def test_what_was_born_before_there_is_a_trace_is_told_once_there_is(told, small_disk):
    fill(small_disk)
    told("keep 200 7001")
    told("drop")
    told("keep 300 7002")
    empty(small_disk)
    told("pass 2000 33")
    kept = told.kept()
    trace = traces.read_one(small_disk / "traces")
    check(alive(trace), kept)
    assert len(kept) == 300
    assert not [event for event in trace.events if event.get("size") == 7001]
    told("drop")
    told("pass 100 33")
    told.finish()
    trace = traces.read_one(small_disk / "traces")
    assert phantoms(trace) == []
    assert "never written" not in traces.drops(trace.events)


@pytest.mark.parametrize("before", [0, 50])  # blocks
def test_a_childs_checkpoint_holds_what_its_parent_could_not_write(tell, small_disk, before):
    program = Driven(tell({"POIREAU_TRACE": str(small_disk / "traces"), "POIREAU_STACK_DEPTH": "3"}))
    program.told(f"keep {before} 7001")
    fill(small_disk)
    if before != 0:
        program.told("swap 3000 7001")
    program.told("pass 2000 33")
    program.told("keep 300 7002")
    program.told("fork fork")
    empty(small_disk)
    program.told("pass 500 33")
    child = int(program.told("who")[0].split()[0])
    with program.meanwhile(lambda: reach(child)) as client:
        program.told("keep 5 7003")
        answer = program.meanwhile(lambda: client.ask("flush"))
    kept = program.told.kept()
    assert len(kept) == before + 305
    trace = without_older(Path(answer["trace"]), answer["file"])
    check(alive(trace), kept)
    assert not [event for event in trace.of("alloc") if event["size"] == 7002], "they are the parent's"
    program.told("end")
    program.told("pass 1000 33")
    program.told.finish()
    kept = {at: size for at, size in kept.items() if size != 7003}
    check(alive(traces.read(traces.directories(small_disk / "traces")[0])), kept)
    program.client.socket.close()


def free_bytes(directory) -> int:
    blocks = subprocess.run(["stat", "-f", "-c", "%a %S", directory], capture_output=True, text=True).stdout.split()
    return int(blocks[0]) * int(blocks[1])
