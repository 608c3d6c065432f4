"""Memory errors, whatever the function, thread, process, side of the page and kind of guard: each is told in one exact
line, and the program goes on as if nobody had looked. Its right twins hear nothing."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGABRT, SIGBUS, SIGSEGV

import pytest

from tests.conftest import SOAK, Exercised
from tests.misuse.table import (
    AGED,
    CAUGHT_BY_ITSELF,
    FAULTS_ONLY,
    PAGE,
    TABLE,
    TWINS,
    Case,
    cases,
    first_lines,
    lines_where_all_is_protected,
    status,
)

FAULTS = {"markers": SIGSEGV, "userfaultfd": SIGBUS, "mprotect": SIGSEGV}  # mechanism -> how it tells
GUARDS = {name: {"POIREAU_GUARD_MECHANISM": name} for name in [*FAULTS, "none"]} | {"off": {"POIREAU_GUARD": "off"}}

ALL = "protect = all"
ENGINES = ("auto", "userfaultfd", "none")

Run = Callable[[Case, dict[str, str]], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def commit(compile_c: Callable[..., Path], run_preloaded: Callable[..., subprocess.CompletedProcess[str]]) -> Run:
    """Runs the case with every block guarded, and these variables more."""
    source = (Path(__file__).parent / "heap_errors.cc").read_text()
    program = compile_c(source, ["-std=c++20", "-O1", "-fno-builtin", "-pthread", "-w"], "c++", "c++")
    everything = {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "all", "POIREAU_SYSCALL_CHECK": "on"}

    def run(case: Case, more: dict[str, str]) -> subprocess.CompletedProcess[str]:
        try:
            return run_preloaded([program, *case.arguments], everything | more, timeout=30)
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess([], -1, "", "it hangs")

    return run


def in_pairs(check: Callable[..., str], jobs: Iterable[tuple[object, ...]]) -> list[str]:
    """What is wrong with these jobs, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return [told for told in pool.map(lambda job: check(*job), jobs) if told]


def none_is_wrong(complaints: list[str]) -> None:
    if complaints:
        pytest.fail("\n".join([f"{len(complaints)} wrong", *complaints[:40]]), pytrace=False)


def complaint(case: Case, guards: str, more: str, done: subprocess.CompletedProcess[str], wanted: int) -> str:
    """What went otherwise than it should have; "" when all is well."""
    name = f"{case} {guards} {more}"
    said = re.match(r"block (0x[0-9a-f]+)\n", done.stdout)
    if said is None:
        return f"{name}: no block: {done.stdout} {done.stderr}"
    rest, first = done.stdout[said.end() :], done.stderr.partition("\n")[0]
    block = int(said[1], 16)
    lines = lines_where_all_is_protected(case, block) if guards == ALL else first_lines(case, block, guards in FAULTS)
    found = re.sub(r"^poireau: [^ ]+\[\d+\]: ", "", first)
    problems = []
    if found not in lines or (found == first and first != ""):
        problems.append(f"said: {first or '(nothing)'}\n    not: {' or: '.join(sorted(lines)) or '(nothing)'}")
    # Where others use the same memory, what a freed block held is there until one of them does.
    may_be_lost = guards == ALL and (case.error in AGED or case.size >= PAGE)
    if done.returncode != wanted or (wanted == 0 and rest not in ("done\n", *["lost\ndone\n"] * may_be_lost)):
        problems.append(f"status {done.returncode}, not {wanted}; stdout {rest!r}")
    return "\n    ".join([name, *problems]) if problems else ""


@pytest.fixture(params=GUARDS)
def guards(request: pytest.FixtureRequest, commit: Run) -> str:
    name: str = request.param
    if name in FAULTS:
        told = commit(Case("nothing", 0, "malloc", 24, "main"), {**GUARDS[name], "POIREAU_LOG": "info"})
        if f"guards by {name}" not in told.stderr:
            pytest.skip(f"no {name} here: {told.stderr}")
    return name


@pytest.mark.slow
def test_every_error_is_told_in_its_line_and_nothing_else_is(
    guards: str, commit: Run, scale: Callable[[int], int], exercised: Exercised
) -> None:
    def check(case: Case, seed: int) -> str:
        done = commit(case, {**GUARDS[guards], "POIREAU_SEED": str(seed)})
        return complaint(case, guards, f"seed {seed}", done, status(case))

    # What is guarded lies on either side of its page, wherever the guards come from.
    seeds = scale(20 if guards == "markers" or (guards in FAULTS and SOAK) else 10)
    jobs = [(case, seed) for case in cases(TABLE) for seed in range(1, 1 + seeds)]
    if guards not in FAULTS:
        jobs = [(case, seed) for case, seed in jobs if case.error not in AGED]
    right = scale(10) if SOAK or guards in ("markers", "off") else 0
    twins = [(case, seed) for case in cases(TWINS, right=True) for seed in range(1, 1 + right)]
    exercised.count("misuse", f"errors by {guards}", len(jobs))
    exercised.count("misuse", f"right programs by {guards}", len(twins))
    none_is_wrong(in_pairs(check, [*jobs, *twins]))


