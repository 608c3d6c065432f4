"""Whoever connects to a program, and whatever they send or leave unsent, costs it neither memory nor descriptors, and
little time; who is no one to it isn't even heard."""

from __future__ import annotations

import array
import contextlib
import errno
import random
import socket
import string
import threading
import time

import pytest

from tests.conftest import SOAK
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
)

pytestmark = pytest.mark.slow

MIB = 1 << 20
SOMEONE, NOBODY = 12345, 65534
MOST = 5  # a listener and four connections
# The traces of another user's program go nowhere that it could not reach.
NO_TRACE = {"POIREAU_SINK": "none"}


@pytest.fixture
def besieged(controlled, exercised, request):
    """A program that allocates all it can; at the end it has come to no harm."""
    told = controlled({**NO_TRACE, "POIREAU_GUARD": "off", "POIREAU_OVERHEAD_BUDGET": "off"}, work="work 1 1000 0")
    pid = told.process.pid
    with reach(pid) as client:
        client.ask("list")
    time.sleep(0.2)

    def made():
        calls, _, cpu = map(int, told("made")[0].split())
        return calls, cpu

    own = len(descriptors(pid)) - 1
    first = made()
    time.sleep(0.5)
    before = made()
    memory, most = resident(pid), []
    over = threading.Event()

    def watch():
        while True:
            most.append((resident(pid), len(descriptors(pid)) - own))
            if over.wait(0.01):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        begin = time.monotonic()
        yield pid
        time.sleep(max(0, begin + 0.5 - time.monotonic()))  # or there is nothing to measure
    finally:
        over.set()
        watcher.join()
    after = made()
    with reach(pid) as client:
        client.ask("hello")
    assert most
    assert max(each[0] for each in most) <= memory + MIB, (memory, max(most))
    assert max(each[1] for each in most) <= MOST, max(most)
    told("idle")
    assert told.process.poll() is None

    def speed(begin, end):
        return (end[0] - begin[0]) / (end[1] - begin[1])

    share = speed(before, after) / speed(first, before)
    exercised.add("speed kept under siege", f"{request.node.originalname[5:35]} {share:.2f}")
    assert share > 0.5
    told.process.stdin.close()
    assert told.process.wait(60) == 0
    assert told.process.stderr.read().count("\n") <= 1


def send_all_it_takes(client, data, most):
    """How much of `data`, over and over, was taken before we were cut off, or the time was over."""
    sent, end = 0, time.monotonic() + 12
    client.socket.settimeout(12)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
        while sent < most and time.monotonic() < end:
            sent += client.socket.send(data)
    return sent


