"""The processes of traces that were named: those that run are asked how they are, the others have ended."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poireau import processes
from poireau.serve_pprof import Served
from poireau.serve_processes import Census, Seen, lasting


class Traces(Census):
    def __init__(self, served: Served) -> None:
        super().__init__()
        self._served = served

    def _merge(self, found: dict[str, Seen]) -> bool:
        """Those of them that are of the traces, and all others of these."""
        rows, running = self._served.processes()
        sources = Counter(row["source"] for row in rows)
        kept: dict[str, Seen] = {}
        for number, row in enumerate(rows):
            now = processes.look(row["pid"]) if running.get(number) else None
            id = f"{row['pid']}-{now.start if now is not None else row['start_time']}"
            seen = found.get(id)
            if seen is None:
                seen = self.seen.get(id) or _of_row(id, row)
                seen.state, seen.why_not = "silent", "it does not answer"
                if now is None:
                    seen.state, seen.why_not, seen.ended = "ended", "it has ended", seen.ended or time.monotonic()
            if not seen.trace or seen.ended is None:
                seen.trace = row["source"] if "://" in row["source"] else lasting(Path(row["source"]))
            seen.number = number if sources[row["source"]] > 1 else None
            kept[id] = seen
        before = [each.as_json() for each in self.seen.values()]
        self.seen = kept
        return before != [each.as_json() for each in kept.values()]


def _of_row(id: str, row: Mapping[str, Any]) -> Seen:
    name = os.path.basename(row["executable"]) or "?"
    return Seen(id, row["pid"], row["start_time"], name, row["executable"], "", row["begin"] // 1_000_000, "")
