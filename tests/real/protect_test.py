"""Programs as Debian ships them when each of their blocks is protected: what they print is what they print without us,
and no error of theirs is told but those that they have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import Exercised

from . import python_test, redis_test, tools_test
from .conftest import OUR_ERROR, Setting

REVOKED = ["governed", "immediate", "runs"]
SETTINGS = [Setting(period=period, protect="all") for period in ("512K", "0", "1000")]
CHECKED = {"512K": ["redis", "test_json", "sqlite3", "perl", "pipelines"]}  # of them, in `make check`
PYTHON_MODULES = [*python_test.QUICK_MODULES, *python_test.MODULES]

pytestmark = pytest.mark.slow


@pytest.fixture(params=[pytest.param(each, marks=[] if each == "governed" else pytest.mark.soak) for each in REVOKED])
def revoke(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """When freed blocks become unreadable."""
    name: str = request.param
    environment = Setting.environment

    def with_it(self: Setting, **more: str) -> dict[str, str]:
        return environment(self, **more) | ({} if self.protect is None else {"POIREAU_REVOKE": name})

    monkeypatch.setattr(Setting, "environment", with_it)
    return name


def each_with(names: list[str]) -> Callable[..., object]:
    """Each in each setting; what isn't in CHECKED is left to `make soak`."""
    return pytest.mark.parametrize(
        ("name", "setting"),
        [
            pytest.param(
                name,
                setting,
                id=f"{name}-{setting}",
                marks=[] if name in CHECKED.get(setting.period or "", []) else pytest.mark.soak,
            )
            for name in names
            for setting in SETTINGS
        ],
    )


@pytest.fixture(scope="module")
def bare_redis(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], tuple[list[str], list[str], str]]:
    return cache(lambda: redis_test.serve(Setting(), redis_test.REQUESTS, tmp_path_factory.mktemp("bare")))


@each_with(["redis"])
def test_redis_serves_as_without_us(
    name: str,
    setting: Setting,
    revoke: str,
    bare_redis: Callable[[], tuple[list[str], list[str], str]],
    tmp_path: Path,
    exercised: Exercised,
) -> None:
    commands, data, _ = bare_redis()
    got_commands, got_data, said = redis_test.serve(setting, redis_test.REQUESTS, tmp_path)
    assert (got_commands, got_data) == (commands, data)
    assert not OUR_ERROR.findall(said), said
    exercised.count("programs with each block protected", name)


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, Setting], dict[str, str]]]:
    directory = tmp_path_factory.mktemp("bare")
    yield cache(lambda module, setting: python_test.outcomes(module, setting, directory / f"{module}-{setting}"))


@each_with(PYTHON_MODULES)
def test_modules_of_cpython_pass_as_without_us(
    name: str,
    setting: Setting,
    revoke: str,
    bare_python: Callable[[str, Setting], dict[str, str]],
    tmp_path: Path,
    exercised: Exercised,
) -> None:
    python_test.check(name, setting, bare_python, tmp_path, exercised)
    exercised.count("programs with each block protected", "python3")


@each_with(list(tools_test.SCRIPTS))
def test_scripts_do_what_they_do_without_us(
    name: str, setting: Setting, revoke: str, tmp_path: Path, exercised: Exercised
) -> None:
    bare = tools_test.outcome.__wrapped__(name, setting.bare, tmp_path)
    assert bare[1], bare
    directory = tmp_path / "protected"
    directory.mkdir()
    assert tools_test.outcome.__wrapped__(name, setting, directory) == bare
    exercised.count("programs with each block protected", name)
