"""The wire format of protocol buffers, as far as a writer of messages needs it.

A message is the concatenation of its fields; a field that is zero or empty is left out, as proto3 has it.
"""

from __future__ import annotations

from collections.abc import Iterable

_MASK = (1 << 64) - 1
_VARINT, _BYTES = 0, 2
_SMALL = [bytes([n]) for n in range(128)]


def varint(value: int) -> bytes:
    """Negative numbers are those of 64 bits in two's complement."""
    value &= _MASK
    if value < 128:
        return _SMALL[value]
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def number(field: int, value: int) -> bytes:
    return varint(field << 3 | _VARINT) + varint(value) if value else b""


def message(field: int, content: bytes) -> bytes:
    """One that is repeated, so that an empty one counts."""
    return varint(field << 3 | _BYTES) + varint(len(content)) + content


def text(field: int, value: str) -> bytes:
    """Repeated; protobuf has UTF-8 only."""
    return message(field, value.encode("utf-8", "replace"))


def packed(field: int, encoded: Iterable[bytes]) -> bytes:
    """Of numbers that `varint` has encoded."""
    content = b"".join(encoded)
    return message(field, content) if content else b""
