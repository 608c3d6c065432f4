"""The events of a trace as columns: what preload/event.def says, for Python. A test compares the two.

Numbers are columns of their own type. Texts are objects. `frames` and `bytes` are ragged: a column holds where an
event's part begins in an array of all of them, as an int64, and the array is of RAGGED's type.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

DTYPES: Mapping[str, str] = MappingProxyType(
    {"u8": "u1", "u16": "u2", "u32": "u4", "u64": "u8", "hex": "u8", "text": "O", "bytes": "i8", "frames": "i8"}
)
RAGGED: Mapping[str, str] = MappingProxyType({"bytes": "u1", "frames": "u8"})

_STACK = {"truncated": "u8", "frames": "frames"}
_BIRTH = {
    "id": "hex",
    "address": "hex",
    "size": "u64",
    "alignment": "u64",
    "function": "text",
    "period": "u64",
    "since": "u64",
    "by_calls": "u8",
    "guarded": "u8",
    "guard_chance": "u32",
    "thread": "u32",
    "time": "u64",
    **_STACK,
}
_KINDS: dict[str, dict[str, str]] = {
    "process": {
        "run_id_high": "hex",
        "run_id_low": "hex",
        "parent_run_id_high": "hex",
        "parent_run_id_low": "hex",
        "generation": "u64",
        "process": "u32",
        "start_time": "u64",
        "executable": "text",
        "build_id": "bytes",
        "arguments": "hex",
        "page_size": "u64",
        "host": "text",
        "version": "text",
        "allocator": "text",
        "unwinder": "text",
        "guards": "text",
        "options": "text",
    },
    "module": {"base": "hex", "begin": "hex", "size": "u64", "path": "text", "build_id": "bytes"},
    "thread": {"thread": "u32", "name": "text"},
    "alloc": _BIRTH,
    "live": _BIRTH,
    "resize": _BIRTH,
    "free": {"id": "hex", "address": "hex", "function": "text", "thread": "u32", "time": "u64", **_STACK},
    "checkpoint": {"oldest": "u32", "live": "u64", "live_bytes": "u64"},
    "option": {"name": "text", "value": "text"},
    "error": {
        "error": "text",
        "address": "hex",
        "id": "hex",
        "size": "u64",
        "function": "text",
        "thread": "u32",
        "time": "u64",
        **_STACK,
    },
    "drops": {"cause": "text", "count": "u64"},
    "cost": {
        "cycles": "u64",
        "cycles_per_second": "u64",
        "samples": "u64",
        "sampled_bytes": "u64",
        "counted_bytes": "u64",
        "trace_bytes": "u64",
    },
}
KINDS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {event: MappingProxyType(fields) for event, fields in _KINDS.items()}
)
COLUMNS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        event: MappingProxyType({field: DTYPES[kind] for field, kind in fields.items()})
        for event, fields in _KINDS.items()
    }
)
"""event -> {column: dtype}"""
