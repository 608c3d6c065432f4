"""The endpoint, as scrapers, Go's pprof, browsers and strangers meet it."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from poireau.model import Heap
from poireau.report.redact import Pseudonyms, redacted
from poireau.selection import Selection
from poireau.serve import Served, Server
from poireau.serve_connections import MOST_CONNECTIONS
from tests.poireau.histories import SECOND, History
from tests.poireau.report.readers import go_pprof, protobuf


@dataclass
class Endpoint:
    history: History
    heap: Heap
    server: Server

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content, response.headers

    def profile(self, path: str) -> dict[str, tuple[int, ...]]:
        status, content, _ = self.ask(path)
        assert status == 200, content
        parsed = protobuf(content)
        names = {each.id: parsed.string_table[each.name] for each in parsed.function}
        places = {each.id: names[each.line[0].function_id] for each in parsed.location}
        return {places[sample.location_id[0]]: tuple(sample.value) for sample in parsed.sample}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    history = History()
    history.following = True
    history.process(12)
    history.alloc(1, size=100, time=1 * SECOND, stack="first;main")
    heap = history.heap()
    heap.extend()
    heap.running = {0: True}
    with Server(Served(heap, Selection, lambda: {0: True}), "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield Endpoint(history, heap, server)
        server.shutdown()
        thread.join()


def test_what_is_written_meanwhile_is_in_the_next_answer(endpoint: Endpoint) -> None:
    assert endpoint.profile("/debug/pprof/heap") == {"first": (1, 100, 1, 100)}
    endpoint.history.alloc(2, size=50, time=2 * SECOND, stack="second;main")
    endpoint.history.free(1, time=3 * SECOND)
    assert endpoint.profile("/debug/pprof/heap") == {"first": (1, 100, 0, 0), "second": (1, 50, 1, 50)}


def test_seconds_asks_for_what_changes_within_them(endpoint: Endpoint) -> None:
    endpoint.history.alloc(2, size=50, time=2 * SECOND, stack="second;main")
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        answer = pool.submit(endpoint.profile, "/debug/pprof/heap?seconds=1")
        time.sleep(0.3)
        endpoint.history.alloc(3, size=7, time=3 * SECOND, stack="third;main")
        endpoint.history.free(1, time=3 * SECOND)
        assert endpoint.profile("/debug/pprof/heap")["third"] == (1, 7, 1, 7), "others are answered meanwhile"
        assert answer.result() == {"first": (0, 0, -1, -100), "third": (1, 7, 1, 7)}
        assert time.monotonic() - began >= 1


def test_nothing_changes_in_a_program_that_has_ended(endpoint: Endpoint) -> None:
    ended = Served(endpoint.heap, Selection, dict)
    head = ended.profile("heap", 0.01, text=True).content.splitlines()[0]
    assert head == b"heap profile: 0: 0 [0: 0] @ heap_v2/1"


def test_what_is_selected_is_asked_anew_each_time(endpoint: Endpoint) -> None:
    chosen = iter([Selection(focus="nothing like it"), Selection(focus="first")])
    served = Served(endpoint.heap, lambda: next(chosen), lambda: {0: True})
    heads = [served.profile("heap", 0, text=True).content.split()[2:4] for _ in range(2)]
    assert heads == [[b"0:", b"0"], [b"1:", b"100"]]


def test_a_redacted_heap_goes_on_and_what_is_new_is_selected_by_its_name(endpoint: Endpoint) -> None:
    pseudonyms = Pseudonyms(b"k" * 32)
    shown = redacted(endpoint.heap, pseudonyms)
    asked = Selection(focus="second", hide="main")
    served = Served(shown, lambda: pseudonyms.selection(asked, endpoint.heap), lambda: {0: True})
    assert served.profile("heap", 0, text=True).content.startswith(b"heap profile: 0: 0 ")
    endpoint.history.alloc(2, size=50, time=2 * SECOND, stack="second;main")
    text = served.profile("heap", 0, text=True).content.decode()
    assert text.startswith("heap profile: 1: 50 ") and text.count("\tfunction_") == 1 and "second" not in text


def test_allocs_shows_what_was_allocated_first(endpoint: Endpoint) -> None:
    parsed = protobuf(endpoint.ask("/debug/pprof/allocs")[1])
    assert parsed.string_table[parsed.default_sample_type] == "alloc_space"


def test_debug_is_text_for_people(endpoint: Endpoint) -> None:
    status, content, headers = endpoint.ask("/debug/pprof/heap?debug=1")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert content.startswith(b"heap profile: 1: 100 [1: 100] @ heap_v2/1\n")
    assert b"\tfirst" in content


def test_go_s_pprof_scrapes_it(endpoint: Endpoint, tmp_path: Any) -> None:
    url = f"http://127.0.0.1:{endpoint.port}/debug/pprof/heap"
    assert "of 100B total" in go_pprof("-top", "-unit=b", url, cwd=tmp_path)
    assert "Type: alloc_space" in go_pprof("-top", url.replace("heap", "allocs"), cwd=tmp_path)


def test_the_index_leads_to_both(endpoint: Endpoint) -> None:
    for path in ("/", "/debug/pprof", "/debug/pprof/"):
        status, content, headers = endpoint.ask(path)
        assert status == 200
        assert headers["Content-Type"].startswith("text/html")
        assert b"heap" in content and b"allocs" in content


@pytest.mark.parametrize(
    "path",
    [
        *("/debug/pprof/profile", "/debug/pprof/heap/", "/debug/pprof/../../etc/passwd", "/etc/passwd"),
        *("/debug/pprofx", "/debug/pprof/%2e%2e/heap", "//heap", "/debug/pprof//heap", "/debug/pprof/HEAP", "*"),
    ],
)
def test_nothing_else_is_there(path: str, endpoint: Endpoint) -> None:
    assert endpoint.ask(path)[0] == 404


@pytest.mark.parametrize("query", ["seconds=-1", "seconds=x", "seconds=nan", "seconds=inf", "seconds=1e9", "debug=x"])
def test_nonsense_is_refused(query: str, endpoint: Endpoint) -> None:
    assert endpoint.ask(f"/debug/pprof/heap?{query}")[0] == 400


def test_head_has_no_content_and_other_methods_are_not_known(endpoint: Endpoint) -> None:
    status, content, headers = endpoint.ask("/debug/pprof/heap", "HEAD")
    assert (status, content, headers["Content-Type"]) == (200, b"", "application/octet-stream")
    assert endpoint.ask("/nothing", "HEAD")[:2] == (404, b"")
    assert endpoint.ask("/debug/pprof/heap", "POST")[0] == 501
    assert endpoint.ask("/debug/pprof/heap")[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:6070", 200), ("127.0.0.1", 200), ("[::1]:6070", 200), ("evil.example:6070", 403), ("", 403)],
)
def test_pages_of_others_can_not_have_a_browser_read_it(host: str, status: int, endpoint: Endpoint) -> None:
    assert endpoint.ask("/debug/pprof/heap", Host=host)[0] == status


def test_who_says_nothing_or_reads_nothing_holds_nobody_up(endpoint: Endpoint) -> None:
    silent = [socket.create_connection(("127.0.0.1", endpoint.port)) for _ in range(MOST_CONNECTIONS // 2)]
    for each in silent[::2]:
        each.sendall(b"GET /debug/pprof/heap HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
    assert endpoint.profile("/debug/pprof/heap") == {"first": (1, 100, 1, 100)}
    for each in silent:
        each.close()


def test_too_many_are_turned_away_and_not_kept_waiting(endpoint: Endpoint) -> None:
    silent = [socket.create_connection(("127.0.0.1", endpoint.port)) for _ in range(MOST_CONNECTIONS)]
    deadline = time.monotonic() + 20
    refused = False
    while not refused and time.monotonic() < deadline:
        try:
            refused = endpoint.ask("/debug/pprof/")[0] != 200
        except (ConnectionError, http.client.HTTPException):
            refused = True
    assert refused
    for each in silent:
        each.close()
    while time.monotonic() < deadline:
        try:
            if endpoint.ask("/debug/pprof/")[0] == 200:
                return
        except (ConnectionError, http.client.HTTPException):
            time.sleep(0.02)
    pytest.fail("nobody is answered any more")


def test_what_is_no_request_is_refused(endpoint: Endpoint) -> None:
    too_long = b"GET /debug/pprof/heap HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n"
    for request in (b"\x16\x03\x01\x00", b"GET\r\n\r\n", too_long):
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=30) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(100)
            assert b"200" not in answer
    assert endpoint.ask("/debug/pprof/heap")[0] == 200


@pytest.mark.slow
def test_many_at_once_get_the_same_while_it_grows(endpoint: Endpoint) -> None:
    """Each answer is of some moment: of n blocks, all that were written before one that is there."""

    def scrape(_: int) -> None:
        found = endpoint.profile("/debug/pprof/heap")
        total = sum(values[3] for values in found.values())
        assert (total - 100) % 50 == 0
        assert found["first"] == (1, 100, 1, 100)

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(scrape, n) for n in range(60)]
        for id in range(2, 200):
            endpoint.history.alloc(id, size=50, time=id * SECOND, stack=f"f{id % 7};main")
        for answer in answers:
            answer.result()
    assert sum(values[3] for values in endpoint.profile("/debug/pprof/heap").values()) == 100 + 198 * 50


def test_an_answer_is_gzip(endpoint: Endpoint) -> None:
    content = endpoint.ask("/debug/pprof/heap")[1]
    assert gzip.decompress(content)
