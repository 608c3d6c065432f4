"""What a native reader gave of a trace, as rows that tests can compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poireau.events import KINDS
from poireau.native import binding
from poireau.tables import EVERY, Tables

Row = dict[str, Any]


@dataclass(frozen=True)
class Read:
    rows: list[Row]  # in the order of time; processes by number
    tables: Tables

    def of(self, *names: str) -> list[Row]:
        return [row for row in self.rows if row["event"] in names]

    @property
    def losses(self) -> dict[str, int]:
        assert all(loss.process == EVERY for loss in self.tables.losses)
        return {loss.cause: loss.count for loss in self.tables.losses}


def read(*inputs: Path | str, library: str = binding.BABELTRACE) -> Read:
    reader = binding.Reader(library, inputs)
    try:
        got = rows_of(reader.batches(), reader)
        return Read(got, reader.tables())
    finally:
        reader.close()


def rows_of(batches: Iterable[binding.Batch], reader: binding.Reader) -> list[Row]:
    rows = [row for batch in batches for row in _rows(batch, reader.tables())]
    return sorted(rows, key=lambda row: (row["timestamp"], row["process"], row["order"]))


def _rows(batch: binding.Batch, tables: Tables) -> Iterable[Row]:
    for event, columns in batch.items():
        named = {name: column.tolist() for name, column in columns.items()}
        for name, kind in KINDS[event].items():
            if kind in ("text", "bytes"):
                named[name] = [tables.strings[number] for number in named[name]]
            if kind == "frames":
                named[name] = [_places(tables, number) for number in named[name]]
        named["timestamp"] = named.pop("stamp")
        for values in zip(*named.values()):
            yield {"event": event, **dict(zip(named, values))}


def _places(tables: Tables, stack: int) -> list[tuple[str, str, int]]:
    frames = tables.frames_of(stack)
    modules = [tables.modules[number] for number in tables.frame_module[frames]]
    return [(each.path, each.build_id, int(at)) for each, at in zip(modules, tables.frame_address[frames])]


def expected(events: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The same rows of what babeltrace2 itself reads (tests/traces.py), but for `process`, `order` and `time`, of
    processes that each have run one program."""
    modules: dict[int, list[Mapping[str, Any]]] = {}
    rows = []
    for event in events:
        of = modules.setdefault(event.get("vpid", 0), [])
        if event["event"] == "module":
            of.append(event)
        row = {name: value for name, value in event.items() if name not in ("vpid", "time")}
        if "frames" in row:
            row["frames"] = [_place(of, address) for address in row["frames"]]
        if "build_id" in row:
            row["build_id"] = bytes(row["build_id"]).hex()
        if "process" in row:
            row["pid"] = row.pop("process")
        rows.append(row)
    return rows


def _place(modules: Sequence[Mapping[str, Any]], address: int) -> tuple[str, str, int]:
    for module in reversed(modules):
        if module["begin"] < address <= module["begin"] + module["size"]:
            return module["path"], bytes(module["build_id"]).hex(), address - module["base"]
    return "", "", address


def comparable(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows without what differs by reader, those of one time in an order of their own."""
    plain = [{name: value for name, value in row.items() if name not in ("process", "order", "time")} for row in rows]
    return sorted(plain, key=lambda row: (row["timestamp"], row["event"], sorted(map(repr, row.items()))))
