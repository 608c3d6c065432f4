"""Code that a process made is called what its perf map says, if the map can be trusted."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from poireau import perf_map
from poireau.symbols import Settings, Symbolizer
from tests.conftest import clean_environment
from tests.poireau.symbolizing import places, tables

NOBODY = 65534
SCRIPT = """
function warm(n) { let total = 0; for (let i = 0; i < n; i++) total += Math.sqrt(i) | 0; return total; }
let sum = 0;
for (let i = 0; i < 3000; i++) sum += warm(1000);
console.log(sum);
setInterval(() => {}, 1000);
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process, which writes no map of its own."""
    with subprocess.Popen(["/usr/bin/sleep", "1000"]) as process:
        yield process
        process.kill()
    map_of(process.pid).unlink(missing_ok=True)


def map_of(process: int) -> Path:
    return Path(f"/tmp/perf-{process}.map")


def called(data: bytes, *addresses: int) -> list[list[tuple[str, str, int]]]:
    sought = np.array(sorted(addresses), np.uint64)
    found = perf_map.places(perf_map.parsed(data), sought)
    ends = [0, *found.ends.tolist()]
    return [
        [
            (found.functions[found.function[row]], found.files[found.file[row]], int(found.line[row]))
            for row in range(begin, end)
        ]
        for begin, end in zip(ends, ends[1:])
    ]


def test_frames_in_no_module_have_the_names_of_the_map(sleeper: subprocess.Popen[bytes]) -> None:
    map_of(sleeper.pid).write_text("1000 100 first\n2000 10 py::Class.method:/srv/app file.py\n")
    every = tables([], [(0, [0x1001, 0x1100, 0x1101, 0x2008, 0x9000])], [sleeper.pid], ["/nowhere"])
    names = Symbolizer(Settings(cache=False)).names(every)
    assert places(names) == [
        [("first", ".", 0)],
        [("first", ".", 0)],
        [("0x1101", ".", 0)],
        [("Class.method", "/srv/app file.py", 0)],
        [("0x9000", ".", 0)],
    ]
    assert [(loss.process, loss.count) for loss in names.missing] == [(0, 2)]


def test_the_last_entry_that_covers_an_address_counts() -> None:
    data = b"1000 100 old\n1010 10 newer\n1018 10 newest\n1018 0 empty\n"
    found = called(data, 0x1000, 0x1010, 0x1017, 0x1018, 0x1027, 0x1028, 0x10FF, 0x1100, 0xFFF)
    assert [chain[0][0] if chain else "" for chain in found] == [
        "", "old", "newer", "newer", "newest", "newest", "old", "old", "",
    ]  # fmt: skip


def test_places_in_javascript_are_told_apart() -> None:
    data = (
        b"10 8 LazyCompile:*warm /srv/a.js:2:14\n20 8 JS:~ file:///srv/b c.mjs:70:1\n30 8 RegExp:a.b:1:2\n"
        b"40 8 Builtin:ArrayMap\n50 8 JS:^get x /srv/a.js:9:9\n60 8 py::<module>:<string>\n"
    )
    assert [chain[0] for chain in called(data, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60)] == [
        ("warm", "/srv/a.js", 2),
        ("(anonymous)", "/srv/b c.mjs", 70),
        ("RegExp:a.b:1:2", "", 0),
        ("Builtin:ArrayMap", "", 0),
        ("get x", "/srv/a.js", 9),
        ("<module>", "<string>", 0),
    ]


def test_lines_that_make_no_sense_are_left_out(seed: int) -> None:
    chance = random.Random(seed)
    noise = bytes(chance.randrange(256) for _ in range(100_000))
    data = b"\n".join(
        [noise, b"1000 10 good", b"zz 10 x", b"1000", b"", b"fffffffffffffffff 1 long", b"fffffffffffffff0 ff end"]
    )
    assert called(data, 0x1008, 0xFFFFFFFFFFFFFFFE) == [[("good", "", 0)], [("end", "", 0)]]
    assert called(b"1000 10 \xff\xfe name\n", 0x1008) == [[("\\xff\\xfe name", "", 0)]]
    assert called(b"", 0x1008) == called(b"\0" * 1000, 0x1008) == [[]]


@pytest.mark.parametrize("what", ["somebody else's", "a link", "a pipe", "for everybody", "old", "a directory"])
def test_a_map_that_cannot_be_trusted_is_not_read(what: str, sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    path = map_of(sleeper.pid)
    good = tmp_path / "good"
    good.write_text("1000 100 forged\n")
    if what == "a link":
        path.symlink_to(good)
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a directory":
        path.mkdir()
    else:
        path.write_text("1000 100 forged\n")
    if what == "somebody else's":
        os.chown(path, NOBODY, NOBODY)
    elif what == "for everybody":
        path.chmod(0o666)
    elif what == "old":
        os.utime(path, (time.time() - 1000,) * 2)
    found, lack = perf_map.of_process(sleeper.pid, "/nowhere")
    assert found is None and f"/tmp/perf-{sleeper.pid}.map is not read: " in lack
    if what == "a directory":
        path.rmdir()


def test_a_map_that_is_huge_is_read_from_behind(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with map_of(sleeper.pid).open("wb") as file:
        file.write(b"1000 100 early\n")
        file.truncate(20 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n2000 100 late\n")
    monkeypatch.setattr(perf_map, "MOST", 1 << 20)
    found, _ = perf_map.of_process(sleeper.pid, "/nowhere")
    assert found is not None and list(found.names) == [b"late"]


def test_the_map_of_a_process_that_has_ended_is_read_if_it_is_not_older_than_its_trace(tmp_path: Path) -> None:
    with subprocess.Popen(["/usr/bin/true"]) as process:
        pass
    path = map_of(process.pid)
    try:
        (tmp_path / "metadata").write_text("")
        path.write_text("1000 100 ended\n")
        found, _ = perf_map.of_process(process.pid, str(tmp_path))
        assert found is not None and list(found.names) == [b"ended"]
        assert perf_map.of_process(process.pid, "/nowhere")[0] is None, "nobody knows since when or whose"
        os.utime(path, (time.time() - 1000,) * 2)
        assert perf_map.of_process(process.pid, str(tmp_path))[0] is None
    finally:
        path.unlink()


def test_a_process_that_came_to_the_same_id_later_is_not_asked(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    map_of(sleeper.pid).write_text("1000 100 another\n")
    (tmp_path / "metadata").write_text("")
    assert perf_map.of_process(sleeper.pid, str(tmp_path))[0] is not None
    os.utime(tmp_path / "metadata", (time.time() - 1000,) * 2)
    assert perf_map.of_process(sleeper.pid, str(tmp_path))[0] is None


def test_nobody_has_number_zero() -> None:
    assert perf_map.of_process(0, "")[0] is None


def test_node_says_what_its_functions_are(tmp_path: Path) -> None:
    script = tmp_path / "warm up.js"
    script.write_text(SCRIPT)
    command = ["node", "--perf-basic-prof", str(script)]
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, cwd=tmp_path) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            found, lack = perf_map.of_process(process.pid, "")
            assert found is not None, lack
            warm = [entry for entry, name in enumerate(found.names) if b"warm /" in name or b"warm file" in name]
            assert warm, "it was compiled"
            addresses = found.begins[warm[-1:]] + np.uint64(1)
            every = tables([], [(0, addresses.tolist())], [process.pid], [""])
            ((place,),) = places(Symbolizer(Settings(cache=False)).names(every))
            assert place == ("warm", str(script), 2)
        finally:
            process.kill()
            map_of(process.pid).unlink(missing_ok=True)
