from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Iterable
from typing import Any

import pytest

from poireau import diff
from poireau.estimate import Estimate
from poireau.model import Heap
from poireau.preamble import Preamble
from poireau.report import changes, objects, text, tree, words
from poireau.report.text import Style
from poireau.selection import Selection
from poireau.tables import Loss
from poireau.views import BYS, WHATS, View, view
from tests.poireau.histories import BEGIN, SECOND, heap_of
from tests.poireau.report import goldens

STACKS = [
    "operator new;void std::vector<Entry, std::allocator<Entry> >::_M_realloc_insert<Entry const&>(Entry const&)"
    "@/usr/include/c++/12/bits/vector.tcc:439;Cache::insert(Entry const&)@/src/cache.cc:88;serve(int)@/src/main.cc:120;"
    "main@/src/main.cc:12;_start",
    "load_config(std::map<std::string, std::vector<int> > const&, char const*)@/src/config.cc:40;main@/src/main.cc:9;"
    "_start",
    "libplug.so!plugin_run@plug.c:4;/usr/lib/libplug.so.1!loop@plug.c:9;serve(int)@/src/main.cc:130;"
    "main@/src/main.cc:12;_start",
    "libz.so.1!libz.so.1+0x1234;serve(int)@/src/main.cc:131;main@/src/main.cc:12;_start",
    "na\x1b[31mughty\n@evil\x07.c:1;main@/src/main.cc:13",
    "",
]


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.fixture(scope="module")
def heap() -> Heap:
    rng = random.Random(20)
    lives: list[dict[str, Any]] = []
    for number in range(600):
        which = rng.choice([0, 0, 0, 0, 1, 1, 2, 3, 4, 5])
        born = number * SECOND // 2
        size = {0: 96, 1: 4000, 2: 1 << 20, 3: 65536}.get(which, 24)
        life = {"stack": STACKS[which], "size": size, "period": 1 << 19, "born": born, "thread": 1 + which % 2}
        life |= {"function": "operator new" if which == 0 else "malloc", "process": int(which == 3)}
        if rng.random() < (0.2 if which == 0 and born > 150 * SECOND else 0.6):
            life |= {"died": born + rng.choice([2_000_000, 30 * SECOND]), "free_thread": rng.choice([1, 2])}
        lives.append(life)
    ends = [
        {"process": process, "size": 1, "period": 1 << 19, "born": 301 * SECOND, "stack": STACKS[1]}
        for process in (0, 1)
    ]
    processes = [
        {"pid": 4242, "executable": "/usr/bin/server"},
        {"pid": 4300, "executable": "/usr/bin/helper", "parent": 0},
    ]
    return heap_of([*lives, *ends], processes=processes, threads={1: "main", 2: "wor\x1bker"})


def preamble(heap: Heap, answer: View) -> Preamble:
    return Preamble.of(heap, answer.selection, answer.periods, answer.stacks)


