"""What LTTng has recorded, on disk and live, is read to the event; so is any other trace with events of ours in it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from poireau.errors import Failure
from poireau.native import binding
from tests import traces
from tests.conftest import ROOT, clean_environment
from tests.e2e.lttng_test import HANG, Lttng, free_port, lttng_of
from tests.poireau.native.handmade import OFFSET, Layout
from tests.poireau.native.reading import comparable, expected, read, rows_of

BLOCKS = ROOT / "tests" / "programs" / "lttng_blocks.c"
ALLOC = {"id": "u64", "size": "u64", "function": "text", "time": "u64", "frames": "frames"}
MODULE = {"base": "u64", "begin": "u64", "size": "u64", "path": "text", "build_id": "bytes"}
PROCESS = {"run_id_high": "u64", "run_id_low": "u64", "process": "u32"}
EVENTS = {"poireau:process": PROCESS, "poireau:module": MODULE, "poireau:alloc": ALLOC}


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "lttng_blocks"
    subprocess.run(["cc", "-O1", "-pthread", BLOCKS, "-o", path], check=True)
    return path


@pytest.fixture
def lttng(library):
    yield from lttng_of(False, library)


def profiled(lttng: Lttng, blocks, how: str, count: int):
    return lttng.profiled([shutil.copy(blocks, lttng.folder / "blocks"), how, str(count)])


def directories(trace):
    return sorted(path.parent for path in trace.rglob("metadata"))


def events_under(trace):
    """As babeltrace2's own reader has them. Each directory is read alone: it wants one trace for each of its inputs."""
    found = [event for each in directories(trace) for event in traces.read_events(each)]
    return sorted(found, key=lambda event: event["timestamp"])


def agree(trace, **more: int):
    """That all is read of it, once, by directories and as a whole."""
    got = read(trace)
    whole = expected(events_under(trace))
    assert comparable(got.rows) == comparable(whole)
    assert Counter(row["event"] for row in got.rows)["alloc"] == more.pop("births", len(got.of("alloc")))
    assert got.losses == more
    assert comparable(read(*directories(trace)).rows) == comparable(whole)
    orders = {process: [row["order"] for row in got.rows if row["process"] == process] for process in range(9)}
    assert all(order == list(range(len(order))) for order in orders.values())
    return got


@pytest.mark.slow
@pytest.mark.parametrize("per", ["uid", "pid"])
def test_forks_and_their_parents_are_told_apart(lttng, blocks, per):
    trace = lttng.record(per=per)
    parent, child = map(int, lttng.run(profiled(lttng, blocks, "forks", 300)).stdout.split())
    lttng.run(["lttng", "destroy", "s"])
    got = agree(trace)
    assert list(got.tables.process_ids) == [parent, child]
    births = Counter(row["process"] for row in got.of("alloc") if row["size"] == 12345)
    assert births == {0: 300, 1: 307}
    # Times are of 1970, both of them.
    assert all(abs(row["time"] - row["timestamp"]) < 10**9 for row in got.of("alloc"))
    # And whatever is in a stack lies in a file.
    assert all(path for row in got.of("alloc") for path, _, _ in row["frames"])


@pytest.mark.slow
def test_each_thread_and_each_processor_is_read(lttng, blocks):
    trace = lttng.record()
    lttng.run(profiled(lttng, blocks, "threads", 300))
    lttng.run(["lttng", "destroy", "s"])
    got = agree(trace)
    assert len({row["thread"] for row in got.of("alloc")}) == 5


@pytest.mark.slow
def test_what_a_killed_program_did_is_read(lttng, blocks):
    trace = lttng.record()
    assert lttng.run(profiled(lttng, blocks, "killed", 500), check=False).returncode == -signal.SIGKILL
    lttng.run(["lttng", "destroy", "s"])
    agree(trace, births=500)


