"""`errors` on programs that made them: the table of misuse's, told with names, the same wherever it was made."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.e2e.top_test import poireau

# Its arguments (tests/misuse/table.py) -> the kind, and where: bytes from the block's beginning; what was called.
CASES = {
    "read 17 malloc 24 main": ("use after free", 17, ""),
    "read 17 new 24 thread": ("use after free", 17, ""),
    "write 5 malloc 24 child": ("use after free", 5, ""),
    "overflow 0 malloc 32 main": ("short overflow|overflow", 32, ""),
    "twice 0 new[] 24 main": ("double free", 0, "operator delete[]"),
    "delete 0 malloc 24 main": ("mismatched release", 0, "operator delete"),
}


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
    compile_c: Callable[..., Path],
    run_preloaded: Callable[..., subprocess.CompletedProcess[str]],
) -> dict[str, Path]:
    source = (ROOT / "tests/misuse/heap_errors.cc").read_text()
    program = compile_c(source, ["-std=c++20", "-O1", "-fno-builtin", "-pthread", "-w"], "c++", "c++")
    directories = {}
    for case in CASES:
        directories[case] = tmp_path_factory.mktemp("traces")
        variables = {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "all", "POIREAU_LOG": "off"}
        run_preloaded([program, *case.split()], {**variables, "POIREAU_TRACE": str(directories[case])})
    return directories


def asked(*arguments: object) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(poireau("errors", "--json", *arguments).stdout)
    return answer


@pytest.mark.parametrize("case", CASES)
def test_each_is_told_with_its_block_and_stacks(case: str, made: dict[str, Path]) -> None:
    kind, offset, function = CASES[case]
    (error,) = asked("--trace", made[case])["errors"]
    assert re.fullmatch(kind, error["error"])
    assert (error["size"], error["reports"]) == (int(case.split()[3]), 1)
    assert not function or error["function"] == function
    if "flow" not in kind:  # there the first byte that is another tells
        assert error["offset"] == offset
    told = [stack["what"].split()[0] for stack in error["stacks"]]
    assert "allocated" in told and ("freed" in told) == ("free" in kind)
    for stack in error["stacks"]:
        assert any(frame["line"] > 0 for frame in stack["frames"]), stack
    assert error["profile"]["allocated"]["value"] >= error["size"]


def test_the_same_error_of_several_runs_is_one(made: dict[str, Path]) -> None:
    several = [case for case in CASES if case.startswith("read")]
    said = asked(*(path for case in several for path in made[case].iterdir()))
    assert sum(len(error["processes"]) for error in said["errors"]) == len(several)
    assert said["samples"] == said["guarded"] > 0


def test_errors_of_a_window_and_of_processes_are_chosen(made: dict[str, Path]) -> None:
    case = next(iter(CASES))
    assert asked("--trace", made[case], "--since", "end")["errors"] == []
    assert "there is no process" in poireau("errors", "--trace", made[case], "--process", "7", status=2).stderr
    assert asked("--trace", made[case], "--focus", "^nowhere$")["errors"] == []
    assert poireau("errors", "--trace", made[case], "--focus", "(", status=2).stderr.count("\n") <= 2


def test_sarif_and_words_go_where_they_should(made: dict[str, Path], tmp_path: Path) -> None:
    case = next(iter(CASES))
    told = json.loads(poireau("errors", "--trace", made[case], "--sarif", "-").stdout)
    assert told["version"] == "2.1.0" and len(told["runs"][0]["results"]) == 1
    done = poireau("errors", "--trace", made[case], "--sarif", tmp_path / "no" / "where", status=125)
    assert "No such file or directory" in done.stderr
    assert "\x1b" not in poireau("errors", "--trace", made[case]).stdout
    assert "\x1b[1;31m" in poireau("errors", "--trace", made[case], CLICOLOR_FORCE="1").stdout


def test_an_access_is_told_where_it_is_made(
    tmp_path: Path,
    compile_c: Callable[..., Path],
    run_preloaded: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    """Its instruction is no call's: one byte before it is another line, or even another function."""
    source = """
#include <stdlib.h>
__attribute__((noinline)) int first(volatile char* p) { return p[3]; }
int main(void) {
  char* volatile p = malloc(64);
  free(p);
  return first(p) < 0;
}
"""
    program = compile_c(source, ["-g", "-O2", "-fno-builtin", "-w"])
    every = {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "all", "POIREAU_TRACE": str(tmp_path)}
    text = run_preloaded([program], every).stderr
    (error,) = asked("--trace", tmp_path)["errors"]
    frames = error["stacks"][0]["frames"]
    assert [(frame["function"], frame["line"]) for frame in frames[:2]] == [("first", 3), ("main", 7)]
    # What is said at once has the instruction itself, as addr2line and debuggers want it.
    instruction = re.search(r"rip=0*([0-9a-f]+)", text)
    shown = re.search(r'thread \d+ "[^"]*":\n +\S+\+0x([0-9a-f]+)', text)
    assert instruction and shown and instruction[1].endswith(shown[1][-3:])
