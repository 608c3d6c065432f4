"""Alerts: once each, not too many, and readable where they end up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from poireau.serve_alerts import A_MINUTE, AGAIN, Alerts
from poireau.serve_clock import Clock
from poireau.serve_processes import Seen


class Hands(Clock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time


SEEN = Seen("12-34", 12, 34, "server\n\x1b[31m", "server", "nobody", 0, "/trace")
ESTIMATE = {"value": 1 << 20, "ci95": [1, 2], "n": 9}


def leak(line: int = 1, reason: str = "it grows") -> dict[str, Any]:
    where = {"function": "leak(int)", "file": "/src/a.c", "line": line, "module": "server"}
    return {**where, "verdict": "leak", "reason": reason, "bytes": ESTIMATE, "rate": ESTIMATE}


def error(message: str = "use after free", where: str = "f  a.c:3") -> dict[str, Any]:
    return {"message": message, "where": [where] if where else []}


def test_a_site_is_told_once_a_day_whatever_is_said_of_it() -> None:
    said, clock = list[str](), Hands()
    alerts = Alerts(said.append, clock=clock)
    assert [len(alerts.leak(SEEN, leak(reason=reason))) for reason in ("it grows", "it grows more")] == [1, 0]
    assert len(alerts.leak(SEEN, leak(2))) == 1 and len(said) == 2
    clock.time += AGAIN + 1
    assert len(alerts.leak(SEEN, leak())) == 1
    assert len(alerts.recent()) == 3 and alerts.recent()[0][0] == "alert"


def test_an_error_is_told_once_a_kind_and_place() -> None:
    said = list[str]()
    alerts = Alerts(said.append)
    for each in (error(), error(), error("double free"), error(where="g  a.c:4"), error(where="")):
        alerts.error(SEEN, each)
    assert len(said) == 4 and said[-1].endswith("use after free, at ?")


def test_a_line_is_one_line_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[str]()
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    Alerts(said.append).leak(SEEN, leak(reason="it\ngrows\x1b[2J"))
    assert said[0].startswith("poireau serve: leak: server") and said[0].isprintable()
    assert "[12]: " in said[0] and "1MiB an hour, 1MiB in use (leak)" in said[0]


def test_the_journal_has_levels_and_programs_have_json(monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[str]()
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    alerts = Alerts(said.append)
    alerts.leak(SEEN, leak())
    alerts.error(SEEN, error())
    alerts.complain("no room")
    assert [line[:16] for line in said] == ["<4>poireau serve", "<3>poireau serve", "<3>poireau serve"]
    Alerts(said.append, json_lines=True).error(SEEN, error())
    about = json.loads(said[-1])
    assert (about["level"], about["pid"], about["id"]) == ("error", 12, "12-34")


def test_there_are_only_so_many_a_minute_and_the_others_are_counted() -> None:
    said, clock = list[str](), Hands()
    alerts = Alerts(said.append, clock=clock)
    for line in range(A_MINUTE + 30):
        alerts.leak(SEEN, leak(line + 1))
    assert len(said) == A_MINUTE
    clock.time += 61
    alerts.leak(SEEN, leak(1000))
    assert len(said) == A_MINUTE + 2 and said[-2] == "poireau serve: 30 more in the minute before"


def test_the_same_complaint_comes_once() -> None:
    said = list[str]()
    alerts = Alerts(said.append)
    for _ in range(5):
        alerts.complain("OSError: no room\nat all")
    assert len(said) == 1 and said[0].startswith("poireau serve: OSError: no room") and said[0].isprintable()


def test_where_nobody_can_read_a_line_the_event_comes_all_the_same() -> None:
    def full(_: str) -> None:
        raise OSError(28, "No space left on device")

    alerts = Alerts(full)
    assert len(alerts.leak(SEEN, leak())) == 1
    alerts.complain("and this")
