"""Debug information from a server: only when asked, never for longer than was granted, and what it says is checked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from poireau.symbol_debuginfod import Debuginfod
from poireau.symbols import Settings, Symbolizer
from poireau.tables import Module
from tests.poireau.symbolizing import build_id, calls, compiled, named, places, run, tables


class Server:
    """On a port of its own; `behaves` answers a request."""

    def __init__(self, behaves: Callable[[BaseHTTPRequestHandler], None]) -> None:
        self.paths: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(this) -> None:
                self.paths.append(this.path)
                behaves(this)

            def log_message(this, *_: object) -> None:
                pass

        self.ended = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*behaviours: Callable[[BaseHTTPRequestHandler], None]) -> Server:
        servers.extend(Server(each) for each in behaviours)
        monkeypatch.setenv("DEBUGINFOD_URLS", " ".join(each.url for each in servers))
        return servers[-1]

    yield start
    for each in servers:
        each.ended.set()
        each.server.shutdown()
        each.server.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("DEBUGINFOD_URLS", raising=False)
    return tmp_path / "cache" / "poireau" / "debuginfod"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="module")
def stripped(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stripped") / "program"
    run("objcopy", "--strip-all", program, path)
    return path


def gives(*files: tuple[str, Path]) -> Callable[[BaseHTTPRequestHandler], None]:
    """Each file at its path, and 404 for all else."""
    content = {path: file.read_bytes() for path, file in files}

    def behave(request: BaseHTTPRequestHandler) -> None:
        data = content.get(request.path)
        if data is None:
            request.send_error(404)
            return
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    return behave


def status(code: int) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda request: request.send_error(code)


def hangs(request: BaseHTTPRequestHandler) -> None:
    time.sleep(30)


def drips(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    with suppress(ConnectionError):
        for _ in range(300):
            request.wfile.write(b"x")
            time.sleep(0.1)


def drips_headers(request: BaseHTTPRequestHandler) -> None:
    with suppress(ConnectionError):
        request.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(300):
            request.wfile.write(b"X-%d: x\r\n" % number)
            time.sleep(0.1)


def names_of(file: Path, said: list[str]) -> list[list[tuple[str, str, int]]]:
    return named(file, calls(file), Settings(debuginfod=True, cache=False, say=said.append))


def test_what_a_server_has_is_fetched_once_and_only_when_asked(
    program: Path, stripped: Path, serve: Callable[..., Server]
) -> None:
    what = f"/buildid/{build_id(program)}/debuginfo"
    server = serve(status(404), gives((what, program)))
    expected = named(program, calls(stripped))
    assert named(stripped, calls(stripped), Settings(cache=False)) != expected
    assert server.paths == []
    said: list[str] = []
    assert names_of(stripped, said) == expected
    assert names_of(stripped, said) == expected, "from the file it was kept in"
    assert (server.paths, said) == ([what], [])


def test_the_program_itself_is_fetched_when_it_is_gone(
    program: Path, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    library = compiled(tmp_path, "-shared", "-fPIC", "-s", name="library.so")
    ours, addresses = build_id(library), calls(library)
    expected = named(library, addresses)
    serve(gives((f"/buildid/{ours}/executable", library)))
    settings = Settings(debuginfod=True, cache=False)
    module = Module("/nowhere/library.so", ours)
    assert places(Symbolizer(settings).names(tables([(module, addresses)]))) == expected


@pytest.mark.parametrize("behave", [hangs, drips, drips_headers])
def test_a_server_that_takes_too_long_is_given_up(
    behave: Callable[[BaseHTTPRequestHandler], None], stripped: Path, serve: Callable[..., Server]
) -> None:
    server = serve(behave)
    said: list[str] = []
    client = Debuginfod(0.3, said.append)
    for number in range(20):
        assert client.fetch(f"{number:040x}", "debuginfo") is None
    assert (len(server.paths), len(said)) == (1, 1)
    assert said[0].startswith(f"debuginfod: {server.url} is not asked again: ")


def test_who_does_not_say_where_a_server_is_is_not_waited_for(
    stripped: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(hangs)
    never = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: never.wait())
    said: list[str] = []
    assert Debuginfod(0.2, said.append).fetch("a" * 40, "debuginfo") is None
    assert said == [f"debuginfod: {server.url} is not asked again: timed out"]
    never.set()


def test_what_no_server_has_is_not_asked_for_again(stripped: Path, serve: Callable[..., Server]) -> None:
    server = serve(status(404))
    said: list[str] = []
    first = names_of(stripped, said)
    asked = list(server.paths)
    assert names_of(stripped, said) == first == named(stripped, calls(stripped))
    assert server.paths == asked == [f"/buildid/{build_id(stripped)}/debuginfo"]
    assert said == []


def test_a_server_that_fails_is_told_of_once_and_the_next_one_asked(
    program: Path, stripped: Path, serve: Callable[..., Server]
) -> None:
    what = f"/buildid/{build_id(program)}/debuginfo"
    serve(status(500), gives((what, program)))
    said: list[str] = []
    assert names_of(stripped, said) == named(program, calls(stripped))
    assert len(said) == 1 and "HTTP status 500" in said[0]


def test_another_build_than_was_asked_for_is_not_taken(
    program: Path, stripped: Path, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    what = f"/buildid/{build_id(program)}/debuginfo"
    other = compiled(tmp_path, "-O0", name="other")
    serve(gives((what, other)))
    assert names_of(stripped, []) == named(stripped, calls(stripped))


def test_a_file_that_is_too_large_or_not_whole_is_not_kept(
    program: Path, home: Path, serve: Callable[..., Server]
) -> None:
    what = f"/buildid/{build_id(program)}/debuginfo"

    def cuts(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000000")
        request.end_headers()
        request.wfile.write(b"\x7fELF")

    serve(gives((what, program)), cuts)
    said: list[str] = []
    assert Debuginfod(10, said.append, most=1000).fetch(build_id(program), "debuginfo") is None
    assert len(said) == 2 and "more than 1000 bytes" in said[0] and "not whole" in said[1]
    assert [file for file in home.rglob("*") if file.is_file() and file.suffix != ".absent"] == []


def test_a_server_may_not_lead_to_files_of_ours(program: Path, serve: Callable[..., Server]) -> None:
    def leads(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "file:///etc/passwd")
        request.end_headers()

    serve(leads)
    said: list[str] = []
    assert Debuginfod(10, said.append).fetch(build_id(program), "debuginfo") is None and len(said) == 1


def test_without_servers_it_is_said_once(program: Path, stripped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for urls in ("", "file:///etc", "ftp://x.invalid"):
        monkeypatch.setenv("DEBUGINFOD_URLS", urls)
        said: list[str] = []
        assert names_of(stripped, said) == named(stripped, calls(stripped))
        assert said == ["debuginfod: DEBUGINFOD_URLS names no server"]


def test_build_ids_lead_nowhere_else(home: Path, serve: Callable[..., Server]) -> None:
    server = serve(status(404))
    client = Debuginfod(1, print)
    assert [client.fetch(each, "debuginfo") for each in ("../../../etc", "", "zz" * 20, "a")] == [None] * 4
    assert server.paths == []
