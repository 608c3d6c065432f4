"""Where no trace can lie the program runs as ever, and one line says why there is none."""

from __future__ import annotations

import subprocess

import pytest

from tests import traces

pytestmark = pytest.mark.slow


@pytest.fixture
def mounted(tmp_path):
    """mounted(options...) -> a directory of a file system of its own."""
    made = []

    def mount(*options: str):
        directory = tmp_path / f"mounted{len(made)}"
        directory.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", *options, "poireau", directory], check=True)
        made.append(directory)
        return directory

    yield mount
    for directory in made:
        subprocess.run(["umount", "-l", directory], check=True)


def run_told(told) -> str:
    told("keep 100 7001")
    told("swap 5000 100")
    told("drop")
    return told.finish()


def check_one_line(complaints: str) -> None:
    assert complaints.count("\n") == 1 and complaints.startswith("poireau"), complaints


def test_a_parent_that_is_a_file(tell, tmp_path):
    file = tmp_path / "file"
    file.write_text("content")
    check_one_line(run_told(tell({"POIREAU_TRACE": str(file)})))
    assert file.read_text() == "content"


def test_a_symbolic_link_in_our_part_of_the_path(tell, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(elsewhere)
    check_one_line(run_told(tell({"POIREAU_TRACE": str(tmp_path / "link")})))
    assert list(elsewhere.iterdir()) == []


def test_a_directory_that_may_not_be_written(tell, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o755)
    told = tell({"POIREAU_TRACE": str(closed / "traces")})
    told("user 65534")
    check_one_line(run_told(told))
    assert list(closed.iterdir()) == []


def test_a_read_only_file_system(tell, mounted):
    directory = mounted("-o", "size=1m,ro")
    check_one_line(run_told(tell({"POIREAU_TRACE": str(directory / "traces")})))


def test_a_parent_that_somebody_else_can_write_to_is_not_trusted(tell, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    complaints = run_told(tell({"POIREAU_TRACE": str(shared)}))
    for path in shared.rglob("*"):
        assert path.lstat().st_mode & 0o077 == 0, path
    if not list(shared.iterdir()):
        check_one_line(complaints)


@pytest.mark.parametrize("limit", [0, 65536, 200000, pytest.param(1 << 20, marks=pytest.mark.soak)])
def test_a_limit_on_the_size_of_files_kills_nobody(tell, traces_parent, limit):
    told = tell()
    told(f"limit {limit}")
    told("keep 100 7001")
    told(f"swap {3000 + limit // 128} 100")
    told("drop")
    complaints = told.finish()
    assert complaints.count("\n") <= 1
    for path in traces_parent.rglob("*"):
        assert path.is_dir() or path.stat().st_size <= limit
    for directory in traces.directories(traces_parent):
        assert len(traces.read(directory).events) > 0
    if limit >= 200000:
        trace = traces.read_one(traces_parent)
        assert not [each for each in traces.alive(trace.events).values() if each["size"] in (7001, *range(100, 201))]


def test_a_directory_removed_while_the_program_runs(tell, traces_parent):
    told = tell()
    told("pass 100 7001")
    subprocess.run(["rm", "-rf", traces_parent], check=True)
    told("swap 0 1")
    told("keep 10 10")
    told("swap 30000 100")
    complaints = told.finish()
    assert complaints.count("\n") <= 1
    assert not traces_parent.exists() or traces.directories(traces_parent) == []


def test_no_parent_at_all_is_said_once(tell):
    told = tell({"POIREAU_TRACE": "", "HOME": "", "XDG_STATE_HOME": "", "STATE_DIRECTORY": ""})
    check_one_line(run_told(told))


@pytest.mark.parametrize(
    ("variable", "below"),
    [("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", "poireau/traces"), ("HOME", ".local/state/poireau/traces")],
)
def test_the_parent_is_the_first_there_is(tell, tmp_path, variable, below):
    order = ["STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"]
    environment = {name: str(tmp_path / name) if order.index(name) >= order.index(variable) else "" for name in order}
    for name in order:
        (tmp_path / name).mkdir(mode=0o700)
    assert run_told(tell({"POIREAU_TRACE": "", **environment})) == ""
    trace = traces.read_one(tmp_path / variable / below)
    assert len(trace.of("alloc")) >= 5100
