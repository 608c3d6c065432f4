"""What every test may ask for: the build, programs compiled on the spot, scaling for `make soak`, and a record of
what a run really exercised, printed at its end."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import signal
import subprocess
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import hypothesis
import hypothesis.configuration
import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = "libpoireau.so"
SOAK = os.environ.get("POIREAU_SOAK", "0") not in ("", "0")
# What the front end loads and starts is the build under test, and nothing is kept from one run to the next.
os.environ.setdefault("POIREAUPY_NATIVE", str(ROOT / "build" / "dev"))
hypothesis.configuration.set_hypothesis_home_dir(ROOT / "build" / "hypothesis")
hypothesis.settings.register_profile("poireau", database=None, deadline=None, derandomize=not SOAK)
hypothesis.settings.load_profile("poireau")
# Who is started in the background ignores it, and so would all that we start.
signal.signal(signal.SIGINT, signal.default_int_handler)
PRELOADED = os.environ.get("POIREAU_PRELOADED", "dev")  # the build whose library programs are run with
CHECK_SHARE = 10  # `make check` does this fraction of what `make soak` does


class Exercised:
    """Facts about this run, by kind: exercised.add("allocators", "jemalloc 5.3.0"), or counted."""

    def __init__(self) -> None:
        self._facts: dict[str, set[str]] = {}
        self._counts: dict[str, Counter[str]] = {}
        self._skips: Counter[str] = Counter()

    def add(self, kind: str, what: str) -> None:
        self._facts.setdefault(kind, set()).add(what)

    def count(self, kind: str, what: str, number: int = 1) -> None:
        self._counts.setdefault(kind, Counter())[what] += number

    def skip(self, reason: str) -> None:
        """For a case that some other test program skipped, inside a test of ours that passed."""
        self._skips[reason] += 1

    def lines(self) -> list[str]:
        lines = [f"exercised: {kind}: {', '.join(sorted(facts))}" for kind, facts in sorted(self._facts.items())]
        for kind, counts in sorted(self._counts.items()):
            lines.append(f"exercised: {kind}: " + ", ".join(f"{what} {n}" for what, n in sorted(counts.items())))
        lines += [f"skipped cases: {n}: {reason}" for reason, n in sorted(self._skips.items())]
        return lines


_exercised = Exercised()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if SOAK:
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


_failed: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and report.nodeid not in _failed:
        _failed.append(report.nodeid)


def pytest_sessionfinish() -> None:
    """Says to scripts/test what failed."""
    if there := os.environ.get("POIREAU_FAILED"):
        Path(there).write_text("".join(f"{name}\n" for name in _failed))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.ensure_newline()
    for line in _exercised.lines():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def exercised() -> Exercised:
    return _exercised


@pytest.fixture(scope="session")
def build() -> Path:
    directory = ROOT / "build" / "dev"
    if not (directory / "build.ninja").is_file():
        pytest.fail(f"{directory} is not built: run `make build`", pytrace=False)
    return directory


@pytest.fixture(scope="session")
def library(build: Path) -> Path:
    path = build.with_name(PRELOADED) / LIBRARY
    if not path.is_file():
        pytest.fail(f"{path} is not there: run `make build`", pytrace=False)
    return path


@pytest.fixture(scope="session")
def scale() -> Callable[[int], int]:
    """scale(n) is n in `make soak`, a tenth of it (1 at least) otherwise."""
    return lambda n: n if SOAK else max(1, n // CHECK_SHARE)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """POIREAU_SEED, or the test's own in `make check`, a new one in `make soak`; shown when the test fails."""
    chosen = os.environ.get("POIREAU_SEED")
    if chosen is not None:
        value = int(chosen, 0)
    elif SOAK:
        value = random.SystemRandom().getrandbits(32)
    else:
        value = zlib.crc32(request.node.nodeid.encode())
    print(f"seed: POIREAU_SEED={value}")
    return value


def clean_environment(**more: str) -> dict[str, str]:
    """What the tests' programs are started with, whatever the tests themselves were started with."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "TERM", "POIREAUPY_NATIVE") if name in os.environ
    }
    return {**kept, "LC_ALL": "C.UTF-8", "POIREAU_TRACE": traces(), "POIREAU_TRACE_LIMIT": "4MiB", **more}


@cache
def traces() -> str:
    """The directory of all traces that nobody looks at."""
    directory = tempfile.mkdtemp(prefix="poireau-traces-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


@pytest.fixture(scope="session")
def run_preloaded(library: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """run_preloaded(argv, {"POIREAU_LOG": "info"}, extensions=["jemalloc"], timeout=60, ...subprocess.run's own)."""

    def run(
        argv: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        *,
        extensions: Sequence[str] = (),
        preload: Sequence[str | Path] = (),
        timeout: float = 60,
        **more: object,
    ) -> subprocess.CompletedProcess[str]:
        ours = [library, *(library.parent / f"libpoireau-{name}.so" for name in extensions)]
        environment = clean_environment(**(env or {}))
        environment["LD_PRELOAD"] = ":".join(str(each) for each in [*ours, *preload])
        options: dict[str, object] = {"stdin": subprocess.DEVNULL, "capture_output": True, "errors": "replace"}
        options |= more
        return subprocess.run(argv, env=environment, timeout=timeout, text=True, **options)  # type: ignore[call-overload]

    return run


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """compile_c(source, flags, compiler="cc", language="c") -> program (or library, with -shared); fails if it doesn't
    build. The same request is built once."""
    directory = tmp_path_factory.mktemp("compiled")
    built: dict[tuple[str, ...], Path] = {}

    def compile(source: str, flags: Sequence[str] = (), compiler: str = "cc", language: str = "c") -> Path:
        request = (source, compiler, language, *flags)
        if request not in built:
            output = directory / f"program{len(built)}"
            # Sources come first, so that the libraries among the flags serve them.
            command = [compiler, "-x", language, "-", "-x", "none", "-g", "-o", str(output), *flags]
            done = subprocess.run(command, input=source, text=True, capture_output=True, timeout=300)
            if done.returncode != 0:
                pytest.fail(f"{' '.join(command)}\n{done.stderr}", pytrace=False)
            built[request] = output
        return built[request]

    return compile