def printed(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def topped(heap: Heap, what: str = "in-use", by: str = "function", style: Style | None = None, **more: Any) -> str:
    answer = view(heap, what, by)
    return printed(text.top(answer, preamble(heap, answer), style or Style(), **more))


@pytest.mark.parametrize("by", BYS)
def test_golden_of_each_grouping(heap: Heap, by: str) -> None:
    goldens.check(f"top_by_{by}.txt", topped(heap, by=by))


@pytest.mark.parametrize("what", [what for what in WHATS if what != "resident"])
def test_golden_of_each_question(heap: Heap, what: str) -> None:
    goldens.check(f"top_{what}.txt", topped(heap, what, frames=0))


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_golden_of_widths(heap: Heap, width: int) -> None:
    got = topped(heap, style=Style(width))
    goldens.check(f"top_{width}_wide.txt", got)
    assert max(map(len, got.splitlines())) <= width


def test_golden_of_few_rows_and_many_frames(heap: Heap) -> None:
    goldens.check("top_limit_frames.txt", topped(heap, limit=2, frames=None))
    goldens.check("top_cumulative.txt", topped(heap, frames=0, by_through=True))


@pytest.mark.parametrize("inverted", [False, True])
def test_golden_of_trees(heap: Heap, inverted: bool) -> None:
    answer = view(heap, "in-use", "function")
    for limit in (0, 5):
        lines = tree.lines(tree.calls(answer, inverted), preamble(heap, answer), Style(100), limit)
        goldens.check(f"tree{'_inverted' * inverted}_{limit}.txt", printed(lines))


@pytest.mark.parametrize("coloured", [False, True])
def test_golden_of_a_difference_of_moments(heap: Heap, coloured: bool) -> None:
    found = diff.of_moments(heap, BEGIN + 100 * SECOND, BEGIN + 280 * SECOND)
    opening = Preamble.of(heap, found.selection, found.periods, found.stacks[0])
    lines = changes.lines(found, (opening,), Style(None, coloured))
    goldens.check(f"diff_moments{'_coloured' * coloured}.txt", printed(lines))


def test_golden_of_a_difference_of_runs(heap: Heap) -> None:
    views = [
        view(heap, "allocated", "stack", Selection(since=BEGIN + a * SECOND, until=BEGIN + b * SECOND))
        for a, b in ((0, 150), (150, 302))
    ]
    lines = changes.lines(diff.of_views(*views), tuple(preamble(heap, each) for each in views), Style(120))
    goldens.check("diff_runs.txt", printed(lines))


def test_golden_of_json(heap: Heap) -> None:
    answer = view(heap, "in-use", "function")
    opening = preamble(heap, answer)
    found = diff.of_moments(heap, BEGIN + 100 * SECOND, BEGIN + 280 * SECOND)
    for name, document in (
        ("top", objects.of_view(answer, opening, 2)),
        ("tree", objects.of_calls(tree.calls(answer), opening, 3)),
        ("diff", objects.of_diff(found, (opening,), 1)),
    ):
        got = objects.text_of(document)
        assert json.loads(got)["schema"] == f"poireau.{name}"
        goldens.check(f"{name}.json", got)


def test_golden_of_nothing() -> None:
    goldens.check("top_nothing.txt", topped(heap_of([])))


def test_what_was_lost_is_said_first(heap: Heap) -> None:
    answer = view(heap, "in-use", "process")
    whole = preamble(heap, answer)
    lossy = Preamble(**{**vars(whole), "lost": {"a p\x1backet": 3, "x": 1, "y": 1, "z": 1}})
    said = printed(lossy.lines())
    assert "incomplete" in said and "lost: a p\\x1backet 3, x 1, y 1 and 1 more causes" in said


def test_no_control_character_reaches_the_terminal(heap: Heap) -> None:
    for by in BYS:
        got = topped(heap, by=by) + topped(heap, by=by, style=Style(70))
        assert all(character.isprintable() or character == "\n" for character in got)


def test_colours_are_for_terminals_and_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("NO_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "77")
    assert Style.of(io.StringIO()) == Style(None, False)
    assert Style.of(Terminal()) == Style(77, True)
    monkeypatch.setenv("CLICOLOR_FORCE", "1")
    assert Style.of(io.StringIO()) == Style(None, True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Style.of(Terminal()).colours and not Style.of(io.StringIO()).colours


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (Estimate(4729077, 4414505, 5043650, 90, 160000), "4.51MiB ± 0.30MiB"),
        (Estimate(1 << 20, 1 << 20, 1 << 20, 5, 0), "1.00MiB"),
        (Estimate(0, 0, 1.5 * (1 << 20), 0, 0), "< 1.50MiB"),
        (Estimate(1 << 20, 1 << 18, 4 << 20, 2, 0), "1.00MiB (0.25 to 4.00MiB)"),
        (Estimate(500, 480, 520, 5, 10), "500B ± 20B"),
        (Estimate(300 << 20, (300 << 20) - 1000, (300 << 20) + 1000, 5, 10), "300MiB ± 1000B"),
        (Estimate(300 << 20, (300 << 20) - 100, (300 << 20) + 1000, 5, 10), "300MiB"),
    ],
)
def test_a_figure_and_how_sure_it_is(estimate: Estimate, expected: str) -> None:
    assert words.whole(estimate) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (7, "7"), (1.5, "1.5"), (9999, "9,999"), (12_345, "12.3k"), (4.5e6, "4.50M"), (2e9, "2.00G")],
)
def test_numbers_have_three_digits_from_ten_thousand_on(value: float, expected: str) -> None:
    assert words.number(value) == expected


def test_a_function_that_does_not_fit_loses_its_arguments_first_and_then_its_middle() -> None:
    name = "void outer::space::inner<int>(std::vector<int> const&)"
    assert words.function(name) == name
    assert words.function(name, 20) == "outer::space::inner"
    assert words.function(name, 12) == "out…e::inner"
    assert all(len(words.function(name, width)) <= width for width in range(1, 60))


STRING = "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (f"f({STRING} const&)", "f(std::string const&)"),
        (f"std::vector<{STRING}, std::allocator<{STRING} > >::resize(int)", "std::vector<std::string>::resize(int)"),
        (f"f(std::set<{STRING}, std::allocator<{STRING} > >)", "f(std::set<std::string>)"),
        ("f(std::basic_string_view<char, std::char_traits<char> >)", "f(std::string_view)"),
        ("f(std::__1::basic_string<char, std::__1::char_traits<char>, std::__1::allocator<char>>)", "f(std::string)"),
        ("f(std::basic_string<wchar_t>)", "f(std::basic_string<wchar_t>)"),
        ("std::allocator<int>::allocate(unsigned long)", "std::allocator<int>::allocate(unsigned long)"),
    ],
)  # fmt: skip
def test_strings_and_containers_are_called_what_everybody_calls_them(name: str, said: str) -> None:
    assert words.function(name) == said


def test_losses_are_of_the_processes_that_are_asked_about(heap: Heap) -> None:
    class Lossy:
        def __getattr__(self, name: str) -> Any:
            return [Loss(1, "packets", 2)] if name == "losses" else getattr(heap, name)

    lost = [Preamble.of(Lossy(), Selection(processes=(number,))).lost for number in (0, 1)]  # type: ignore[arg-type]
    assert lost == [{}, {"packets": 2}]


def test_blocks_are_several_unless_it_is_one() -> None:
    assert words.blocks(Estimate(1, 1, 1, 1, 0)) == "1 block"
    assert words.blocks(Estimate(1, 1, 4, 1, 0)) == "1 (1 to 4) blocks"
    assert words.blocks(Estimate(0, 0, 0, 0, 0)) == "0 blocks"


@pytest.mark.parametrize("by", ["function", "line"])
def test_a_place_fits_whatever_its_file_is_called(by: str) -> None:
    row = {"function": "a::very::long::name(int)", "file": "/x/libc_start_call_main_of_somebody.h", "line": 1058}
    for width in range(8, 80):
        said = words.key(row, by, False, width)
        assert len(said) <= width and (width < 20 or ":1058" in said), said
    assert words.key(row, by, False, 80) == words.key(row, by, False)
