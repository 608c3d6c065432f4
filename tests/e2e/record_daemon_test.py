"""Programs that give up descriptors, folder, root or rights keep their own files, and a trace that can be read."""

from __future__ import annotations

import stat

import pytest

from tests import traces

pytestmark = pytest.mark.slow

SMALL = {"POIREAU_STACK_DEPTH": "3"}


def sizes(trace: traces.Trace) -> list[int]:
    return [event["size"] for event in trace.of("alloc") if event["size"] >= 7000]


def check_modes(parent) -> None:
    for path in parent.rglob("*"):
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.lstat().st_mode) == expected, path


@pytest.mark.parametrize("step", ["closed", "folder /", "mask 0"])
def test_the_trace_goes_on(tell, traces_parent, step):
    told = tell(SMALL)
    told("pass 10 7001")
    told(step)
    told("pass 4000 7002")  # over many files
    told.finish()
    trace = traces.read_one(traces_parent)
    assert sizes(trace) == [7001] * 10 + [7002] * 4000
    assert len(list(trace.path.glob("samples_*"))) > 3
    check_modes(traces_parent)


def test_a_program_with_an_open_umask_before_has_private_files(tell, traces_parent):
    told = tell(SMALL)
    told("mask 0")
    told("fork fork")
    told("pass 10 7001")
    told("end")
    told.finish()
    assert len(traces.read_all(traces_parent)) >= 1
    check_modes(traces_parent)


@pytest.mark.parametrize("step", ["root", "user"])
def test_who_can_no_longer_reach_the_directory_keeps_a_record_of_the_newest(tell, traces_parent, tmp_path, step):
    root = tmp_path / "root"
    root.mkdir()
    told = tell(SMALL)
    told("pass 10 7001")
    told(f"root {root}" if step == "root" else "user 65534")
    told("pass 20000 7002")
    told("pass 100 7003")
    complaints = told.finish()
    assert "out of reach" in complaints
    assert complaints.count("\n") == 1, complaints
    found = sizes(traces.read_one(traces_parent))
    assert found[-100:] == [7003] * 100
    assert 7002 in found
    assert found == sorted(found)
    assert list(root.iterdir()) == []


def test_a_daemon_is_recorded(program, traced, traces_parent):
    done = traced([program("lifecycle.c", "-DREQUESTS=500"), "daemon"])
    assert done.returncode == 0, done
    # The child that is in between allocates nothing of its own.
    generations = {
        trace.process["generation"]: len([e for e in trace.of("alloc") if e["size"] == 16])
        for trace in traces.read_all(traces_parent)
    }
    assert generations[0] == 1000
    assert generations[2] == 500