def test_floods_of_connections_are_weathered(besieged, scale):
    name, got = f"\0{name_of(besieged)}", 0
    for n in range(scale(10_000)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as flood:
            flood.setblocking(False)
            try:
                flood.connect(name)
                got += 1
                if n % 3:
                    flood.send(b'{"do":"hello"}\n' if n % 3 == 1 else b"x")
            except BlockingIOError:
                time.sleep(0.0002)  # the backlog is full
            except BrokenPipeError:
                pass
    assert got > 20


def test_slow_senders_are_cut_off_and_others_are_served_then(besieged):
    slow = [Client(name_of(besieged)) for _ in range(4)]
    with all_closed(*slow):
        for client in slow:
            assert client.greeting
            client.send('{"do":')
        with Client(name_of(besieged)) as other:
            begin = time.monotonic()
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                while time.monotonic() - begin < 12:
                    slow[0].send("x")  # a byte at a time
                    time.sleep(0.1)
            assert 2 < time.monotonic() - begin < 10
            other.ask("hello")
            assert time.monotonic() - begin < 10
        for client in slow:
            with pytest.raises(Closed):
                while True:
                    client.any_line()


@pytest.mark.parametrize(
    "piece",
    [b"x", b'{"do":"hello",', *(pytest.param(each, marks=pytest.mark.soak) for each in (b"\0", b"\\u0000", b"\xff"))],
)
def test_a_line_of_a_gigabyte_is_not_taken_in(besieged, piece):
    with Client(name_of(besieged)) as client:
        assert client.greeting
        sent = send_all_it_takes(client, piece * (65536 // len(piece)), 1 << 30)
        assert sent < MIB  # what the kernel holds
        try:
            answer = client.any_line()
            assert answer["ok"] is False
            with pytest.raises(Closed):
                client.any_line()
        except Closed:  # what we had sent since then made the kernel forget it
            pass


def test_who_does_not_read_is_cut_off(besieged):
    with Client(name_of(besieged)) as client:
        taken = send_all_it_takes(client, b'{"do":"list"}\n' * 100, 1 << 30)
        assert taken < 4 * MIB
        begin = time.monotonic()
        with Client(name_of(besieged)) as other:
            other.ask("hello")
        assert time.monotonic() - begin < 10


def test_who_has_nothing_more_to_say_is_still_answered(besieged):
    with Client(name_of(besieged)) as client:
        client.request("hello")
        client.request("get", "sample_period")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.line()["do"] == "hello"
        assert client.line()["value"] == "64KiB"
        with pytest.raises(Closed):
            client.line()


def test_who_listens_no_more_is_no_trouble(besieged):
    for n in range(20):
        with Client(name_of(besieged)) as client:
            client.socket.shutdown(socket.SHUT_RD)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for _ in range(n):
                    client.request("list")
                    time.sleep(0.001)


SEEDS = [
    b'{"do":"hello"}',
    b'{"do":"get","option":"sample_period"}',
    b'{"do":"set","option":"stack_depth","value":"12"}',
    b'{"do":"set","option":"stack_depth","value":12}',
    b'{"do":"s\\u0065t","option":"stack_depth","value":"\\u0031\\n\\ud83d\\ude00"}',
    b'{"value":true,"do":"set","option":"poison"}',
]


def mutated(draw):
    line = bytearray(draw.choice(SEEDS))
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(line) + 1)
        how = draw.randrange(6)
        if how == 0:
            line[at:at] = bytes([draw.randrange(256)])
        elif how == 1:
            del line[at : at + draw.randint(1, 4)]
        elif how == 2:
            line[at:at] = draw.choice([b'"', b"{", b"}", b"\\", b",", b":", b"[", b"\0", b"\xff\xfe", b"\\u00"])
        elif how == 3:
            line[at:at] = line[: draw.randint(1, 40)]
        elif how == 4 and at < len(line):
            line[at] ^= 1 << draw.randrange(8)
        else:
            line[at:at] = draw.choice(string.printable).encode() * draw.randint(1, 300)
    return bytes(line).replace(b"\n", b" ")[:4096]


def test_hundreds_of_malformed_requests_get_an_answer_each(besieged, scale, seed, exercised):
    draw = random.Random(seed)
    answered = dict.fromkeys((True, False), 0)
    number = scale(2000)
    with reach(besieged) as client:
        for _ in range(number // 50):
            lines = [mutated(draw) for _ in range(50)]
            client.send(b"".join(line + b"\n" for line in lines))
            for _ in lines:
                answer = client.any_line()
                assert answer.keys() == {"ok", "error"} or answer["do"] in ("hello", "get", "set"), answer
                answered[answer["ok"]] += 1
        client.ask("hello")
    assert answered[False] > number / 2
    exercised.count("malformed requests", "answered with an error", answered[False])


def test_many_clients_at_once_get_what_they_asked_for(besieged, seed):
    wrong, names = [], ["sample_period", "guard", "stack_depth", "cache"]

    def ask(which):
        draw = random.Random(seed + which)
        try:
            for _ in range(3 if SOAK else 1):
                with reach(besieged, patience=30) as client:
                    for _ in range(10):
                        name = draw.choice(names)
                        assert client.ask("get", name)["name"] == name
        except BaseException as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_flood_into_many_threads_is_weathered(controlled, exercised):
    told = controlled(NO_TRACE, work="work 8 1000 0")
    with reach(told.process.pid) as client:
        begin = time.monotonic()
        count = 0
        while time.monotonic() - begin < 1:
            client.send('{"do":"get","option":"guard"}\n' * 10)
            for _ in range(10):
                assert client.line()["name"] == "guard"
                count += 1
    exercised.add("answers in a second from eight threads", str(count))
    told("idle")
    told.process.stdin.close()
    assert told.process.wait(60) == 0


# Who may speak


def unheard(pid, uid=0):
    """What a stranger gets who sends a request: nothing, and not a byte of it was read."""

    def try_it():
        try:
            client = Client(name_of(pid, uid))
            client.request("set", "sample_period", "1")
            client.any_line()
        except Closed as closed:
            return str(closed)
        except OSError as error:
            return errno.errorcode[error.errno]
        return "answered"

    return try_it


def stats_of(pid, uid=0):
    with reach(pid, uid) as client:
        return client.ask("stats")


@pytest.mark.parametrize("stranger", [SOMEONE, NOBODY])
def test_another_user_is_refused_and_counted_without_a_byte_read(controlled, stranger, exercised):
    pid = controlled().process.pid
    before = stats_of(pid)
    for _ in range(10):
        # The kernel says so to who sent what nobody read.
        assert elsewhere(unheard(pid), user=stranger) in ("reset", "EPIPE", "ECONNRESET")
    after = stats_of(pid)
    assert after["control"]["refused"] - before["control"]["refused"] == 10
    with reach(pid) as client:
        assert client.ask("get", "sample_period")["value"] == "64KiB"
    exercised.count("strangers refused", f"uid {stranger}", 10)


def test_root_and_the_user_itself_may_speak_and_other_users_not(controlled):
    told = controlled(NO_TRACE, work="")
    pid = told.process.pid
    told(f"user {SOMEONE}")
    told("work 1 1000 4")
    with reach(pid, SOMEONE) as client:
        client.ask("set", "stack_depth", "5")

    def same_user():
        with Client(name_of(pid, SOMEONE)) as client:
            return client.ask("get", "stack_depth")["value"]

    assert elsewhere(same_user, user=SOMEONE) == "5"
    for stranger in (SOMEONE + 1, NOBODY):
        assert elsewhere(unheard(pid, SOMEONE), user=stranger) in ("reset", "EPIPE", "ECONNRESET")


def test_nobody_is_never_heard_not_even_by_nobody(controlled):
    told = controlled(NO_TRACE, work="")
    pid = told.process.pid
    told(f"user {NOBODY}")
    told("work 1 1000 4")
    with reach(pid, NOBODY) as client:
        client.ask("hello")
    assert elsewhere(unheard(pid, NOBODY), user=NOBODY) in ("reset", "EPIPE", "ECONNRESET")


def test_who_becomes_another_user_is_reached_under_the_new_name(controlled):
    told = controlled(NO_TRACE)
    pid = told.process.pid
    old = name_of(pid)
    reach(pid).socket.close()
    told(f"user {SOMEONE}")
    with reach(pid, SOMEONE) as client:
        assert client.greeting["uid"] == SOMEONE
    assert old not in listening()


def test_passed_descriptors_do_not_arrive(controlled, tmp_path):
    pid = controlled(NO_TRACE).process.pid
    with (tmp_path / "passed").open("w") as passed, reach(pid) as client:
        before = descriptors(pid)
        for _ in range(20):
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [passed.fileno()] * 3))]
            client.socket.sendmsg([b'{"do":"hello"}\n'], rights)
            assert client.line()["ok"] is True
            assert descriptors(pid) == before


def test_a_squatted_name_is_left_to_the_squatter(controlled):
    told = controlled({**NO_TRACE, "POIREAU_ARMED": "0"}, work="")
    pid = told.process.pid
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as squatter:
        squatter.bind(f"\0{name_of(pid)}")
        squatter.listen(5)
        told("work 1 16384 2000")
        (name,) = eventually(lambda: [each for each in listening() if each.startswith(name_of(pid) + "/")])
        with Client(name) as client:
            assert client.peer[0] == pid
            assert client.greeting["run_id"].startswith(name.rpartition("/")[2])
            client.ask("arm")
        squatter.setblocking(False)
        with pytest.raises(BlockingIOError):
            squatter.accept()
