"""Where the traces of real programs lie, that nothing in the way harms the program, and the bound on all of them."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from poireau import launch
from tests.conftest import SOAK

Run = Callable[..., "subprocess.CompletedProcess[str]"]
EVERY = {"POIREAU_SAMPLE_PERIOD": "1"}
TIME = r"\d{8}-\d{6}"
RUN_NAME = re.compile(TIME + r"-[\w.+-]{1,32}-\d+-[0-9a-f]{1,8}")
PROCESS_NAME = re.compile(TIME + r"-[\w.+-]{1,32}-(?P<pid>\d+)-[0-9a-f]+-[0-9a-f]{1,8}-[0-9a-f]{1,8}")
FORKS = """
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
static void work(void) { for (int i = 0; i < 10; ++i) free(malloc(100)); }
int main(void) {
  work();
  for (int i = 0; i < 3; ++i)
    if (fork() == 0) { work(); exit(0); }
  while (wait(NULL) > 0) {}
  return puts("done") < 0;
}
"""


@pytest.fixture(scope="session")
def forks(compile_c: Callable[..., Path]) -> Path:
    """A program of four processes that each allocate."""
    return compile_c(FORKS, ["-fno-builtin"])


def processes(parent: Path) -> list[Path]:
    """Every process's directory; all there is has to be one, or to belong to one."""
    runs = [run for run in parent.iterdir() if not run.name.startswith(".full-")] if parent.exists() else []
    found = [process for run in runs for process in run.iterdir()]
    assert all(RUN_NAME.fullmatch(run.name) for run in runs), runs
    assert all(PROCESS_NAME.fullmatch(process.name) for process in found), found
    return sorted(found)


def under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name == "metadata"]


def test_the_first_directory_there_is_gets_the_trace(run_preloaded: Run, tmp_path: Path) -> None:
    service, home, state = (tmp_path / name for name in ("service", "home", "state"))
    service.mkdir()
    home.mkdir()
    environment = {**EVERY, "POIREAU_TRACE": "", "HOME": str(home)}
    steps = [
        ({}, home / ".local/state/poireau/traces"),
        ({"XDG_STATE_HOME": str(state)}, state / "poireau/traces"),
        ({"STATE_DIRECTORY": f"{service}:/nowhere"}, service),
        ({"POIREAU_TRACE": str(tmp_path / "named/deeper")}, tmp_path / "named/deeper"),
    ]
    for more, parent in steps:
        environment |= more
        before = len(under(tmp_path))
        assert run_preloaded(["ls", "/"], environment).stderr == ""
        assert len(processes(parent)) == 1
        assert len(under(tmp_path)) == before + 1, "and nowhere else"


def test_a_program_without_a_sample_leaves_nothing(run_preloaded: Run, tmp_path: Path) -> None:
    for period in ("0", "1TiB"):
        parent = tmp_path / "traces"
        assert run_preloaded(["ls", "/"], {"POIREAU_TRACE": str(parent), "POIREAU_SAMPLE_PERIOD": period}).stderr == ""
        assert not parent.exists()


def test_only_the_user_may_look(run_preloaded: Run, tmp_path: Path) -> None:
    parent = tmp_path / "traces"
    before = os.umask(0)
    try:
        run_preloaded(["ls", "/"], {**EVERY, "POIREAU_TRACE": str(parent)})
    finally:
        os.umask(before)
    (process,) = processes(parent)
    for directory in (parent, process.parent, process):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(process.iterdir())
    assert files
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_fork_children_have_traces_of_their_own_in_one_run(run_preloaded: Run, forks: Path, tmp_path: Path) -> None:
    done = run_preloaded([forks], {**EVERY, "POIREAU_TRACE": str(tmp_path)})
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)
    found = processes(tmp_path)
    assert len({process.name.split("-")[-4] for process in found}) == len(found) == 4
    assert len({process.parent for process in found}) == 1


def test_processes_that_are_told_of_a_run_share_its_directory(run_preloaded: Run, forks: Path, tmp_path: Path) -> None:
    run = launch.run_name("a program: x", 77, 1_800_000_000, "0badcafe")
    environment = {**EVERY, "POIREAU_TRACE": str(tmp_path), "POIREAU_RUN": run}
    done = run_preloaded(["sh", "-c", "$0; $0", forks], environment)
    assert (done.stdout, done.stderr, done.returncode) == ("done\ndone\n", "", 0)
    found = processes(tmp_path)
    assert len(found) >= 8
    assert {process.parent.name for process in found} == {run}


def in_the_way(folder: Path) -> Iterator[tuple[Path, str]]:
    """What stands where a trace is to be made, and the reason to be given."""
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    (folder / "dangling").symlink_to("missing")
    (folder / "file").write_text("")
    (folder / "open").mkdir()
    (folder / "open").chmod(0o777)
    yield folder / "link", "is a symbolic link"
    yield folder / "dangling", "is a symbolic link"
    yield folder / "file", "part of the path is not a directory"
    yield folder / "open", "may be written by others"
    yield Path("/proc/no/such"), "no such file or directory"


def test_what_is_in_the_way_is_said_once_and_the_program_runs_on(
    run_preloaded: Run, forks: Path, tmp_path: Path
) -> None:
    for path, reason in in_the_way(tmp_path):
        done = run_preloaded([forks], {**EVERY, "POIREAU_TRACE": str(path)})
        assert (done.stdout, done.returncode) == ("done\n", 0)
        lines = done.stderr.splitlines()
        assert lines and str(path) in lines[0] and reason in lines[0]
        assert len(lines) <= 4, "once in a process"
    assert under(tmp_path) == []


def test_a_program_with_nowhere_to_go_is_told_how_to_help(run_preloaded: Run, forks: Path) -> None:
    done = run_preloaded([forks], {**EVERY, "POIREAU_TRACE": "", "HOME": ""})
    assert (done.stdout, done.returncode) == ("done\n", 0)
    assert "set trace, or HOME" in done.stderr


def taken(folder: Path) -> int:
    """Bytes on disk, of what stays while we look."""
    total = 0
    for directory, _, files in os.walk(folder):
        for path in (directory, *(os.path.join(directory, file) for file in files)):
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(path).st_blocks * 512
    return total


def test_thousands_of_processes_of_one_run_stay_within_their_bound(run_preloaded: Run, tmp_path: Path) -> None:
    total = 8 << 20
    name = "20261121-130000-make-77-0badcafe"
    environment = {**EVERY, "POIREAU_TRACE": str(tmp_path), "POIREAU_RUN": name, "POIREAU_TRACE_TOTAL": str(total)}
    most = 0

    def run(_: int) -> None:
        nonlocal most
        done = run_preloaded(["ls", "/"], environment)
        assert (done.stderr, done.returncode) == ("", 0)
        most = max(most, taken(tmp_path))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(2000 if SOAK else 200)))
    print(f"at most {most / total:.3f} of the bound")
    assert total / 2 < most <= total * 1.1
    assert {process.parent.name for process in processes(tmp_path)} == {name}
