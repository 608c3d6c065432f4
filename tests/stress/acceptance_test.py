"""Programs with planted leaks of five shapes, among things that only look like leaks: `leaks` names the lines of all of
them, with the true rate in its interval, and accuses nobody else.

The programs are tests/programs/leaks/leaks.*, in five languages; scenario.json says what each site does. They are told
sizes and rates, and tell the truth at their end.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Exercised, clean_environment, traces

PROGRAMS = ROOT / "tests" / "programs" / "leaks"
SCENARIO = json.loads((PROGRAMS / "scenario.json").read_text())
SITES: Mapping[str, Mapping[str, Any]] = SCENARIO["sites"]
PLANTED = {name: site["planted"] for name, site in SITES.items() if "planted" in site}
SEEDS = 20
AT_ONCE = 10  # programs; they mostly sleep
FOUND = ("lost", "leak", "likely")
HOUR = 3600
NOTHING: Mapping[str, Any] = {"verdict": "not there", "rate": {"ci95": [0, 0]}}
TOP = 8  # rows: the five, and what grows with them (nodes, tables of their containers)


@dataclass(frozen=True)
class Case:
    """What `leaks` says of a site, and the truth."""

    language: str
    site: str
    place: int  # in the report; -1: it is not there
    verdict: str
    low: float  # bytes an hour
    high: float
    truth: float

    @property
    def covered(self) -> bool:
        return self.low <= self.truth <= self.high


SOURCES = {"c": "leaks.c", "c++": "leaks.cc", "python": "planted.c", "rust": "leaks.rs", "go": "leaks.go"}


def words(seed: int) -> list[str]:
    """A program's arguments: each site's mean size and rate are drawn evenly by their logarithms."""
    draw = random.Random(seed)
    bounds = [site[what] for site in SITES.values() for what in ("size", "rate")]
    numbers = [low * (high / low) ** draw.random() for low, high in bounds]
    return [str(seed), str(SCENARIO["seconds"]), *(f"{number:.0f}" for number in numbers)]


def build(language: str, directory: Path) -> list[str]:
    """Its command."""
    program = directory / "leaks"
    includes = subprocess.run(["/usr/bin/python3-config", "--includes"], capture_output=True, text=True).stdout.split()
    commands: dict[str, list[str | Path]] = {
        "c": ["gcc", "-O2", "-g", "-o", program, "leaks.c"],
        "c++": ["g++", "-std=c++20", "-O2", "-g", "-o", program, "leaks.cc"],
        "python": ["gcc", "-shared", "-fPIC", "-O2", "-g", *includes, "-o", directory / "planted.so", "planted.c"],
        "rust": ["rustc", "-O", "-g", "-o", program, "leaks.rs"],
        "go": ["go", "build", "-o", program, "leaks.go"],
    }
    done = subprocess.run(commands[language], cwd=PROGRAMS, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        pytest.fail(f"{commands[language]}\n{done.stderr}", pytrace=False)
    return ["/usr/bin/python3", str(PROGRAMS / "leaks.py"), str(directory)] if language == "python" else [str(program)]


def environment(library: Path, directory: Path, seed: int) -> dict[str, str]:
    return clean_environment(
        LD_PRELOAD=str(library),
        POIREAU_TRACE=str(directory),
        POIREAU_TRACE_LIMIT="128MiB",
        POIREAU_SAMPLE_PERIOD=SCENARIO["sample_period"],
        POIREAU_SEED=str(seed),
        POIREAU_RUNTIMES="sample",  # Go's as well
    )


def leaks(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, str(ROOT / "poireau.py"), "leaks", "--json", "--limit", "0", *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | {"XDG_CACHE_HOME": traces()}, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def row_of(rows: Sequence[Mapping[str, Any]], language: str, line: int) -> int:
    """Where in the report that line is; -1: nowhere."""
    places = (place for place, row in enumerate(rows) if row["line"] == line)
    return next((place for place in places if Path(rows[place]["file"]).name == SOURCES[language]), -1)


def judged(language: str, truths: str, rows: Sequence[Mapping[str, Any]]) -> list[Case]:
    """`truths`: what the program has printed."""
    cases = []
    for told in map(json.loads, truths.splitlines()):
        place = row_of(rows, language, told["line"])
        row = rows[place] if place >= 0 else NOTHING
        (low, high), truth = row["rate"]["ci95"], told["live"] / told["seconds"] * HOUR
        cases.append(Case(language, told["site"], place, row["verdict"], low, high, truth))
    return cases


def cases_of(command: Sequence[str], language: str, seeds: Sequence[int], library: Path, directory: Path) -> list[Case]:
    cases = []
    for begin in range(0, len(seeds), AT_ONCE):
        running = {
            seed: subprocess.Popen(
                [*command, *words(seed)],
                env=environment(library, directory / str(seed), seed),
                stdout=subprocess.PIPE,
                text=True,
            )
            for seed in seeds[begin : begin + AT_ONCE]
        }
        for seed, program in running.items():
            truths, _ = program.communicate(timeout=300)
            assert program.returncode == 0, (language, seed)
            cases += judged(language, truths, leaks(directory / str(seed))["rows"])
            shutil.rmtree(directory / str(seed))
    return cases


def table(cases: Sequence[Case]) -> str:
    """A row for each site."""
    lines = []
    for site, what in SITES.items():
        mine = [case for case in cases if case.site == site]
        verdicts = ", ".join(f"{n} {verdict}" for verdict, n in Counter(case.verdict for case in mine).most_common())
        line = f"{site:8} {what.get('planted') or what['look_alike']:22} {verdicts}"
        if site in PLANTED:
            line += f"; rate covered in {sum(case.covered for case in mine)} of {len(mine)}"
        lines.append(line)
    return "\n".join(lines)


def check(cases: Sequence[Case], exercised: Exercised) -> None:
    said = table(cases)
    print(said)
    planted = [case for case in cases if case.site in PLANTED]
    accused = [case for case in cases if case.site not in PLANTED and case.verdict in FOUND]
    covered = sum(case.covered for case in planted)
    language = cases[0].language
    exercised.add("leaks", f"{language}: rate covered in {covered} of {len(planted)}")
    assert accused == [], said
    assert [case for case in planted if case.verdict not in FOUND or case.place >= TOP] == [], said
    assert covered >= least(len(planted)), said


def least(count: int) -> int:
    """85 of a hundred; of fewer, as many standard errors less than 95 %."""
    return round(0.95 * count - sqrt(count))


@pytest.mark.slow
def test_what_leaks_is_named_at_its_rate_and_nothing_else_is_accused(
    library: Path, tmp_path: Path, scale: Callable[[int], int], exercised: Exercised
) -> None:
    seeds = range(1, scale(SEEDS) + 1)
    check(cases_of(build("c++", tmp_path), "c++", seeds, library, tmp_path), exercised)


@pytest.mark.soak
@pytest.mark.parametrize("language", [language for language in SOURCES if language != "c++"])
def test_it_is_so_in_other_languages(language: str, library: Path, tmp_path: Path, exercised: Exercised) -> None:
    check(cases_of(build(language, tmp_path), language, range(1, SEEDS + 1), library, tmp_path), exercised)


@pytest.mark.soak
def test_what_nobody_points_at_is_lost_while_the_program_runs(library: Path, tmp_path: Path) -> None:
    command = build("c", tmp_path)
    seed, seconds, *means = words(1)
    longer = 2 * int(seconds)  # so that it runs still when it is looked at
    with subprocess.Popen(
        [*command, seed, str(longer), *means],
        env=environment(library, tmp_path / "traces", 1),
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        time.sleep(longer * 0.7)
        rows = leaks("--scan", program.pid)["rows"]
        truths, _ = program.communicate(timeout=300)
    verdicts = {case.site: case.verdict for case in judged("c", truths, rows)}
    # Old rules are a list: but for its head, each is pointed at by one that is lost itself.
    assert (verdicts["note"], verdicts["peer"]) == ("lost", "lost"), verdicts
    assert verdicts["entry"] in ("leak", "likely") and verdicts["history"] != "lost", verdicts
    assert [site for site in SITES if site not in PLANTED and verdicts[site] in FOUND] == [], verdicts