@pytest.mark.slow
def test_rotated_chunks_are_one_trace(lttng, blocks):
    trace = lttng.record()
    process = lttng.start(profiled(lttng, blocks, "waits", 200), stdin=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    lttng.run(["lttng", "rotate", "s"])
    assert process.communicate("\n", timeout=HANG) == ("", "")
    lttng.run(["lttng", "destroy", "s"])
    assert len(directories(trace)) == 2
    assert len(agree(trace).tables.process_ids) == 1


@pytest.mark.slow
def test_what_is_in_two_snapshots_is_read_once(lttng, blocks):
    trace = lttng.folder / "snapshots"
    lttng.record("--snapshot", f"--output={trace}", channel=("--overwrite",))
    lttng.run(profiled(lttng, blocks, "once", 300))
    for _ in range(2):
        lttng.run(["lttng", "snapshot", "record", "-s", "s"])
    one, other = (traces.read_events(each) for each in directories(trace))
    assert comparable(expected(one)) == comparable(expected(other)) == comparable(read(trace).rows)


@pytest.mark.slow
def test_a_live_session_is_read_to_its_end(lttng, blocks):
    view, control, data = (free_port() for _ in range(3))
    relay = f"net://127.0.0.1:{view}"
    ports = ["-L", f"tcp://127.0.0.1:{view}", "-C", f"tcp://127.0.0.1:{control}", "-D", f"tcp://127.0.0.1:{data}"]
    lttng.start(["lttng-relayd", *ports, "-o", lttng.folder / "relayed"])
    urls = [f"--ctrl-url=tcp://127.0.0.1:{control}", f"--data-url=tcp://127.0.0.1:{data}"]
    until = time.monotonic() + HANG
    while lttng.run(["lttng", "create", "probe", "--live=100000", *urls], check=False).returncode != 0:
        assert time.monotonic() < until
    lttng.run(["lttng", "destroy", "probe"])
    lttng.record("--live=100000", *urls)
    session = f"{relay}/host/{socket.gethostname()}/s"
    for wrong in (relay, f"{relay}/host/{socket.gethostname()}/another"):
        with pytest.raises(Failure, match=session):  # what there is
            read(wrong)

    reader = binding.Reader(binding.BABELTRACE, [session], follow=True)
    batches = reader.batches()
    assert not any(len(columns["order"]) for columns in next(batches).values())  # nobody is there yet
    lttng.run(profiled(lttng, blocks, "forks", 200))
    rows = []
    while Counter(row["event"] for row in rows)["free"] < 407:
        assert time.monotonic() < until
        rows += rows_of([next(batches)], reader)
        time.sleep(0.01)
    lttng.run(["lttng", "destroy", "s"])
    for batch in batches:
        assert time.monotonic() < until
        rows += rows_of([batch], reader)
    assert reader.tables().losses == []
    reader.close()
    assert comparable(rows) == comparable(expected(events_under(lttng.folder / "relayed")))


def peer(answers: bytes | None):
    """The port of somebody who says that to whom calls, or nothing for ever."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        callers = []
        while True:
            caller, _ = listening.accept()
            callers.append(caller)
            if answers is not None:
                caller.recv(1000)
                caller.sendall(answers)

    threading.Thread(target=serve, daemon=True).start()
    return listening.getsockname()[1]


@pytest.mark.soak  # it takes 10 s
def test_who_does_not_answer_is_given_up(capfd):
    with pytest.raises(Failure, match="nobody answers"):
        read(f"net://127.0.0.1:{peer(None)}/host/here/s")
    assert capfd.readouterr() == ("", "")


def test_who_answers_otherwise_is_no_relay_daemon(capfd):
    # A relay daemon's first words, and not one more.
    hello = bytes(8) + (2).to_bytes(4, "big") + (4).to_bytes(4, "big") + bytes(4)
    port = free_port()
    cases = {
        port: "Connection refused",
        peer(b"HTTP/1.0 400 Bad Request\r\n\r\n"): "not LTTng's relay daemon",
        peer(hello): "closed connection",
    }
    for each, why in cases.items():
        with pytest.raises(Failure, match=why):
            read(f"net://127.0.0.1:{each}/host/here/s")
    for url in ("net://", "net:///host/a/b", "net://127.0.0.1:99999/host/a/b", "net://no.such.host.invalid/host/a/b"):
        with pytest.raises(Failure, match="net://"):
            read(url)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_our_own_trace_is_what_our_own_reader_reads(run_preloaded, blocks, tmp_path):
    own = tmp_path / "own"
    run_preloaded([blocks, "forks", "500"], {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_TRACE": str(own)})
    directories = traces.directories(own)
    assert len(directories) == 2
    got, ours = read(*directories), read(*directories, library=binding.DECODE)

    def whose(reading):
        rows = [{**row, "process": reading.tables.sources[row["process"]]} for row in reading.rows]
        return sorted(({**row, "order": 0} for row in rows), key=lambda row: sorted(map(repr, row.items())))

    assert whose(got) == whose(ours)
    assert sorted(got.tables.process_ids) == sorted(ours.tables.process_ids)
    assert got.losses == ours.losses == {}
    assert comparable(got.rows) == comparable(row for each in directories for row in expected(traces.read_events(each)))


def test_each_reading_gives_the_same_numbers(tmp_path):
    layout = Layout(EVENTS, context={"vpid": "i32"})
    rows = [
        (number, "poireau:process", {"vpid": 7, "run_id_low": 1 + number // 10, "process": 7})
        if number % 10 == 0
        else (number, "poireau:alloc", {"vpid": 7, "id": number, "frames": [number]})
        for number in range(100)
    ]
    layout.write(tmp_path, layout.packet(rows))
    reader = binding.Reader(binding.BABELTRACE, [tmp_path])
    first, again = rows_of(reader.batches(), reader), rows_of(reader.batches(), reader)
    assert first == again
    assert len(first) == len(rows)
    assert reader.progress() == ((tmp_path / "stream").stat().st_size,) * 2
    reader.close()


def test_a_process_that_runs_another_program_is_another(tmp_path):
    """What an address means is what it meant when it was written."""
    layout = Layout(EVENTS, context={"vpid": "i32"})

    def program(start: int, vpid: int, run_id: int, path: bytes):
        return [
            (start, "poireau:process", {"vpid": vpid, "run_id_low": run_id, "process": vpid}),
            (start + 1, "poireau:module", {"vpid": vpid, "base": 100, "begin": 1000, "size": 50, "path": path}),
            (start + 2, "poireau:alloc", {"vpid": vpid, "id": run_id, "frames": [1010, 2000]}),
        ]

    rows = [*program(10, 7, 1, b"/a"), *program(20, 8, 2, b"/b"), *program(30, 7, 3, b"/c"), *program(40, 7, 1, b"/a")]
    layout.write(tmp_path, layout.packet(rows))
    got = read(tmp_path)
    assert list(got.tables.process_ids) == [7, 8, 7]
    assert [(row["process"], row["frames"][0]) for row in got.of("alloc")] == [
        (0, ("/a", "", 910)),
        (1, ("/b", "", 910)),
        (2, ("/c", "", 910)),
        (0, ("/a", "", 910)),
    ]
    assert {row["frames"][1] for row in got.of("alloc")} == {("", "", 2000)}


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("sizes", [False, True])
def test_fields_are_known_by_their_names(tmp_path, big_endian, header, sizes):
    """Other versions have others, in another order and of another size."""
    alloc = {"more": "f64", "function": "text", "size": "u16", "new": "bytes", "thread": "i32", "id": "u64"}
    others = {"poireau:unheard": {"a": "u8"}, "app:event": {"x": "text", "y": "f64"}, "poireau:thread": {}}
    events = {"poireau:alloc": alloc, **others}
    layout = Layout(events, environment={"vpid": 12}, big_endian=big_endian, header=header, sizes=sizes)
    rows = [
        (
            5,
            "poireau:alloc",
            {"size": 77, "function": b"m\xff\xfe", "id": 2**63, "thread": 9, "new": [1, 2], "more": 0.5},
        ),
        (6, "poireau:unheard", {"a": 1}),
        (7, "app:event", {"x": b"text", "y": 1.5}),
        (8, "poireau:thread", {}),
    ]
    layout.write(tmp_path, layout.packet(rows))
    got = read(tmp_path)
    row, thread = got.rows
    assert (thread["thread"], thread["name"]) == (0, "")
    assert (row["size"], row["function"], row["id"], row["thread"]) == (77, "m\udcff\udcfe", 2**63, 9)
    assert (row["period"], row["frames"], row["timestamp"]) == (0, [], OFFSET * 10**9 + 5)
    assert list(got.tables.process_ids) == [12]
    assert got.losses == {"events that are not ours": 2}


def test_modules_whose_events_are_lost_are_known_from_lttng_s_own(tmp_path):
    """But ours are what counts."""
    file = {"baddr": "u64", "memsz": "u64", "path": "text", "is_pic": "u8"}
    events = {
        **EVENTS,
        "lttng_ust_statedump:bin_info": file,
        "lttng_ust_statedump:build_id": {"baddr": "u64", "build_id": "bytes"},
    }
    layout = Layout(events, context={"vpid": "i32"})

    def binary(at: int, baddr: int, pic: int, vpid: int = 7):
        values = {"vpid": vpid, "baddr": baddr, "memsz": 100, "path": b"/lttng", "is_pic": pic, "build_id": [171, 1]}
        return [(at, "lttng_ust_statedump:bin_info", values), (at + 1, "lttng_ust_statedump:build_id", values)]

    rows = [
        *binary(1, 1000, 1),
        *binary(3, 2000, 0),
        *binary(5, 5000, 1, vpid=8),  # of somebody who isn't ours
        (10, "poireau:alloc", {"vpid": 7, "frames": [1010, 2010, 3010]}),
        (20, "poireau:module", {"vpid": 7, "base": 900, "begin": 1000, "size": 50, "path": b"/ours"}),
        *binary(30, 1000, 1),
        (40, "poireau:alloc", {"vpid": 7, "frames": [1010, 2010, 3010]}),
    ]
    layout.write(tmp_path, layout.packet(rows))
    got = read(tmp_path)
    lttng = [("/lttng", "ab01", 10), ("/lttng", "ab01", 2010), ("", "", 3010)]
    assert [row["frames"] for row in got.of("alloc")] == [lttng, [("/ours", "", 110), *lttng[1:]]]
    assert (list(got.tables.process_ids), got.losses) == ([7], {})


@pytest.mark.slow
def test_lttng_knows_the_same_modules_as_we_do(lttng, blocks):
    stacks = []
    for own in (["poireau:*"], ["poireau:alloc", "poireau:process", "lttng_ust_statedump:*"]):
        trace = lttng.folder / f"trace-{len(stacks)}"
        lttng.run(["lttng", "create", "s", f"--output={trace}"])
        lttng.run(["lttng", "enable-event", "-u", "-s", "s", ",".join(own)])
        lttng.run(["lttng", "add-context", "-u", "-s", "s", "-t", "vpid"])
        lttng.run(["lttng", "start", "s"])
        lttng.run(profiled(lttng, blocks, "once", 10))
        lttng.run(["lttng", "destroy", "s"])
        stacks.append([[place[1:] for place in row["frames"]] for row in read(trace).of("alloc")])
    assert stacks[0] == stacks[1]
    assert all(build_id for stack in stacks[1] for build_id, _ in stack)


def test_processes_that_are_mixed_are_a_loss(tmp_path):
    layout = Layout(EVENTS)
    processes = [(run, "poireau:process", {"run_id_low": run + 1, "process": run}) for run in range(3)]
    layout.write(tmp_path, layout.packet(processes))
    ((cause, count),) = read(tmp_path).losses.items()
    assert ("vpid" in cause, count) == (True, 2)


def test_the_time_of_an_event_is_its_clock_s(tmp_path):
    for clock, time_of in (("monotonic", OFFSET * 10**9 + 3), ("tsc", OFFSET * 10**9 + 1000)):
        layout = Layout(EVENTS, clock=clock)
        layout.write(tmp_path / clock, layout.packet([(1000, "poireau:alloc", {"time": 3})]))
        assert [row["time"] for row in read(tmp_path / clock).rows] == [time_of]


def test_discarded_events_are_losses(tmp_path):
    layout = Layout(EVENTS)
    packets = [layout.packet([(at, "poireau:alloc", {})], discarded=at * 10, room=at) for at in (0, 2, 5)]
    layout.write(tmp_path, *packets)
    got = read(tmp_path)
    assert (len(got.rows), got.losses) == (3, {"discarded by the tracer": 50})


def test_what_cannot_be_opened_is_said(tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    for name, text in (("nothing", b""), ("foreign", b"\x7fELF" * 100), ("words", b"/* CTF 1.8 */ words")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata").write_bytes(text)
    for name in ("missing", "empty", "nothing", "foreign", "words"):
        with pytest.raises(Failure, match=name):
            read(tmp_path / name)
    # Beside a good one it is a loss.
    layout = Layout(EVENTS)
    good = layout.write(tmp_path / "good", layout.packet([(1, "poireau:alloc", {})]))
    got = read(tmp_path / "foreign", good)
    assert (len(got.rows), list(got.losses.values())) == (1, [1])
    assert capfd.readouterr() == ("", "")


def test_nothing_is_left_behind(tmp_path):
    layout = Layout(EVENTS)
    trace = layout.write(tmp_path / "trace", layout.packet([(1, "poireau:alloc", {})] * 100), b"damaged")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = f"from poireau.native.binding import *; r = Reader(BABELTRACE, [{os.fspath(trace)!r}]); next(r.batches())"
    environment = clean_environment(TMPDIR=str(scratch), PYTHONPATH=str(ROOT))
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    assert list(scratch.iterdir()) == []


def test_whose_run_is_not_known_is_the_same_each_time(tmp_path):
    layout = Layout(EVENTS)
    runs = [(time, "poireau:process", {"run_id_low": run, "process": 7}) for time, run in enumerate([0, 5, 0, 6, 5])]
    reader = binding.Reader(binding.BABELTRACE, [layout.write(tmp_path / "runs", layout.packet(runs))])
    numbers = [[row["process"] for row in rows_of(reader.batches(), reader)] for _ in range(3)]
    assert numbers == [[0, 0, 0, 1, 0]] * 3
