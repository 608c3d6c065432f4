"""Events for who listens."""

from __future__ import annotations

import json

from poireau import serve_clients
from poireau.serve_clients import MOST_WAITING, Client


def test_an_event_is_one_that_browsers_understand() -> None:
    client = Client()
    client.send([("hello", {"name": "a\nb\r\udcff \u2028"}), ("point", {"t": 1})])
    first, second = (client.take() or b"").split(b"\n\n")[:2]
    lines = first.split(b"\n")
    assert lines[:2] == [b"id: 1", b"event: hello"] and len(lines) == 3
    assert json.loads(lines[2].removeprefix(b"data: ")) == {"name": "a\nb\r\udcff \u2028"}
    assert second.startswith(b"id: 2\nevent: point\n")


def test_who_reads_nothing_is_let_go_and_nothing_is_kept_for_him() -> None:
    client = Client()
    for _ in range(20):
        client.send([("point", {"x": "y" * (MOST_WAITING // 10)})])
    assert client.take() is None and "slowly" in client.over
    assert not client._waiting


def test_a_beat_comes_where_there_is_nothing_else(monkeypatch: object) -> None:
    beat, serve_clients.BEAT = serve_clients.BEAT, 0.01
    try:
        assert (Client().take() or b"").startswith(b"event: beat\ndata: {")
    finally:
        serve_clients.BEAT = beat
