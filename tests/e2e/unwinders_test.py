"""Whichever unwinder walks the stacks, the program notices nothing and the stacks are the same."""

from __future__ import annotations

import os

import pytest

from tests import traces
from tests.conftest import SOAK

UNWINDERS = ["rows", "libgcc", "libunwind"]
LOADS_FIRST = """#include <dlfcn.h>
int main(void) { return dlerror() != 0 || dlopen("liblzma.so.5", RTLD_NOW) == 0 || dlopen("none", RTLD_NOW) != 0; }"""


@pytest.fixture(params=UNWINDERS)
def unwinder(request):
    return request.param


def placed(trace: traces.Trace, pc: int) -> str:
    """File and offset, which are the same in each run."""
    modules = [each for each in trace.of("module") if 0 <= pc - each["begin"] < each["size"]]
    assert modules, f"{pc:#x} is in no module"
    return f"{os.path.basename(modules[-1]['path'])}+{pc - modules[-1]['base']:#x}"


def stacks_by_size(trace: traces.Trace) -> dict[tuple[str, int], list[str]]:
    """Of stacks.c's own requests, and of the frees of their blocks."""
    sizes = {event["id"]: event["size"] for event in trace.of("alloc") if 70001 <= event["size"] < 71000}
    events = [event for event in trace.of("alloc", "free") if event["id"] in sizes]
    return {(event["event"], sizes[event["id"]]): [placed(trace, pc) for pc in event["frames"]] for event in events}


def test_all_unwinders_see_the_same_stacks(program, traced, traces_parent, exercised):
    found = {}
    for name in UNWINDERS:
        parent = traces_parent / name
        done = traced([program("stacks.c", "-O2")], {"POIREAU_UNWINDER": name, "POIREAU_TRACE": str(parent)})
        assert (done.returncode, done.stderr) == (0, ""), done
        trace = traces.read_one(parent)
        assert trace.process["unwinder"] == name
        found[name] = stacks_by_size(trace)
        exercised.add("unwinders", name)
    expected = found["libgcc"]
    assert len(expected) > 20
    assert {kind for kind, _ in expected} == {"alloc", "free"}
    assert all(frames for frames in expected.values())
    assert max(map(len, expected.values())) == 64  # of 500
    for name in UNWINDERS:
        assert found[name] == expected, name


def test_a_first_stack_beyond_the_rows_does_not_speak_against_them(program, run_preloaded, traces_parent):
    """cksum's, now and then: its buffer makes a frame that no row can express."""
    environment = {"POIREAU_SAMPLE_PERIOD": "256K", "POIREAU_TRACE": str(traces_parent)}
    done = run_preloaded([program("wide_frame.c")], environment)
    assert (done.returncode, done.stderr) == (0, ""), done
    trace = traces.read_one(traces_parent)
    assert trace.process["unwinder"] == "rows"
    assert [len(event["frames"]) >= 3 for event in trace.of("alloc") if event["size"] == 64 << 20] == [True]


@pytest.mark.parametrize("warm", [[], ["warm"]])
def test_a_lock_held_around_the_loaders_does_not_hang_a_sample(program, traced, unwinder, warm):
    done = traced([program("abba.c"), *warm], {"POIREAU_UNWINDER": unwinder})
    assert (done.stdout, done.stderr, done.returncode) == ("not held up\n", "", 0)


def test_files_opened_after_all_were_closed_keep_their_content(program, traced, unwinder, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    done = traced([program("reopened.c"), folder], {"POIREAU_UNWINDER": unwinder})
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_no_unwinder_keeps_a_descriptor(traced, unwinder):
    environment = {"POIREAU_UNWINDER": unwinder, "POIREAU_GUARD": "off", "POIREAU_CONTROL": "off"}
    done = traced(["ls", "-l", "/proc/self/fd"], environment)
    assert done.stdout.count("\n") == len(["total", 0, 1, 2, "the folder"]), done


def test_no_unwinder_is_a_library_of_the_programs(program, traced, unwinder):
    """It must not catch the program's exceptions, nor be found by what the program looks up."""
    done = traced([program("cxx_behaviour.cc", "-DPROGRAM")], {"POIREAU_UNWINDER": unwinder})
    assert (done.returncode, done.stderr) == (0, ""), done


def test_fork_children_have_stacks(program, traced, unwinder):
    environment = {"POIREAU_UNWINDER": unwinder, "POIREAU_SINK": "none", "POIREAU_SAMPLE_PERIOD": "1000"}
    environment["POIREAU_OVERHEAD_BUDGET"] = "off"  # or a line might say what that costs
    done = traced([program("fork_storm.c"), "fork", str(200 if SOAK else 5)], environment, timeout=300)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_the_loader_may_make_the_first_request(compile_c, traced, traces_parent, unwinder):
    done = traced([compile_c(LOADS_FIRST)], {"POIREAU_UNWINDER": unwinder})
    assert (done.returncode, done.stderr) == (0, ""), done
    assert traces.read_one(traces_parent).process["unwinder"] == unwinder
