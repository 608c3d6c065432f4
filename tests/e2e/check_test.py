"""`check`: what is lost when a program ends, and what only looks like it; errors; several runs; what CI reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.conftest import ROOT
from tests.e2e.top_test import poireau

SOURCE = (ROOT / "tests/programs/loses.cc").read_text()
LINES = SOURCE.splitlines()
EXACT = ("check", "-c", "1")


@pytest.fixture(scope="module")
def loses(compile_c: Callable[..., Path]) -> Path:
    return compile_c(SOURCE, ["-O1", "-fno-builtin", "-std=c++17", "-pthread"], "c++", "c++")


def checked(*arguments: object, status: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(poireau(*EXACT, "--json", *arguments, status=status).stdout)
    return answer


def test_what_is_pointed_at_or_freed_later_is_not_lost(loses: Path) -> None:
    """Statics with and without destructors, other threads' stacks and locals, hidden pointers that a handler knows."""
    said = checked("--", loses, "hide")
    assert said["leaks"] == [] and not said["failed"] and not said["not_scanned"]
    (run,) = said["runs"]
    (scanned,) = run["scanned"]
    assert scanned["reached"] > 300 and scanned["lost"] >= 1  # that one


@pytest.mark.parametrize("end", [(), ("exit", "0")], ids=["return", "exit"])
def test_what_nothing_points_at_is_lost(loses: Path, end: tuple[str, ...]) -> None:
    said = checked("--", loses, "lose", "ring", *end, status=1)
    lines = {leak["stacks"][0]["frames"][0]["line"]: leak for leak in said["leaks"]}
    in_lose = next(n for n, line in enumerate(LINES, 1) if "malloc(sizeof(Node))" in line)
    in_ring = next(n for n, line in enumerate(LINES, 1) if "volatile one = new Node" in line)
    by_line = {leak["stacks"][0]["frames"][leak_site(leak)]["line"]: leak for leak in said["leaks"]}
    assert set(by_line) == {in_lose, in_ring}, lines
    # What a register still holds of it is not lost.
    assert by_line[in_lose]["count"]["value"] >= 9 and by_line[in_ring]["count"]["value"] == 2
    assert by_line[in_lose]["bytes"]["ci95"] == [by_line[in_lose]["bytes"]["value"]] * 2


def leak_site(leak: dict[str, Any]) -> int:
    functions = [frame["function"] for frame in leak["stacks"][0]["frames"]]
    return next(n for n, function in enumerate(functions) if "lose" in function)


def test_a_leak_within_the_budget_is_told_and_passes(loses: Path) -> None:
    done = poireau(*EXACT, "--max-leak", "10KiB", "--", loses, "lose")
    assert "leak: 1" in done.stdout and "leaks    ok: 1" in done.stdout and "10KiB allowed" in done.stdout
    assert "FAILED" in poireau(*EXACT, "--max-leak", "500", "--", loses, "lose", status=1).stdout


def test_what_is_lost_in_few_runs_is_flaky_and_not_counted(loses: Path, tmp_path: Path) -> None:
    said = checked("-n", "3", "--", loses, "once", tmp_path / "there", status=0)
    (leak,) = said["leaks"]
    assert (leak["runs"], leak["counts"], said["leaked"]["value"]) == (1, False, 0)
    (tmp_path / "there").unlink()
    said = checked("-n", "3", "--share", "0.3", "--", loses, "once", tmp_path / "there", status=1)
    (leak,) = said["leaks"]
    assert leak["counts"] and leak["count"]["value"] == pytest.approx(10 / 3, abs=0.5)


