from __future__ import annotations

import os
from pathlib import Path

import pytest

from poireau import leak_cache

ANSWER = {"found": {"rows": [1, 2.5, None, "ä"]}, "opening": ["a line"]}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    (tmp_path / "trace/process").mkdir(parents=True)
    (tmp_path / "trace/process/samples_1").write_bytes(b"12345")
    return tmp_path / "trace"


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    assert leak_cache.load(tmp_path / "none", "a") is None
    leak_cache.store(tmp_path / "new", "a", ANSWER, 60)
    kept = leak_cache.load(tmp_path / "new", "a")
    assert kept is not None and {name: kept[name] for name in ANSWER} == ANSWER
    assert leak_cache.load(tmp_path / "new", "b") is None


def test_what_is_too_old_does_not(tmp_path: Path) -> None:
    leak_cache.store(tmp_path, "a", ANSWER, -1)
    assert leak_cache.load(tmp_path, "a") is None


def test_every_change_of_a_trace_or_a_question_is_another_key(trace: Path) -> None:
    keys = {leak_cache.key([str(trace)], {"by": "line"}), leak_cache.key([str(trace)], {"by": "stack"})}
    file = trace / "process/samples_1"
    file.write_bytes(b"123456")
    keys.add(leak_cache.key([str(trace)], {"by": "line"}))
    os.utime(file, ns=(1, 1))
    keys.add(leak_cache.key([str(trace)], {"by": "line"}))
    (trace / "process/samples_2").write_bytes(b"")
    keys.add(leak_cache.key([str(trace)], {"by": "line"}))
    assert len(keys) == 5 and None not in keys
    assert leak_cache.key([str(trace)], {"by": "line"}) in keys


def test_what_has_no_files_has_no_key(tmp_path: Path) -> None:
    assert leak_cache.key([str(tmp_path / "none")], {}) is None
    assert leak_cache.key(["net://localhost/host/a/b"], {}) is None


def test_no_damage_is_believed(tmp_path: Path) -> None:
    leak_cache.store(tmp_path, "a", ANSWER, 60)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    for at in range(len(whole)):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        if whole[at : at + 1] != b"\n":
            assert leak_cache.load(tmp_path, "a") is None, at
        file.write_bytes(whole[:at])
        assert leak_cache.load(tmp_path, "a") is None, at


def test_what_is_no_file_of_ours_is_not_read(tmp_path: Path) -> None:
    leak_cache.store(tmp_path, "a", ANSWER, 60)
    (file,) = tmp_path.iterdir()
    os.symlink(file, tmp_path / "b.leaks")
    os.mkfifo(tmp_path / "c.leaks")
    (tmp_path / "d.leaks").mkdir()
    assert [leak_cache.load(tmp_path, name) for name in "bcd"] == [None, None, None]


def test_the_least_used_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leak_cache.store(tmp_path, "first", ANSWER, 60)
    size = (tmp_path / "first.leaks").stat().st_size
    monkeypatch.setattr(leak_cache, "MOST", 9 * size)
    for number in range(20):
        leak_cache.store(tmp_path, f"n{number}", ANSWER, 60)
        os.utime(tmp_path / f"n{number}.leaks", ns=(10**18 + number, 10**18 + number))
        os.utime(tmp_path / "first.leaks")
    assert leak_cache.load(tmp_path, "first") is not None
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 9 * size


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    leak_cache.store(tmp_path / "file", "a", ANSWER, 60)
    assert leak_cache.load(tmp_path / "file", "a") is None
