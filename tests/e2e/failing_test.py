"""Each system call that the library makes where every block is protected fails in turn, once or from then on: the
program does what it does bare, and ends."""

from __future__ import annotations

import errno
import re
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import SOAK, Exercised, clean_environment

ENVIRONMENT = {"POIREAU_PROTECT": "all", "POIREAU_SAMPLE_PERIOD": "64K"}
SETTINGS = {
    "governed": {},
    "userfaultfd": {"POIREAU_GUARD_MECHANISM": "userfaultfd", "POIREAU_REVOKE": "immediate"},
    "none": {"POIREAU_GUARD_MECHANISM": "mprotect", "POIREAU_REVOKE": "runs"},
}
ROUNDS = "1"
MOST = 100  # of each call's times, in `make soak`
TIMEOUT = 60
YIELD, MOST_YIELDS = 24, 50_000  # who waits for others in vain, does not do so for each block
MEMORY = {"mmap", "mremap", "madvise", "mprotect", "munmap", "mincore"}
NUMBERS = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
# What the library may tell: the read of a freed block, which there is.
FALSE = re.compile(
    r"poireau: [^ ]+\[\d+\]: (?!use after free: read at )[a-z ]*(?:free|overflow|underflow|access|write|read|call)\b.*"
)


@cache
def names() -> dict[int, str]:
    defined = re.findall(r"#define __NR_(\w+) (\d+)", Path(NUMBERS).read_text())
    return {int(number): name for name, number in defined}


def error_of(name: str) -> int:
    if name in MEMORY:
        return errno.ENOMEM
    return errno.EMFILE if "open" in name or name in ("memfd_create", "userfaultfd", "socket") else errno.EPERM


def failures(number: int, times: int) -> Iterable[str]:
    """Which of a call's times fail: in `make check` the first and one in the middle, else as many as MOST."""
    middle = times // 2 + 1
    each = range(1, times + 1, max(1, times // MOST)) if SOAK else {1, middle}
    from_then_on = {1, 2, middle} if SOAK else {1}
    failure = f"{number} %d {error_of(names()[number])}"
    return [failure % nth for nth in each] + [f"{failure} on" % nth for nth in from_then_on]


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting", ["governed", *(pytest.param(each, marks=pytest.mark.soak) for each in ("userfaultfd", "none"))]
)
def test_whatever_system_call_fails_the_program_does_what_it_does_bare(
    program: Callable[..., Path], library: Path, tmp_path: Path, exercised: Exercised, setting: str
) -> None:
    work, failing = program("every_block.c", "-O1"), program("failing.c", "-w")
    expected = subprocess.run([work, ROUNDS], capture_output=True, text=True, check=True)

    def run(fail: str = "") -> tuple[dict[int, int], str]:
        """How often the library made which call, and what went wrong."""
        counts = tmp_path / (fail or "counts")
        environment = clean_environment(PRELOAD=str(library), **ENVIRONMENT, **SETTINGS[setting], FAIL=fail)
        try:
            command = [failing, counts, work, ROUNDS]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return {}, "it hangs"
        well = (done.stdout, done.returncode) == (expected.stdout, 0) and not FALSE.search(done.stderr)
        made = {int(number): int(times) for number, times in map(str.split, counts.read_text().splitlines())}
        if well and made.get(YIELD, 0) < MOST_YIELDS:
            return made, ""
        return made, f"status {done.returncode}, {made.get(YIELD, 0)} yields\n{done.stdout}{done.stderr}"

    made, problem = run()
    assert problem == "" and len(made) > 20
    jobs = [failure for number, times in made.items() for failure in failures(number, times)]
    with ThreadPoolExecutor(2) as pool:
        problems = [f"{job}: {problem}" for job, (_, problem) in zip(jobs, pool.map(run, jobs)) if problem]
    assert not problems, "\n".join([f"{len(problems)} of {len(jobs)} wrong", *problems[:40]])
    for job in jobs:
        exercised.count("system calls made to fail", names()[int(job.split()[0])])
