"""Memory errors of a trace: which are the same, whose block it was, what is suppressed; and how they are told."""

from __future__ import annotations

import json
import os
import re
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from poireau import misuse, suppressions
from poireau.estimates import chance
from poireau.preamble import Preamble
from poireau.report import errors, junit, objects, problems, sarif
from poireau.report.junit import Case
from poireau.report.text import Style
from poireau.selection import Selection
from tests.poireau.histories import BEGIN, SECOND, History

ADDRESS = 1 << 45
MAKE, USE = "make@a.cc:5;main@a.cc:9", "use@a.cc:7;main@a.cc:10"


def error(history: History, id: int, time: int, kind: str = "use after free", **fields: Any) -> None:
    given = {"error": kind, "id": id, "address": ADDRESS + id * 64, "size": 24, "thread": 1, "stack": USE, **fields}
    history.event("error", given.pop("process", 0), time, **given)


def history_of(*ids: int) -> History:
    """Blocks that are born at their id, and freed 100 later."""
    history = History()
    history.process(pid=77, executable="/usr/bin/server")
    history.event("thread", 0, 0, thread=1, name="worker")
    for id in ids:
        history.alloc(id, time=id, size=24, stack=MAKE, address=ADDRESS + id * 64, guarded=1, guard_chance=2**32 - 1)
        history.free(id, time=id + 100, stack="drop@b.cc:3;main@a.cc:10")
    return history


def test_errors_of_one_line_with_blocks_of_one_line_are_one() -> None:
    history = history_of(1, 2, 3)
    for id, stack in ((1, USE), (2, "use@a.cc:7;other@a.cc:20"), (3, "else@a.cc:8;main@a.cc:10")):
        error(history, id, 1000 + id, stack=stack)
    error(history, 3, 2000, "double free", function="free")
    found = misuse.find(history.heap())
    assert found.table["reports"].tolist() == [2, 1, 1]
    assert found.table["error"].tolist() == ["use after free", "use after free", "double free"]
    assert found.table["last"].tolist() == [BEGIN + 1002, BEGIN + 1003, BEGIN + 2000]
    assert (found.guarded, dict(found.periods)) == (3, {(1, False): 3})


def test_who_finds_a_changed_byte_is_nobody_special() -> None:
    history = history_of(1, 2)
    error(history, 1, 1000, "short overflow", function="free", stack="x@a.cc:1")
    error(history, 2, 1001, "short overflow", function="free", stack="y@a.cc:2")
    heap = history.heap()
    (problem,) = errors.problems_of(heap, misuse.find(heap))
    assert [stack.what.split()[0] for stack in problem.stacks] == ["allocated", "freed", "found"]
    assert problem.where is not None and problem.where.text() == "make  a.cc:5"


def test_a_block_is_the_one_that_the_process_had_then() -> None:
    history = history_of(1)
    history.process(pid=78, parent=0)
    history.process(pid=79)
    history.alloc(1, process=2, time=5, size=7, stack="stranger@z.cc:1")
    history.alloc(1 | 1 << 40, time=3000, size=24, stack="later@z.cc:2", address=ADDRESS + 64)
    error(history, 1, 1000, process=1)
    error(history, 1, 1001, process=0, address=ADDRESS + 64 + 30)
    table = misuse.find(history.heap()).table
    assert table["there"].all() and table["made_at"].tolist() == [BEGIN + 1]
    assert table["processes"].tolist() == [(1, 0)]


def test_a_block_that_nobody_knows_any_more_is_no_obstacle() -> None:
    history = history_of()
    error(history, 99, 1000)
    error(history, 0, 1001, "invalid free", function="free", size=0, address=0x1234)
    heap = history.heap()
    titles = [problem.title for problem in errors.problems_of(heap, misuse.with_profile(heap, misuse.find(heap)))]
    assert titles[0].endswith("of a block of 24 bytes whose allocation is not in the trace")
    assert titles[1] == "invalid free: 0x1234, where no block is"


def test_it_is_told_how_rare_it_is_to_see_such_an_error() -> None:
    history = history_of()
    history.alloc(5, time=1, size=24, period=4096, stack=MAKE, guarded=1, guard_chance=2**31 - 1)
    error(history, 5, 10)
    heap = history.heap()
    found = misuse.find(heap)
    assert found.table["chance"].tolist() == pytest.approx([float(chance(24, 4096)) / 2])
    assert "of such blocks 1 in 342 is watched" in errors.problems_of(heap, found)[0].notes[-1]


def test_what_is_asked_about_is_what_is_found() -> None:
    history = history_of(1, 2)
    history.event("thread", 0, 0, thread=2, name="other")
    error(history, 1, 1 * SECOND)
    error(history, 2, 2 * SECOND, thread=2, stack="else@a.cc:8")
    heap = history.heap()

    def seen(**asked: Any) -> list[int]:
        return misuse.find(heap, Selection(**asked)).table["id"].tolist()

    assert seen() == [1, 2]
    assert seen(since=BEGIN + 2 * SECOND) == [2] and seen(until=BEGIN + 2 * SECOND) == [1]
    assert seen(threads=("worker",)) == [1] == seen(threads=("1",)) and seen(threads=("other",)) == [2]
    assert seen(focus="else") == [2] and seen(ignore="else") == [1] and seen(focus="make") == [1, 2]
    assert seen(focus="^nothing$") == [] and seen(processes=(7,)) == []


