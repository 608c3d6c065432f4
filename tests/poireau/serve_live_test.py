"""Connections of the live page: those that take too long, and those that read nothing."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from poireau import serve_clients, serve_connections
from poireau.serve import Server
from poireau.serve_daemon import Daemon
from poireau.serve_live import Live
from poireau.serve_processes import Census

TOKEN = "t" * 24


@pytest.fixture
def server() -> Iterator[Server]:
    live = Live(Daemon(Census(), print), "here")
    with Server(None, "127.0.0.1", 0, live, TOKEN) as made:
        thread = threading.Thread(target=made.serve_forever, args=[0.02])
        thread.start()
        yield made
        live.daemon.stop()
        made.shutdown()
        thread.join()


def connected(server: Server, said: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=60)
    connection.sendall(said)
    return connection


def listener(server: Server) -> socket.socket:
    return connected(server, f"GET /api/events?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def clients(server: Server) -> int:
    assert server.live is not None
    return len(server.live.daemon._clients)


def until_there_are(server: Server, count: int) -> None:
    deadline = time.monotonic() + 60
    while clients(server) != count:
        assert time.monotonic() < deadline, clients(server)
        time.sleep(0.01)


POST = (
    f"POST /api/control HTTP/1.1\r\nHost: localhost\r\nX-Poireau-Token: {TOKEN}\r\nContent-Type: application/json\r\n"
)


@pytest.mark.parametrize(
    "begun",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: loc", f"{POST}Content-Length: 10\r\n\r\n{{".encode()],
    ids=["nothing", "line", "head", "body"],
)
def test_who_never_comes_to_the_end_is_hung_up_on(
    server: Server, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_connections, "SOON", 0.2)
    with connected(server, begun) as connection:
        assert b"200" not in connection.recv(4096)
        assert connection.recv(4096) == b""


def test_who_reads_nothing_is_let_go_and_others_are_not(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_clients, "MOST_WAITING", 1 << 20)
    assert server.live is not None
    with listener(server) as deaf, listener(server) as reads:
        until_there_are(server, 2)
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set() and reads.recv(1 << 16):
                pass

        thread = threading.Thread(target=read)
        thread.start()
        deadline = time.monotonic() + 60
        while clients(server) > 1 and time.monotonic() < deadline:
            server.live.daemon.tell([("point", {"x": "y" * 10_000})])
            time.sleep(0.001)
            for each in list(server.live.daemon._clients):
                if each.over:
                    deaf.close()  # its thread waits for the connection
        until_there_are(server, 1)
        stop.set()
        server.live.daemon.tell([("point", {})])
        thread.join()


def test_there_are_only_so_many_listeners_and_they_may_come_again(server: Server) -> None:
    listening = [listener(server) for _ in range(serve_clients.MOST_CLIENTS)]
    until_there_are(server, serve_clients.MOST_CLIENTS)
    with listener(server) as one_more:
        assert b" 503 " in one_more.recv(100)
    for each in listening:
        each.close()
    assert server.live is not None
    deadline = time.monotonic() + 60
    while clients(server) and time.monotonic() < deadline:
        server.live.daemon.tell([("point", {})])
        time.sleep(0.02)
    assert clients(server) == 0


@pytest.mark.parametrize(
    "said",
    [
        b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/processes?" + b"&".join(b"a%d=1" % n for n in range(200)) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\nGET /api/x HTTP/1.1\r\nHost: l\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        f"{POST}Content-Length: 2\r\nContent-Length: 9\r\n\r\n{{}}".encode(),
        f"{POST}Content-Length: 2\r\nX-Poireau-Token: x\r\n\r\n{{}}".encode(),
    ],
    ids=["address", "parameters", "host", "body", "chunks", "lengths", "tokens"],
)
def test_what_can_be_read_in_two_ways_is_refused_and_ends_the_connection(
    server: Server, said: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    with connected(server, said) as connection:
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1
    assert capsys.readouterr() == ("", "")  # nobody without the token can fill the log


def test_what_goes_wrong_in_an_answer_is_said_once_and_the_server_goes_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server.live is not None
    said = list[str]()
    monkeypatch.setattr(server.live.daemon.alerts, "_say", said.append)
    monkeypatch.setattr(server.live.daemon.found, "told", lambda: 1 / 0)
    for _ in range(3):
        request = f"GET /api/processes?token={TOKEN} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        with connected(server, request.encode()) as connection:
            assert b" 500 " in connection.recv(100)
    assert len(said) == 1 and "ZeroDivisionError" in said[0] and TOKEN not in said[0]


def test_no_descriptors_left_is_no_reason_to_spin(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = list[float]()

    def accept() -> None:
        tries.append(time.monotonic())
        raise OSError(errno.EMFILE, "too many")

    with connected(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n") as first:
        assert b" 200 " in first.recv(100)
        with monkeypatch.context() as patched:
            patched.setattr("socketserver.TCPServer.get_request", lambda _: accept())
            second = connected(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            deadline = time.monotonic() + 60
            while len(tries) < 4 and time.monotonic() < deadline:
                time.sleep(0.01)
        assert min(after - before for before, after in zip(tries, tries[1:])) >= 0.09
        with second:
            assert b" 200 " in second.recv(100)


def test_the_daemon_s_threads_outlive_what_goes_wrong_in_them() -> None:
    said = list[str]()
    daemon = Daemon(Census(), said.append)
    done = threading.Event()

    class Broken(Census):
        def look(self) -> bool:
            raise OSError(24, "Too many open files")

    daemon.found = Broken()
    daemon.start()
    daemon._later(lambda: 1 / 0)
    daemon._later(done.set)
    assert done.wait(60)
    daemon.stop()
    assert sorted(line.split(": ")[1] for line in said) == ["OSError", "ZeroDivisionError"]
