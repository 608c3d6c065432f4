"""Suppressions: what LeakSanitizer's, valgrind's and our own rules are meant for, what is wrong in them, and what is
learned."""

from __future__ import annotations

import os
import re
import stat
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poireau import suppressions
from poireau.errors import USAGE, Failure
from poireau.naming import stacks_of
from poireau.stacks import Stacks
from poireau.suppressions import NOBODY, Suppressions
from tests.conftest import ROOT
from tests.poireau.histories import heap_of

TODAY = date(2026, 3, 1)
STACKS = [
    "load_table@src/load.cc:12;main@src/main.cc:5",
    "/usr/lib/libz.so.1!inflate_init;load_zip@src/zip.cc:7;main@src/main.cc:6",
    "std::vector<int>::push_back(int);ns::Cache::put(int)@src/cache.cc:30;serve;main@src/main.cc:9",
    "serve@src/serve.cc:4;main@src/main.cc:9",
]


@pytest.fixture(scope="module")
def stacks() -> tuple[Stacks, np.ndarray]:
    heap = heap_of([{"stack": stack} for stack in STACKS])
    numbers = heap.live().sort_values("born")["stack"].to_numpy()
    return stacks_of(heap, numbers), numbers


def rules(tmp_path: Path, text: str) -> Suppressions:
    path = tmp_path / "known.supp"
    path.write_text(text)
    return suppressions.read([path], TODAY)


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ("leak:load_table", {0}),
        ("leak:load", {0, 1}),
        ("leak:^load_*$", {0, 1}),
        ("leak:^table", set()),
        ("leak:libz.so", {1}),
        ("leak:cache.cc$", {2}),
        ("leak:src/*.cc", {0, 1, 2, 3}),
        ("leak:ns::*::put(", {2}),
        ("leak:serve", {2, 3}),
        ("#: site\nleak:serve", {3}),
        ("#: site\nleak:^ns::Cache::put(int)$", {2}),
        ("#: until=2026-03-01\nleak:main", {0, 1, 2, 3}),
        ("#: until=2026-02-28\nleak:main", set()),
        ("use-after-free:main", set()),
        ("{\n a\n Memcheck:Leak\n fun:malloc\n fun:load_*\n fun:main\n}", {0}),
        ("{\n a\n Memcheck:Leak\n match-leak-kinds: definite\n ...\n fun:serve\n fun:main\n}", {2, 3}),
        ("{\n a\n Memcheck:Leak\n fun:*alloc\n obj:*/libz.so*\n ...\n src:main.cc:6\n}", {1}),
        ("{\n a\n Memcheck:Leak\n ...\n fun:ns::Cache::put\n}", {2}),
        ("{\n a\n Memcheck:Addr4\n fun:serve\n}", set()),
        ("{\n a\n Helgrind:Race\n fun:serve\n}", set()),
    ],
)
def test_a_rule_is_for_the_stacks_it_describes(
    rule: str, found: set[int], tmp_path: Path, stacks: tuple[Stacks, np.ndarray]
) -> None:
    of = rules(tmp_path, f"# comment\n\n  {rule}  \n").of(*stacks)
    assert set(np.flatnonzero(of != NOBODY)) == found


def test_rules_of_errors_are_for_errors_only(tmp_path: Path, stacks: tuple[Stacks, np.ndarray]) -> None:
    known = rules(tmp_path, "use-after-free:serve\nerror:load\nleak:main")
    assert known.of(*stacks, kind="use after free").tolist() == [1, 1, 0, 0]
    assert known.of(*stacks, kind="double free").tolist() == [1, 1, NOBODY, NOBODY]
    assert known.of(*stacks).tolist() == [2, 2, 2, 2]


def test_a_rule_without_room_leaves_all_to_the_next(tmp_path: Path, stacks: tuple[Stacks, np.ndarray]) -> None:
    known = rules(tmp_path, "#: max=1KiB reason=small ones\nleak:load\nleak:load_zip")
    held = np.array([600, 400, 5, 5])
    assert known.of(*stacks, held).tolist() == [0, 0, NOBODY, NOBODY]
    assert known.of(*stacks, held * 2).tolist() == [NOBODY, 1, NOBODY, NOBODY]
    assert known.rules[0].reason == "small ones" and known.rules[0].max_bytes == 1024


def test_expired_and_unused_rules_are_told(tmp_path: Path, stacks: tuple[Stacks, np.ndarray]) -> None:
    known = rules(tmp_path, "leak:main\n#: until=2025-01-01\nleak:serve\n#: max=2MB\nleak:nothing\nerror:x")
    expired, unused = known.news(known.of(*stacks))
    assert expired.endswith("known.supp:3: leak:serve expired on 2025-01-01")
    assert unused.endswith("known.supp:5: leak:nothing: nothing is like that, or is more than 1.91MiB")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("leak", "leak: it should read leak:PATTERN"),
        ("leek:foo", "leek:foo: it should read leak:PATTERN"),
        ("leak:", "that would be everything"),
        ("leak:*", "that would be everything"),
        ("#: until=soon\nleak:x", "until=soon is no date"),
        ("#: max=lots\nleak:x", "max=lots is no size"),
        ("#: for=ever\nleak:x", "for=ever: notes are"),
        ("{\n a\n}", "a block should have a name"),
        ("{\n a\n Memcheck:Leak\n fun:malloc\n}", "names no frame"),
        ("{\n a\n Memcheck:Leak\n bla:x\n}", "a frame is fun:"),
        ("{\n a\n Memcheck:Leak\n fun:x", "a block that does not end"),
        ("\x1b]0;\x07:x", "it should read"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(line: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=re.escape(said)) as failure:
        rules(tmp_path, f"leak:good\n{line}\n")
    assert failure.value.status == USAGE
    assert re.match(rf"{tmp_path}/known.supp:[2-6]: ", str(failure.value)) and str(failure.value).isprintable()


def test_of_several_wrong_lines_all_are_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"supp:1: .*; 7 more: \S+:2, .*:6, \.\.\.$"):
        rules(tmp_path, "x\n" * 8)