def test_known_errors_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "known"
    path.write_text("use-after-free:^make$\nleak:main\ndouble-free:main\nuse-after-free:nowhere\n")
    known = suppressions.read([path], date(2026, 3, 1))
    history = history_of(1)
    error(history, 1, 1000)
    error(history, 1, 1001, "invalid free", function="free")
    heap = history.heap()
    found = misuse.find(heap, known=known)
    assert found.table["known"].tolist() == [0, -1] and found.news["error"].tolist() == ["invalid free"]
    assert "1 known one, suppressed" in list(errors.summary(found))
    assert len(known.news(found.table["known"], suppressions.ERRORS)) == 2


def told() -> tuple[Any, Any]:
    history = history_of(1)
    error(history, 1, 2000, address=ADDRESS + 64 + 4)
    heap = history.heap()
    return heap, misuse.with_profile(heap, misuse.find(heap))


def test_an_error_is_told_with_its_three_stacks() -> None:
    heap, found = told()
    said = "\n".join(errors.text(heap, found, Preamble.of(heap, Selection(), found.periods, found.stacks), Style()))
    assert "1 memory error; 1 of 1 sampled blocks had guards\n" in said
    assert re.search(
        r"\nuse after free: 4 bytes into a freed 24-byte block from malloc\n"
        r"  accessed by thread 1 \"worker\":\n    use  a\.cc:7\n    main  a\.cc:10\n"
        r"  freed 0\.0 ms before by thread 1 \"worker\":\n    drop  b\.cc:3\n    main  a\.cc:10\n"
        r"  allocated 0\.0 ms before by thread 1 \"worker\":\n    make  a\.cc:5\n    main  a\.cc:9\n"
        r"  server\[77\], at [\d:]+\n"
        r"  blocks of the line that allocated it: nothing in use, 24B allocated in all\n",
        said,
    )
    json_of = errors.as_json(heap, found, Preamble.of(heap, Selection()))
    assert (json_of["schema"], json_of["version"], len(json_of["errors"])) == ("poireau.errors", 1, 1)
    (one,) = json.loads(objects.text_of(json_of))["errors"]
    assert (one["offset"], one["size"], one["profile"]["allocated"]["value"]) == (4, 24, 24)
    assert [stack["frames"][0]["function"] for stack in one["stacks"]] == ["use", "drop", "make"]


def test_no_errors_are_told_with_how_much_was_looked_at() -> None:
    heap = history_of(1, 2).heap()
    said = list(errors.text(heap, misuse.find(heap), Preamble.of(heap, Selection()), Style()))
    assert "no memory errors; 2 of 2 sampled blocks had guards" in said


def test_sarif_names_lines_below_the_directory_as_code_hosts_want_them() -> None:
    frames = (problems.Frame("memcpy", "", 0, "libc.so.6"), problems.Frame("f\x1b", "/src/my dir/a.cc", 7, "/bin/x"))
    one = problems.Problem("overflow", "overflow: \x1b", (problems.Stack("accessed", frames, 1),))
    outside = problems.Problem("leak", "leak", (problems.Stack("x", (problems.Frame("g", "/else/b.cc", 0, ""),)),))
    document = json.loads(objects.text_of(sarif.document([one, outside, one], "/src")))
    results = document["runs"][0]["results"]
    where = [result["locations"][0]["physicalLocation"] for result in results]
    assert where[0] == {"artifactLocation": {"uri": "my%20dir/a.cc"}, "region": {"startLine": 7}}
    assert where[1] == {"artifactLocation": {"uri": "file:///else/b.cc"}}
    assert [rule["id"] for rule in document["runs"][0]["tool"]["driver"]["rules"]] == ["overflow", "leak"]
    assert results[0]["partialFingerprints"] == results[2]["partialFingerprints"] != results[1]["partialFingerprints"]
    assert "\x1b" not in json.dumps(document, ensure_ascii=False)


def test_junit_is_xml_whatever_is_in_it() -> None:
    odd = "a<b>&\"'\x00\x1b\ud800\u2028é"
    cases = [Case("g", "fine"), Case("g", odd, "it failed " + odd, f"one\n{odd}"), Case("g", "told", "", odd)]
    root = ElementTree.fromstring(junit.document("suite " + odd, cases, 1.5).encode())
    assert (root.get("tests"), root.get("failures")) == ("3", "1")
    failure = root.find(".//failure")
    assert (
        failure is not None and failure.text is not None and failure.text.startswith("one\na<b>&\"'\\x00\\x1b\\ud800")
    )


def test_a_relative_file_stays_one() -> None:
    assert not os.path.isabs(sarif._uri("csu/libc-start.c", "/src"))
