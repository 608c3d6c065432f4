"""The end of a trace at a glance, whatever its files hold; and copies of a part of it."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from poireau import glimpse, roots, snapshot
from poireau.errors import USAGE, Failure
from poireau.events import KINDS
from poireau.glimpse import HEADER, MAGIC, PACKET, Pace

SECOND = 1_000_000_000


def field(form: str, value: object) -> bytes:
    if form == "text":
        return str(value or "").encode() + b"\0"
    if form in ("bytes", "frames"):
        return (3).to_bytes(2, "little") + b"\x01" * (3 if form == "bytes" else 24)
    width = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "hex": 8}[form]
    return int(value or 0).to_bytes(width, "little")  # type: ignore[call-overload,no-any-return]


def event(kind: str, time: int, /, **fields: object) -> bytes:
    body = b"".join(field(form, fields.get(each)) for each, form in KINDS[kind].items())
    return list(KINDS).index(kind).to_bytes(2, "little") + time.to_bytes(8, "little") + body


def packet(*events: bytes, file: int = 1) -> bytes:
    content = b"".join(events)
    bits = 8 * (HEADER.size + len(content))
    return (HEADER.pack(MAGIC, bytes(16), 0, bits, 8 * PACKET, 0, 1, file) + content).ljust(PACKET, b"\xee")


def allocs(*seconds: float) -> list[bytes]:
    return [event("alloc", int(each * SECOND), function="malloc", size=7) for each in seconds]


def test_the_last_samples_are_found_behind_other_events(tmp_path: Path) -> None:
    other = event("checkpoint", 90 * SECOND), event("free", 95 * SECOND, function="free")
    (tmp_path / "samples_1").write_bytes(packet(*allocs(1, 2, 3)))
    (tmp_path / "samples_2").write_bytes(
        packet(*allocs(70, 80), other[0], *allocs(90), *other, file=2) + packet(file=2)
    )
    (tmp_path / ".samples_3").write_bytes(packet(file=3))
    pace = glimpse.pace_of(tmp_path)
    assert pace == Pace(90 * SECOND, 10 * SECOND)
    assert pace.silence(94 * SECOND) == 4
    assert pace.wait(94 * SECOND) == 10  # as ever
    assert pace.wait(130 * SECOND) == 40  # as long again


def test_files_that_are_overwritten_come_in_their_new_order(tmp_path: Path) -> None:
    for name, number, time in ((1, 12, 50), (2, 10, 30), (3, 11, 40)):
        (tmp_path / f"samples_{name}").write_bytes(packet(*allocs(time - 1, time), file=number))
    assert [path.name for path in glimpse.files_of(tmp_path, "samples")] == ["samples_2", "samples_3", "samples_1"]
    assert glimpse.pace_of(tmp_path).last == 50 * SECOND


def test_errors_are_counted_by_kind_wherever_they_are_among_facts(tmp_path: Path) -> None:
    other = [event("thread", 1, name="use after free"), event("option", 2, name="error", value="overflow")]
    errors = [event("error", 3, error=kind, function="free") for kind in ("use after free", "overflow")]
    (tmp_path / "facts_1").write_bytes(packet(*other) + packet(*other, errors[0], *other))
    (tmp_path / "facts_2").write_bytes(packet(*errors, file=2) + packet(file=2) + b"cut")
    (tmp_path / "samples_1").write_bytes(packet(errors[0]))
    assert glimpse.errors_of(tmp_path) == {"use after free": 2, "overflow": 1}
    assert not glimpse.errors_of(tmp_path / "none")


def test_nothing_sampled_is_nothing_known(tmp_path: Path) -> None:
    assert glimpse.pace_of(tmp_path) == Pace() == glimpse.pace_of(tmp_path / "missing")
    (tmp_path / "samples_1").write_bytes(packet(event("checkpoint", 5)))
    assert glimpse.pace_of(tmp_path) == Pace()
    assert (Pace().silence(5), Pace().wait(5)) == (None, None)
    assert Pace(7 * SECOND).wait(5 * SECOND) == 0  # sampled since we looked at the clock


def test_options_are_those_of_the_start_and_what_changed(tmp_path: Path) -> None:
    start = event("process", 1, options="armed=on\nsample_period=512KiB\ncallers=a=1,b=2")
    (tmp_path / "facts_1").write_bytes(packet(start, event("option", 2, name="armed", value="off")))
    (tmp_path / "facts_2").write_bytes(packet(event("option", 3, name="armed", value="on"), file=2))
    settings = glimpse.settings_of(tmp_path)
    assert settings == {"armed": "on", "sample_period": "512KiB", "callers": "a=1,b=2"}


def test_damage_ends_a_packet_and_nothing_else(seed: int) -> None:
    rng = random.Random(seed)
    whole = packet(*(event(name, 5) for name in KINDS), *allocs(*range(50)))
    told = list(glimpse.events(whole[: 8 * len(whole)]))
    assert [name for name, _, _ in told[: len(KINDS)]] == list(KINDS)
    for _ in range(300):
        damaged = bytearray(whole[: rng.randrange(len(whole))])
        for _ in range(rng.randrange(10)):
            if damaged:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        list(glimpse.events(bytes(damaged)))


def test_files_of_all_kinds_are_survived(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    (tmp_path / "samples_1").write_bytes(packet(*allocs(1, 2)))
    (tmp_path / "samples_2").write_bytes(b"short")
    (tmp_path / "samples_3").write_bytes(rng.randbytes(PACKET))
    (tmp_path / "samples_4").symlink_to("samples_1")
    os.mkfifo(tmp_path / "samples_5")
    (tmp_path / "samples_6").mkdir()
    (tmp_path / "samples_7").write_bytes(packet(*allocs(5, 6), file=7)[:-1])
    assert glimpse.pace_of(tmp_path).last == 2 * SECOND
    for name in ("samples_4", "samples_5"):
        with pytest.raises(OSError):
            roots.open_file(tmp_path / name)


def test_a_copy_has_what_was_asked_for_and_not_what_came_later(tmp_path: Path) -> None:
    trace, to = tmp_path / "trace", tmp_path / "to"
    trace.mkdir()
    (trace / "metadata").write_text("/* CTF 1.8 */")
    (trace / "facts_1").write_bytes(packet())
    for number in (1, 2, 3):
        (trace / f"samples_{number}").write_bytes(packet(*allocs(number), file=number))
    assert snapshot.copy(trace, 2, to) == ["facts_1", "metadata", "samples_2", "samples_3"]
    copied = (to / "samples_2").read_bytes()
    whole = packet(*allocs(2), file=2)
    assert len(copied) == PACKET
    content = HEADER.unpack(whole[: HEADER.size])[3] // 8
    assert copied[:content] == whole[:content] and not any(copied[content:])
    assert to.stat().st_mode & 0o077 == 0


def test_a_copy_goes_nowhere_else(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "missing" / "to"):
        with pytest.raises(Failure) as failure:
            snapshot.check_target(wrong)
        assert failure.value.status == USAGE
    trace = tmp_path / "trace"
    trace.mkdir()
    (trace / "metadata").symlink_to("/etc/passwd")
    with pytest.raises(Failure):
        snapshot.copy(trace, 1, tmp_path / "to")
    assert not (tmp_path / "to").exists()
