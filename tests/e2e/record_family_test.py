"""Each process has a trace of its own, however it came to be; those of one run lie together."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from tests import traces
from tests.conftest import ROOT, clean_environment
from tests.e2e.conftest import every_call

WAYS = ["fork", "_Fork", "raw"]


def who(told) -> dict[str, int]:
    told("pass 1 1")  # a child made behind fork's back is known to be one from its first request on
    process, parent, *_, high, low = told("who")[-1].split()
    return {"process": int(process), "parent": int(parent), "run_id": (int(high, 16), int(low, 16))}


def by_process(parent) -> dict[int, traces.Trace]:
    found = traces.read_all(parent)
    assert len({trace.process["process"] for trace in found}) == len(found)
    return {trace.process["process"]: trace for trace in found}


def counted(trace: traces.Trace, size: int) -> tuple[int, int]:
    """Blocks of that size in its alloc events, and how many of those are in its free events."""
    born = {event["id"] for event in trace.of("alloc") if event["size"] == size}
    return len(born), sum(event["id"] in born for event in trace.of("free"))


@pytest.mark.parametrize("way", WAYS)
def test_events_of_each_process_are_in_its_own_trace(tell, traces_parent, way):
    """Two children at each of three depths, the second of which has the next ones."""
    told, expected, generation = tell(), {}, {}

    def live(depth: int) -> None:
        me = who(told)
        told(f"pass {10 + depth} 7001")
        for last in (False, True) if depth < 3 else ():
            told(f"fork {way}")
            if last:
                live(depth + 1)
            else:
                other = who(told)
                told("pass 5 7002")
                expected[other["process"]] = (me, other, 0, 5)
                generation[other["process"]] = depth + 1
            told("end")
            told("pass 1 7001")
        expected[me["process"]] = (me, me, 10 + depth + (2 if depth < 3 else 0), 0)
        generation[me["process"]] = depth

    live(0)
    told.finish()
    found = by_process(traces_parent)
    assert found.keys() == expected.keys()
    for process, (_, me, ones, others) in expected.items():
        trace = found[process]
        assert counted(trace, 7001) == (ones, ones), process
        assert counted(trace, 7002) == (others, others), process
        assert trace.run_id == me["run_id"]
        assert trace.process["generation"] == generation[process]
        parent = found.get(me["parent"])
        assert trace.parent_run_id == (parent.run_id if generation[process] else (0, 0))
        if generation[process]:
            assert trace.process["executable"] == parent.process["executable"]
        assert {event["thread"] for event in trace.of("alloc") if event["size"] >= 7001} <= {process}
    assert len({trace.path.parent for trace in found.values()}) == 1, "not in one run's directory"


@pytest.mark.parametrize("way", WAYS)
def test_what_a_child_does_with_its_parents_blocks_is_told_in_its_own_trace(tell, traces_parent, way):
    told = tell()
    told("keep 20 7003")
    parent = who(told)
    told(f"fork {way}")
    child = who(told)
    told("drop")
    told("end")
    told.finish()
    found = by_process(traces_parent)
    born = {event["id"] for event in found[parent["process"]].of("alloc") if event["size"] == 7003}
    assert len(born) == 20
    assert born <= {event["id"] for event in found[child["process"]].of("free")}
    assert not born & {event["id"] for event in found[parent["process"]].of("free")}
    assert born <= traces.alive(found[parent["process"]].events).keys()
    assert not born & traces.alive(found[child["process"]].events).keys()


def test_a_child_made_by_vfork_tells_its_parents_trace_and_what_it_executes_its_own(program, traced, traces_parent):
    done = traced([program("lifecycle.c", "-DREQUESTS=500"), "vfork+exec"])
    assert done.returncode == 0
    found = traces.read_all(traces_parent)
    assert len(found) == 3  # and two that it executed
    assert all(trace.process["generation"] == 0 and trace.parent_run_id == (0, 0) for trace in found)
    assert len({trace.run_id for trace in found}) == 3
    assert Counter(len([e for e in trace.of("alloc") if e["size"] == 16]) for trace in found) == {1000: 1, 500: 2}


def test_a_program_that_executes_another_has_ended(program, traced, traces_parent):
    script = 'x=1; exec "$@"'
    done = traced(["bash", "-c", script, "bash", program("known_blocks.cc")])
    assert done.returncode == 0
    shell, other = sorted(traces.read_all(traces_parent), key=lambda trace: trace.events[0]["timestamp"])
    assert shell.process["process"] == other.process["process"]
    assert shell.run_id != other.run_id
    assert shell.process["executable"].endswith("bash")
    assert other.process["executable"] == str(program("known_blocks.cc").resolve())


def test_processes_of_one_run_lie_together(traces_parent, program):
    environment = clean_environment(**every_call(traces_parent))
    command = [sys.executable, ROOT / "poireau.py", "run", "--", "sh", "-c", '"$0" >/dev/null & "$0"; wait; true']
    for _ in range(2):
        done = subprocess.run(
            [*command, program("known_blocks.cc")], env=environment, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
    found = traces.directories(traces_parent)
    # Two runs, each the shell, two programs, and what the shell forked, should it have asked for memory.
    runs = Counter(path.parent for path in found)
    assert len(runs) == 2
    assert min(runs.values()) >= 3


@pytest.mark.parametrize("environment", [{"POIREAU_SAMPLE_PERIOD": "0"}, {"POIREAU_SAMPLE_PERIOD": "1G"}])
def test_nothing_is_on_disk_before_the_first_sample(traced, traces_parent, environment):
    done = traced(["sh", "-c", "/bin/echo hello; exec /bin/true"], environment)
    assert (done.stdout, done.stderr, done.returncode) == ("hello\n", "", 0)
    assert not traces_parent.exists()


def test_with_no_sink_nothing_is_on_disk(traced, traces_parent):
    done = traced(["/bin/echo", "hello"], {"POIREAU_SINK": "none"})
    assert (done.stdout, done.stderr, done.returncode) == ("hello\n", "", 0)
    assert not traces_parent.exists()
