"""A bad configuration costs one clear line, and nothing else."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

PERIODS = ["abc", "-5", "0.01", "1e30", "NaN", "", "32MM", "99999999T", "0x10", "1 2", "5%", "\x1b[31m"]


def lines_said(program, run_preloaded, environment, **more):
    """The lines on standard error of a program that must not notice anything."""
    done = run_preloaded([program("greet.c"), "a", "b"], environment, **more)
    assert (done.stdout, done.returncode) == ("hello a b\n", 7)
    assert done.stderr == "" or done.stderr.endswith("\n")
    return done.stderr.splitlines()


@pytest.mark.parametrize("value", PERIODS)
@pytest.mark.parametrize("name", ["POIREAU_SAMPLE_PERIOD", "POIREAU_SAMPLE_PERIOD_BYTES"])
def test_a_bad_period_is_told_in_one_line(program, run_preloaded, name, value):
    (line,) = lines_said(program, run_preloaded, {name: value})
    assert line.startswith("poireau: ")
    assert name in line
    assert "512KiB" in line  # what it goes on with
    assert line.isprintable()


@pytest.mark.parametrize("name", ["POIREAU_UNKNOWN", "POIREAU_", "POIREAU_SAMPLE_PERIODS"])
def test_an_unknown_variable_is_told_in_one_line(program, run_preloaded, name):
    (line,) = lines_said(program, run_preloaded, {name: "1"})
    assert name in line


@pytest.fixture
def folder():
    """A folder that everybody may look into."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def make(folder, what):
    path = folder / "poireau.toml"
    if what == "large":
        path.write_text("sample_period = 1\n" * (10 << 20 >> 4))
    elif what == "binary":
        path.write_bytes(os.urandom(20_000).replace(b"\n", b"x"))
    elif what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "unreadable":
        path.write_text("")
        path.chmod(0)
    elif what == "socket":
        os.mknod(path, 0o140600)
    elif what == "loop":
        path.symlink_to(path)
    elif what == "device":
        return Path("/dev/zero")
    elif what == "long":
        return folder / ("x" * 5000)
    elif what == "relative":
        return Path("poireau.toml")
    return path


FILES = ["large", "directory", "fifo", "socket", "loop", "device", "long", "relative", "missing", "binary"]


@pytest.mark.parametrize("what", FILES)
def test_a_bad_configuration_file_is_told_in_one_line(program, run_preloaded, folder, what):
    path = make(folder, what)
    (line,) = lines_said(program, run_preloaded, {"POIREAU_CONFIG": str(path)}, cwd=folder)
    assert line.startswith("poireau: ")
    assert len(line) < 500
    if what not in ("long", "relative"):
        assert str(path) in line


def test_an_unreadable_configuration_file_is_told_in_one_line(program, run_preloaded, library, folder):
    if os.geteuid() != 0:
        pytest.fail("root alone may become another user")
    path = make(folder, "unreadable")
    for source in (program("greet.c"), library):
        shutil.copy(source, folder)
    other = ["POIREAU_LOG=error", f"POIREAU_CONFIG={path}", f"LD_PRELOAD={folder / library.name}", f"HOME={folder}"]
    argv = ["setpriv", "--reuid=65534", "--clear-groups", "env", *other, folder / program("greet.c").name, "a", "b"]
    done = run_preloaded(argv, {"POIREAU_LOG": "off"})
    assert (done.stdout, done.returncode) == ("hello a b\n", 7)
    (line,) = done.stderr.splitlines()
    assert str(path) in line
    assert "permission denied" in line


def test_a_home_that_may_not_be_entered_is_no_error(program, run_preloaded, library, folder):
    if os.geteuid() != 0:
        pytest.fail("root alone may become another user")
    for source in (program("greet.c"), library):
        shutil.copy(source, folder)
    (folder / "home").mkdir(mode=0o700)
    other = ["POIREAU_LOG=error", f"LD_PRELOAD={folder / library.name}", f"HOME={folder / 'home'}"]
    argv = ["setpriv", "--reuid=65534", "--clear-groups", "env", *other, folder / program("greet.c").name, "a", "b"]
    done = run_preloaded(argv, {"POIREAU_LOG": "off"})
    assert (done.stdout, done.stderr, done.returncode) == ("hello a b\n", "", 7)


def test_a_bad_line_is_told_with_file_and_line_and_key(program, run_preloaded, folder):
    path = folder / "poireau.toml"
    path.write_text('# a comment\nlog = "error"\nsample_period = "abc"\nsample_perod = 5\n')
    first, second = lines_said(program, run_preloaded, {"POIREAU_CONFIG": str(path)})
    assert first.startswith(f"poireau: {path}:3: sample_period")
    assert second.startswith(f"poireau: {path}:4: ")
    assert "sample_perod" in second


def test_a_thousand_errors_are_not_a_thousand_lines(program, run_preloaded):
    lines = lines_said(program, run_preloaded, {f"POIREAU_NONSENSE_{i}": "1" for i in range(1000)})
    assert 1 < len(lines) < 20


def test_log_off_is_silent(program, run_preloaded):
    assert lines_said(program, run_preloaded, {"POIREAU_LOG": "off", "POIREAU_SAMPLE_PERIOD": "abc"}) == []


def test_an_environment_that_is_cleared_or_broken_is_no_trouble(program, run_preloaded):
    done = run_preloaded([program("greet.c"), "empty environment"], {"POIREAU_SAMPLE_PERIOD": "1"})
    assert done.returncode == 7
