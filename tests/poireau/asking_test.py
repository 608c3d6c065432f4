"""How questions are put on the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from poireau import asking, parsing
from poireau.errors import Failure
from tests.conftest import ROOT, clean_environment
from tests.poireau.histories import SECOND, heap_of

READING = (["top"], ["live"], ["freed"], ["peak"], ["diff"], ["export", "csv"], ["pack"], ["serve"])


@pytest.mark.parametrize("command", READING)
def test_traces_and_options_come_in_any_order(command: list[str]) -> None:
    for words in (["A", "--trace", "T", "B"], ["--trace", "T", "A", "B"], ["A", "B", "--trace", "T"]):
        parsed = parsing.parse([*command, *words])
        assert (parsed.targets, parsed.trace) == (["A", "B"], "T")


@pytest.mark.parametrize("command", READING)
def test_whoever_names_functions_is_told_where_names_are(command: list[str]) -> None:
    parsed = parsing.parse([*command, "--sysroot", "/", "--debug-dir", "/usr", "--debug-dir", "/tmp", "A"])
    settings = asking._settings(parsed)
    assert (settings.sysroot, settings.debug_directories, settings.debuginfod) == ("/", ("/usr", "/tmp"), False)


def test_places_that_are_not_there_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEBUGINFOD_URLS", raising=False)
    for words, why in (
        (["--sysroot", "/not/there"], "/not/there is no directory"),
        (["--debuginfod"], "there are none"),
    ):
        with pytest.raises(Failure, match=why):
            asking._settings(parsing.parse(["top", *words]))


def test_who_has_closed_the_outputs_gets_no_traceback() -> None:
    closed = [sys.executable, "-m", "poireau", "top", "/not/there"]
    for redirection in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(
            ["sh", "-c", f'"$@" {redirection}', "sh", *closed],
            capture_output=True,
            timeout=60,
            cwd=ROOT,
            env=clean_environment(),
        )
        assert done.returncode == 2 and b"Traceback" not in done.stderr + done.stdout


def test_a_time_outside_the_trace_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    heap = heap_of([{"born": SECOND, "size": 8}, {"born": 9 * SECOND, "size": 8}], threads={1: "main"})
    parsed = parsing.parse(["top"])
    for since, until, why in (
        (None, "2000-01-01", "2000-01-01 is before the first event, at "),
        (None, "1h", "1h is before the first event, at "),
        ("2100-01-01", None, "2100-01-01 is after the last event, at "),
    ):
        with pytest.raises(Failure, match=why):
            asking.selection(parsed, heap, since, until)
    assert asking.selection(parsed, heap, "1h").since == heap.begin, "as much of an hour as there is"
    assert not capsys.readouterr().err
    assert asking.selection(parsed, heap, None, "2100-01-01").until == heap.end + 1
    assert "2100-01-01 is after the last event: this is as of " in capsys.readouterr().err


def test_a_thread_that_is_not_there_is_told() -> None:
    heap = heap_of([{"born": SECOND, "size": 8, "thread": 1}], threads={1: "main", 2: "worker"})
    for there in ("worker", "2"):
        assert asking.selection(parsing.parse(["top", "--thread", there]), heap).threads == (there,)
    with pytest.raises(Failure, match="there is no thread 3; there is main, worker"):
        asking.selection(parsing.parse(["top", "--thread", "3"]), heap)
