"""The ELF reader against real programs, forged headers and seeded damage."""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from poireau import elf

EMPTY_MAIN = "int main(void) { return 0; }"
EXPORTING = """
#include <stdlib.h>
int ours(void) { return atoi("1"); }
static int hidden(void) { return 2; }
int user(void) { return hidden(); }
"""


def test_a_dynamic_program_names_its_loader_and_libraries(compile_c: Callable[..., Path]) -> None:
    image = elf.read(compile_c(EMPTY_MAIN, ["-Wl,--build-id=0x0123456789abcdef"]))
    assert image.interpreter is not None and Path(image.interpreter).name.startswith("ld-")
    assert "libc.so.6" in image.needed
    assert image.bits == struct.calcsize("P") * 8
    assert image.little_endian == (sys.byteorder == "little")
    assert image.build_id == "0123456789abcdef"
    assert ".dynamic" in image.sections


@pytest.mark.parametrize("flag", ["-static", "-static-pie"])
def test_a_static_program_has_no_loader(compile_c: Callable[..., Path], flag: str) -> None:
    image = elf.read(compile_c(EMPTY_MAIN, [flag]))
    assert image.interpreter is None
    assert image.needed == ()


@pytest.mark.parametrize("style", ["sysv", "gnu", "both"])
@pytest.mark.parametrize("stripped", [False, True])
def test_symbols_are_found_with_every_hash_table_and_without_sections(
    compile_c: Callable[..., Path], tmp_path: Path, style: str, stripped: bool
) -> None:
    path = compile_c(EXPORTING, ["-shared", "-fPIC", f"-Wl,--hash-style={style}", "-Wl,-soname,libours.so.3"])
    if stripped:
        path = without_sections(path, tmp_path)
    image = elf.read(path)
    assert image.soname == "libours.so.3"
    assert bool(image.sections) != stripped
    assert image.defines("ours") and not image.requires("ours")
    assert not image.defines("hidden")
    assert not image.defines("atoi")
    # The GNU table counts what is defined and what precedes that, which is where the linker puts the rest.
    assert image.requires("atoi")
    assert not image.defines("our") and not image.defines("s") and not image.defines("")


def test_a_name_that_is_the_tail_of_another_is_told_from_it(compile_c: Callable[..., Path]) -> None:
    image = elf.read(compile_c("int prefix_tail(void) { return 0; }", ["-shared", "-fPIC"]))
    assert image.defines("prefix_tail")
    assert not image.defines("tail")
    both = elf.read(compile_c("int prefix_tail(void) { return 0; } int tail(void) { return 0; }", ["-shared", "-fPIC"]))
    assert both.defines("tail")


def test_search_paths_are_split(compile_c: Callable[..., Path]) -> None:
    old = elf.read(compile_c(EMPTY_MAIN, ["-Wl,--disable-new-dtags,-rpath,/a:$ORIGIN/b"]))
    assert (old.rpath, old.runpath) == (("/a", "$ORIGIN/b"), ())
    new = elf.read(compile_c(EMPTY_MAIN, ["-Wl,--enable-new-dtags,-rpath,/c"]))
    assert (new.rpath, new.runpath) == ((), ("/c",))


def test_both_word_sizes_and_byte_orders_are_read(tmp_path: Path) -> None:
    for bits in (32, 64):
        for order in "<>":
            path = tmp_path / f"forged{bits}{order}"
            path.write_bytes(forged_header(bits, order, machine=40))
            image = elf.read(path)
            assert (image.bits, image.little_endian, image.machine) == (bits, order == "<", 40)
            assert image.interpreter is None


@pytest.mark.parametrize("content", [b"", b"\x7fEL", b"#!/bin/sh\n", elf.MAGIC, elf.MAGIC + b"\xff" * 200, b"x" * 4096])
def test_what_is_no_elf_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(elf.BadElf):
        elf.read(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", Path("/dev/zero")):
        with pytest.raises((elf.BadElf, OSError)):
            elf.read(path)


def test_every_truncation_is_refused_or_harmless(
    compile_c: Callable[..., Path], tmp_path: Path, scale: Callable[[int], int], seed: int
) -> None:
    whole = compile_c(EXPORTING, ["-shared", "-fPIC"]).read_bytes()
    draw = random.Random(seed)
    path = tmp_path / "cut"
    for size in [*range(70), *(draw.randrange(len(whole)) for _ in range(scale(5000)))]:
        path.write_bytes(whole[:size])
        survives(path)


def test_random_damage_raises_nothing_but_bad_elf(
    compile_c: Callable[..., Path], tmp_path: Path, scale: Callable[[int], int], seed: int
) -> None:
    whole = compile_c(EXPORTING, ["-shared", "-fPIC", "-Wl,--hash-style=gnu"]).read_bytes()
    starts = [0, *(whole.find(name) for name in (b"\0ours", b"libc.so"))]
    draw = random.Random(seed)
    path = tmp_path / "damaged"
    for _ in range(scale(20_000)):
        damaged = bytearray(whole)
        for _ in range(draw.randrange(1, 6)):
            # Headers and dynamic tables decide; most of the rest is code.
            near = draw.choice(starts) + int(draw.expovariate(1 / 300))
            at = near % len(damaged)
            damaged[at : at + 4] = draw.choice(
                [draw.randbytes(4), b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"]
            )
        path.write_bytes(damaged)
        survives(path)


def survives(path: Path) -> None:
    try:
        image = elf.read(path)
    except elf.BadElf:
        return
    for name in ("ours", "atoi", "malloc"):
        assert image.defines(name) in (True, False)
    try:
        elf.section(image, ".strtab")
    except elf.BadElf:
        return


def without_sections(path: Path, directory: Path) -> Path:
    """As sstrip leaves a file: the loader needs no section header."""
    content = bytearray(path.read_bytes())
    content[40:48] = bytes(8)  # e_shoff
    content[58:64] = bytes(6)  # e_shentsize, e_shnum, e_shstrndx
    stripped = directory / "stripped"
    stripped.write_bytes(content)
    return stripped


def forged_header(bits: int, order: str, machine: int) -> bytes:
    words = "QQQ" if bits == 64 else "III"
    identity = elf.MAGIC + bytes([bits // 32, 1 if order == "<" else 2, 1]) + bytes(9)
    return identity + struct.pack(order + "HHI" + words + "IHHHHHH", 2, machine, 1, 0, 0, 0, 0, 52, 0, 0, 0, 0, 0)
