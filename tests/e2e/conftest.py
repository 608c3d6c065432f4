"""The test programs of tests/programs, and runs of them without Poireau to compare with."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "programs"
ALLOCATORS = {
    "glibc": None,
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
    "mimalloc": "libmimalloc.so.2.0",
}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def program(compile_c: Callable[..., Path]) -> Callable[..., Path]:
    """program("name.c", flags...): tests/programs/name.c, built; -shared among the flags makes it a library."""

    def build(name: str, *flags: str | Path) -> Path:
        cxx = name.endswith(".cc")
        shared = ["-fPIC"] if "-shared" in flags else []
        every = ["-fno-builtin", "-pthread", f"-I{ROOT}", f"-I{PROGRAMS}", *shared, *map(str, flags)]
        source = (PROGRAMS / name).read_text()
        return compile_c(source, every, "c++" if cxx else "cc", "c++" if cxx else "c")

    return build


@pytest.fixture(scope="session")
def run_bare(run_preloaded: Run) -> Run:
    """run_preloaded without Poireau."""

    def run(
        argv: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        *,
        extensions: Sequence[str] = (),
        preload: Sequence[str | Path] = (),
        **more: object,
    ) -> subprocess.CompletedProcess[str]:
        # env(1) is preloaded, the program is not.
        own = [f"{name}={value}" for name, value in (env or {}).items()]
        late = [f"LD_PRELOAD={':'.join(map(str, preload))}"] if preload else ["-u", "LD_PRELOAD"]
        return run_preloaded(["env", *late, *own, *argv], {"POIREAU_SAMPLE_PERIOD": "0"}, **more)

    return run


@pytest.fixture(scope="session")
def same_as_bare(run_preloaded: Run, run_bare: Run) -> Run:
    """Runs it both ways; fails unless output and status are the same, and returns the preloaded run."""

    def run(*args: object, **more: object) -> subprocess.CompletedProcess[str]:
        bare, ours = run_bare(*args, **more), run_preloaded(*args, **more)
        assert (ours.stdout, ours.stderr, ours.returncode) == (bare.stdout, bare.stderr, bare.returncode)
        return ours

    return run


def under(allocator: str) -> list[str]:
    """What to preload after Poireau for this allocator."""
    name = ALLOCATORS[allocator]
    return [] if name is None else [name]


@pytest.fixture(params=list(ALLOCATORS))
def allocator(request: pytest.FixtureRequest) -> str:
    return request.param
