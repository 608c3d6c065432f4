"""Batches of columns as events, one by one, to compare them with what babeltrace2 reads (tests/traces.py)."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from poireau.events import KINDS
from poireau.native.binding import Batch
from poireau.tables import Tables

Event = dict[str, Any]


def events_of(batch: Batch, tables: Tables) -> list[Event]:
    """In the order in which the processes wrote them. Times are since 1970; frames are (path, address in the file),
    or addresses."""
    events = []
    for event, columns in batch.items():
        rows = zip(*(column.tolist() for column in columns.values()))
        events += [{**dict(zip(columns, row)), "event": event} for row in rows]
    events.sort(key=lambda each: (each["process"], each["order"]))
    return [_plain(event, tables) for event in events]


def expected(event: Event, offset: int, modules: Modules) -> Event:
    """What babeltrace2 reads, in the same words."""
    own = {name: value for name, value in event.items() if name in KINDS[event["event"]]}
    if "process" in own:
        own["pid"] = own.pop("process")
    if "time" in own:
        own["time"] += offset
    if "build_id" in own:
        own["build_id"] = bytes(own["build_id"]).hex()
    if event["event"] == "module":
        modules.add(event)
    if "frames" in own:
        own["frames"] = [modules.place_of(address) for address in own["frames"]]
    return {**own, "event": event["event"], "stamp": event["timestamp"]}


class Modules:
    """Of one process, at a time."""

    def __init__(self) -> None:
        self._all: dict[int, Event] = {}

    def add(self, module: Event) -> None:
        begin, end = module["begin"], module["begin"] + module["size"]
        overlapping = [at for at, each in self._all.items() if at < end and at + each["size"] > begin]
        for at in overlapping:
            del self._all[at]
        self._all[begin] = module

    def place_of(self, address: int) -> Any:
        begins = sorted(self._all)
        at = bisect_right(begins, address - 1) - 1
        module = self._all[begins[at]] if at >= 0 else None
        if module is None or address - 1 >= module["begin"] + module["size"]:
            return address
        return module["path"], address - module["base"]


def _plain(event: Event, tables: Tables) -> Event:
    def value_of(name: str, value: Any) -> Any:
        kind = KINDS[event["event"]].get(name)
        if kind == "frames":
            return [_place_of(frame, tables) for frame in tables.frames_of(value).tolist()]
        return tables.strings[value] if kind in ("text", "bytes") else value

    return {
        name: value if name == "event" else value_of(name, value)
        for name, value in event.items()
        if name not in ("order", "process")
    }


def _place_of(frame: int, tables: Tables) -> Any:
    module, address = int(tables.frame_module[frame]), int(tables.frame_address[frame])
    return (tables.modules[module].path, address) if module else address
