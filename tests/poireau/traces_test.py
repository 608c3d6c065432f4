"""Which trace is meant."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from poireau import configured, traces
from poireau.errors import Failure


def run_of(parent: Path, program: str, pid: int, ago: int) -> Path:
    """The directory of a run with one process, that began so many seconds ago."""
    date = time.strftime("%Y%m%d-%H%M%S", time.gmtime(time.time() - ago))
    run = parent / f"{date}-{program}-{pid}-12ab"
    process = run / f"{date}-{program}-{pid}-1f-2e-3d"
    process.mkdir(parents=True)
    (process / "metadata").touch()
    return run


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return tmp_path / "traces"


def test_the_newest_run_is_meant_where_none_is_named_and_is_said(parent: Path) -> None:
    run_of(parent, "old", 1, 1000)
    run = run_of(parent, "ser-ver", 123, 130)
    (parent / f"{run.name[:8]}-999999-empty-9-0").mkdir()
    meant = traces.meant([], str(parent))
    assert meant.paths == (str(run),)
    assert meant.said == f"using run ser-ver-123 (2 min ago): {run}"


def test_the_directory_may_be_named_from_where_one_is_or_be_a_runs_own(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(parent, "server", 123, 130)
    monkeypatch.chdir(parent.parent)
    assert traces.meant([], parent.name).paths == (str(run),)
    assert traces.meant([], f"{parent.name}/{run.name}").paths == (str(run),)


def test_of_runs_of_one_second_that_is_the_newest_in_which_a_process_came_last(parent: Path) -> None:
    first, second = (run_of(parent, program, pid, 100) for program, pid in (("timeout", 7), ("server", 8)))
    for run, at in ((first, 1_000_000_000), (second, 1_000_000_001)):
        os.utime(run, (at, at))
    renamed = parent / f"{first.name[:15]}{second.name[15:]}"  # should the clock have ticked between them
    second.rename(renamed)
    assert traces.meant([], str(parent)).paths == (str(renamed),)


def test_the_pid_of_poireau_run_means_what_it_runs_and_what_it_ran(parent: Path) -> None:
    run = run_of(parent, "server", 99999999, 300)
    inner = next(run.iterdir())
    inner.rename(run / inner.name.replace("-99999999-", "-99999997-"))
    assert traces.meant(["99999999"], str(parent)).paths == (str(run),)


def test_a_place_is_said_as_anybody_calls_it(tmp_path: Path) -> None:
    through = Path(f"/proc/{os.getpid()}/root{tmp_path}/20260101-000000-server-5-a")
    assert str(tmp_path) in (said := traces._called(through)) and "/proc/" in said, "it is not there"
    (tmp_path / through.name).mkdir()
    assert traces._called(through).endswith(f"ago): {tmp_path / through.name}")


def test_a_program_and_a_run_may_be_called_by_name(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    older, newer = run_of(parent, "server", 12, 500), run_of(parent, "server", 13, 300)
    assert traces.meant(["server"], str(parent)).paths == (str(newer),)
    assert traces.meant(["server-12"], str(parent)).paths == (str(older),)
    with pytest.raises(
        Failure, match="serve is not there, and no program of that name has left a trace: did you mean server"
    ):
        traces.meant(["serve"], str(parent))
    (tmp_path / "server").touch()
    assert traces.meant(["server"], str(parent)).paths == ("server",), "what is there comes first"


def test_digits_are_a_pid_and_of_its_traces_the_last(parent: Path) -> None:
    run_of(parent, "one", 99999999, 500)
    last = run_of(parent, "two", 99999999, 300)
    (path,) = traces.meant(["99999999"], str(parent)).paths
    assert Path(path).parent == last
    with pytest.raises(Failure, match="there is no process 99999998, and no trace of one in"):
        traces.meant(["99999998"], str(parent))


def test_several_are_several(parent: Path) -> None:
    run_of(parent, "one", 99999999, 500)
    meant = traces.meant(["net://host/host/a/b", "/x/y", "99999999"], str(parent))
    assert meant.paths[:2] == ("net://host/host/a/b", "/x/y") and len(meant.paths) == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('trace = "/a b" # said', "/a b"),
        ("[poireau]\ntrace='/a'\ntrace = '/b'", "/b"),
        ('[other]\ntrace = "/a"\n[ poireau ]\nTRACE = /c', "/c"),
        ('[other]\ntrace = "/a"', ""),
        (r'trace = "/q\"\\"', '/q"\\'),
        ("traces = '/a'", ""),
        ("trace_limit = 3", ""),
    ],
)
def test_a_file_of_options_is_read_as_the_library_reads_it(text: str, value: str, tmp_path: Path) -> None:
    file = tmp_path / "options.toml"
    file.write_text("\ufeff" + text + "\r\n")
    assert configured.value("trace", {"HOME": "/not/there", "POIREAU_CONFIG": str(file)}) == value


def test_a_later_source_wins(tmp_path: Path) -> None:
    (tmp_path / "poireau").mkdir()
    (tmp_path / "poireau" / "config.toml").write_text("trace = '/user'")
    (tmp_path / "named.toml").write_text("trace = '/named'")
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": "/state"}
    assert traces.parent(environment) == Path("/user")
    environment["POIREAU_CONFIG"] = str(tmp_path / "named.toml")
    assert traces.parent(environment) == Path("/named")
    assert traces.parent({**environment, "POIREAU_TRACE": "/variable"}) == Path("/variable")
    assert traces.parent({**environment, "POIREAU_TRACE": ""}) == Path("/state/poireau/traces")
    assert traces.parent({**environment, "POIREAU_TRACE": "", "STATE_DIRECTORY": "/a:/b"}) == Path("/a")
