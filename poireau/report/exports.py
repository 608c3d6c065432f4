"""The formats that heaps are exported to, in one list. Who asks for one imports what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from poireau.selection import Selection

if TYPE_CHECKING:
    from poireau.model import Heap


@dataclass(frozen=True)
class Asked:
    """What of a heap is exported. A format takes what it has a place for."""

    selection: Selection = field(default_factory=Selection)
    view: str = "in-use"  # one of views.WHATS
    by: str = "stack"  # one of views.BYS
    table: str = "view"  # one of tables.TABLES
    name: str = "poireau"


@dataclass(frozen=True)
class Report:
    help: str
    write: Callable[[Heap, Asked, BinaryIO], None]
    binary: bool = False


def _pprof(heap: Heap, asked: Asked, out: BinaryIO) -> None:
    from poireau.report import pprof, profile

    pprof.write(profile.profile(heap, asked.selection), out)


def _heap_text(heap: Heap, asked: Asked, out: BinaryIO) -> None:
    from poireau.report import heap_text, profile

    heap_text.write(profile.profile(heap, asked.selection), out)


def _folded(heap: Heap, asked: Asked, out: BinaryIO) -> None:
    from poireau import views
    from poireau.report import folded

    folded.write(views.view(heap, asked.view, "stack", asked.selection), out)


def _speedscope(heap: Heap, asked: Asked, out: BinaryIO) -> None:
    from poireau import views
    from poireau.report import speedscope

    wanted = dict.fromkeys([asked.view, *speedscope.VIEWS])
    speedscope.write((views.view(heap, what, "stack", asked.selection) for what in wanted), asked.name, out)


def _firefox(heap: Heap, asked: Asked, out: BinaryIO) -> None:
    from poireau.report import firefox

    firefox.write(heap, asked.selection, out)


def _calls(heap: Heap, asked: Asked, out: BinaryIO) -> None:
    from poireau.report import calls

    calls.write(heap, asked.selection, out)


def _table(form: str) -> Callable[[Heap, Asked, BinaryIO], None]:
    def write(heap: Heap, asked: Asked, out: BinaryIO) -> None:
        from poireau.report import tables

        tables.FORMS[form](tables.parts_of(heap, asked), asked, out)

    return write


REPORTS: Mapping[str, Report] = {
    "pprof": Report("profile.proto: go tool pprof, Parca, Pyroscope, Perfetto", _pprof, binary=True),
    "folded": Report("a line a stack: FlameGraph, inferno, Perfetto", _folded),
    "speedscope": Report("several views in one file for speedscope", _speedscope),
    "firefox": Report("every birth and death, for profiler.firefox.com", _firefox),
    "heap-text": Report("the text of jemalloc and gperftools: jeprof, google-pprof", _heap_text),
    "csv": Report("a table (--table)", _table("csv")),
    "json": Report("a table as one object", _table("json")),
    "jsonl": Report("a table, an object a line", _table("jsonl")),
    "parquet": Report("a table for pandas, DuckDB, Spark (needs pyarrow)", _table("parquet"), binary=True),
    "calls": Report("every call, for `poireau replay`", _calls, binary=True),
}
TABLES = (
    *("view", "lives", "live", "stacks", "frames", "processes", "threads", "modules", "over_time"),
    *("drops", "losses", "costs", "options", "errors", "checkpoints", "calls"),
)
"""What there is for csv, json, jsonl and parquet: tables.py has them."""
