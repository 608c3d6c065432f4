"""Cores, good ones and others."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from poireau import core_file, scan
from poireau.errors import USAGE, Failure
from tests.poireau.cores import HOMES, PAGE, RECORDS, core, records

HEAP = 0x5555_0000_0000
STACK = 0x7FFE_0000_0000


def test_a_core_tells_whose_it_is_and_what_it_had(tmp_path: Path) -> None:
    files = [(HEAP, HEAP + PAGE, 3, "/bin/program"), (1 << 40, (1 << 40) + PAGE, 0, "/lib/left_out.so")]
    threads = [{19: STACK + 64, 21: 7}, {19: 9, 0: 5}]
    read = core_file.read(str(core(tmp_path / "core", {HEAP: bytes(PAGE), STACK: bytes(PAGE)}, threads, 77, files)))
    assert (read.pid, read.program, read.missing) == (77, "program", 0)
    assert [(row["tid"], row["sp"], row["fs"]) for row in read.threads] == [(77, STACK + 64, 7), (78, 9, 0)]
    assert [(who, number, data[:8]) for who, number, data in read.registers] == [
        (0, 0, bytes(8)),
        (1, 0, b"\5".ljust(8, b"\0")),
    ]
    assert [(area.begin, area.path, area.offset) for area in read.areas] == [
        (1 << 40, "/lib/left_out.so", 0),
        (HEAP, "/bin/program", 3),
        (STACK, "[stack]", 0),
    ]


def test_what_is_no_core_is_refused_in_a_line(tmp_path: Path) -> None:
    good = core(tmp_path / "core", {HEAP: bytes(PAGE)}).read_bytes()
    for name, content, line in [
        ("text", b"hello", "it is not an ELF file"),
        ("packed", gzip.compress(good), "is it compressed"),
        ("short", good[:40], "no core of a 64-bit program"),
        ("headless", good[:100], "cut short before its threads"),
        ("other", good[:18] + b"\x28\0" + good[20:], "another kind of machine"),
        ("program", Path(sys.executable).read_bytes()[:PAGE], "but no core"),
        ("empty", b"", "it is not an ELF file"),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(Failure, match=line) as failure:
            core_file.read(str(path))
        assert failure.value.status == USAGE and "\n" not in str(failure.value)
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(Failure, match=r"is no file|there is no"):
            core_file.read(str(path))


def test_damaged_cores_are_read_or_refused(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    memory = {RECORDS: records([(HOMES, 64)]), HOMES: b"\1" * PAGE, HEAP: bytes(PAGE)}
    files = [(HEAP, HEAP + PAGE, 0, "/bin/program")]
    good = core(tmp_path / "good", memory, [{19: HEAP}, {}], files=files).read_bytes()
    head = 64 + 56 * 4 + 1200
    read = refused = 0
    for turn in range(300):
        bad = bytearray(good)
        for _ in range(int(random.integers(1, 6))):
            bad[int(random.integers(4, head))] = int(random.choice([0, 1, 0xFF, 0x7F, int(random.integers(256))]))
        path = tmp_path / "bad"
        path.write_bytes(bad[: int(random.integers(1, len(bad)))] if turn % 4 == 0 else bad)
        try:
            scan.of_core(str(path))
            read += 1
        except Failure as failure:
            assert "\n" not in str(failure)
            refused += 1
    assert read > 5 and refused > 5, (read, refused)


def test_a_core_that_was_cut_short_says_so(tmp_path: Path) -> None:
    memory = {RECORDS: records([(HOMES, 64)]), HOMES: b"\1" * PAGE, HEAP + (1 << 40): bytes(8 * PAGE)}
    path = core(tmp_path / "core", memory)
    path.write_bytes(path.read_bytes()[: -3 * PAGE])
    seen, read = scan.of_core(str(path))
    assert read.missing == 3 * PAGE and not seen.complete
    assert any("12KiB that are missing" in line for line in seen.left_out)
