"""Files appear whole, and take nobody's place unasked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from poireau.errors import Failure
from poireau.report.output import named, opened
from tests.poireau.histories import heap_of


def test_a_file_is_there_when_all_is_written(tmp_path: Path) -> None:
    file = tmp_path / "out"
    with opened(str(file), True, False) as out:
        out.write(b"all")
        assert not file.exists()
    assert file.read_bytes() == b"all"
    assert os.listdir(tmp_path) == ["out"]


def test_nothing_is_left_of_what_failed(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"before")
    with pytest.raises(ValueError), opened(str(file), True, True) as out:
        out.write(b"half")
        raise ValueError
    assert file.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["out"]


def test_what_is_there_is_replaced_only_by_force(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_bytes(b"before")
    with pytest.raises(Failure, match="is there already"), opened(str(file), True, False):
        pass
    with opened(str(file), True, True) as out:
        out.write(b"after")
    assert file.read_bytes() == b"after"


def test_what_came_in_the_meantime_stays(tmp_path: Path) -> None:
    file = tmp_path / "out"
    with pytest.raises(Failure, match="is there already"), opened(str(file), True, False):
        file.write_bytes(b"somebody's")
    assert file.read_bytes() == b"somebody's"
    assert os.listdir(tmp_path) == ["out"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"before")
    (tmp_path / "link").symlink_to("file")
    with opened(str(tmp_path / "link"), True, True) as out:
        out.write(b"after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"after"


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with opened(str(fifo), True, False) as out:
        out.write(b"piped")
    assert os.read(reader, 100) == b"piped"
    os.close(reader)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="is a directory"), opened(str(tmp_path), True, False):
        pass


def test_binary_is_nothing_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(Failure, match="nothing for a terminal"), opened(None, True, False):
        pass


def test_a_name_may_say_whose_heap_it_is() -> None:
    heap = heap_of([{}], processes=[{"pid": 7, "executable": "/usr/bin/a b", "host": "one/two"}])
    assert named("%e-%p@%h.%%", heap) == "a b-7@one_two.%"
    assert len(named("%t", heap)) == len("20240101-000000")
    with pytest.raises(Failure, match="%q stands for nothing"):
        named("%q", heap)


def test_what_can_not_be_written_is_called_as_it_was_named(tmp_path: Path) -> None:
    for name in ("/dev/full", str(tmp_path / "nowhere" / "file")):
        with pytest.raises(Failure, match=f"^{name}: No "), opened(name, True, False) as out:
            out.write(b"x")
    with pytest.raises(OSError, match="another"), opened(str(tmp_path / "file"), True, False):
        raise OSError(5, "Input/output error", "another")


def test_a_terminal_gets_no_control_characters(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: True)
        with opened(None, False, False) as out:
            out.write("a\x1b[2J\x9b\u202eé\t\n".encode())
    assert capfdbinary.readouterr().out == "a?[2J???é\t\n".replace("???", "??").encode()
