"""Nothing that people could read of the program is in an export that is redacted; all else is."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from poireau.errors import Failure
from poireau.model import Heap
from poireau.reader import pack
from poireau.report import redact
from poireau.report.exports import REPORTS, TABLES, Asked
from poireau.report.redact import Pseudonyms, redacted
from poireau.report.tables import FORMS
from poireau.selection import Selection
from poireau.tables import Loss
from poireau.views import view
from tests.poireau.report.heaps import NAMES, awkward

KEY = b"k" * 32


def exported(form: str, asked: Asked, heap: Heap) -> bytes:
    out = io.BytesIO()
    REPORTS[form].write(heap, asked, out)
    content = out.getvalue()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def packed(heap: Heap) -> bytes:
    out = io.BytesIO()
    pack.write(heap.source.batches(), heap.source.tables, heap.names, out)
    with zipfile.ZipFile(out) as file:
        return b"".join(file.read(name) for name in file.namelist())


def readable(content: bytes) -> list[str]:
    escaped = content.replace(b"\\/", b"/").decode("utf-8", "replace")
    return [name for name in NAMES if name in escaped or json.dumps(name)[1:-1] in escaped]


@pytest.mark.parametrize("form", [form for form in REPORTS if form != "calls"])
def test_no_name_is_left_in_any_export(form: str) -> None:
    heap = redacted(awkward(), Pseudonyms(KEY))
    for table in TABLES if form in FORMS else ("view",):
        for by in ("stack", "function", "module", "file", "thread", "process") if table == "view" else ("stack",):
            asked = Asked(table=table, by=by)
            assert readable(exported(form, asked, heap)) == [], (table, by)
    if form != "parquet":  # compressed
        assert readable(exported(form, Asked(table="frames"), awkward())), "or there would be nothing to redact"


def test_no_name_is_left_in_a_pack() -> None:
    assert readable(packed(redacted(awkward(), Pseudonyms(KEY)))) == []
    assert sorted(readable(packed(awkward()))) == sorted(NAMES)


def test_numbers_stay_and_addresses_in_memory_go() -> None:
    heap, shown = awkward(), redacted(awkward(), Pseudonyms(KEY))
    columns = ["bytes", "bytes_low", "bytes_high", "count", "samples"]
    for what in ("in-use", "allocated"):
        mine, theirs = view(heap, what).table, view(shown, what).table
        np.testing.assert_allclose(mine[columns].to_numpy(), theirs[columns].to_numpy())
    assert not shown.live()["address"].any()
    assert not shown.modules[["base", "begin"]].to_numpy().any()
    assert shown.modules["build_id"].tolist() == heap.modules["build_id"].tolist()
    assert shown.tables.frame_address.tolist() == heap.tables.frame_address.tolist()
    assert shown.processes["options"][0] == {"sample_period": "64KiB", "only": shown.processes["options"][0]["only"]}


def test_the_same_key_gives_the_same_pseudonyms_and_another_one_others() -> None:
    keys = (KEY, KEY, b"x" * 32)
    one, same, other = (exported("folded", Asked(), redacted(awkward(), Pseudonyms(key))) for key in keys)
    assert one == same
    mine, others = (set(re.findall(rb"[a-z]+_[0-9a-f]{12}", content)) for content in (one, other))
    assert mine and others and not mine & others


def test_a_selection_is_about_what_things_are_really_called() -> None:
    heap = awkward()
    pseudonyms = Pseudonyms(KEY)
    shown = redacted(heap, pseudonyms)
    for selection in (
        Selection(focus="Plan::parse"),
        Selection(ignore="cache.h"),
        Selection(focus="libplans"),
        Selection(focus="nothing like it"),
        Selection(threads=("merger;io",)),
        Selection(threads=("2",)),
    ):
        expected = view(heap, "allocated", selection=selection).total_bytes
        assert view(shown, "allocated", selection=pseudonyms.selection(selection, heap)).total_bytes == expected
    program = Selection(focus="secretd")
    early = Pseudonyms(KEY)  # has not seen yet which modules are programs
    asked = early.selection(program, heap)
    assert view(redacted(heap, early), selection=asked).total_bytes == view(heap, selection=program).total_bytes
    hidden = pseudonyms.selection(Selection(hide="Cache::put"), heap)
    stacks = exported("folded", Asked(hidden, view="allocated"), shown)
    assert stacks.count(b";") < exported("folded", Asked(view="allocated"), shown).count(b";")


def test_of_an_unknown_function_the_offset_stays() -> None:
    names = Pseudonyms(KEY)
    assert names.function("libplans.so.2+0x12f") == names.module("/opt/acme/lib/libplans.so.2") + "+0x12f"
    assert "0x7f00" not in names.function("0x7f0012345678")


def test_a_cause_of_loss_keeps_its_words_but_not_its_files() -> None:
    names = Pseudonyms(KEY)
    loss = Loss(0, "no symbols: libplans.so.2 (/opt/acme/lib/libplans.so.2)", 1)
    cause = names.loss(loss, {"libplans.so.2": "m"}).cause
    assert cause.startswith("no symbols: m ")
    assert "acme" not in cause


def test_a_key_is_kept_in_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = tmp_path / "key"
    key = redact.key_of(file)
    assert redact.key_of(file) == key
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(b"short")
    with pytest.raises(Failure, match="at least 16 bytes"):
        redact.key_of(file)
