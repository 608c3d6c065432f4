"""The test programs of tests/programs, and runs of them without Poireau to compare with."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.conftest import clean_environment

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


@pytest.fixture
def traces_parent(tmp_path: Path) -> Path:
    """Where `traced` and `tell` have traces lie; not there yet."""
    return tmp_path / "traces"


def every_call(parent: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment in which every call is a sample, recorded under `parent`."""
    fixed = {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_TRACE": str(parent), "POIREAU_TRACE_LIMIT": "128M"}
    return {**fixed, **(more or {})}


@pytest.fixture
def traced(run_preloaded: Run, traces_parent: Path) -> Run:
    """run_preloaded with every call recorded."""
    return lambda argv, env=None, **more: run_preloaded(argv, every_call(traces_parent, env), **more)


class Told:
    """tests/programs/told.c at work."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str], **more: object) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(  # type: ignore[call-overload]
            command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1, **more
        )

    def __call__(self, command: str) -> list[str]:
        """The lines it answers with."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line == "ok\n":
                assert not any(": failed " in each for each in lines), lines
                return lines
            lines.append(line.rstrip())
        pytest.fail(f"{command}: it ended with {self.process.wait()}: {lines} {self.process.stderr.read()}")

    def kept(self) -> dict[int, int]:
        """Sizes of the blocks that it keeps, by address."""
        return {int(at, 16): int(size) for at, size in map(str.split, self("show"))}

    def finish(self) -> str:
        """What it said on standard error, once it has ended well."""
        _, complaints = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, (self.process.returncode, complaints)
        return complaints


@pytest.fixture
def tell(program: Callable[..., Path], library: Path, traces_parent: Path) -> Iterator[Callable[..., Told]]:
    """tell(env) starts one with every call recorded."""
    started: list[Told] = []

    def start(env: Mapping[str, str] | None = None, before: Sequence[str | Path] = (), **more: object) -> Told:
        environment = clean_environment(**every_call(traces_parent, {"LD_PRELOAD": str(library), **(env or {})}))
        started.append(Told([*before, program("told.c")], environment, **more))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def controlled(program: Callable[..., Path], library: Path, traces_parent: Path) -> Iterator[Callable[..., Told]]:
    """controlled(env) starts tests/programs/controlled.c, which is at work unless `work` is empty."""
    started: list[Told] = []

    def start(
        env: Mapping[str, str] | None = None,
        before: Sequence[str | Path] = (),
        *,
        arguments: Sequence[str] = (),
        flags: Sequence[str] = (),
        preload: Sequence[str | Path] = (),
        work: str = "work 1 1000 4",
        **more: object,
    ) -> Told:
        own = {"POIREAU_SAMPLE_PERIOD": "64K", "POIREAU_STACK_DEPTH": "3", "POIREAU_OVERHEAD_BUDGET": "off"} | (
            env or {}
        )
        own["LD_PRELOAD"] = ":".join(map(str, [library, *preload]))
        environment = clean_environment(**every_call(traces_parent, own))
        started.append(Told([*before, program("controlled.c", *flags), *arguments], environment, **more))
        if work:
            started[-1](work)
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
