"""A pack is all of a trace; and whatever a stranger puts into one is at worst a line on stderr."""

from __future__ import annotations

import io
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poireau.errors import Failure
from poireau.model import Heap
from poireau.native.binding import DTYPE
from poireau.reader import open_trace, pack
from poireau.views import WHATS, view
from tests.poireau.report.heaps import awkward, large


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return pack_of(awkward(), tmp_path / "heap.poireau")


def pack_of(heap: Heap, path: Path) -> Path:
    with open(path, "wb") as out:
        pack.write(heap.source.batches(), heap.source.tables, heap.names, out)
    return path


def heap_of(path: Path) -> Heap:
    opened = pack.open_pack(path)
    return Heap(opened, opened.names)


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """With its members changed."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    change(members)
    changed = path.with_suffix(".changed")
    with zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return changed


def column(values: Any, dtype: str) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.array(values, dtype), version=(1, 0))
    return out.getvalue()


def test_every_event_and_name_comes_back(packed: Path) -> None:
    heap, opened = awkward(), pack.open_pack(packed)
    batches = list(heap.source.batches())
    for mine, theirs in zip(batches, list(opened.batches())):
        for kind, columns in mine.items():
            for name in DTYPE[kind]:
                assert theirs[kind][name].dtype == DTYPE[kind][name]
                assert theirs[kind][name].tolist() == columns[name].tolist(), (kind, name)
    before, after = heap.source.tables(), opened.tables()
    assert after.modules == before.modules
    assert list(after.sources) == list(before.sources)
    assert list(after.strings[: len(before.strings)]) == list(before.strings)
    for name in ("frame_module", "frame_process", "frame_address", "stack_ends", "stack_frames"):
        assert getattr(after, name).tolist() == getattr(before, name).tolist()
    names, known = heap.names(), opened.names()
    assert names is not None and known is not None
    assert known.functions == names.functions and known.files == names.files
    assert known.inlined.tolist() == names.inlined.tolist()


def test_it_is_a_trace_to_who_opens_one(packed: Path) -> None:
    assert pack.is_pack(packed)
    assert isinstance(open_trace([packed]), pack.Pack)


@pytest.mark.parametrize("what", [what for what in WHATS if what != "resident"])
def test_a_view_of_a_pack_is_that_of_its_heap(what: str, packed: Path) -> None:
    assert view(heap_of(packed), what).table.equals(view(awkward(), what).table)


def test_it_can_be_read_again_and_says_how_far_it_is(packed: Path) -> None:
    opened = pack.open_pack(packed)
    assert sum(1 for _ in opened.batches()) == sum(1 for _ in opened.batches()) == opened.progress()[1]


def test_the_same_heap_makes_the_same_file(packed: Path, tmp_path: Path) -> None:
    assert pack_of(awkward(), tmp_path / "again").read_bytes() == packed.read_bytes()


def test_a_batch_with_too_many_rows_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack, "MOST_ROWS", 300)
    heap = large(lives=1000, stacks=10)
    opened = pack.open_pack(pack_of(heap, tmp_path / "p"))
    assert [len(batch["alloc"]["id"]) for batch in opened.batches()] == [300, 300, 300, 100]


def test_other_files_are_no_packs(tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as file:
        file.writestr("manifest.json", json.dumps({"schema": "somebody's"}))
    with pytest.raises(Failure, match="another kind of zip file"):
        pack.open_pack(other)
    for content in (b"", b"PK\x03\x04", b"something"):
        other.write_bytes(content)
        assert not pack.is_pack(other)
        with pytest.raises(Failure, match="not a pack"):
            pack.open_pack(other)
    assert not pack.is_pack(tmp_path / "nothing")


def broken_manifest(**changes: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["manifest.json"] = json.dumps({**json.loads(members["manifest.json"]), **changes}).encode()

    return change


def replaced(name: str, content: bytes | None) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        assert name in members
        if content is None:
            del members[name]
        else:
            members[name] = content

    return change


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/tmp/poireau-was-here"),))


def objects() -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.array([Evil()], object), version=(1, 0), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(broken_manifest(version=2), id="another version"),
        pytest.param(broken_manifest(batches=10**9), id="batches that aren't there"),
        pytest.param(broken_manifest(batches=-1), id="fewer than no batches"),
        pytest.param(broken_manifest(losses=[[0, "x"]]), id="half a loss"),
        pytest.param(broken_manifest(losses=5), id="no list of losses"),
        pytest.param(replaced("manifest.json", b"[" * 100_000), id="deep JSON"),
        pytest.param(replaced("manifest.json", b"\xff"), id="no JSON"),
        pytest.param(replaced("tables/stack_ends.npy", None), id="no stacks"),
        pytest.param(replaced("tables/stack_ends.npy", column([0, 10**12], "u8")), id="stacks that go on"),
        pytest.param(replaced("tables/stack_frames.npy", column([10**9], "u4")), id="frames that aren't there"),
        pytest.param(replaced("tables/string_ends.npy", column([0, 5, 3], "u8")), id="texts that end too early"),
        pytest.param(replaced("tables/string_bytes.npy", column([255] * 3, "u1")), id="no UTF-8"),
        pytest.param(replaced("tables/frame_module.npy", column([0], "i8")), id="another type"),
        pytest.param(replaced("tables/frame_module.npy", objects()), id="a pickle"),
        pytest.param(replaced("tables/frame_module.npy", pickle.dumps(Evil())), id="only a pickle"),
        pytest.param(replaced("tables/frame_module.npy", b"\x93NUMPY\x01\x00\xff\xff{"), id="half a header"),
        pytest.param(replaced("names/function.npy", column([0], "u4")), id="too few names"),
        pytest.param(replaced("events/0/alloc/frames.npy", column([77] * 8, "u4")), id="a stack that isn't there"),
        pytest.param(replaced("events/0/alloc/process.npy", column([7] * 8, "u4")), id="a process that isn't there"),
        pytest.param(replaced("events/0/alloc/size.npy", column([1], "u8")), id="columns of two lengths"),
        pytest.param(replaced("events/0/alloc/size.npy", None), id="a column that isn't there"),
    ],
)
def test_what_is_wrong_in_it_is_one_line(change: Callable[[dict[str, bytes]], None], packed: Path) -> None:
    with pytest.raises(Failure) as failure:
        heap_of(rewritten(packed, change)).extend()
    assert "\n" not in str(failure.value).strip()
    assert not Path("/tmp/poireau-was-here").exists()


def test_what_would_unpack_to_more_than_there_is_any_need_for_is_not_unpacked(packed: Path) -> None:
    bomb = rewritten(packed, replaced("tables/string_bytes.npy", column(np.zeros(100 << 20), "u1")))
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(Failure, match=r"would unpack to 1\d\d MiB"):
        pack.open_pack(bomb)


def test_a_header_that_promises_more_than_there_is_takes_no_memory(packed: Path) -> None:
    header = column([], "u8").replace(b"(0,)", b"(99999999999,)")
    with pytest.raises(Failure):
        pack.open_pack(rewritten(packed, replaced("tables/stack_ends.npy", header)))


@pytest.mark.parametrize("damage", ["cut", "flipped", "in members"])
def test_a_damaged_pack_is_read_or_refused(damage: str, packed: Path, seed: int) -> None:
    """Bits of the file are seen by checksums; those of members, that have new ones, by us."""
    source = random.Random(seed)
    whole = packed.read_bytes()
    refused = 0
    for _ in range(60):
        victim = packed.with_suffix(".damaged")
        if damage == "cut":
            victim.write_bytes(whole[: source.randrange(len(whole))])
        elif damage == "flipped":
            content = bytearray(whole)
            for _ in range(source.randrange(1, 4)):
                content[source.randrange(len(content))] ^= 1 << source.randrange(8)
            victim.write_bytes(content)
        else:

            def flip(members: dict[str, bytes]) -> None:
                name = source.choice(sorted(members))
                content = bytearray(members[name])
                content[source.randrange(len(content))] ^= 1 << source.randrange(8)
                members[name] = bytes(content)

            victim = rewritten(packed, flip)
        try:
            view(heap_of(victim), "allocated")
        except Failure as failure:
            refused += 1
            assert "\n" not in str(failure).strip()
    assert refused > 5
