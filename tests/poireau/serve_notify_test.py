"""What systemd is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from poireau import serve_notify


def test_it_is_told_where_it_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (str(tmp_path / "notify"), f"@poireau-test-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listens:
            listens.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
            monkeypatch.setenv("NOTIFY_SOCKET", name)
            serve_notify.tell("READY=1")
            assert listens.recv(100) == b"READY=1"


def test_nothing_is_told_where_nobody_asks_or_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    serve_notify.tell("READY=1")
    for name in (str(tmp_path / "nobody"), "relative", ""):
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        serve_notify.tell("READY=1")


def test_the_watchdog_is_fed_twice_as_often_as_it_barks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert serve_notify.watchdog() is None
    monkeypatch.setenv("WATCHDOG_USEC", "4000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert serve_notify.watchdog() == 2.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert serve_notify.watchdog() is None
