"""Programs with a weakness of CWE-415, 416, 590 or 761, on many ways and under many circumstances, when every block is
protected: each is told in one exact line, and the program goes on. Its right twins hear nothing."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import SOAK, Exercised
from tests.cwe.table import HERE, LINES, STRAIGHT, Case, cases, line_of

ALLOCATIONS = 20_000  # between the death of a block and its use, where there are any
# A year of a program that allocates ten times a second; and what two seconds take.
YEAR = 300_000_000 if SOAK else 3_000_000
AGED = ("415 malloc", "416 read")
PROTECTED = {"POIREAU_PROTECT": "all"}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def commit(compile_c: Callable[..., Path], run_preloaded: Run) -> Run:
    """Runs the case with every block protected, and these variables more."""
    others = [str(HERE / "flows.cc"), str(HERE / "elsewhere.cc")]
    flags = ["-x", "c++", *others, "-std=c++20", "-O1", "-fno-builtin", "-pthread", "-w", f"-I{HERE}"]
    program = compile_c((HERE / "weaknesses.cc").read_text(), flags, "c++", "c++")

    def run(case: Case, more: dict[str, str], allocations: int = ALLOCATIONS) -> subprocess.CompletedProcess[str]:
        try:
            timeout = 60 + allocations / 50_000
            return run_preloaded([program, *case.arguments, str(allocations)], PROTECTED | more, timeout=timeout)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess([], -1, "", "it hangs")

    return run


def complaint(case: Case, done: subprocess.CompletedProcess[str], more: dict[str, str]) -> str:
    """What went otherwise than it should have; "" when all is well."""
    said = re.match(r"at (0x[0-9a-f]+)\n", done.stdout)
    if said is None:
        return f"{case} {more}: {done}"
    wanted = line_of(case, said[1])
    first = done.stderr.partition("\n")[0]
    found = re.sub(r"^poireau: [^ ]+\[\d+\]: ", "", first)
    problems = []
    if not re.fullmatch(wanted, found) or (found == first and first != ""):
        problems.append(f"said: {first or '(nothing)'}\n    not: {wanted or '(nothing)'}")
    lost = case.lost and done.returncode in (-signal.SIGSEGV, 128 + signal.SIGSEGV)
    if not lost and (done.returncode != 0 or not done.stdout.endswith("done\n")):
        problems.append(f"status {done.returncode}, stdout {done.stdout!r}")
    return "\n    ".join([f"{case} {more}", *problems]) if problems else ""


def check_all(commit: Run, jobs: list[Case], more: dict[str, str], allocations: int = ALLOCATIONS) -> None:
    with ThreadPoolExecutor(2) as pool:
        told = pool.map(lambda case: complaint(case, commit(case, more, allocations), more), jobs)
        complaints = [each for each in told if each]
    if complaints:
        text = [f"{len(complaints)} of {len(jobs)} wrong", *complaints[:40]]
        pytest.fail("\n".join(text), pytrace=False)


@pytest.mark.slow
@pytest.mark.parametrize("revoke", ["governed", pytest.param("immediate", marks=pytest.mark.soak)])
def test_every_weakness_is_told_in_its_line_and_right_programs_hear_nothing(
    revoke: str, commit: Run, exercised: Exercised
) -> None:
    jobs = cases(everything=SOAK)
    check_all(commit, jobs, {"POIREAU_REVOKE": revoke})
    exercised.count("CWE programs", "bad", sum(case.kind == "bad" for case in jobs))
    exercised.count("CWE programs", "good", sum(case.kind != "bad" for case in jobs))


@pytest.mark.slow
def test_however_old_a_freed_block_is_its_use_is_told(commit: Run) -> None:
    circumstances = ("aged", "aged, between threads", "aged, in a child") if SOAK else ("aged",)
    jobs = [Case(weakness, STRAIGHT, each, "bad") for weakness in AGED for each in circumstances]
    check_all(commit, jobs, {}, YEAR)


def test_the_table_and_the_programs_name_the_same() -> None:
    named = re.findall(r'^    \{"(\d{3} [^"]+)"', (HERE / "weaknesses.cc").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(LINES)
