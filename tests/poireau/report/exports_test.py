"""Exports, opened by those they are for."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf import text_format

from poireau.model import Heap
from poireau.report import tables
from poireau.report.exports import REPORTS, TABLES, Asked
from poireau.report.firefox_tables import breakpad_id
from poireau.report.redact import Pseudonyms, redacted
from poireau.selection import Selection
from poireau.version import __version__
from poireau.views import BYS, WHATS, view
from tests.poireau.histories import BEGIN, SECOND, heap_of
from tests.poireau.report import goldens
from tests.poireau.report.heaps import LIBRARY, awkward
from tests.poireau.report.readers import go_pprof, google_pprof, protobuf, speedscope


def written(form: str, heap: Heap | None = None, **asked: Any) -> bytes:
    out = io.BytesIO()
    REPORTS[form].write(heap or awkward(), Asked(**asked), out)
    return out.getvalue()


def written_to(path: Path, form: str, heap: Heap | None = None, **asked: Any) -> Path:
    path.write_bytes(written(form, heap, **asked))
    return path


@pytest.mark.parametrize("form", [form for form in REPORTS if form != "calls"])
def test_of_nothing_there_is_an_export(form: str) -> None:
    for asked in ({"table": table} for table in TABLES if form in tables.FORMS) if form in tables.FORMS else ({},):
        written(form, heap_of([]), **asked)


@pytest.mark.parametrize("form", [form for form in REPORTS if form != "calls"])
def test_the_same_heap_is_the_same_export(form: str) -> None:
    assert written(form) == written(form)


# Folded.


def folded(content: bytes) -> dict[tuple[str, ...], int]:
    lines = [line.rpartition(" ") for line in content.decode().splitlines()]
    return {tuple(stack.split(";")): int(value) for stack, _, value in lines}


@pytest.mark.parametrize("what", [what for what in WHATS if what != "resident"])
def test_folded_stacks_add_up_to_the_view(what: str) -> None:
    found = folded(written("folded", view=what))
    expected = view(awkward(), what)
    assert sum(found.values()) == pytest.approx(expected.total_bytes.value, abs=len(expected.table) + 1)


def test_names_in_folded_stacks_part_neither_frames_nor_lines() -> None:
    stacks = set(folded(written("folded", view="allocated")))
    put, load = "acme::Cache::put", "acme::Plan::load"
    assert ("main", "évaluer: now", load, put, load, put) in stacks
    assert all(";" not in part and part.strip() for stack in stacks for part in stack)


@pytest.mark.soak  # it has npm install speedscope
def test_speedscope_reads_folded_stacks(tmp_path: Path) -> None:
    content = written("folded")
    (profile,) = speedscope(written_to(tmp_path / "heap.folded", "folded"))
    found = {tuple(name for name, _ in stack): value for stack, value in profile["stacks"]}
    assert found == folded(content)


# speedscope's own.


@pytest.mark.soak  # it has npm install speedscope
def test_speedscope_shows_each_view_with_its_bounds_and_inlined_functions(tmp_path: Path) -> None:
    profiles = speedscope(written_to(tmp_path / "heap.speedscope.json", "speedscope"))
    names = [profile["name"] for profile in profiles]
    assert names[:3] == ["in use", "in use, at least (95 %)", "in use, at most (95 %)"]
    assert {profile["unit"] for profile in profiles} == {"bytes"}
    table = view(awkward()).table
    for profile, column in zip(profiles, ("bytes", "bytes_low", "bytes_high")):
        assert profile["total"] == pytest.approx(table[column].sum(), abs=1)
        assert sum(value for _, value in profile["stacks"]) == profile["total"]
    stacks = [[tuple(frame) for frame in stack] for stack, _ in profiles[0]["stacks"]]
    source = "/opt/acme/src/"
    assert [
        ("main", source + "plan.cc"),
        ("acme::Plan::load", source + "plan.cc"),
        ("acme::Cache::put", source + "cache.h"),
        ("operator new[](unsigned long)", ""),
    ] in stacks


@pytest.mark.soak  # it has npm install speedscope
def test_speedscope_shows_byte_seconds_without_a_unit(tmp_path: Path) -> None:
    profiles = speedscope(written_to(tmp_path / "heap.speedscope.json", "speedscope", view="byte-seconds"))
    assert (profiles[0]["name"], profiles[0]["unit"]) == (WHATS["byte-seconds"], "none")


# Text for jeprof and the pprofs.


def test_go_s_pprof_reads_the_text_as_it_reads_the_proto(tmp_path: Path) -> None:
    file = written_to(tmp_path / "heap.txt", "heap-text")
    total = round(view(awkward()).total_bytes.value)
    assert f"of {total}B total" in go_pprof("-top", "-unit=b", "-sample_index=inuse_space", file)
    allocated = round(view(awkward(), "allocated").total_bytes.value)
    assert f"of {allocated}B total" in go_pprof("-top", "-unit=b", "-sample_index=alloc_space", file)


def test_the_old_pprof_reads_the_text(tmp_path: Path) -> None:
    file = written_to(tmp_path / "heap.txt", "heap-text")
    total = view(awkward()).total_bytes.value / (1 << 20)
    assert f"Total: {total:.1f} MB" in google_pprof("--text", "/bin/true", file)


# Firefox Profiler.


def test_every_index_of_a_firefox_profile_is_within_its_table() -> None:
    profile = json.loads(written("firefox"))
    strings, sources, libraries = profile["shared"]["stringArray"], profile["shared"]["sources"], profile["libs"]
    assert profile["meta"]["preprocessedProfileVersion"] == 58
    assert all(0 <= name < len(strings) for name in sources["filename"])
    assert len(profile["threads"]) == 3
    for thread in profile["threads"]:
        columns = {
            "stackTable": {"frame": "frameTable", "prefix": "stackTable"},
            "frameTable": {"func": "funcTable"},
            "funcTable": {"name": strings, "resource": "resourceTable", "source": sources["filename"]},
            "resourceTable": {"lib": libraries, "name": strings},
            "nativeAllocations": {"stack": "stackTable"},
        }
        for name, targets in columns.items():
            table = thread[name]
            lengths = {len(column) for column in table.values() if isinstance(column, list)}
            assert lengths == {table["length"]}, (name, lengths)
            for column, target in targets.items():
                most = thread[target]["length"] if isinstance(target, str) else len(target)
                missing = -1 if column == "resource" else None
                assert all(each == missing or 0 <= each < most for each in table[column]), (name, column)
        prefixes = thread["stackTable"]["prefix"]
        assert all(prefix is None or prefix < at for at, prefix in enumerate(prefixes)), "a caller comes first"
        assert sorted(thread["nativeAllocations"]["time"]) == thread["nativeAllocations"]["time"]


def retained(profile: Any, begin: float, end: float) -> dict[tuple[str, ...], int]:
    """What Firefox Profiler calls so: allocated in the range, and not freed in it."""
    found: dict[tuple[str, ...], int] = {}
    for thread in profile["threads"]:
        table, known = thread["nativeAllocations"], {}
        columns = zip(*(table[name] for name in ("time", "weight", "stack", "memoryAddress")))
        for time, weight, stack, address in columns:
            if begin <= time < end:
                if weight > 0:
                    known[address] = (stack, weight)
                elif known.get(address, (None, 0))[1] == -weight:
                    del known[address]
        for stack, weight in known.values():
            names = path(profile, thread, stack)
            found[names] = found.get(names, 0) + weight
    return found


def path(profile: Any, thread: Any, stack: int | None) -> tuple[str, ...]:
    """Functions, innermost first."""
    names = []
    while stack is not None:
        function = thread["frameTable"]["func"][thread["stackTable"]["frame"][stack]]
        names.append(profile["shared"]["stringArray"][thread["funcTable"]["name"][function]])
        stack = thread["stackTable"]["prefix"][stack]
    return tuple(names)


def test_what_is_retained_in_all_of_a_firefox_profile_is_in_use() -> None:
    found = retained(json.loads(written("firefox")), 0, 1e9)
    expected = view(awkward()).total_bytes.value
    assert sum(found.values()) == pytest.approx(expected, abs=4)
    assert ("operator new[](unsigned long)", "acme::Cache::put", "acme::Plan::load", "main") in found


def test_a_firefox_profile_of_a_window_has_what_was_born_in_it() -> None:
    selection = Selection(since=BEGIN + 3 * SECOND, until=BEGIN + 5 * SECOND)
    profile = json.loads(written("firefox", selection=selection))
    allocated = view(awkward(), "allocated", selection=selection).total_bytes.value
    assert sum(retained(profile, 0, 1e9).values()) == pytest.approx(allocated, abs=4)


def test_who_frees_is_told_beside_who_allocated() -> None:
    lives = [{"size": 10, "thread": 1, "free_thread": 2, "died": 5}]
    (thread,) = json.loads(written("firefox", heap_of(lives)))["threads"]
    assert thread["nativeAllocations"]["threadId"] == [1, 2]
    assert thread["nativeAllocations"]["weight"] == [10, -10]


def test_a_build_id_becomes_breakpad_s_id() -> None:
    assert breakpad_id("0123456789abcdef0011223344556677deadbeef") == "67452301AB89EFCD00112233445566770"


# Tables.


def test_the_list_of_tables_is_the_tables() -> None:
    assert set(TABLES) == set(tables.TABLES)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_the_same_in_every_form(table: str, tmp_path: Path) -> None:
    rows = json.loads(written("json", table=table))["rows"]
    lines = [json.loads(line) for line in written("jsonl", table=table).splitlines()]
    assert rows == lines
    csv = pd.read_csv(io.BytesIO(written("csv", table=table)))
    parquet = pd.read_parquet(written_to(tmp_path / "table.parquet", "parquet", table=table))
    assert len(csv) == len(parquet) == len(rows)
    assert list(csv.columns) == list(parquet.columns)
    for row, other in zip(rows, parquet.to_dict("records")):
        for name, value in row.items():
            if isinstance(value, float):
                assert other[name] == pytest.approx(value, rel=1e-6, abs=1e-6)
            else:
                assert value == other[name] or (value is None and pd.isna(other[name])), (name, value, other[name])


def test_lives_say_when_and_how_they_ended() -> None:
    table = pd.read_csv(io.BytesIO(written("csv", table="lives")))
    freed = table[table["fate"] == "freed"]
    assert len(table) == 8
    assert len(freed) == 2
    assert freed["died"].notna().all()
    assert table.loc[table["fate"] == "alive", "died"].isna().all()
    assert set(table["function"]) == {"malloc"}


def test_large_numbers_stay_exact(tmp_path: Path) -> None:
    life = {"id": (1 << 63) + 5, "address": (1 << 64) - 16, "size": (1 << 63) + 1}
    heap = heap_of([life])
    row = json.loads(written("json", heap, table="live"))["rows"][0]
    assert {name: row[name] for name in life} == life
    table = pd.read_parquet(written_to(tmp_path / "t.parquet", "parquet", heap, table="live"))
    assert {name: int(table[name][0]) for name in life} == life


def test_frames_and_stacks_lead_to_functions() -> None:
    frames = pd.read_csv(io.BytesIO(written("csv", table="frames")))
    stacks = pd.read_csv(io.BytesIO(written("csv", table="stacks")))
    inlined = frames[frames["frame"] == frames.loc[frames["inlined"], "frame"].iloc[0]]
    assert inlined["function"].tolist() == ["acme::Cache::put", "acme::Plan::load"]
    assert set(inlined["module"]) == {LIBRARY}
    joined = stacks.merge(frames, on="frame")
    assert np.isin(joined["stack"], view(awkward()).table["stack"]).any()


# What they look like.


@pytest.mark.parametrize("redaction", ["", "_redacted"])
@pytest.mark.parametrize("form", [form for form in REPORTS if form not in ("calls", *tables.FORMS)])
def test_golden_of_each_format(form: str, redaction: str) -> None:
    heap = redacted(awkward(), Pseudonyms(b"k" * 32)) if redaction else awkward()
    content = written(form, heap)
    if form == "pprof":
        shown = text_format.MessageToString(protobuf(content), as_utf8=True)
    elif content.startswith(b"{"):
        shown = json.dumps(json.loads(content), indent=1, ensure_ascii=False) + "\n"
    else:
        shown = content.decode()
    goldens.check(f"export_{form}{redaction}.txt", shown.replace(f"poireau {__version__}", "poireau"))


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_golden_of_tables(form: str) -> None:
    names = ("view", "lives", "frames", "processes", "losses")
    goldens.check(f"export_tables.{form}", "".join(written(form, table=name).decode() for name in names))


def test_a_module_may_have_any_name() -> None:
    heap = heap_of([{"size": 10, "stack": "/lib/\udcb6.so!f"}])
    for form in REPORTS:
        for table in ("view", "frames", "modules") if form in tables.FORMS else ("view",):
            written(form, heap, table=table)
    for by in BYS:
        assert view(heap, "allocated", by).total_count.value == 1


def test_sizes_that_damage_makes_up_stay_numbers(recwarn: pytest.WarningsRecorder) -> None:
    heap = heap_of([{"size": (1 << 64) - 1, "period": 64}, {"size": (1 << 63) + 1, "period": 64}])
    for form in ("pprof", "heap-text", "firefox", "folded", "speedscope"):
        assert written(form, heap)
    assert [str(each.message) for each in recwarn] == []
