"""A pytest plugin: `pytest -p poireau.pytest_plugin --poireau` runs the tests under the library.

- Memory errors that native code makes during a test fail that test.
- `@pytest.mark.limit_leaks("1MB")` runs a test's body again, `runs=5` times, each call of malloc recorded, and fails if
  what it leaves behind, a run, is more: blocks that were asked for in a run, in at least half of the runs by the same
  line, and are still there after the last one and `gc.collect()`. The first run, which fills caches, isn't counted. The
  failure says how many of those blocks nothing points at any more.

pytest starts anew as itself with the library preloaded. Who looks is another process (ci_pytest.py), so that nothing
of ours runs between the test's own calls. Threads other than the main one are recorded by and by. Not for xdist.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import json
import os
import secrets
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from poireau import launch, layout
from poireau.errors import Failure

_UNDER = "POIREAUPY_PYTEST"  # the directory of traces, once pytest runs under the library
_RUNS = 5
_ERRORS = 15  # of struct poireau_stats, in words
_NUDGE = 1 << 20  # bytes; allocating so much has the library look at its socket
_SAMPLED = 64 << 20  # bytes that no period leaves out
_PATIENCE = 60.0  # seconds
_PTRACER = 0x59616D61  # prctl: who may look, where Yama asks


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("poireau", "memory errors and leaks of native code")
    group.addoption("--poireau", action="store_true", help="run the tests under Poireau's library")
    group.addoption("--poireau-period", metavar="SIZE", default="64KiB", help="mean bytes between samples (64KiB)")
    group.addoption(
        "--poireau-suppressions", metavar="FILE", action="append", default=[], help="known leaks and errors"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"limit_leaks(size, runs={_RUNS}): with --poireau, fail if the test leaves more behind, a run"
    )
    if config.getoption("--poireau") and _UNDER in os.environ:
        config.pluginmanager.register(_Under(config), "poireau-under")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if not config.getoption("--poireau") or _UNDER in os.environ:
        return
    if os.environ.get("PYTEST_XDIST_WORKER") or getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--poireau: not with xdist; leave out -n")
    try:
        traces = tempfile.mkdtemp(prefix="poireau-pytest-")
        variables = {
            "POIREAU_TRACE": traces,
            "POIREAU_RUN": launch.run_name("pytest", os.getpid(), time.time(), secrets.token_hex(4)),
            "POIREAU_SAMPLE_PERIOD": config.getoption("--poireau-period"),
            "POIREAU_TRACE_LIMIT": "1GiB",
            "POIREAU_OVERHEAD_BUDGET": "off",
            "POIREAU_LOG": "off",  # the tests that fail tell
            _UNDER: traces,
        }
        words = [sys.executable, *getattr(sys, "orig_argv", ["", *sys.argv])[1:]]  # Python 3.10 has it
        plan = launch.plan(words, variables, dict(os.environ), layout.library())
        if plan.warning is not None:
            raise Failure(plan.warning)
        capture = config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.stop_global_capturing()
        launch.become(plan)
    except Failure as failure:
        raise pytest.UsageError(f"poireau: {failure}") from failure


class _Under:
    """pytest, under the library."""

    def __init__(self, config: pytest.Config) -> None:
        self._stats = getattr(ctypes.CDLL(None), "poireau_get_stats", None)
        if self._stats is None:
            raise pytest.UsageError("poireau: the library is not in this process: is it a static Python?")
        self._suppressions = [os.path.abspath(path) for path in config.getoption("--poireau-suppressions")]
        self._period = config.getoption("--poireau-period")
        self._traces = os.environ.pop(_UNDER)  # what tests start is no pytest of ours
        self._helper: subprocess.Popen[str] | None = None

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        before, since = self._errors(), time.time_ns()
        result = yield
        mark = item.get_closest_marker("limit_leaks")
        if mark is not None:
            self._measure(item, *_of_mark(*mark.args, **mark.kwargs))
        if self._errors() != before:
            said = self._ask({"do": "errors", "since": since})["errors"]
            if said:
                pytest.fail("\n".join(said), pytrace=False)
        return result

    def pytest_unconfigure(self) -> None:
        if self._helper is not None:
            assert self._helper.stdin and self._helper.stdout
            with contextlib.suppress(OSError):
                self._helper.stdin.close()
            self._helper.stdout.close()
            self._helper.wait()
        shutil.rmtree(self._traces, ignore_errors=True)

    def _errors(self) -> int:
        words = (ctypes.c_uint64 * (_ERRORS + 1))()
        assert self._stats is not None
        self._stats(words, ctypes.sizeof(words))
        return int(words[_ERRORS])

    def _measure(self, item: pytest.Item, limit: str, runs: int) -> None:
        self._ask({"do": "set", "period": "1"}, nudge=True)
        try:
            times = []
            for _ in range(runs):
                gc.collect()
                times.append(time.time_ns())
                item.runtest()
            gc.collect()
            times.append(time.time_ns())
        finally:
            self._ask({"do": "set", "period": self._period}, nudge=True)
        said = self._ask({"do": "leaks", "times": times, "limit": limit})
        if said["leaked"]:
            pytest.fail(said["leaked"], pytrace=False)

    def _ask(self, request: dict[str, Any], nudge: bool = False) -> dict[str, Any]:
        """`nudge`: the library has to answer, too, and does when somebody allocates."""
        if self._helper is None:
            self._helper = self._started()
        stdin, stdout = self._helper.stdin, self._helper.stdout
        assert stdin and stdout
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
            deadline = time.monotonic() + _PATIENCE
            while nudge and time.monotonic() < deadline and not select.select([stdout], [], [], 0.001)[0]:
                bytearray(_NUDGE)
            said: dict[str, Any] = json.loads(stdout.readline() or '{"failure": "who looks has ended"}')
        except OSError as error:
            said = {"failure": f"who looks has ended: {error.strerror}"}
        if nudge:
            bytearray(_SAMPLED)  # the next sample was drawn with the period before
        if "failure" in said:
            pytest.fail(f"poireau: {said['failure']}", pytrace=False)
        return said

    def _started(self) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("POIREAU_", "LD_PRE"))}
        environment["PYTHONPATH"] = str(layout.PACKAGE.parent)
        words = [_python(), "-m", "poireau.ci_pytest", str(os.getpid()), *self._suppressions]
        helper = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        ctypes.CDLL(None).prctl(_PTRACER, ctypes.c_ulong(helper.pid), 0, 0, 0)
        return helper


def _of_mark(limit: Any = "0", runs: Any = _RUNS) -> tuple[str, int]:
    if not isinstance(runs, int) or not 0 < runs <= 1000:
        raise pytest.UsageError(f"limit_leaks: runs={runs} should be 1 to 1000")
    return str(limit), runs


def _python() -> str:
    """One that has what reading traces needs."""
    own = layout.PACKAGE.parent / ".venv/bin/python"
    if all(importlib.util.find_spec(name) for name in ("numpy", "pandas")) or not Path(own).is_file():
        return sys.executable
    return str(own)
