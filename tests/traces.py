"""Traces as babeltrace2 reads them: in a process of its own, since a damaged file may have it take all memory there is.
Whatever it complains about is an error here."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import expm1, sqrt
from pathlib import Path
from typing import Any

Event = dict[str, Any]  # fields by name; besides them "event", its name, and "timestamp", nanoseconds since 1970
BIRTHS = ("alloc", "live", "resize")
HOME = (1 << 40) - 1  # the bits of an id that are its home


class Unreadable(AssertionError):
    pass


@dataclass(frozen=True)
class Trace:
    path: Path
    events: list[Event]

    def of(self, *names: str) -> list[Event]:
        return [event for event in self.events if event["event"] in names]

    @property
    def process(self) -> Event:
        """The first event, which says whose trace it is."""
        assert self.events and self.events[0]["event"] == "process", (self.path, self.events[:1])
        assert len(self.of("process")) == 1, self.path
        return self.events[0]

    @property
    def run_id(self) -> tuple[int, int]:
        return self.process["run_id_high"], self.process["run_id_low"]

    @property
    def parent_run_id(self) -> tuple[int, int]:
        return self.process["parent_run_id_high"], self.process["parent_run_id_low"]


def directories(parent: Path) -> list[Path]:
    """Of the processes whose traces lie under it, parent/run/process, oldest first."""
    return sorted((path.parent for path in parent.glob("*/*/metadata")), key=lambda path: path.stat().st_ctime_ns)


def read_events(*directories: Path) -> list[Event]:
    """In the order of time."""
    command = ["/usr/bin/python3", __file__, *map(str, directories)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=600)
    if done.returncode != 0 or done.stderr:
        raise Unreadable(f"{directories}: status {done.returncode}\n{done.stderr[-4000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def read(directory: Path) -> Trace:
    return Trace(directory, read_events(directory))


def read_all(parent: Path) -> list[Trace]:
    return [read(directory) for directory in directories(parent)]


def read_one(parent: Path) -> Trace:
    found = directories(parent)
    assert len(found) == 1, found
    return read(found[0])


def alive(events: Iterable[Event]) -> dict[int, Event]:
    """What is known last of each block that had not gone by the end: neither freed, nor its home taken by another."""
    at: dict[int, Event] = {}
    for event in events:
        if event["event"] in BIRTHS:
            home = event["id"] & HOME
            if home not in at or at[home]["id"] <= event["id"]:
                at[home] = event
        elif event["event"] == "free" and at.get(event["id"] & HOME, {"id": None})["id"] == event["id"]:
            del at[event["id"] & HOME]
    return {event["id"]: event for event in at.values()}


def drops(events: Iterable[Event]) -> dict[str, int]:
    """Counted from the start of the process."""
    return {event["cause"]: event["count"] for event in events if event["event"] == "drops"}


def bytes_asked_for(births: Iterable[Event]) -> tuple[float, float]:
    """What these stand for, sampled or not, and the standard error."""
    total = variance = 0.0
    for event in births:
        p = -expm1(-event["size"] / event["period"])
        total += event["size"] / p if event["size"] else 0
        variance += (1 - p) * (event["size"] / p) ** 2 if event["size"] else 0
    return total, sqrt(variance)


def main(directories: Sequence[str]) -> None:
    """Prints one JSON object an event. Run by Debian's Python, whose bt2 this is."""
    import bt2  # type: ignore[import-not-found]

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    def plain(value: Any) -> Any:
        if isinstance(value, bt2._StringFieldConst):
            return str(value)
        if isinstance(value, bt2._ArrayFieldConst):
            return [int(each) for each in value]
        return int(value)

    source = bt2.find_plugin("ctf").source_component_classes["fs"]
    specs = [
        bt2.ComponentSpec(source, {"inputs": [each]}, logging_level=bt2.LoggingLevel.WARNING) for each in directories
    ]
    for message in bt2.TraceCollectionMessageIterator(specs):
        if type(message) in (bt2._DiscardedEventsMessageConst, bt2._DiscardedPacketsMessageConst):
            print(f"discarded: {message.count}", file=sys.stderr)
        if type(message) is not bt2._EventMessageConst:
            continue
        event = message.event
        fields = {name: plain(value) for name, value in event.payload_field.items() if not name.endswith("_length")}
        name = event.name.partition(":")[2]
        context = event.common_context_field
        if context is not None and "vpid" in context:  # LTTng's
            fields["vpid"] = int(context["vpid"])
        print(json.dumps({**fields, "event": name, "timestamp": message.default_clock_snapshot.ns_from_origin}))


if __name__ == "__main__":
    main(sys.argv[1:])
