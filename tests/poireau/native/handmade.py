"""CTF traces made by hand, as other tracers, other versions of ours, and accidents make them."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAGIC = 0xC1FC1FC1
OFFSET = 1_700_000_000  # seconds; of the clock
_CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i32": "i", "f64": "d"}
_ALIASES = "".join(
    f"typealias integer {{ size = {size}; align = 8; signed = {signed}; }} := {name};\n"
    for name, size, signed in [("u8", 8, 0), ("u16", 16, 0), ("u32", 32, 0), ("u64", 64, 0), ("i32", 32, 1)]
)
_FLOAT = "typealias floating_point { exp_dig = 11; mant_dig = 53; align = 8; } := f64;\n"
Row = tuple[int, str, Mapping[str, Any]]  # time, event, values by field


@dataclass(frozen=True)
class Layout:
    """`events`: fields by event, each a kind: one of _CODES, text, bytes or frames."""

    events: Mapping[str, Mapping[str, str]]
    context: Mapping[str, str] = field(default_factory=dict)  # of each event, before its fields
    environment: Mapping[str, int] = field(default_factory=dict)
    big_endian: bool = False
    header: bool = True  # magic and uuid
    sizes: bool = True  # of packets
    clock: str = "monotonic"
    uuid: uuid.UUID = field(default_factory=uuid.uuid4)

    @property
    def order(self) -> str:
        return ">" if self.big_endian else "<"

    def metadata(self) -> str:
        header = "packet.header := struct { u32 magic; u8 uuid[16]; u32 stream_id; };" if self.header else ""
        named = f'uuid = "{self.uuid}";' if self.header else ""
        text = f"/* CTF 1.8 */\n{_ALIASES}{_FLOAT}trace {{ major = 1; minor = 8; {named} "
        text += f"byte_order = {'be' if self.big_endian else 'le'}; {header} }};\nenv {{ "
        text += "".join(f"{name} = {value}; " for name, value in self.environment.items())
        text += f"}};\nclock {{ name = {self.clock}; freq = 1000000000; offset_s = {OFFSET}; absolute = TRUE; }};\n"
        text += f"typealias integer {{ size = 64; align = 8; signed = 0; map = clock.{self.clock}.value; }} := time;\n"
        sizes = "u64 content_size; u64 packet_size; " if self.sizes else ""
        number = "id = 0; " if self.header else ""
        text += f"stream {{ {number}packet.context := struct {{ {sizes}u64 events_discarded; time timestamp_end; }}; "
        text += "event.header := struct { u32 id; time timestamp; }; "
        if self.context:
            text += f"event.context := struct {{ {_fields(self.context)} }}; "
        text += "};\n"
        of = "stream_id = 0; " if self.header else ""
        for event, (name, fields) in enumerate(self.events.items()):
            text += f'event {{ name = "{name}"; id = {event}; {of}fields := struct {{ {_fields(fields)} }}; }};\n'
        return text

    def packet(self, rows: Sequence[Row], discarded: int = 0, room: int = 0) -> bytes:
        body = b"".join(self._row(*row) for row in rows)
        header = struct.pack(f"{self.order}I16sI", MAGIC, self.uuid.bytes, 0) if self.header else b""
        last = max((time for time, _, _ in rows), default=0)
        size = len(header) + (16 if self.sizes else 0) + 16 + len(body)
        sizes = struct.pack(f"{self.order}QQ", 8 * size, 8 * (size + room)) if self.sizes else b""
        return header + sizes + struct.pack(f"{self.order}QQ", discarded, last) + body + bytes(room)

    def _row(self, time: int, event: str, values: Mapping[str, Any]) -> bytes:
        number = list(self.events).index(event)
        kinds = {**self.context, **self.events[event]}
        return struct.pack(f"{self.order}IQ", number, time) + b"".join(
            self._value(kind, values.get(name)) for name, kind in kinds.items()
        )

    def _value(self, kind: str, value: Any) -> bytes:
        if kind == "text":
            return (value or b"") + b"\0"
        if kind in ("bytes", "frames"):
            items = value or []
            return struct.pack(f"{self.order}H{len(items)}{'B' if kind == 'bytes' else 'Q'}", len(items), *items)
        return struct.pack(f"{self.order}{_CODES[kind]}", value or 0)

    def write(self, directory: Path, *packets: bytes, name: str = "stream") -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "metadata").write_text(self.metadata())
        (directory / name).write_bytes(b"".join(packets))
        return directory


def _fields(fields: Mapping[str, str]) -> str:
    def one(name: str, kind: str) -> str:
        if kind == "text":
            return f"string _{name};"
        if kind in ("bytes", "frames"):
            return f"u16 __{name}_length; {'u8' if kind == 'bytes' else 'u64'} _{name}[__{name}_length];"
        return f"{kind} _{name};"

    return " ".join(one(name, kind) for name, kind in fields.items())
