"""A trace can be read at any time, alone and with others; and it can be bounded."""

from __future__ import annotations

import subprocess

import pytest

from tests import traces

QUICK = {"POIREAU_STACK_DEPTH": "3"}


def on_disk(directory) -> int:
    """Bytes of the blocks that its files take, also while files go."""
    done = subprocess.run(["du", "-sB1", directory], capture_output=True, text=True)
    return int(done.stdout.split()[0])


@pytest.mark.slow
def test_it_can_be_read_while_it_is_written(tell, traces_parent):
    told = tell(QUICK)
    told("keep 100 7001")
    seen = 0
    told.process.stdin.write("swap 5000 100\n")  # goes on meanwhile
    told.process.stdin.flush()
    for _ in range(3):
        trace = traces.read_one(traces_parent)
        assert trace.process["process"] == told.process.pid
        assert len(trace.of("alloc")) >= seen
        seen = len(trace.of("alloc"))
    told.process.kill()


@pytest.mark.slow
def test_it_can_be_read_while_its_oldest_files_go(tell, traces_parent):
    """A file may go between the list and the reading, which babeltrace2 tells by refusing; never for any other reason,
    and never twice in a row for long."""
    told = tell({**QUICK, "POIREAU_TRACE_LIMIT": "512K"})
    told("keep 100 7001")
    told.process.stdin.write("swap 200000 100\n")
    told.process.stdin.flush()
    read = 0
    for _ in range(6):
        try:
            assert traces.read_one(traces_parent).process["process"] == told.process.pid
            read += 1
        except traces.Unreadable as refusal:
            assert "No such file" in str(refusal), refusal
    told.process.kill()
    assert read >= 2
    assert traces.read_one(traces_parent)


def test_two_traces_are_read_as_one(tell, traces_parent):
    for size in (7001, 7002):
        told = tell(QUICK)
        told(f"pass 100 {size}")
        told.finish()
    events = traces.read_events(*traces.directories(traces_parent))
    assert [event["event"] for event in events].count("process") == 2
    assert [event["size"] for event in events if event.get("size") in (7001, 7002) and event["event"] == "alloc"] == [
        7001
    ] * 100 + [7002] * 100
    times = [event["timestamp"] for event in events]
    assert times == sorted(times)


@pytest.mark.parametrize("limit", [1 << 20, pytest.param(3 << 20, marks=pytest.mark.soak)])
def test_a_limited_trace_keeps_what_is_alive_and_stays_in_its_bounds(tell, traces_parent, scale, limit):
    told = tell({**QUICK, "POIREAU_TRACE_LIMIT": str(limit)})
    told("keep 50 7001")
    told("pin")
    told("keep 450 100")
    for round in range(scale(200)):
        told("swap 2000 100")
        told("pass 500 33")
        assert on_disk(traces_parent) <= limit, round
    left = told.kept()
    told.process.kill()
    told.process.wait()
    assert len(left) == 500
    assert list(left.values()).count(7001) == 50

    trace = traces.read_one(traces_parent)
    found = {event["address"]: event["size"] for event in traces.alive(trace.events).values()}
    assert left.items() <= found.items(), "a block that is alive has been forgotten"
    assert len(found) - len(left) < 5, "a block that has gone appears to live"
    assert len(trace.of("checkpoint")) > 0
    assert len({event["id"] for event in trace.of("alloc")}) == len(trace.of("alloc"))
    last = trace.of("checkpoint")[-1]
    numbers = sorted(int(path.name.partition("_")[2]) for path in trace.path.glob("samples_*"))
    assert last["oldest"] <= numbers[0]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


def test_what_a_program_does_beyond_a_seccomp_filter_is_recorded(tell, traces_parent):
    told = tell(QUICK)
    told("pass 100 7001")
    told("filter")
    told("pass 20000 7002")
    told("pass 100 7003")
    told.finish()
    trace = traces.read_one(traces_parent)
    sizes = [event["size"] for event in trace.of("alloc") if event["size"] >= 7000]
    assert sizes[-100:] == [7003] * 100, "the newest is there"
    assert 7002 in sizes
    assert sizes == sorted(sizes)
    assert any("overwritten" in cause for cause in traces.drops(trace.events)), "it says that it forgets the oldest"


@pytest.mark.parametrize("way", ["prctl", "syscall", "tsync", "strict"])
def test_a_sandboxed_programs_trace_can_be_read(program, traced, traces_parent, way):
    done = traced([program("sandboxed.c"), way], {**QUICK, "POIREAU_SAMPLE_PERIOD": "10000"})
    assert (done.returncode, done.stderr) == (0, "")
    trace = traces.read_one(traces_parent)
    assert len(trace.of("alloc")) > 100
