"""How questions are put on the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest

from poireau import asking, parsing
from poireau.errors import Failure
from tests.conftest import ROOT, clean_environment

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
