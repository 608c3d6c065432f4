"""What a record of every call has, and what it lacks, as `run --every-call` says at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from poireau import glimpse, traces

# Counts of drops that are no calls: the event came later, the request was mostly one that nobody grants, or it is known
# how many files, but not what was in them. What is missing to a call, whoever reads the trace can tell.
_NO_CALLS = ("no room in the trace", "no room for the stack", "no home: kind of request")
_OF_FILES = ("files removed early to keep within trace_limit", "packets overwritten, no new file can be had")


@dataclass(frozen=True)
class Record:
    directory: Path
    processes: int
    requests: int
    missing: Mapping[str, int]  # by cause

    def lines(self) -> list[str]:
        if self.processes == 0:
            return [f"nothing is in {self.directory}"]
        several = f"{self.processes} processes" if self.processes > 1 else "1 process"
        lines = [f"{self.requests} requests of {several} are in {self.directory}"]
        calls = sum(count for cause, count in self.missing.items() if cause not in _OF_FILES)
        if self.missing:
            causes = ", ".join(f"{cause}: {count}" for cause, count in self.missing.items())
            amount = f"{calls} calls" if calls else "calls"
            lines.append(f"{amount} are missing ({causes})")
        return lines


def look(run: Path) -> Record:
    """At what a run has left."""
    processes = requests = 0
    missing: dict[str, int] = {}
    for trace in sorted(run.iterdir()) if run.is_dir() else ():
        if not (trace / "metadata").is_file():
            continue
        processes += 1
        samples, drops = glimpse.counters_of(trace)
        requests += samples
        for cause, count in drops.items():
            if cause not in _NO_CALLS:
                missing[cause] = missing.get(cause, 0) + count
    return Record(run, processes, requests, missing)


def run_directory(known: Mapping[str, str]) -> Path:
    """Where the library puts the traces of a run that has these variables (preload/trace_place.cc)."""
    return traces.parent(known) / known["POIREAU_RUN"]
