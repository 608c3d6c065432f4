"""The wire format, by google's own decoder."""

from __future__ import annotations

import random

from google.protobuf.internal import decoder, encoder

from poireau.report.protobuf import message, number, packed, text, varint


def test_a_varint_is_what_protobuf_writes_for_it(seed: int) -> None:
    source = random.Random(seed)
    values = [0, 1, 127, 128, 16383, 16384, (1 << 64) - 1]
    values += [source.getrandbits(source.randrange(1, 65)) for _ in range(500)]
    for value in values:
        written: list[bytes] = []
        encoder._VarintEncoder()(written.append, value)
        assert varint(value) == b"".join(written)
        assert decoder._DecodeVarint(varint(value), 0) == (value, len(varint(value)))


def test_a_negative_number_is_its_two_s_complement() -> None:
    assert varint(-1) == varint((1 << 64) - 1)
    assert len(varint(-1)) == 10


def test_what_is_zero_or_empty_is_left_out_but_an_empty_message_is_not() -> None:
    assert number(3, 0) == b""
    assert packed(3, []) == b""
    assert message(3, b"") == b"\x1a\x00"
    assert text(3, "é") == b"\x1a\x02\xc3\xa9"


def test_text_that_is_no_utf_8_is_written_anyway() -> None:
    assert text(1, "a\udcff") == b"\x0a\x02a?"
