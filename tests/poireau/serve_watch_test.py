"""What goes wrong with one that is watched is told to who watches it, and others go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from poireau import processes, serve_follow, serve_watch
from poireau.serve_clients import Client
from poireau.serve_clock import Clock
from poireau.serve_follow import Followed
from poireau.serve_processes import Census, Seen
from poireau.serve_watch import Watching
from tests.poireau.histories import SECOND, History


class Trace(History):
    closed = 0

    def close(self) -> None:
        self.closed += 1


class Bench:
    """Traces in memory for Watching; what takes long is done when it is told."""

    def __init__(self) -> None:
        self.found, self.traces = Census(), dict[str, Trace]()
        self.clients, self.later, self.said = list[Client](), list[Callable[[], object]](), list[str]()
        self.watching = Watching(self.found, lambda: self.clients, Clock(), self.later.append, self.said.append)

    def process(self, pid: int) -> Seen:
        seen = Seen(f"{pid}-1", pid, 1, "it", "it", "me", 0, f"/{pid}")
        trace = self.traces[seen.trace] = Trace()
        trace.following = True
        trace.process(pid)
        trace.alloc(1, size=100, time=SECOND, stack="f;main")
        self.found.seen = {**self.found.seen, seen.id: seen}
        return seen

    def client(self, id: str, by: str = "line") -> Client:
        self.clients.append(Client(id, by))
        return self.clients[-1]

    def pulse(self, times: int = 4) -> None:
        for _ in range(times):
            self.watching.pulse()
            while self.later:
                self.later.pop(0)()


def came(client: Client) -> list[tuple[str, dict[str, Any]]]:
    if not client._waiting:
        return []
    events = [each.split(b"\n") for each in (client.take() or b"").split(b"\n\n") if each]
    return [(lines[1][7:].decode(), json.loads(lines[2][6:])) for lines in events]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench()
    monkeypatch.setattr(serve_watch, "opened", lambda path: (made.traces[path], made.traces[path].symbolize))
    yield made


def test_one_that_breaks_is_a_line_and_others_go_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = bench.client(bench.process(12).id), bench.client(bench.process(13).id)
    bench.pulse()
    assert [kind for kind, _ in came(one)][:2] == ["bands", "history"] and came(other)
    broken = bench.watching.watched["12-1"].followed

    def look() -> None:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(broken, "look", look)
    bench.pulse()
    assert came(one)[-1] == ("gone", {"id": "12-1", "why": "ZeroDivisionError: broken"})
    assert [kind for kind, _ in came(other)] == ["point"] * 4 and len(bench.said) == 1
    bench.pulse()
    assert came(one) == [] and "12-1" not in bench.watching.watched and bench.traces["/12"].closed == 1


@pytest.mark.parametrize("where", ["__init__", "look"])
def test_one_that_cannot_even_be_opened_is_told_so(bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def broken(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr(Followed, where, broken)
    client = bench.client(bench.process(12).id)
    bench.pulse()
    assert came(client)[-1] == ("gone", {"id": "12-1", "why": "ValueError: broken"}) and len(bench.said) == 1


def test_another_program_in_its_place_is_opened_anew_and_the_first_one_closed(bench: Bench) -> None:
    seen = bench.process(12)
    client = bench.client(seen.id)
    bench.pulse()
    came(client)
    first, moved = bench.traces["/12"], bench.process(12)
    bench.traces["/again"], moved.trace = bench.traces["/12"], "/again"
    bench.pulse()
    assert first.closed == 1 and [kind for kind, _ in came(client)][:2] == ["bands", "history"]


def test_who_is_left_while_it_is_opened_leaves_nothing_open(bench: Bench) -> None:
    client = bench.client(bench.process(12).id)
    bench.watching.pulse()
    (opening,) = bench.later
    watched = bench.watching.watched["12-1"]
    bench.clients.remove(client)
    assert bench.watching._close(watched)
    opening()
    assert watched.followed is None


def test_where_no_trace_is_there_it_waits_for_one(bench: Bench) -> None:
    seen = bench.process(12)
    seen.trace, trace = "", seen.trace
    client = bench.client(seen.id)
    bench.pulse()
    assert [kind for kind, _ in came(client)] == ["gone"]
    seen.trace = trace
    bench.pulse()
    assert [kind for kind, _ in came(client)][:2] == ["bands", "history"]


def test_one_that_has_seen_more_and_more_stacks_forgets_those_that_are_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_follow, "MOST_NEW", 50)
    client = bench.client(bench.process(12).id, "thread")
    bench.pulse()
    trace = bench.traces["/12"]
    for number in range(100):
        trace.alloc(number + 2, size=100, time=2 * SECOND, thread=100 + number, stack="f;main")
        trace.free(number + 2, time=2 * SECOND)
    came(client)
    bench.pulse()
    kinds = [kind for kind, _ in came(client)]
    assert kinds.count("history") == 1 and trace.closed == 1
    assert bench.watching.watched["12-1"].followed.sums["thread"].groups < 10
    bench.pulse()
    assert trace.closed == 1, "it is not opened again and again"


def test_one_that_ended_is_noticed_and_told_of(bench: Bench) -> None:
    seen = bench.process(12)
    client = bench.client(seen.id)
    bench.pulse()
    assert bench.watching.bereft() is (processes.look(12) is None)
    seen.ended = 1.0
    came(client)
    bench.pulse()
    assert ("gone", {"id": "12-1", "why": "it has ended"}) in came(client) and not bench.watching.bereft()
