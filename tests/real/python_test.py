"""CPython's own tests, each object of it from malloc: the same ones pass."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import Exercised

from .conftest import OUR_ERROR, Setting, in_every_home, in_every_setting, run

PYTHON = "/usr/bin/python3"
QUICK_MODULES = ["test_collections", "test_json"]
MODULES = [
    *("test_ast", "test_asyncio", "test_ctypes", "test_decimal", "test_fork1", "test_io", "test_pickle"),
    *("test_re", "test_subprocess", "test_tarfile", "test_threading", "test_unicode", "test_zlib"),
]
TRIES = 3  # some of CPython's tests fail now and then on a busy machine, with us or without

pytestmark = pytest.mark.slow


def outcomes(module: str, setting: Setting, directory: Path) -> dict[str, str]:
    """What became of each test of a module."""
    directory.mkdir(exist_ok=True)
    report = directory / "report.xml"
    report.unlink(missing_ok=True)
    environment = {"PYTHONMALLOC": "malloc", "HOME": str(directory), "TMPDIR": str(directory)}
    command = [PYTHON, "-m", "test", "--quiet", "--junit-xml", report, module]
    done = run(command, setting, environment, cwd=directory)
    assert report.is_file(), f"{module} under {setting} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert not (error := OUR_ERROR.search(done.stdout + done.stderr)), error
    found: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        failed = any(case.iter("failure")) or any(case.iter("error"))
        skipped = case.get("result") == "skipped" or any(case.iter("skipped"))
        found[case.get("name", "")] = "failed" if failed else "skipped" if skipped else "passed"
    return found


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Setting], dict[str, str]]:
    directory = tmp_path_factory.mktemp("bare")
    return cache(lambda module, setting: outcomes(module, setting, directory / f"{module}-{setting}"))


def check(
    module: str, setting: Setting, bare: Callable[[str, Setting], dict[str, str]], tmp_path: Path, exercised: Exercised
) -> None:
    expected = bare(module, setting.bare)
    assert "passed" in expected.values(), f"{module} does nothing even without us"
    changed: set[str] = set()
    for attempt in range(TRIES):
        got = outcomes(module, setting, tmp_path / str(attempt))
        assert got.keys() == expected.keys()
        differs = {name for name, outcome in got.items() if outcome != expected[name] and expected[name] != "failed"}
        changed = differs if attempt == 0 else changed & differs
        if not changed:
            break
    assert not changed, f"of {module}, {sorted(changed)} end otherwise under {setting}, {TRIES} times running"
    exercised.count("tests of CPython", module, len(expected))


@in_every_setting([Setting(period="1000"), Setting("mimalloc", "512K")])
@pytest.mark.parametrize(
    "module", [QUICK_MODULES[0], *(pytest.param(each, marks=pytest.mark.soak) for each in QUICK_MODULES[1:])]
)
def test_light_modules_pass_as_without_us(
    module: str,
    setting: Setting,
    bare: Callable[[str, Setting], dict[str, str]],
    tmp_path: Path,
    exercised: Exercised,
) -> None:
    check(module, setting, bare, tmp_path, exercised)


@in_every_setting([])
@pytest.mark.parametrize("module", MODULES)
def test_heavy_modules_pass_as_without_us(
    module: str,
    setting: Setting,
    bare: Callable[[str, Setting], dict[str, str]],
    tmp_path: Path,
    exercised: Exercised,
) -> None:
    check(module, setting, bare, tmp_path, exercised)


@in_every_home("glibc-1000-userfaultfd-locked")
@pytest.mark.parametrize(
    "module",
    [
        pytest.param(QUICK_MODULES[0], marks=pytest.mark.soak),
        QUICK_MODULES[1],
        *(pytest.param(each, marks=pytest.mark.soak) for each in MODULES),
    ],
)
def test_modules_pass_so_from_every_home(
    module: str,
    setting: Setting,
    bare: Callable[[str, Setting], dict[str, str]],
    confine: Callable[..., Setting],
    tmp_path: Path,
    exercised: Exercised,
) -> None:
    setting = confine(setting, module, lambda setting: bare(module, setting))
    check(module, setting, bare, tmp_path, exercised)
    exercised.count("programs at home", "python3")
