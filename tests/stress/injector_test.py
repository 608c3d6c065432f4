"""Errors are found as often as the sampling says. A block of `size` bytes is sampled with p = 1 - exp(-size / period);
with chance g it is then guarded. A read after free is seen where the block was guarded: p g. A write just before the
start hits a guard where the block lies against the one before it, else noise, unless nobody has put any there: a plain
block may begin with its home. A read there is seen in the first case alone, which is every other one."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import expm1, sqrt
from pathlib import Path

import pytest

from tests.conftest import ROOT, SOAK, Exercised

PERIOD = 20_000
PAGE = 4096
KINDS = ["read after free", "write before", "read before"]
MECHANISMS = ["markers", "userfaultfd", "mprotect"]
RATIONED = ["governed", "2000"]
RUNS = 40 if SOAK else 2  # of each
Run = Callable[..., object]


@dataclass(frozen=True)
class Cell:
    """The blocks of one size with one kind of error, or none."""

    kind: str
    size: int
    trials: int
    sampled: int
    guarded: int
    found: int

    @property
    def slots(self) -> int:
        """What size of slot it gets: homes of one are guarded with one chance."""
        return (-(-self.size // PAGE) - 1).bit_length()


@dataclass(frozen=True)
class Prediction:
    found: float
    variance: float

    def __add__(self, other: Prediction) -> Prediction:
        return Prediction(self.found + other.found, self.variance + other.variance)

    def within(self, measured: int, sigmas: float, slack: float = 0) -> bool:
        return abs(measured - self.found) <= sigmas * sqrt(self.variance) + slack


def chance_of_guards(cells: list[Cell], cell: Cell) -> tuple[float, float]:
    """Seen on the other blocks in slots of this size; and its variance."""
    others = [each for each in cells if each.slots == cell.slots and each.kind != cell.kind]
    sampled, guarded = (sum(getattr(each, name) for each in others) for name in ("sampled", "guarded"))
    chance = guarded / max(sampled, 1)
    return chance, (chance * (1 - chance) + 1 / max(sampled, 1)) / max(sampled, 1)


def predict(cell: Cell, chance: float, doubt: float) -> Prediction:
    room = -(-cell.size // PAGE) * PAGE - -(-cell.size // 16) * 16
    plain = {"write before": 1 - 1 / (room // 16 + 1)}.get(cell.kind, 0)
    guarded = 0.5 if cell.kind == "read before" else 1
    p = -expm1(-cell.size / PERIOD)
    found = p * (chance * guarded + (1 - chance) * plain)
    of_chance = doubt * (cell.trials * p * (guarded - plain)) ** 2
    return Prediction(cell.trials * found, cell.trials * found * (1 - found) + of_chance)


@pytest.fixture(scope="module")
def inject(compile_c: Callable[..., Path], run_preloaded: Run) -> Callable[..., Iterator[list[Cell]]]:
    source = (ROOT / "tests" / "stress" / "injector.c").read_text()
    program = compile_c(source, ["-O1", "-fno-builtin", f"-I{ROOT}"])

    def run(number: int, seed: int, **options: str) -> list[Cell]:
        environment = {f"POIREAU_{name.upper()}": value for name, value in options.items()}
        environment |= {"POIREAU_SAMPLE_PERIOD": str(PERIOD), "POIREAU_SEED": str(seed)}
        done = run_preloaded([program, str(number), str(seed)], environment, timeout=600)
        assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])  # type: ignore[attr-defined]
        rows = csv.reader(io.StringIO(done.stdout))  # type: ignore[attr-defined]
        return [Cell(kind, *map(int, numbers)) for kind, *numbers in rows]

    return run  # type: ignore[return-value]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guard", "mechanism"),
    [("all", each) for each in MECHANISMS] + [(guard, "auto") for guard in RATIONED],
)
def test_errors_are_found_at_the_predicted_rate(
    guard: str,
    mechanism: str,
    inject: Callable[..., list[Cell]],
    seed: int,
    exercised: Exercised,
) -> None:
    # What has been touched is never closed again, and mprotect has few mappings.
    number = 8_000 if mechanism == "mprotect" else 50_000 if guard == "all" else 200_000
    none = Prediction(0, 0)
    measured, predicted, inside = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, none), 0
    for run in range(RUNS):
        cells = inject(number, seed % 1_000_003 + 1 + run, guard=guard, guard_mechanism=mechanism)
        wrong = [each for each in cells if each.kind == "right" and each.found]
        assert guard != "all" or not wrong, f"right blocks are complained of: {wrong}"
        for kind in KINDS:
            of_kind = [each for each in cells if each.kind == kind]
            expected = none
            for cell in of_kind:
                chance = (1.0, 0.0) if guard == "all" else chance_of_guards(cells, cell)
                expected += predict(cell, *chance)
            found = sum(each.found for each in of_kind)
            assert expected.within(found, 6, 1), f"{kind}, run {run}: found {found}, not {expected}"
            inside += expected.within(found, 1.96, 0.5)
            measured[kind] += found
            predicted[kind] += expected
    for kind in KINDS:
        half = 1.96 * sqrt(predicted[kind].variance)
        assert predicted[kind].within(measured[kind], 6, 1), f"{kind}: found {measured[kind]}, not {predicted[kind]}"
        exercised.add(
            "errors found of those injected",
            f"{kind}, guard = {guard} by {mechanism}: {measured[kind]}, "
            f"predicted {predicted[kind].found:.0f} +- {half:.0f} (95 %)",
        )
    # 1 in 20 is outside by rights.
    rounds = RUNS * len(KINDS)
    outside = rounds - inside
    assert not SOAK or outside <= 0.05 * rounds + 6 * sqrt(0.05 * 0.95 * rounds), f"{outside} of {rounds} outside"


# In `make check` where each fault makes mappings, of which there are few.
@pytest.mark.parametrize(
    "mechanism",
    [pytest.param(each, marks=pytest.mark.slow if each == "mprotect" else pytest.mark.soak) for each in MECHANISMS],
)
def test_errors_without_end_do_not_end_the_program(mechanism: str, inject: Callable[..., list[Cell]]) -> None:
    """50,000 faults, each in a page of its own."""
    *_, every = inject(300_000, 1, guard="all", guard_mechanism=mechanism)
    assert every.found > 20_000