def test_known_leaks_are_suppressed(loses: Path, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text("leak:^lose(\nleak:unheard_of\n")
    done = poireau(*EXACT, "--suppressions", known, "--", loses, "lose")
    assert "1 suppressed" in done.stdout and "leaks    ok: nothing lost" in done.stdout
    assert "known:2: leak:unheard_of: nothing is like that" in done.stderr


def test_what_was_learned_is_known_the_next_time(loses: Path, tmp_path: Path) -> None:
    known = tmp_path / "known"
    assert "2 rules learned" in poireau(*EXACT, "--learn", known, "--", loses, "lose", "ring", status=1).stderr
    assert "leaks    ok: nothing lost" in poireau(*EXACT, "--suppressions", known, "--", loses, "lose", "ring").stdout
    twice = poireau(*EXACT, "--suppressions", known, "--", loses, "lose", "lose", status=1)  # more than was learned
    assert "known:4: leak:^lose_ring()$: nothing is like that" in twice.stderr


def test_errors_are_counted_and_told_with_stacks(loses: Path, tmp_path: Path) -> None:
    junit, sarif = tmp_path / "out.xml", tmp_path / "out.sarif"
    said = checked("--junit", junit, "--sarif", sarif, "-n", "2", "--", loses, "overflow", status=1)
    (error,) = said["errors"]
    assert (error["kind"], error["runs"]) == ("short-overflow", 2)
    root = ElementTree.parse(junit).getroot()
    failed = {case.get("classname"): case for case in root.iter("testcase") if case.find("failure") is not None}
    assert set(failed) == {"poireau.check", "poireau.errors"} and root.get("failures") == "2"
    assert "loses.cc" not in (failed["poireau.errors"].get("name") or "?")  # it was compiled from stdin
    assert "main" in (failed["poireau.errors"].findtext("failure") or "")
    (result,) = json.loads(sarif.read_text())["runs"][0]["results"]
    assert result["ruleId"] == "short-overflow"
    assert not checked("--errors", "1", "--", loses, "overflow")["failed"]


@pytest.mark.parametrize(("end", "told"), [(("exit", "3"), "exit status 3"), (("abort",), "killed by SIGABRT")])
def test_a_failing_command_fails_the_check(loses: Path, end: tuple[str, ...], told: str, tmp_path: Path) -> None:
    junit = tmp_path / "out.xml"
    done = poireau(*EXACT, "--junit", junit, "--", loses, *end, status=1)
    assert f"command  FAILED: {told}" in done.stdout
    failure = ElementTree.parse(junit).getroot().find(".//failure")
    assert failure is not None and failure.get("message") == told


def test_processes_of_a_command_are_all_looked_at(loses: Path) -> None:
    said = checked("--", "sh", "-c", f"{loses} fork; {loses} exit 0; exit 0", status=1)
    ours = [each for each in said["runs"][0]["scanned"] if each["process"].startswith(loses.name)]
    assert sorted(each["lost"] > 0 for each in ours) == [False, False, True]
    assert sum(leak["count"]["value"] for leak in said["leaks"]) >= 9


def test_who_runs_a_command_that_is_not_there_hears_of_it() -> None:
    assert "no-such-program" in poireau(*EXACT, "--", "no-such-program", status=127).stderr
    assert "which command?" in poireau("check", status=2).stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ("-n", "0"),
        ("-n", "x"),
        ("--max-leak", "much"),
        ("--errors", "x"),
        ("-c", "x"),
        ("--share", "2"),
        ("--protect", "x"),
    ],
)
def test_wrong_use_is_told_in_one_line(wrong: tuple[str, str]) -> None:
    done = poireau("check", *wrong, "--", "true", status=2)
    assert done.stderr.count("\n") == 1 and wrong[1] in done.stderr and done.stdout == ""


def test_a_program_that_the_library_is_not_in_can_not_be_checked(compile_c: Callable[..., Path]) -> None:
    static = compile_c("int main(void) { return 0; }", ["-static"])
    assert "can't be checked" in poireau(*EXACT, "--", static, status=125).stderr


def test_nothing_sampled_is_no_proof(compile_c: Callable[..., Path]) -> None:
    idle = compile_c("int main(void) { return 0; }")
    assert "nothing was sampled" in poireau(*EXACT, "--", idle).stderr
    assert "nothing was sampled" in poireau(*EXACT, "--strict", "--", idle, status=3).stderr


def test_what_a_check_leaves_is_what_was_asked_for(loses: Path, tmp_path: Path) -> None:
    poireau(*EXACT, "--no-leaks", "--trace", tmp_path, "--", loses, "overflow", "lose", status=1)
    told = json.loads(poireau("errors", "--json", "--trace", tmp_path).stdout)
    assert (told["schema"], len(told["errors"])) == ("poireau.errors", 1)
    assert poireau("errors", "--error-exitcode", "7", "--trace", tmp_path, status=7).stdout.count("short overflow") == 1
    poireau("errors", "--trace", tmp_path, "--error-exitcode", "300", status=2)
    poireau("errors", "--trace", tmp_path, "--suppressions", tmp_path / "nowhere", status=2)


def test_who_ends_a_check_ends_its_command_and_hears_by_what(tmp_path: Path) -> None:
    source = f"echo $$ > {tmp_path}/pid; exec sleep 60"
    environment = {**os.environ, "POIREAU_TRACE": str(tmp_path)}
    for number in (signal.SIGTERM, signal.SIGINT):
        words = [sys.executable, ROOT / "poireau.py", "check", "--no-leaks", "--", "sh", "-c", source]
        with subprocess.Popen(words, env=environment, start_new_session=True) as check:
            while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text().strip():
                assert check.poll() is None
                time.sleep(0.02)
            os.killpg(check.pid, number)  # as a terminal does, and systemd
            assert check.wait() == 128 + number
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
        (tmp_path / "pid").unlink()
