"""Stacks of programs that make it hard to walk them. In dev builds each that is walked by rows is walked by libgcc too,
and the program ends if they differ."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Exercised, clean_environment

Program = Callable[..., Path]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
DIFFER = "rows and libgcc differ"


@pytest.mark.parametrize("unwinder", ["rows", "libgcc", "auto"])
def test_stacks_are_right_where_a_library_lies_in_anothers_place(
    unwinder: str, program: Program, run_preloaded: Run, exercised: Exercised
) -> None:
    libraries = [
        program("same_address.c", "-shared", "-O1", "-fomit-frame-pointer", f"-DFRAME={size}") for size in (1000, 3000)
    ]
    done = run_preloaded(
        [program("same_address.c", "-O1"), *libraries],
        {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "off", "POIREAU_UNWINDER": unwinder},
    )
    assert done.returncode == 0, done
    assert done.stderr == "", done.stderr
    exercised.add("libraries in another's place", f"{done.stdout.strip()} of 400")
    assert int(done.stdout) > 100, "the loader found other places"


@pytest.mark.parametrize("unwinder", ["rows", "libgcc", "fp"])
def test_frames_of_our_own_library_never_show(unwinder: str, program: Program, run_preloaded: Run) -> None:
    """Not even in the stack of a handler that interrupted a hook."""
    done = run_preloaded(
        [program("unwound.c")],
        {
            "POIREAU_SAMPLE_PERIOD": "1",
            "POIREAU_GUARD": "off",
            "POIREAU_UNWINDER": unwinder,
            "POIREAU_ON_ERROR": "continue",
        },
    )
    assert done.returncode == 0, done
    assert "double free" in done.stderr
    assert DIFFER not in done.stderr
    assert len(re.findall(r"^    \S+\+0x", done.stderr, re.MULTILINE)) > 3, done.stderr
    assert "libpoireau.so+" not in done.stderr


def instructions(command: list[str | Path], directory: Path, **environment: str) -> int:
    """As valgrind counts them, of the program alone."""
    profile = directory / "callgrind.out"
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", *command],
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found, done.stderr
    return int(found[1])


def test_a_throw_costs_what_it_costs_without_us(
    program: Program, library: Path, tmp_path: Path, exercised: Exercised
) -> None:
    throws = program("throws.cc", "-O1")
    cost: dict[str, int] = {}
    for what, environment in {"bare": {}, "ours": {"LD_PRELOAD": str(library)}}.items():
        with_throws, without = (instructions([throws, count], tmp_path, **environment) for count in ("500", "0"))
        cost[what] = with_throws - without
    exercised.add("instructions a throw", f"{cost['bare'] // 500} bare, {cost['ours'] // 500} ours")
    assert cost["ours"] <= cost["bare"] * 1.05, cost