@pytest.mark.parametrize("what", ["nothing there", "a directory", "too large"])
def test_files_that_can_not_be_read_are_told(what: str, tmp_path: Path) -> None:
    path = tmp_path / what
    if what == "a directory":
        path.mkdir()
    elif what == "too large":
        path.write_bytes(b"\n" * (5 << 20))
    with pytest.raises(Failure, match=what):
        suppressions.read([path])


@given(st.binary(max_size=200))
def test_no_file_is_more_than_a_failure(content: bytes) -> None:
    path = Path(f"/tmp/{os.getpid()}.supp")
    path.write_bytes(content)
    try:
        suppressions.read([path])
    except Failure as failure:
        assert str(failure).isprintable()
    finally:
        path.unlink()


@given(st.text("ab*^$", min_size=1), st.text("ab"))
def test_patterns_match_as_a_slow_definition_says(pattern: str, text: str) -> None:
    body, tied, _ = pattern.removeprefix("^").partition("$")

    def matches(template: str, rest: str) -> bool:
        if not template:
            return not tied or not rest
        if template[0] == "*":
            return any(matches(template[1:], rest[at:]) for at in range(len(rest) + 1))
        return rest[:1] == template[0] and matches(template[1:], rest[1:])

    starts = [0] if pattern.startswith("^") else range(len(text) + 1)
    wanted = any(matches(body, text[at:]) for at in starts)
    assert (suppressions.expression(pattern).search(text) is not None) == wanted


def table(*rows: tuple[str, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["function", "bytes_high", "known"]).assign(place=1)


def test_what_is_learned_is_known_until_it_is_more(tmp_path: Path, stacks: tuple[Stacks, np.ndarray]) -> None:
    path = tmp_path / "known.supp"
    path.write_bytes(b"# mine\r\nleak:elsewhere")
    path.chmod(0o640)
    found = table(("load_table", 99.5, ""), ("load_table", 100, ""), ("ns::Cache::put(int)", 7, ""), ("x", 5, "leak:x"))
    added = suppressions.learn(path, found, TODAY)
    assert [rule.text for rule in added] == ["leak:^load_table$", "leak:^ns::Cache::put(int)$"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    known = suppressions.read([path], TODAY)
    assert known.of(*stacks, np.array([250, 9, 7, 9])).tolist() == [1, NOBODY, 2, NOBODY]
    assert known.of(*stacks, np.array([251, 9, 7, 9])).tolist() == [NOBODY, NOBODY, 2, NOBODY]
    assert path.read_text().splitlines()[:3] == [
        "# mine",
        "leak:elsewhere",
        "#: max=250 site reason=learned 2026-03-01",
    ]
    before = path.read_bytes()
    assert suppressions.learn(path, found, TODAY) == [] and path.read_bytes() == before
    more = suppressions.learn(path, table(("load_table", 500, "")), date(2026, 4, 1))
    assert [rule.max_bytes for rule in more] == [625]
    assert path.read_text().count("load_table") == 1 and "max=625 site reason=learned 2026-04-01" in path.read_text()
    assert sorted(os.listdir(tmp_path)) == ["known.supp"]


def test_any_name_can_be_learned(tmp_path: Path) -> None:
    names = ["a$b", "operator*(x*)", "^odd", "new\nline", "\x1b[31m", "with  spaces ", "ü"]
    path = tmp_path / "new.supp"
    suppressions.learn(path, table(*((name, 1, "") for name in names)), TODAY)
    patterns = [suppressions.expression(rule.pattern) for rule in suppressions.read([path]).rules]
    assert len(patterns) == len(names) and all(p.search(name.strip()) for p, name in zip(patterns, names))


def test_nothing_is_learned_into_a_file_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "known.supp"
    path.write_text("nonsense\n")
    with pytest.raises(Failure, match=r"known\.supp:1"):
        suppressions.learn(path, table(("f", 1, "")), TODAY)
    assert path.read_text() == "nonsense\n"


def test_errors_are_called_what_the_library_calls_them() -> None:
    source = (ROOT / "preload/report_text.cc").read_text()
    body = source.partition("std::string_view title_of(")[2].partition("\n}")[0]
    assert set(re.findall(r'"([^"]+)"', body)) == set(suppressions.ERRORS)


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("1KiB", 1024), ("2M", 2 << 20), ("1MB", 10**6), ("3Gi", 3 << 30), ("x", None)]
)
def test_sizes_are_read_as_the_library_reads_them(text: str, size: int | None) -> None:
    assert suppressions.bytes_of(text) == size
