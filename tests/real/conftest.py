"""Programs as Debian ships them, run bare and under Poireau, in every setting that a user may choose."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

ALLOCATORS = {
    "glibc": None,
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
    "mimalloc": "libmimalloc.so.2.0",
}
PERIODS = ["1", "1000", "512K", "32M", "0"]
LIBRARY_DIRECTORY = ROOT / "build" / "dev"
OUR_LINE = re.compile(r"^poireau: [^\n]*\n", re.MULTILINE)


@dataclass(frozen=True)
class Setting:
    """One way to run a program: over which allocator, and with Poireau at which period (None: without)."""

    allocator: str = "glibc"
    period: str | None = None

    def __str__(self) -> str:
        return f"{self.allocator}-{self.period or 'bare'}"

    @property
    def bare(self) -> Setting:
        return Setting(self.allocator)

    def preloads(self) -> list[str]:
        beneath = ALLOCATORS[self.allocator]
        ours: list[Path] = []
        if self.period is not None:
            ours.append(LIBRARY_DIRECTORY / "libpoireau.so")
            if beneath is not None:
                ours.append(LIBRARY_DIRECTORY / f"libpoireau-{self.allocator}.so")
        return [*map(str, ours), *([beneath] if beneath else [])]

    def environment(self, **more: str) -> dict[str, str]:
        environment = clean_environment(**more)
        if preloads := self.preloads():
            environment["LD_PRELOAD"] = ":".join(preloads)
        if self.period is not None:
            environment["POIREAU_SAMPLE_PERIOD"] = self.period
        return environment


QUICK = [Setting(period=period) for period in PERIODS]
QUICK += [Setting("jemalloc", "1000"), Setting("tcmalloc", "512K"), Setting("mimalloc", "1")]


def in_every_setting(checked: Iterable[Setting] = QUICK) -> Callable[..., object]:
    """The whole product of allocators and periods; those not among `checked` are left to `make soak`."""
    chosen = set(checked)
    product = [Setting(allocator, period) for allocator in ALLOCATORS for period in PERIODS]
    return pytest.mark.parametrize(
        "setting",
        [pytest.param(each, id=str(each), marks=[] if each in chosen else [pytest.mark.soak]) for each in product],
    )


def run(
    argv: Sequence[str | Path], setting: Setting, env: Mapping[str, str] | None = None, **more: object
) -> subprocess.CompletedProcess[str]:
    options: dict[str, object] = {"stdin": subprocess.DEVNULL, "capture_output": True, "errors": "replace", **more}
    environment = setting.environment(**(env or {}))
    return subprocess.run(argv, env=environment, text=True, **options)  # type: ignore[call-overload,no-any-return]


def samples_said(stderr: str) -> dict[str, int]:
    """What each program said it sampled, at POIREAU_LOG=debug."""
    said: dict[str, int] = {}
    for name, number in re.findall(r"^poireau: (\S+)\[\d+\]: (\d+) samples, ", stderr, re.MULTILINE):
        said[name] = said.get(name, 0) + int(number)
    return said


@pytest.fixture(autouse=True)
def _built(library: Path) -> None:
    """Every test here needs the library."""
