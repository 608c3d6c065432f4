"""What is said at the end of a run, and that nothing is where there is nothing."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from poireau import news
from tests.poireau.glimpse_test import event, packet


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["./poireau.py", "run"])


@pytest.mark.usefixtures("called")
def test_errors_come_first_and_each_kind_is_counted() -> None:
    said = news.line({"use after free": 2, "overflow": 1}, {"leak": 3, "likely leak": 1})
    assert said == "2 use-after-free, 1 overflow, 3 leaks, 1 likely leak: see `./poireau.py errors|leaks`"
    assert news.line({}, {"leak": 1}) == "1 leak: see `./poireau.py leaks`"
    assert news.line({"overflow": 1}, {}, Path("/a b/c\n")) == "1 overflow: see `./poireau.py errors '/a b/c\\n'`"
    assert news.line({}, {}) is None


@pytest.mark.usefixtures("called")
def test_the_errors_of_all_processes_are_added_up(tmp_path: Path) -> None:
    for process in ("one", "two"):
        (tmp_path / process).mkdir()
        (tmp_path / process / "facts_1").write_bytes(packet(event("error", 3, error="double free")))
    (tmp_path / "stray").write_text("no trace")
    assert news.news(tmp_path) == "2 double-free: see `./poireau.py errors`"
    assert news.news(tmp_path / "none", 1000.0) is None


def test_we_are_called_as_whoever_started_us_would_do_it_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = shutil.copy("/bin/true", tmp_path / "poireau")
    for typed, path, called in (
        ("../poireau.py", "/bin", "../poireau.py"),
        (script, str(tmp_path), "poireau"),
        (script, "/bin", script),
        ("/x/poireau/__main__.py", "/bin", "python3 -m poireau"),
    ):
        monkeypatch.setattr(sys, "argv", [str(typed)])
        monkeypatch.setenv("PATH", path)
        assert news.called() == str(called)


def test_what_takes_too_long_to_tell_or_fails_is_not_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert news.leaks(tmp_path, 60.0) == {}, "there is no trace"
    assert news.leaks(tmp_path, 1.0) == {}, "it was too short"
    monkeypatch.setattr(news, "_LEAST", 0.0)
    monkeypatch.setattr(news, "_SHARE", 1e-6)
    assert news.leaks(tmp_path, 60.0) == {}
