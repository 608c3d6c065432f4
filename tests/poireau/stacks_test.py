from __future__ import annotations

import random
import re
from dataclasses import dataclass

import numpy as np
import pytest

from poireau.stacks import NOWHERE, Stacks, qualified, runs, tree
from poireau.tables import Module, Names, Tables

FUNCTIONS = ["main", "f", "g", "h", "std::vector<int>::push_back(int const&)", "xmalloc", "own_alloc"]
FILES = ["", "main.cc", "f.cc"]
PATHS = ["", "/bin/program", "/lib/libplug.so", "/lib/x86_64-linux-gnu/libc.so.6"]


@dataclass(frozen=True)
class Place:
    function: str
    file: str
    line: int
    module: str


Plain = list[list[Place]]


def made(rng: random.Random, stacks: int = 60) -> tuple[Stacks, Plain]:
    """The same twice: as columns, and as lists of places."""

    def place() -> tuple[int, int, int]:
        return rng.randrange(len(FUNCTIONS)), rng.randrange(3), rng.randrange(4)

    frames = [(rng.randrange(len(PATHS)), [place() for _ in range(rng.choice([0, 1, 1, 2]))]) for _ in range(12)]
    rows = [row for _, each in frames for row in each]
    named = [
        [Place(FUNCTIONS[f], FILES[file], line, PATHS[module]) for f, file, line in rows] for module, rows in frames
    ]
    of_stacks = [[], *([rng.randrange(12) for _ in range(rng.randrange(6))] for _ in range(stacks - 1))]
    columns = np.array(rows, np.uint32).reshape(-1, 3)
    tables = Tables(
        strings=[""],
        modules=[Module(path, "") for path in PATHS],
        frame_module=np.array([module for module, _ in frames], np.uint32),
        frame_process=np.zeros(12, np.uint32),
        frame_address=np.arange(12, dtype=np.uint64) * 16,
        stack_ends=np.cumsum([len(each) for each in of_stacks]).astype(np.uint64),
        stack_frames=np.array([frame for each in of_stacks for frame in each], np.uint32),
        sources=[],
        process_ids=[],
        losses=[],
    )
    names = Names(
        np.cumsum([len(each) for _, each in frames]), columns[:, 0], columns[:, 1], columns[:, 2],
        np.zeros(len(rows), bool), FUNCTIONS, FILES,
    )  # fmt: skip
    return Stacks.of(tables, names), [[place for frame in each for place in named[frame]] for each in of_stacks]


@pytest.fixture
def both(seed: int) -> tuple[Stacks, Plain]:
    return made(random.Random(seed))


def plain(stacks: Stacks) -> Plain:
    names, tables = stacks.names, stacks.tables
    return [
        [
            Place(
                names.functions[names.function[row]], names.files[names.file[row]], int(names.line[row]),
                tables.modules[tables.frame_module[frame]].path,
            )
            for row, frame in zip(stacks.places[begin:end], stacks.frames[begin:end])
        ]
        for begin, end in zip(stacks.begins, stacks.ends)
    ]  # fmt: skip


def has(place: Place, pattern: str) -> bool:
    return any(re.search(pattern, text) for text in (place.function, place.file, place.module))


def test_each_frame_becomes_its_places_innermost_first(both: tuple[Stacks, Plain]) -> None:
    stacks, expected = both
    assert plain(stacks) == expected


@pytest.mark.parametrize("pattern", ["^f$", "main", "libplug", "cc$", "nothing like it", ""])
def test_a_pattern_is_searched_in_functions_files_and_modules(both: tuple[Stacks, Plain], pattern: str) -> None:
    stacks, expected = both
    found = stacks.found(re.compile(pattern))
    assert stacks.having(found).tolist() == [any(has(place, pattern) for place in each) for each in expected]
    assert plain(stacks.without(found)) == [[p for p in each if not has(p, pattern)] for each in expected]


def test_focus_and_ignore_of_the_same_part_the_stacks(both: tuple[Stacks, Plain]) -> None:
    stacks, _ = both
    assert (stacks.chosen(focus="main") ^ stacks.chosen(ignore="main")).all()
    assert not stacks.chosen(focus="main", ignore="main").any()
    assert stacks.chosen().all()


def test_the_site_is_the_innermost_place_that_is_no_wrapper(both: tuple[Stacks, Plain]) -> None:
    stacks, expected = both

    def passes_on(place: Place) -> bool:
        return place.function.startswith(("std::", "xmalloc", "own_")) or "libc.so" in place.module

    for each, site in zip(expected, stacks.sites(stacks.wrappers("^own_"))):
        own = [place for place in each if not passes_on(place)]
        assert site == NOWHERE if not each else plain(stacks)[int(stacks.owners[site])] == each
        if each:
            assert each[site - stacks.begins[stacks.owners[site]]] == (own or each)[0]


