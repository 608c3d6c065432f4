"""pprof's format, read by protobuf's parser and by Go's pprof."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from poireau import estimates
from poireau.model import Heap
from poireau.report import pprof
from poireau.report.profile import profile
from poireau.selection import Selection
from poireau.views import view
from tests.poireau.histories import BEGIN, SECOND, heap_of
from tests.poireau.report.heaps import BUILD_IDS, LIBRARY, PROGRAM, awkward, large
from tests.poireau.report.readers import go_pprof, protobuf


def written(heap: Heap, selection: Selection | None = None, less: bool = False) -> bytes:
    out = io.BytesIO()
    pprof.write(profile(heap, selection or Selection(), less), out)
    return out.getvalue()


def functions(parsed: Any) -> list[tuple[list[str], list[int]]]:
    """Of each sample, functions innermost first, and values."""
    names = {each.id: parsed.string_table[each.name] for each in parsed.function}
    places = {each.id: [names[line.function_id] for line in each.line] for each in parsed.location}
    stacks = [[function for place in sample.location_id for function in places[place]] for sample in parsed.sample]
    return [(stack, list(sample.value)) for stack, sample in zip(stacks, parsed.sample)]


def labels(parsed: Any, sample: Any) -> dict[str, Any]:
    text = parsed.string_table
    return {text[each.key]: text[each.str] if each.str else each.num for each in sample.label}


def test_sample_types_are_go_s_and_in_go_s_order() -> None:
    parsed = protobuf(written(awkward()))
    text = parsed.string_table
    assert text[0] == ""
    assert len(set(text)) == len(text)
    assert [(text[each.type], text[each.unit]) for each in parsed.sample_type] == [
        ("alloc_objects", "count"),
        ("alloc_space", "bytes"),
        ("inuse_objects", "count"),
        ("inuse_space", "bytes"),
    ]
    assert text[parsed.default_sample_type] == "inuse_space"
    assert (text[parsed.period_type.type], text[parsed.period_type.unit]) == ("space", "bytes")
    assert parsed.period == 65536


def test_whatever_is_referred_to_is_there_once() -> None:
    parsed = protobuf(written(awkward()))
    for table in (parsed.mapping, parsed.location, parsed.function):
        numbers = [each.id for each in table]
        assert 0 not in numbers
        assert len(set(numbers)) == len(numbers)
    locations = {each.id for each in parsed.location}
    assert {place for sample in parsed.sample for place in sample.location_id} == locations
    assert {line.function_id for each in parsed.location for line in each.line} == {each.id for each in parsed.function}
    assert {each.mapping_id for each in parsed.location} == {each.id for each in parsed.mapping}


def test_inlined_functions_are_lines_of_one_location_innermost_first() -> None:
    parsed = protobuf(written(awkward()))
    names = {each.id: parsed.string_table[each.name] for each in parsed.function}
    inlined = [[names[line.function_id] for line in each.line] for each in parsed.location if len(each.line) > 1]
    assert inlined == [["acme::Cache::put", "acme::Plan::load"]]
    load = next(stack for stack, _ in functions(parsed) if "operator new[](unsigned long)" in stack)
    assert load == ["operator new[](unsigned long)", "acme::Cache::put", "acme::Plan::load", "main"]


def test_addresses_lie_within_their_mapping_and_the_program_comes_first() -> None:
    parsed = protobuf(written(awkward()))
    text = parsed.string_table
    mappings = {each.id: each for each in parsed.mapping}
    assert text[parsed.mapping[0].filename] == PROGRAM
    assert {text[each.filename]: text[each.build_id] for each in parsed.mapping} == BUILD_IDS
    assert parsed.mapping[0].memory_start == 0x5555_0000_0000
    for each in parsed.location:
        assert mappings[each.mapping_id].memory_start <= each.address < mappings[each.mapping_id].memory_limit
    flags = {text[each.filename]: (each.has_functions, each.has_inline_frames) for each in parsed.mapping}
    assert flags == {PROGRAM: (True, False), LIBRARY: (True, True)}


@pytest.mark.parametrize("selection", [Selection(), Selection(since=BEGIN + 2 * SECOND, until=BEGIN + 6 * SECOND)])
def test_sums_are_the_estimates_of_the_views(selection: Selection) -> None:
    parsed = protobuf(written(awkward(), selection))
    totals = [sum(sample.value[i] for sample in parsed.sample) for i in range(4)]
    for what, count, size in (("allocated", 0, 1), ("in-use", 2, 3)):
        expected = view(awkward(), what, "stack", selection)
        assert totals[count] == pytest.approx(expected.total_count.value, abs=1.01)
        assert totals[size] == pytest.approx(expected.total_bytes.value, abs=1.01)


def test_labels_say_how_sure_a_value_is_whose_it_is_and_how_large_its_blocks_are() -> None:
    heap = heap_of([{"size": 100, "period": 1000}] * 40, threads={1: "worker"})
    parsed = protobuf(written(heap))
    (sample,) = parsed.sample
    known = labels(parsed, sample)
    expected = estimates.total(heap.live())
    assert known == {
        "pid": 1000,
        "thread": "worker",
        "thread_id": 1,
        "bytes": 128,
        "ci_low": round(expected.low),
        "ci_high": round(expected.high),
    }
    assert known["ci_low"] < sample.value[3] < known["ci_high"]


def test_what_is_lost_is_in_the_comments() -> None:
    parsed = protobuf(written(awkward()))
    comments = [parsed.string_table[each] for each in parsed.comment]
    assert "lost: 3 no room in the trace (process 12)" in comments
    assert "a sample every 65536 bytes, mostly" in comments


def test_focus_ignore_and_hide_are_those_of_all_reports() -> None:
    shown = functions(protobuf(written(awkward(), Selection(focus="Plan::parse", hide="^main$"))))
    assert {tuple(stack) for stack, _ in shown} == {("acme::Plan::parse<int, char>",)}
    hidden = functions(protobuf(written(awkward(), Selection(focus="operator new", hide="Cache"))))
    assert {tuple(stack) for stack, _ in hidden} == {("operator new[](unsigned long)", "acme::Plan::load", "main")}


def test_a_difference_is_what_came_less_what_went() -> None:
    lives = [
        {"size": 10, "stack": "gone", "born": 1, "died": 15},
        {"size": 20, "stack": "came", "born": 12},
        {"size": 40, "stack": "stays", "born": 2},
        {"size": 80, "stack": "brief", "born": 12, "died": 14},
        {"size": 5, "stack": "later", "born": 30},
    ]
    found = functions(protobuf(written(heap_of(lives), Selection(since=BEGIN + 10, until=BEGIN + 20), less=True)))
    assert {stack[0]: tuple(values) for stack, values in found} == {
        "gone": (0, 0, -1, -10),
        "came": (1, 20, 1, 20),
        "brief": (1, 80, 0, 0),
    }


def test_of_nothing_there_is_a_profile() -> None:
    parsed = protobuf(written(heap_of([])))
    assert len(parsed.sample) == 0
    assert len(parsed.sample_type) == 4


def test_the_same_heap_is_the_same_file() -> None:
    assert written(awkward()) == written(awkward())


def test_go_s_pprof_shows_it(tmp_path: Path) -> None:
    file = tmp_path / "heap.pb.gz"
    file.write_bytes(written(awkward()))
    expected = view(awkward(), "in-use").total_bytes.value
    shown = go_pprof("-top", "-unit=b", file)
    assert f"of {round(expected)}B total" in shown, shown
    assert "acme::Plan::parse<int, char>" in shown
    assert "Type: inuse_space" in shown
    assert "alloc_objects" in go_pprof("-raw", file)
    tagged = go_pprof("-top", "-unit=b", "-sample_index=alloc_space", "-tagfocus=512kb:", file)
    assert "acme::Plan::parse<int, char>" in tagged
    assert "acme::Cache::put" not in tagged
    assert "merger;io" in go_pprof("-tags", file)
    assert "of 0 total" in go_pprof("-top", "-base", file, file)


@pytest.mark.slow
def test_go_s_pprof_reads_thousands_of_stacks(tmp_path: Path) -> None:
    heap = large(lives=20_000, stacks=10_000)
    file = tmp_path / "heap.pb.gz"
    file.write_bytes(written(heap))
    assert f"of {round(view(heap).total_bytes.value)}B total" in go_pprof("-top", "-unit=b", "-nodecount=1", file)
