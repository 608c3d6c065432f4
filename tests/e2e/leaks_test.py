"""`leaks` on a program that ran under the library, that runs, and that has freed all when it ended."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from poireau import opening
from tests.conftest import clean_environment
from tests.e2e.top_test import asked, poireau

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static void* slots[256];
static void* volatile sink;
__attribute__((noinline)) void leak(void) { sink = malloc(1000); }
__attribute__((noinline)) void put(int n) { void** slot = slots + n % 256; free(*slot); *slot = malloc(4000); }
__attribute__((noinline)) void* table(void) { return malloc(5000); }
int main(int argc, char** argv) {
  struct timespec nap = {0, 1000000};
  for (int i = 0; i < 100; ++i) sink = table();
  const int many = atoi(argv[1]);
  void** kept = argc > 2 ? calloc(many, sizeof(void*)) : 0;
  for (int n = 0; n < many; ++n) {
    if (kept) kept[n] = malloc(1000); else leak();
    put(n);
    nanosleep(&nap, 0);
  }
  for (int n = 0; kept && n < many; ++n) free(kept[n]);
  printf("%d\n", many), fflush(stdout);
  return 0;
}
"""
LINES = PROGRAM.splitlines()
LEAK = next(number for number, line in enumerate(LINES, 1) if "void leak" in line)
CALLS = 5500  # a millisecond apart and more: enough to be certain


@pytest.fixture(scope="module")
def program(compile_c: Callable[..., Path]) -> Path:
    return compile_c(PROGRAM, ["-O1", "-fno-builtin"])


@pytest.fixture(scope="module")
def start(library: Path, program: Path) -> Callable[..., subprocess.Popen[str]]:
    def start(traces: Path, *arguments: object) -> subprocess.Popen[str]:
        settings = {"POIREAU_TRACE": str(traces), "POIREAU_SAMPLE_PERIOD": "8KiB", "POIREAU_OVERHEAD_BUDGET": "off"}
        return subprocess.Popen(
            [program, *map(str, arguments)], env=clean_environment(LD_PRELOAD=str(library), **settings),
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


@pytest.fixture(scope="module")
def trace(start: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one that has leaked all it could, and of one that has freed it all at the end."""
    traces = tmp_path_factory.mktemp("traces")
    with start(traces / "leaking", CALLS) as leaking, start(traces / "tidy", CALLS, "frees") as tidy:
        assert leaking.wait() == tidy.wait() == 0
    return traces


@pytest.fixture
def running(start: Callable[..., Any], tmp_path: Path) -> Iterator[tuple[Path, int]]:
    with start(tmp_path, 10**9) as process:
        time.sleep(1)
        yield tmp_path, process.pid
        process.send_signal(signal.SIGKILL)


@pytest.mark.slow
def test_the_line_that_leaks_comes_first_at_its_rate_and_the_others_are_none(trace: Path) -> None:
    answer = asked("leaks", trace / "leaking", "--limit", "0")
    assert (answer["schema"], answer["version"], answer["found"]) == ("poireau.leaks", 1, 1)
    first, *others = answer["rows"]
    assert (first["function"], first["line"], first["verdict"]) == ("leak", LEAK, "leak")
    low, high = first["rate"]["ci95"]
    assert low * 0.7 < CALLS * 1000 / answer["seconds"] * 3600 < high * 1.4  # 6 sigma, or so
    assert {row["function"] for row in others} <= {"put", "table", "main"}  # printf has a buffer
    assert not {row["verdict"] for row in others} & {"lost", "leak", "likely"}
    assert first["reach"] is None and answer["scan"] is None


@pytest.mark.slow
def test_the_same_question_is_answered_from_what_was_kept(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*what: Any, **how: Any) -> Any:
        raise AssertionError("read again")

    answers = [poireau("leaks", trace / "leaking", "--why").stdout]
    monkeypatch.setattr(opening, "open", refuse)
    answers.append(poireau("leaks", trace / "leaking", "--why").stdout)
    assert answers[0] == answers[1] and f"{LEAK} grows " in answers[0]
    with pytest.raises(AssertionError, match="read again"):
        poireau("leaks", trace / "leaking", "--no-cache")


@pytest.mark.slow
def test_findings_have_a_status_where_one_is_asked_for(trace: Path) -> None:
    poireau("leaks", trace / "leaking")
    poireau("leaks", trace / "leaking", "--error-exitcode", "7", status=7)
    poireau("leaks", trace / "leaking", "--error-exitcode", "7", "--min-rate", "1TiB")
    poireau("leaks", trace / "leaking", "--error-exitcode", "7", "--since", "+1ms", "--until", "+2ms")
    for wrong in (
        ["--min-rate", "many"],
        ["--older", "old"],
        ["--focus", "("],
        ["--limit", "-1"],
        ["--suppressions", "/x"],
    ):
        assert "poireau" in poireau("leaks", trace / "leaking", *wrong, status=2).stderr


@pytest.mark.slow
def test_what_was_learned_is_known_the_next_time(trace: Path, tmp_path: Path) -> None:
    known = tmp_path / "known"
    poireau("leaks", trace / "leaking", "--learn", known, "--error-exitcode", "7", status=7)
    again = poireau("leaks", trace / "leaking", "--suppressions", known, "--error-exitcode", "7").stdout
    assert "no leak found, 1 more known" in again and "leak" in known.read_text()


@pytest.mark.slow
def test_what_is_freed_at_the_end_was_not_freed_before(trace: Path) -> None:
    said = poireau("leaks", trace / "tidy").stdout
    assert "of what it had as it ended: this is how it was before that" in said
    assert "grows" in said and "main" in said


def test_a_program_that_runs_can_be_told_to_be_looked_at_closer(running: tuple[Path, int]) -> None:
    traces, pid = running
    said = poireau("leaks", traces, "--no-scan").stdout
    assert f"poireau.py ctl {pid} set sample_period 1K" in said
    assert json.loads(poireau("leaks", traces, "--no-scan", "--json").stdout)["scan"] is None


def test_nothing_to_tell_is_told_in_words(tmp_path: Path) -> None:
    assert "there is no trace" in poireau("leaks", "--trace", tmp_path, status=2).stderr
    poireau("leaks", tmp_path / "none", status=2)