def test_a_tree_holds_every_stack_and_its_sums_add_up(both: tuple[Stacks, Plain]) -> None:
    stacks, expected = both
    functions = np.asarray(stacks.names.function, np.int64)
    chosen = np.arange(len(stacks)) % 3 > 0
    weight = np.arange(len(stacks), dtype=np.float64)
    for inverted in (False, True):
        found = tree(stacks, chosen, functions, inverted)
        own = np.bincount(found.node[chosen], weight[chosen], len(found.parent))
        total = found.upwards(own)
        assert total[0] == weight[chosen].sum()
        assert (found.parent[1:] < np.arange(1, len(found.parent))).all()
        paths: dict[tuple[str, ...], float] = {}
        for number in np.flatnonzero(chosen):
            names = [place.function for place in expected[number]]
            names = names if inverted else names[::-1]
            for depth in range(len(names) + 1):
                paths[tuple(names[:depth])] = paths.get(tuple(names[:depth]), 0) + weight[number]
        got = {}
        for node in range(len(found.parent)):
            path, at = [], node
            while at:
                path.append(stacks.names.functions[functions[stacks.places[found.place[at]]]])
                at = int(found.parent[at])
            got[tuple(path[::-1])] = total[node]
        assert got == paths


def test_what_is_the_same_has_one_number_and_one_portable_key(seed: int) -> None:
    rng = random.Random(seed)
    (one, first), (other, second) = made(rng), made(rng)
    for stacks, expected in ((one, first), (other, second)):
        same = stacks.same()
        for a in range(len(stacks)):
            for b in range(len(stacks)):
                lines = [[(p.function, p.file, p.line) for p in expected[each]] for each in (a, b)]
                assert (same[a] == same[b]) == (lines[0] == lines[1])
    for key, each in zip(one.portable(), first):
        for other_key, another in zip(other.portable(), second):
            assert (key == other_key) == ([p.function for p in each] == [p.function for p in another])


def test_addresses_are_portable_where_build_ids_are_the_same(both: tuple[Stacks, Plain]) -> None:
    stacks, _ = both
    keys, frames = stacks.portable_addresses(), [tuple(stacks.tables.frames_of(each)) for each in range(len(stacks))]
    assert len(set(keys.tolist())) == len(set(frames))


def test_runs_are_ranges_one_after_the_other() -> None:
    assert runs(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
    assert runs(np.zeros(0, np.int64), np.zeros(0, np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("main", "main"),
        ("libfoo.so+0x1234", "libfoo.so+0x1234"),
        ("foo(int) const", "foo"),
        ("void std::vector<Foo<int> >::emplace_back<X>(X&&)", "std::vector::emplace_back"),
        ("std::vector<int> make<int>(int)", "make"),
        ("(anonymous namespace)::f(int)", "(anonymous namespace)::f"),
        ("operator new[](unsigned long, std::align_val_t)", "operator new[]"),
        ("std::ostream& operator<< <char>(std::ostream&, char)", "operator<<"),
        ("std::function<void ()>::operator()() const", "std::function::operator()"),
        ("A::operator bool() const", "A::operator bool"),
        ("f(int)::{lambda(int)#2}::operator()(int) const", "f::{lambda#2}::operator()"),
        ("f(int) [clone .part.0]", "f"),
        ("", ""),
        ("(((", "((("),
        ("<" * 100_000, "<" * 100_000),
    ],
)
def test_a_qualified_name_is_without_arguments_and_return_types(function: str, expected: str) -> None:
    assert qualified(function) == expected


@pytest.mark.parametrize(
    ("function", "wraps"),
    [
        ("operator new(unsigned long)", True), ("std::string::_M_create(unsigned long&, unsigned long)", True),
        ("std::vector<int> mine::make<int>(int)", False), ("g_malloc0", True), ("xstrdup", True), ("zmalloc", True),
        ("ztrymalloc_usable_internal", True), ("_PyObject_Malloc", True), ("PyMem_RawMalloc", True),
        ("my_calloc", True),
        ("alloc::raw_vec::RawVec<T,A>::grow_one", True), ("mallocator_of_fun", False), ("get_line_of", False),
        ("<alloc::alloc::Global>::alloc_impl", True),
        ("<u8 as alloc::vec::spec_from_elem::SpecFromElem>::from_elem", True),
        ("<T as core::convert::Into<U>>::into", True), ("<mine::Thing as core::clone::Clone>::clone", False),
        ("<mine::Thing>::new", False),
        ("getdelim", True), ("Arena::malloc(unsigned long)", True), ("stdlike::f()", False), ("allocate_page", False),
    ],
)  # fmt: skip
def test_wrappers_are_told_by_their_names(function: str, wraps: bool) -> None:
    tables = Tables(
        [""], [Module("", "")], *(np.zeros(1, np.uint32),) * 3, np.array([0, 1]), np.zeros(1, int), [], [], []
    )
    names = Names(np.ones(1, int), *(np.zeros(1, int),) * 3, np.zeros(1, bool), [function], [""])
    assert Stacks.of(tables, names).wrappers().tolist() == [wraps]