@pytest.mark.slow
@pytest.mark.parametrize("mechanism", ENGINES)
def test_every_error_is_told_where_all_is_protected(
    mechanism: str, commit: Run, scale: Callable[[int], int], exercised: Exercised
) -> None:
    """No block is sampled. Stacks and single closings are those of a program's beginning."""
    settings = {"POIREAU_PROTECT": "all", "POIREAU_SAMPLE_PERIOD": "512KiB", "POIREAU_GUARD_MECHANISM": mechanism}

    def check(case: Case, seed: int) -> str:
        done = commit(case, {**settings, "POIREAU_SEED": str(seed)})
        return complaint(case, ALL, f"{mechanism}, seed {seed}", done, status(case))

    seeds = range(1, 1 + scale(10))
    # Where no page can be closed by itself, what is freed stays open until its neighbours are dead, too.
    table = [case for case in cases(TABLE) if mechanism != "none" or case.error not in {*FAULTS_ONLY, "overflow"}]
    jobs = [(case, seed) for case in [*table, *cases(TWINS, right=True)] for seed in seeds]
    exercised.count("misuse", f"programs with all protected, {mechanism}", len(jobs))
    none_is_wrong(in_pairs(check, jobs))


@pytest.mark.slow
def test_every_error_of_a_sample_is_told_where_samples_are_remapped(
    commit: Run, scale: Callable[[int], int], exercised: Exercised
) -> None:
    settings = {"POIREAU_PLACEMENT": "remap", "POIREAU_REVOKE": "immediate"}

    def check(case: Case, seed: int) -> str:
        done = commit(case, {**settings, "POIREAU_SEED": str(seed)})
        return complaint(case, ALL, f"placement = remap, seed {seed}", done, status(case))

    seeds = range(1, 1 + scale(10))
    jobs = [(case, seed) for case in [*cases(TABLE), *cases(TWINS, right=True)] for seed in seeds]
    exercised.count("misuse", "programs with remapped samples", len(jobs))
    none_is_wrong(in_pairs(check, jobs))


# Here | is followed by the status: FAULT is what the mechanism raises.
FAULT = -1
ENDINGS = [
    ("report", "read | 17 | malloc, new | 24 | main, thread, all signals blocked", FAULT),
    ("report", "overread, underread | 4080 | malloc | 24 | main", FAULT),
    ("report", "read | 17 | malloc | 24 | handlers of its own, stack of its own", CAUGHT_BY_ITSELF),
    ("report", "twice, free | 0 | new | 24 | main, thread", 0),
    ("abort", "read | 17 | malloc, new | 24 | main, thread, all signals blocked, handlers of its own", -SIGABRT),
    ("abort", "overread, underread | 4080 | malloc | 24 | main", -SIGABRT),
    ("abort", "twice, twice aged, free, overflow, overflow kept | 0 | new | 24 | main", -SIGABRT),
]


def test_an_error_ends_the_program_if_it_is_to(guards: str, commit: Run, exercised: Exercised) -> None:
    def check(on_error: str, case: Case, wanted: int) -> str:
        done = commit(case, {**GUARDS[guards], "POIREAU_ON_ERROR": on_error, "POIREAU_SEED": "1"})
        return complaint(case, guards, on_error, done, wanted)

    jobs = [
        (on_error, case, -FAULTS.get(guards, 0) if wanted is FAULT else wanted)
        for on_error, table, wanted in ENDINGS
        for case in cases(table)
        if guards in FAULTS or not (case.error in FAULTS_ONLY or case.error in AGED)
    ]
    exercised.count("misuse", f"endings by {guards}", len(jobs))
    none_is_wrong(in_pairs(check, jobs))


def test_without_a_fault_handler_guards_still_end_what_touches_them(guards: str, commit: Run) -> None:
    more = {**GUARDS[guards], "POIREAU_FAULT_HANDLER": "off"}
    done = commit(Case("read", 17, "malloc", 24, "main"), more)
    assert (done.returncode, done.stderr) == (-FAULTS.get(guards, 0), "")


def test_writes_into_poisoned_blocks_are_found_when_they_are_used_again(commit: Run) -> None:
    for maker, made_by in (("malloc", "malloc"), ("new", "operator new")):
        done = commit(Case("write aged", 5, maker, 24, "main"), {**GUARDS["none"], "POIREAU_POISON": "on"})
        assert re.search(
            r": write after free: 1 byte changed from 0x[0-9a-f]+, 5 bytes into a freed 24-byte block from "
            rf"{made_by}, found by quarantine\n",
            done.stderr,
        ), done
        assert done.returncode == 0


def test_blocks_lie_against_either_guard(commit: Run) -> None:
    told = [commit(Case("overflow", 0, "malloc", 32, "main"), {"POIREAU_SEED": str(n)}).stderr for n in range(1, 41)]
    faults, late = (sum(kind in each for each in told) for kind in (": overflow: ", ": short overflow: "))
    assert faults + late == 40 and faults > 0 and late > 0  # one of 2^39 runs has none
