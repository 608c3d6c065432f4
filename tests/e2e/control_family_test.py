"""Every process has a socket of its own, however it came to be and wherever it lives; and takes no descriptor from
anybody."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import clean_environment
from tests.control_client import (
    Client,
    Closed,
    all_closed,
    descriptors,
    elsewhere,
    eventually,
    listening,
    name_of,
    reach,
    resident,
    sockets,
    start_time,
)

pytestmark = pytest.mark.slow

NO_TRACE = {"POIREAU_SINK": "none"}
CLOSING = ["loop", "closefrom", "close_range", "dup and close"]
WAYS = ["fork", "_Fork", "raw", "clone"]


def ended_well(told):
    """What it said on standard error."""
    told("idle")
    told.process.stdin.close()
    assert told.process.wait(60) == 0, told.process.returncode
    return told.process.stderr.read()


def children(told, number, way):
    return [int(pid) for pid in told(f"children {number} {way}")]


# Children


def test_each_of_many_children_is_reached_under_its_own_name(controlled, scale, exercised):
    told = controlled({**NO_TRACE, "POIREAU_SAMPLE_PERIOD": "1000"})
    pid, seen, batch, number = told.process.pid, set(), 20, scale(1000)
    for _ in range(number // batch):
        pids = children(told, batch, "fork")
        for each in [pid, *pids]:
            with reach(each) as client:
                assert client.greeting["start"] == start_time(each)
                seen.add((each, client.greeting["run_id"]))
        told("end")
    assert len(seen) == len({run_id for _, run_id in seen}) == number + 1
    assert ended_well(told) == ""
    exercised.count("children reached", "fork", len(seen) - 1)


@pytest.mark.parametrize("way", [*WAYS, "daemon"])
def test_a_child_has_a_socket_of_its_own_and_none_of_its_parents(controlled, exercised, way):
    told = controlled({**NO_TRACE, "POIREAU_SAMPLE_PERIOD": "1000"})
    pid = told.process.pid
    with reach(pid) as parent:
        parents = set(sockets(pid).values())
        for child in children(told, 3, way):
            with reach(child) as client:
                client.ask("set", "stack_depth", child % 100)
                own = set(sockets(child).values())
                assert len(own) == 2  # its listener and this connection
                assert not own & parents
        assert parent.ask("get", "stack_depth")["value"] == "3"
        assert set(sockets(pid).values()) == parents
    told("end")
    exercised.add("children with their own socket", way)


@pytest.mark.parametrize("way", ["fork", "raw"])
def test_a_name_goes_with_its_process_though_children_live(controlled, way):
    told = controlled({**NO_TRACE, "POIREAU_SAMPLE_PERIOD": "1000"})
    pid = told.process.pid
    name = name_of(pid)
    with reach(pid) as parent:
        pids = children(told, 3, way)
        try:
            clients = [reach(child) for child in pids]
            with all_closed(*clients):
                told.process.kill()
                told.process.wait()
                eventually(lambda: name not in listening())
                with pytest.raises((Closed, BrokenPipeError)):
                    parent.ask("hello")
                for client in clients:
                    client.ask("hello")
        finally:
            for child in pids:
                os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("way", ["vfork", "CLONE_VM", "exec"])
def test_a_child_in_its_parents_memory_serves_nobody(controlled, way):
    told = controlled({**NO_TRACE, "POIREAU_SAMPLE_PERIOD": "1000"}, work="")
    pid = told.process.pid
    told("pass 1000 1000")
    before = descriptors(pid)
    assert name_of(pid) in listening()
    with Client(name_of(pid), 1) as client:
        client.request("hello")
        told(f"borrow 300 {way}")  # it alone allocates
        with pytest.raises(TimeoutError):
            client.any_line()
        assert descriptors(pid) == before
        client.socket.settimeout(20)
        time.sleep(0.06)
        told("work 1 1000 4")
        assert client.line()["pid"] == pid
        assert set(before.values()) <= set(descriptors(pid).values())
    assert ended_well(told) == ""


def test_a_child_in_its_parents_memory_makes_no_socket_either(controlled):
    told = controlled({**NO_TRACE, "POIREAU_ARMED": "0"}, work="")
    pid = told.process.pid
    for way in ("CLONE_VM", "vfork"):
        borrowing = threading.Thread(target=told, args=(f"borrow 300 {way}",))
        borrowing.start()
        while borrowing.is_alive():
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                assert not [name for name in listening() if f"/{child}/" in name]
        borrowing.join()
    told("work 1 16384 2000")
    reach(pid).socket.close()


def test_who_is_executed_inherits_nothing_and_has_its_own(controlled):
    told = controlled(NO_TRACE)
    pid = told.process.pid
    with reach(pid) as client:
        first, before = client.greeting, set(sockets(pid).values())
        told("exec")
        with pytest.raises((Closed, BrokenPipeError)):
            client.ask("hello")
    told("work 1 1000 4")
    assert not before & set(sockets(pid).values())
    with reach(pid) as client:
        assert client.greeting["run_id"] != first["run_id"]
        assert client.greeting["start"] == first["start"]


def test_what_a_shell_executes_has_no_descriptor_of_ours(run_preloaded):
    environment = {"POIREAU_SAMPLE_PERIOD": "1"}
    done = run_preloaded(["bash", "-c", "x=$(seq 100); exec env -u LD_PRELOAD ls -l /proc/self/fd"], environment)
    assert done.returncode == 0
    assert "socket" not in done.stdout, done.stdout


# Descriptors


def test_the_listener_is_out_of_the_way_and_goes_with_exec(controlled):
    told = controlled(NO_TRACE)
    pid = told.process.pid
    reach(pid).socket.close()
    (number,) = eventually(lambda: len(sockets(pid)) == 1 and sockets(pid))
    assert number > 100
    told_of_it = Path(f"/proc/{pid}/fdinfo/{number}").read_text()
    flags = re.search(r"^flags:\s*0*([0-7]+)$", told_of_it, re.MULTILINE)
    assert int(flags[1], 8) & os.O_CLOEXEC
    assert int(flags[1], 8) & os.O_NONBLOCK


@pytest.mark.parametrize("way", CLOSING)
def test_who_closes_all_descriptors_gets_the_socket_back(controlled, exercised, way):
    told = controlled(NO_TRACE)
    pid = told.process.pid
    for _ in range(3):
        with reach(pid) as client:
            before = descriptors(pid)
            told(f"close {way}")
            with pytest.raises((Closed, BrokenPipeError)):
                client.ask("hello")
        with reach(pid) as client:
            client.ask("hello")
            assert len(descriptors(pid)) <= len(before) + 1
    assert ended_well(told) == ""
    exercised.add("sockets back after", way)


def test_who_needs_every_number_keeps_them(controlled):
    told = controlled(NO_TRACE, ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh"])
    pid = told.process.pid
    reach(pid).socket.close()
    told("close dup")
    time.sleep(0.2)
    now = descriptors(pid)
    assert len(now) == 256
    assert not any("socket" in what for what in now.values())
    told("close loop")
    reach(pid).socket.close()


@pytest.mark.parametrize("what", ["file", "pipe", "socket", "listener"])
def test_what_got_the_number_of_our_listener_is_not_touched(controlled, exercised, what):
    told = controlled(NO_TRACE)
    pid = told.process.pid
    with reach(pid) as client:
        client.ask("hello")
        told(f"steal {what}")
        told("pass 10000 1000")
    with reach(pid) as client:  # once more, by another number
        client.ask("hello")
    time.sleep(0.1)
    told(f"robbed {what}")  # complains if it was
    told("work 2 1000 8")
    assert ended_well(told) == ""
    exercised.add("not touched", what)


@pytest.mark.parametrize("limit", [20, 8, 5, 4])
def test_few_descriptors_are_the_programs_own(controlled, limit):
    told = controlled(NO_TRACE, ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"])
    pid = told.process.pid
    time.sleep(0.3)
    ours = len(descriptors(pid)) - 3
    got, error = map(int, told("exhaust")[0].split())
    assert ours <= 1
    assert (got, error) == (limit - 3 - len(sockets(pid)), 24)
    assert ended_well(told).count("\n") <= 1


def test_no_descriptor_left_at_the_start_is_said_once_and_counted(controlled):
    told = controlled({**NO_TRACE, "POIREAU_ARMED": "0"}, work="")
    told("limit 256")
    told("exhaust")
    told("work 1 16384 2000")
    told("pass 5000 16384")
    time.sleep(0.5)
    told("relieve")
    with reach(told.process.pid) as client:
        assert client.ask("stats")["control"]["failures"] >= 1
    complaints = ended_well(told)
    assert complaints.count("\n") == 1, complaints
    assert "control" in complaints


def test_no_descriptor_left_for_a_connection_harms_nobody(controlled):
    told = controlled(NO_TRACE)
    pid = told.process.pid
    with reach(pid) as client:
        told("limit 256")
        told("exhaust")
        others = [Client(name_of(pid), 1) for _ in range(3)]
        with all_closed(*others):
            for _ in range(20):
                client.ask("hello")
            memory = resident(pid)
            time.sleep(0.3)
            assert resident(pid) <= memory + (1 << 20)
        told("relieve")
    with reach(pid) as client:
        client.ask("hello")
    assert ended_well(told).count("\n") <= 1


def test_a_closed_standard_file_is_no_place_for_our_socket(controlled):
    script = 'exec 7<&0 8>&1 0<&- 1>&- 2>&-; exec "$@"'
    told = controlled({**NO_TRACE, "POIREAU_EXCLUDE": "sh,dash"}, ["sh", "-c", script, "sh"], arguments=["7", "8"])
    pid = told.process.pid
    for _ in range(2):
        with reach(pid) as client:
            client.ask("hello")
            assert not {0, 1, 2} & descriptors(pid).keys()


# Where programs live


def test_a_program_that_changed_its_root_is_reached(controlled, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    told = controlled(NO_TRACE)
    pid = told.process.pid
    reach(pid).socket.close()
    told(f"root {root}")
    with reach(pid) as client:
        client.ask("set", "sample_period", "32K")
    told("close loop")
    with reach(pid) as client:
        client.ask("set", "sample_period", "64K")
    assert list(root.iterdir()) == []


def test_a_program_that_changed_its_root_before_its_first_sample_is_reached(controlled, tmp_path):
    told = controlled(NO_TRACE, work="")
    pid = told.process.pid
    told(f"root {tmp_path}")
    told("work 1 1000 4")
    # There is no /proc to tell its start.
    name = eventually(lambda: listening() & {name_of(pid), f"poireau/0/{pid}/0"}).pop()
    with Client(name) as client:
        assert client.ask("hello")["pid"] == pid


def test_another_network_namespace_has_names_of_its_own(controlled):
    told = controlled(NO_TRACE, ["unshare", "-n"])
    pid = told.process.pid
    name = eventually(lambda: name_of(pid) in listening(pid) and name_of(pid))
    assert name not in listening()
    with pytest.raises(ConnectionRefusedError):
        Client(name)

    def ask():
        with Client(name) as client:
            return client.ask("hello")["pid"]

    assert elsewhere(ask, net=pid) == pid


@pytest.mark.parametrize("how", ["eperm", "kill"])
def test_a_filter_without_sockets_from_inside_harms_nobody(controlled, how):
    for reached in (False, True):
        told = controlled({**NO_TRACE, "POIREAU_ARMED": "0"}, work="")
        pid = told.process.pid
        if reached:
            told("work 1 16384 2000")
            with reach(pid) as client:
                told(f"filter {how}")
                client.socket.settimeout(0.3)
                with pytest.raises((Closed, TimeoutError, BrokenPipeError)):
                    client.ask("hello")  # is not answered, and nobody dies of it
        else:
            told(f"filter {how}")
        told("pass 10000 16384")
        assert ended_well(told) == ""


@pytest.mark.parametrize("how", ["eperm", "kill"])
def test_an_inherited_filter_without_sockets_harms_nobody(controlled, program, how):
    told = controlled(NO_TRACE, [program("controlled.c"), "under", how], work="work 1 1000 100")
    told("pass 10000 1000")
    time.sleep(0.2)
    assert not sockets(told.process.pid)
    assert ended_well(told) == ""


def test_under_an_inherited_filter_the_socket_is_there_for_who_asked(controlled, program):
    told = controlled({**NO_TRACE, "POIREAU_CONTROL": "full"}, [program("controlled.c"), "under", "eperm"])
    pid = told.process.pid
    time.sleep(0.3)
    assert not sockets(pid)  # sockets are what this one forbids
    complaints = ended_well(told)
    assert complaints.count("\n") == 1, complaints


# Who serves


def hammer(pid, seconds):
    """Requests answered."""
    answered, end = 0, time.monotonic() + seconds
    with reach(pid) as client:
        while time.monotonic() < end:
            client.send('{"do":"get","option":"guard"}\n' * 5)
            for _ in range(5):
                assert client.line()["ok"] is True
            answered += 5
    return answered


def test_threads_with_the_smallest_stacks_serve(controlled):
    told = controlled(NO_TRACE, work="")
    told("stack 16384")
    told("work 2 1000 50")
    with reach(told.process.pid) as client:
        for verb in ("list", "stats", "verify", "hello", "list"):
            client.ask(verb)
        client.send("x" * 4096 + "\n" + "{" * 4000 + "\n")
        assert client.line()["ok"] is False
        assert client.line()["ok"] is False
        client.ask("set", "callers", "libc.so.6=2, controlled=3")
        client.ask("set", "sample_period", "8K")
    assert hammer(told.process.pid, 0.3) > 0
    assert ended_well(told) == ""


def test_the_smallest_stacks_take_a_checkpoint_too(controlled):
    told = controlled(work="keep 200 5000")
    told("stack 16384")
    told("work 2 1000 50")
    with reach(told.process.pid) as client:
        client.ask("set", "sample_period", "1K")
        assert client.ask("snapshot")["trace"]
        assert client.ask("flush")["trace"]
    assert ended_well(told) == ""


def test_a_constructor_serves(controlled):
    told = controlled(NO_TRACE, flags=["-DEARLY"], work="")
    told("pass 5000 1000")
    with Client(name_of(told.process.pid)) as client:
        client.request("hello")
        time.sleep(0.06)
        told("pass 5000 1000")
        time.sleep(0.06)
        told("pass 5000 1000")
        assert client.line()["pid"] == told.process.pid


def test_eight_threads_serve_one_that_hammers(controlled, exercised):
    told = controlled(NO_TRACE, work="work 8 1000 20")
    exercised.count("answers while hammered", "eight threads", hammer(told.process.pid, 1))
    assert ended_well(told) == ""


def test_who_serves_may_be_cancelled_at_any_instant(controlled, program):
    told = controlled({**NO_TRACE, "POIREAU_SAMPLE_PERIOD": "200"}, preload=[program("bump.c", "-shared")])
    pid, problems = told.process.pid, []

    def ask():
        try:
            hammer(pid, 1.2)
        except BaseException as error:
            problems.append(repr(error))

    reach(pid).socket.close()
    thread = threading.Thread(target=ask)
    thread.start()
    told("cancel 4")
    thread.join()
    assert problems == []
    with reach(pid) as client:
        client.ask("hello")


@pytest.mark.parametrize(("how", "requests"), [("return", 1_000_000), ("jump", 5_000_000)])
def test_who_serves_may_be_interrupted_and_jumped_out_of(program, library, how, requests):
    environment = {**NO_TRACE, "POIREAU_SAMPLE_PERIOD": "500", "POIREAU_STACK_DEPTH": "0", "POIREAU_GUARD": "off"}
    environment["POIREAU_OVERHEAD_BUDGET"] = "off"
    preload = f"{library}:{program('bump.c', '-shared')}"
    process = subprocess.Popen(
        [program("storm.c"), how, str(requests)],
        env=clean_environment(**environment, LD_PRELOAD=preload),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        answered = 0
        with contextlib.suppress(Closed, BrokenPipeError):  # it has ended
            while True:
                answered += hammer(process.pid, 0.05)
        output, complaints = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert answered > 0 or how == "jump"  # out of the hot path, and the thread is not sampled any more
    assert (process.returncode, complaints) == (0, "")
    assert "jumps" in output
