from __future__ import annotations

import os
from typing import Any

import pytest

from poireau import ctl, scan_dangling
from poireau.processes import Process
from poireau.scan_areas import Area
from poireau.scan_dangling import Dangling, Holder

HOME = 0x3800_0000_0000


@pytest.fixture(scope="module")
def here() -> Any:
    return scan_dangling.place(os.getpid())


def answer(**block: Any) -> dict[str, Any]:
    said = {"address": HOME, "size": 24, "kind": "malloc", "freed": [], "count": 1, "holders": []}
    return {"ok": True, "blocks": [said | block], "more": 2, "swept_bytes": 7}


def test_who_points_at_a_block_is_told_by_where_the_pointer_lies(here: Any) -> None:
    area: Area = next(each for each in here.areas if each.path == "[heap]")
    said = answer(count=5, holders=[[area.begin, HOME + 8], [HOME + 4096, HOME], [1, HOME + 23]])
    (block,) = scan_dangling.of(said, here)
    assert (block.address, block.size, block.kind, block.count) == (HOME, 24, "malloc", 5)
    assert [each.offset for each in block.holders] == [8, 0, 23]
    assert "heap block" in block.holders[0].where
    assert [each.where for each in block.holders[1:]] == ["in a block of ours", "nowhere that is mapped now"]


def test_who_freed_it_has_a_name_where_the_file_has_one(here: Any) -> None:
    libc = next(each for each in here.modules if each.name == "libc.so.6")
    (block,) = scan_dangling.of(answer(freed=[libc.begin + 0x28000, 12, "no number"]), here)
    assert len(block.freed) == 2 and block.freed[1] == "0xc"
    assert "libc.so.6+" in block.freed[0] or not block.freed[0].startswith("0x")


@pytest.mark.parametrize(
    "said", [{}, {"blocks": 7}, {"blocks": [7, "x"]}, {"blocks": [{"holders": [[1], "x", ["a", "b"]], "freed": 5}]}]
)
def test_nothing_in_an_answer_is_trusted(here: Any, said: dict[str, Any]) -> None:
    for block in scan_dangling.of(said, here):
        assert (block.address, block.size, block.holders, block.freed) == (0, 0, (), ())


def test_the_text_says_what_is_not_shown() -> None:
    block = Dangling(
        HOME, 24, "malloc", ("free_it", "main"), 3, (Holder(0x7000, 1, "global g"), Holder(8, -16, "here"))
    )
    assert list(scan_dangling.lines([block], 2)) == [
        "0x380000000000: a freed 24-byte block from malloc, 3 pointers at it",
        "  0x7000, global g: 1 byte into it",
        "  0x8, here: 16 bytes before it",
        "  and 1 more",
        "  freed by free_it, main",
        "3 freed blocks that something points at, 24B in the 1 shown",
    ]
    assert list(scan_dangling.lines([], 0)) == ["0 freed blocks that something points at"]


def test_stats_of_protection_name_what_there_is() -> None:
    process = Process(1 << 30, 1, 0, "program", 0, frozenset(), 4096)
    protection = {
        "engine": "markers",
        "allocations": 5,
        "arena_bytes": 8192,
        "refused": {"memory": 0, "mappings": 3},
        "pointers": {"stack": 4, "home": 0},
    }
    text = "\n".join(ctl.VERBS["stats"].text({"protection": protection}, process))
    said = text[text.index("protection:") :].splitlines()
    assert said[:6] == [
        "protection:",
        "  engine: markers",
        "  allocations: 5",
        "  arena_bytes: 8192 (8KiB)",
        "  refused for want of mappings: 3",
        "  pointers given to system calls, at stack: 4",
    ]
