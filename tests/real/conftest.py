"""Programs as Debian ships them, run bare and under Poireau, in every setting that a user may choose."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT, SOAK, Exercised, clean_environment

from . import limits
from .limits import UNLIMITED, Limit

ALLOCATORS = {
    "glibc": None,
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
    "mimalloc": "libmimalloc.so.2.0",
}
PERIODS = ["1", "1000", "512K", "32M", "0"]
MECHANISMS = ["markers", "userfaultfd", "mprotect", "none"]
GUARDED = [("1", None), ("1000", None), ("1000", "all")]  # period and guard; at period 1 every block is guarded anyway
LIBRARY_DIRECTORY = ROOT / "build" / "dev"
OUR_LINE = re.compile(r"^poireau: [^\n]*\n", re.MULTILINE)
OUR_ERROR = re.compile(
    r"^poireau: \S+\[\d+\]: (?:use after free|overflow|underflow|wild access|double free|invalid free|resize of|"
    r"mismatched|wrong size|short|write after free).*",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Setting:
    """One way to run a program: over which allocator, under which limit, and with Poireau at which period (None:
    without), with which guards, and which blocks protected that are not sampled."""

    allocator: str = "glibc"
    period: str | None = None
    mechanism: str | None = None
    guard: str | None = None
    limit: Limit = UNLIMITED
    protect: str | None = None

    def __str__(self) -> str:
        options = [each for each in (self.mechanism, self.guard, self.limit.name, self.protect) if each]
        return "-".join([self.allocator, self.period or "bare", *options])

    @property
    def bare(self) -> Setting:
        return Setting(self.allocator, limit=self.limit)

    def preloads(self) -> list[str]:
        beneath = ALLOCATORS[self.allocator]
        ours: list[Path] = []
        if self.period is not None:
            ours.append(LIBRARY_DIRECTORY / "libpoireau.so")
            if beneath is not None:
                ours.append(LIBRARY_DIRECTORY / f"libpoireau-{self.allocator}.so")
        return [*map(str, ours), *([beneath] if beneath else []), *self.limit.preload]

    def environment(self, **more: str) -> dict[str, str]:
        environment = clean_environment(**dict(self.limit.environment), **more)
        if preloads := self.preloads():
            environment["LD_PRELOAD"] = ":".join(preloads)
        if self.period is not None:
            options = {"SAMPLE_PERIOD": self.period, "GUARD_MECHANISM": self.mechanism, "GUARD": self.guard}
            options["PROTECT"] = self.protect
            environment |= {f"POIREAU_{name}": value for name, value in options.items() if value is not None}
            environment.setdefault("POIREAU_OVERHEAD_BUDGET", "off")  # or a line would say what such periods cost
            if not SOAK:  # most of the time of a run at period 1 would be stacks, and then guards and the record
                environment.setdefault("POIREAU_STACK_DEPTH", "1")
                if self.period == "1" and self.mechanism is None:
                    environment.setdefault("POIREAU_GUARD", "off")
                    environment.setdefault("POIREAU_SINK", "none")
        return environment


def in_every_setting(checked: Iterable[Setting]) -> Callable[..., object]:
    """The whole product of allocators and periods; those not among `checked` are left to `make soak`."""
    chosen = set(checked)
    product = [Setting(allocator, period) for allocator in ALLOCATORS for period in PERIODS]
    return pytest.mark.parametrize(
        "setting",
        [pytest.param(each, id=str(each), marks=[] if each in chosen else [pytest.mark.soak]) for each in product],
    )


def in_every_home(*checked: str) -> Callable[..., object]:
    """The whole product of guard mechanisms, their rations and limits; `checked` are the names of some in it, the
    others are left to `make soak`."""
    product = [
        Setting(period=period, mechanism=mechanism, guard=guard, limit=Limit(limit))
        for mechanism in MECHANISMS
        for period, guard in GUARDED
        for limit in ["", *limits.NAMES]
    ]
    assert set(checked) <= {str(each) for each in product}, checked
    return pytest.mark.parametrize(
        "setting",
        [
            pytest.param(each, id=str(each), marks=[] if str(each) in checked else [pytest.mark.soak])
            for each in product
        ],
    )


def run(
    argv: Sequence[str | Path], setting: Setting, env: Mapping[str, str] | None = None, **more: object
) -> subprocess.CompletedProcess[str]:
    options: dict[str, object] = {"stdin": subprocess.DEVNULL, "capture_output": True, "errors": "replace", **more}
    environment = setting.environment(**(env or {}))
    command = [*setting.limit.command, *argv]
    return subprocess.run(command, env=environment, text=True, **options)  # type: ignore[call-overload,no-any-return]


def samples_said(stderr: str) -> dict[str, int]:
    """What each program said it sampled, at POIREAU_LOG=debug."""
    said: dict[str, int] = {}
    for name, number in re.findall(r"^poireau: (\S+)\[\d+\]: (\d+) samples, ", stderr, re.MULTILINE):
        said[name] = said.get(name, 0) + int(number)
    return said


@pytest.fixture(scope="session")
def guards_said() -> Callable[[Setting], str]:
    """What a small program says of its guards there."""

    @cache
    def of(setting: Setting) -> str:
        done = run(["cat"], setting, {"POIREAU_LOG": "info"})
        found = re.search(r"guards by (\w+)", done.stderr)
        assert found, done
        return found[1]

    return of


@pytest.fixture(scope="session")
def confine(
    compile_c: Callable[..., Path],
    guards_said: Callable[[Setting], str],
    tmp_path_factory: pytest.TempPathFactory,
    exercised: Exercised,
) -> Callable[..., Setting]:
    """confine(setting, what, run) is it with its limit made for the program `what`, which run(setting) runs."""

    def program(name: str, *flags: str) -> Path:
        programs = ROOT / "tests" / "programs"
        shared = ["-fPIC"] if "-shared" in flags else []
        return compile_c((programs / name).read_text(), [f"-I{programs}", f"-I{ROOT}", *shared, *flags])

    every = limits.Limits(program, tmp_path_factory.mktemp("limits"))

    def of(setting: Setting, what: str, run_in: Callable[[Setting], object]) -> Setting:
        name, mechanism = setting.limit.name, setting.mechanism
        unlimited = replace(setting, limit=UNLIMITED)
        if mechanism is not None and guards_said(unlimited) != mechanism:
            pytest.skip(f"no guards by {mechanism} here")
        if name in limits.FILTERS and shutil.which("strace") is None:
            pytest.fail("strace is not installed: run `make setup`", pytrace=False)
        limit = every.make(name, what, lambda limit: run_in(replace(unlimited.bare, limit=limit)))
        if name == "locked" and run(["true"], replace(unlimited.bare, limit=limit)).returncode != 0:
            pytest.skip("no memory may be locked")
        exercised.count("homes under", name or "no limit")
        return replace(setting, limit=limit)

    return of


@pytest.fixture(autouse=True)
def _built(library: Path) -> None:
    """Every test here needs the library."""
