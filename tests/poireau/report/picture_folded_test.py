from __future__ import annotations

import io
from pathlib import Path

import pytest

from poireau.errors import Failure
from poireau.report import folded, picture_flame, picture_folded, picture_pages
from poireau.report.picture_tree import SMALLER
from poireau.views import view
from tests.poireau.report.heaps import awkward
from tests.poireau.report.picture_data_test import data_of


def of(text: str | bytes, focus: str = "", ignore: str = "") -> picture_folded.Folded:
    return picture_folded.of(io.BytesIO(text.encode() if isinstance(text, str) else text), "test", focus, ignore)


def paths(read: picture_folded.Folded) -> dict[str, float]:
    found = {}
    for at in range(1, len(read.parent)):
        names, number = [], at
        while number:
            names.append(read.names[number])
            number = int(read.parent[number])
        found[";".join(reversed(names))] = float(read.value[at])
    return found


def test_calls_have_what_all_below_them_have() -> None:
    read = of("main;f;g 10\nmain;f 5\nmain;h with space 1.5\n\n# a comment\n")
    assert paths(read) == {"main": 16.5, "main;f": 15, "main;f;g": 10, "main;h with space": 1.5}
    assert (read.value[0], read.stacks, read.complaints) == (16.5, 3, ())


def test_what_is_exported_comes_back() -> None:
    out = io.BytesIO()
    answer = view(awkward(), "in-use", "stack")
    folded.write(answer, out)
    assert of(out.getvalue()).value[0] == pytest.approx(answer.total_bytes.value, abs=1)


def test_inverted_begins_with_who_asked() -> None:
    read = picture_folded.of(io.BytesIO(b"main;f;g 10\nmain;h;g 5\n"), "test", inverted=True)
    assert paths(read) == {"g": 15, "g;f": 10, "g;f;main": 10, "g;h": 5, "g;h;main": 5}


def test_lines_that_are_none_are_counted() -> None:
    bad = [b"main;f", b"main;f -3", b"main;f 1e9", b"12", b"main nan", b"main 99999999999999999999", b"\xff\xfe;f 1"]
    read = of(b"\n".join(bad) + b"\nmain 7\n")
    assert read.value[0] == 8
    assert read.complaints == ("6 lines that are no folded stacks were left out",)


def test_lines_without_end_and_stacks_without_bottom_are_bounded() -> None:
    read = of(b"x" * (3 << 20) + b" 5\n" + b";".join([b"f"] * 5000) + b" 3\nmain 1\n")
    assert read.value[0] == 4
    assert len(read.parent) < 600
    assert read.complaints == ("1 lines that are no folded stacks were left out", "1 stacks were cut short")


def test_only_stacks_in_focus_count() -> None:
    assert of("main;f 1\nmain;g 2\n", focus="g$").value[0] == 2
    assert of("main;f 1\nmain;g 2\n", ignore="g$").value[0] == 1


def test_nothing_is_a_picture_that_says_so() -> None:
    drawing = picture_flame.draw(picture_folded.flame(of("")))
    assert drawing.boxes == 0


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_page_has_all_of_it_and_no_times(limit: int) -> None:
    read = of("main;f;g 10\nmain;f 5\nmain;<b>h</b> 1.5\n" + "".join(f"main;x{n} 1\n" for n in range(9)))
    page = data_of(picture_pages.folded(read, limit, inverted=True))
    assert (page["times"], page["cells"], page["change"], page["inverted"]) == (None, None, None, True)
    (view,) = page["views"]
    value = dict(zip(view["row"], view["bytes"]["value"]))
    parent = page["nodes"]["parent"]
    assert value[0] == sum(each for row, each in value.items() if row and parent[row] == 0) == 25.5
    assert limit or "<b>h</b>" in page["names"]
    assert view["bytes"]["low"] == view["bytes"]["high"] == view["bytes"]["value"]
    assert (page["nodes"]["kind"].count(SMALLER) > 0) == bool(limit)


def test_a_page_of_nothing_says_so() -> None:
    assert any("nothing to draw" in line for line in data_of(picture_pages.folded(of("")))["lines"])


@pytest.mark.parametrize("limit", [0, 1, 6000])
def test_nothing_is_left_out_of_the_picture(limit: int) -> None:
    flame = picture_folded.flame(of("".join(f"main;f{n} {n + 1}\n" for n in range(30))), limit)
    assert flame.value[flame.parent == flame.names.index("main")].sum() == sum(range(31))


def test_what_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="No such file"):
        picture_folded.read(str(tmp_path / "nowhere"))
    with pytest.raises(Failure, match="directory"):
        picture_folded.read(str(tmp_path))
