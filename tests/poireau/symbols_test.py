"""What we say of addresses is what addr2line says of them, wherever symbols are, or it is said why not."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from poireau.symbols import Settings, Symbolizer
from poireau.tables import EVERY, Module
from tests.conftest import clean_environment
from tests.poireau.symbolizing import (
    addr2line,
    build_id,
    calls,
    code,
    compiled,
    demangled,
    difference,
    named,
    names_of,
    places,
    run,
    tables,
)
from tests.traces import BIRTHS, read_one

NO_CACHE = Settings(cache=False)
KINDS = {
    "DWARF 5": ["-gdwarf-5"],
    "DWARF 4": ["-gdwarf-4"],
    "without inlining": ["-O0"],
    "lines only": ["-g1"],
    "not position independent": ["-no-pie"],
    "shared": ["-shared", "-fPIC"],
    "a section a function": ["-ffunction-sections", "-Wl,--gc-sections"],
    "compressed": ["-gz"],
    "link-time optimization": ["-flto"],
    "all inlined": ["-O3", "-finline-limit=10000"],
}


@pytest.fixture(scope="module", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(home))
        patch.delenv("DEBUGINFOD_URLS", raising=False)
        yield home


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("program"))


def test_chains_of_inlined_functions_come_innermost_first_with_the_lines_of_their_calls(
    compile_c: Callable[..., Path], tmp_path: Path
) -> None:
    source = tmp_path / "chain.cc"
    source.write_text(
        """extern "C" int rand();
        #define INLINED __attribute__((always_inline)) inline
        static INLINED int inner() { return rand(); }
        namespace outside { namespace { INLINED int middle() { return inner() + 1; } } }
        int outer() {
          return outside::middle() + 2; }
        int main() { return outer(); }"""
    )
    program = compile_c(f'#include "{source}"', ["-O2"], "g++", "c++")
    names = names_of(program, calls(program))
    chains = places(names)
    expected = [
        ("inner", str(source), 3),
        ("outside::(anonymous namespace)::middle", str(source), 4),
        ("outer()", str(source), 6),
    ]
    assert expected in chains
    begin = int(names.ends[chains.index(expected) - 1]) if chains.index(expected) else 0
    assert names.inlined[begin : begin + 3].tolist() == [True, True, False]


@pytest.mark.parametrize("kind", KINDS)
def test_calls_are_where_addr2line_says(kind: str, tmp_path: Path, seed: int) -> None:
    program = compiled(tmp_path, *KINDS[kind])
    text = code(program)
    addresses = [*calls(program), *(random.Random(seed).choice(text) for _ in range(400))]
    _same(program, addresses, calls(program))


@pytest.mark.parametrize("version", [4, 5])
def test_split_debug_information_says_the_same_as_whole(version: int, tmp_path: Path) -> None:
    whole = compiled(tmp_path, f"-gdwarf-{version}", name="whole")
    split = compiled(tmp_path, f"-gdwarf-{version}", "-gsplit-dwarf", name="split")
    addresses = calls(whole)
    assert addresses == calls(split)
    assert named(split, addresses) == named(whole, addresses)
    for part in tmp_path.glob("*.dwo"):
        part.unlink()
    names = names_of(split, addresses)
    assert [loss.count for loss in names.missing if "in files that are not there" in loss.cause] == [len(addresses)]
    assert {chain[0][0] for chain in places(names)} >= {"main", "shapes::far(int)"}


def test_units_share_through_dwz_and_a_supplement(tmp_path: Path) -> None:
    one = compiled(tmp_path, name="one")
    addresses = calls(one)
    expected = named(one, addresses)
    shutil.copy(one, tmp_path / "alone")
    run("dwz", tmp_path / "alone")
    assert named(tmp_path / "alone", addresses) == expected
    shutil.copy(one, tmp_path / "other")
    run("dwz", "-m", tmp_path / "shared.debug", "-M", tmp_path / "shared.debug", one, tmp_path / "other")
    assert (tmp_path / "shared.debug").is_file()
    assert named(one, addresses) == expected
    (tmp_path / "shared.debug").unlink()
    (loss,) = names_of(one, addresses).missing
    assert "part of its debug information is in" in loss.cause and loss.count == len(addresses)


class Stripped:
    """A program whose debug information is apart."""

    def __init__(self, whole: Path, directory: Path, *, link: bool = False) -> None:
        self.program, self.debug = directory / "stripped", directory / "stripped.debug"
        shutil.copy(whole, self.program)
        run("objcopy", "--only-keep-debug", self.program, self.debug)
        run("objcopy", "--strip-all", self.program)
        if link:
            run("objcopy", f"--add-gnu-debuglink={self.debug}", self.program)
        self.build_id = build_id(self.program)
        self.addresses = calls(self.program)
        self.expected = named(whole, self.addresses)


def test_what_is_stripped_has_no_more_than_the_names_it_exports(program: Path, tmp_path: Path) -> None:
    stripped = Stripped(program, tmp_path)
    names = names_of(stripped.program, stripped.addresses)
    assert places(names) == [[(f"stripped+{address:#x}", ".", 0)] for address in stripped.addresses]
    (loss,) = names.missing
    assert (loss.process, loss.count) == (EVERY, len(stripped.addresses))
    assert loss.cause == f"{stripped.program}: it has no debug information, only the names of what it exports"

    library = compiled(tmp_path, "-shared", "-fPIC", "-s", name="library.so")
    functions = Counter(chain[0][0] for chain in named(library, calls(library)))
    assert functions["shapes::far(int)"] and functions["plain"]
    assert any(function.startswith("library.so+0x") for function in functions)


@pytest.mark.parametrize("where", ["beside", "in .debug", "under a directory"])
def test_debug_information_is_found_by_link(where: str, program: Path, tmp_path: Path) -> None:
    stripped = Stripped(program, tmp_path, link=True)
    directories = {
        "beside": tmp_path,
        "in .debug": tmp_path / ".debug",
        "under a directory": Path(f"{tmp_path}/debug{tmp_path}"),
    }
    directories[where].mkdir(parents=True, exist_ok=True)
    found = Path(shutil.move(stripped.debug, directories[where] / stripped.debug.name))
    settings = Settings(cache=False, debug_directories=[f"{tmp_path}/debug"])
    assert named(stripped.program, stripped.addresses, settings) == stripped.expected
    with found.open("ab") as file:
        file.write(b"another checksum")
    assert named(stripped.program, stripped.addresses, settings) != stripped.expected


def test_debug_information_is_found_by_build_id_even_if_the_program_is_gone(program: Path, tmp_path: Path) -> None:
    stripped = Stripped(program, tmp_path)
    tree = tmp_path / "debug" / ".build-id" / stripped.build_id[:2]
    tree.mkdir(parents=True)
    shutil.move(stripped.debug, tree / f"{stripped.build_id[2:]}.debug")
    settings = Settings(cache=False, debug_directories=[f"{tmp_path}/debug"])
    assert named(stripped.program, stripped.addresses, settings) == stripped.expected
    stripped.program.unlink()
    for path in (str(stripped.program), f"{stripped.program} (deleted)"):
        found = named(stripped.program, stripped.addresses, settings, path=path, build_id=stripped.build_id)
        assert found == stripped.expected


def test_a_sysroot_comes_first(program: Path, tmp_path: Path) -> None:
    recorded = Path("/opt/nowhere/bin/program")
    root = tmp_path / "root"
    (root / "opt/nowhere/bin").mkdir(parents=True)
    shutil.copy(program, root / "opt/nowhere/bin/program")
    addresses = calls(program)
    settings = Settings(cache=False, sysroot=str(root))
    found = named(program, addresses, settings, path=str(recorded))
    assert found == named(program, addresses)
    # A library that was replaced here since is of no use, and the one below the root is.
    other = compiled(tmp_path, "-O1", name="other")
    shutil.copy(other, tmp_path / "program")
    (root / str(tmp_path)[1:]).mkdir(parents=True)
    shutil.copy(program, root / str(tmp_path)[1:] / "program")
    recorded = tmp_path / "program"
    assert named(recorded, addresses, settings, build_id=build_id(program)) == found


def test_links_below_a_sysroot_are_meant_from_there(program: Path, tmp_path: Path) -> None:
    root, library = tmp_path / "root", "/usr/lib/nowhere"
    (root / library[1:]).mkdir(parents=True)
    shutil.copy(program, root / library[1:] / "program-1")
    (root / library[1:] / "program").symlink_to(f"{library}/program-1")
    (root / "lib").symlink_to("/usr/lib")
    settings = Settings(cache=False, sysroot=str(root))
    expected = named(program, calls(program))
    recorded = Path("/lib/nowhere/program")
    assert named(recorded, calls(program), settings, build_id=build_id(program)) == expected
    # And so are those of its debug information.
    run("strip", root / library[1:] / "program-1")
    (root / "debug").mkdir()
    shutil.copy(program, root / "debug/whole")
    link = root / f"usr/lib/debug/.build-id/{build_id(program)[:2]}/{build_id(program)[2:]}.debug"
    link.parent.mkdir(parents=True)
    link.symlink_to("/debug/whole")
    assert named(recorded, calls(program), settings, build_id=build_id(program)) == expected


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "device").symlink_to("/dev/ptmx")
    ours = [str(tmp_path / name) for name in ("pipe", "loop", "device", "")]
    for path in (*ours, "/proc/self/mem", "/a\0b"):
        for settings in (NO_CACHE, Settings(cache=False, sysroot="/")):
            names = Symbolizer(settings).names(tables([(Module(path, ""), [16])]))
            assert [loss.count for loss in names.missing] == [1]


def test_without_threads_it_takes_longer_and_says_the_same(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = named(program, calls(program))

    def none_left(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    assert named(program, calls(program)) == expected


def test_many_modules_take_no_time_for_each_other() -> None:
    modules = [(Module(f"/nowhere/{number}", ""), [16]) for number in range(3000)]
    names = Symbolizer(NO_CACHE).names(tables(modules))
    assert (len(names.missing), names.functions[-1]) == (3000, "2999+0x10")


def test_a_program_of_another_build_is_never_asked(program: Path, tmp_path: Path) -> None:
    addresses = calls(program)
    for wrong in ("00" * 20, ""):
        names = names_of(program, addresses, build_id=wrong)
        assert {chain[0] for chain in places(names)} == {(f"program+{a:#x}", ".", 0) for a in addresses}
        assert [loss.cause for loss in names.missing] == [f"{program}: it is of another build than the one that ran"]
    names = names_of(tmp_path / "absent", addresses, build_id="11" * 20)
    assert [loss.cause for loss in names.missing] == [f"{tmp_path / 'absent'}: it is not there"]
    assert places(names)[0] == [(f"absent+{addresses[0]:#x}", ".", 0)]


def test_a_program_without_build_id_is_known_by_its_file(tmp_path: Path, caches: Path) -> None:
    program = compiled(tmp_path, "-Wl,--build-id=none")
    addresses = calls(program)
    assert build_id(program) == ""
    first = named(program, addresses, Settings())
    assert first == named(program, addresses)
    shutil.copy(compiled(tmp_path, "-O0", "-Wl,--build-id=none", name="next"), program)
    assert named(program, addresses, Settings()) == named(program, addresses) != first


def test_a_deleted_program_is_found_in_a_process_that_still_runs(program: Path, tmp_path: Path) -> None:
    copy = tmp_path / "sleeper"
    shutil.copy("/usr/bin/sleep", copy)
    library = compiled(tmp_path, "-shared", "-fPIC", name="library.so")
    ours = build_id(library)
    addresses = calls(library)
    expected = named(library, addresses)
    environment = clean_environment(LD_PRELOAD=str(library))
    with subprocess.Popen([copy, "1000"], env=environment) as process:
        try:
            while str(library) not in Path(f"/proc/{process.pid}/maps").read_text():
                pass
            library.unlink()
            shutil.copy(program, library)  # another build at the same place
            module = Module(str(library), ours)
            names = Symbolizer(NO_CACHE).names(tables([(module, addresses)], processes=[process.pid]))
            assert places(names) == expected
        finally:
            process.kill()


def test_only_frames_that_are_asked_for_have_places(program: Path) -> None:
    addresses = calls(program)
    every = tables([(Module(str(program), build_id(program)), addresses)])
    some = np.array([3, 1, 7, 7])
    names = Symbolizer(NO_CACHE).names(every, some)
    whole = places(Symbolizer(NO_CACHE).names(every))
    assert places(names) == [whole[frame] if frame in some else [] for frame in range(len(addresses))]
    assert places(Symbolizer(NO_CACHE).names(every, np.zeros(0, np.uint32))) == [[]] * len(addresses)
    empty = Symbolizer(NO_CACHE).names(tables([]))
    assert (len(empty.ends), list(empty.missing)) == (0, [])


def test_functions_have_names_by_symbols_alone(program: Path, tmp_path: Path) -> None:
    addresses = calls(program)
    without, mini = tmp_path / "without", tmp_path / "mini"
    run("objcopy", "--strip-debug", program, without)
    expected = places(names_of(without, addresses))
    assert {chain[0][0] for chain in expected} >= {"main", "shapes::far(int)"}
    assert all((file, line) == (".", 0) for chain in expected for _, file, line in chain)
    # The same table, compressed within a stripped program.
    run("objcopy", "--strip-all", program, mini)
    run("xz", "-k", without)
    run("objcopy", "--add-section", f".gnu_debugdata={without}.xz", mini)
    assert [chain[0][0] for chain in named(mini, addresses)] == [chain[0][0] for chain in expected]


def test_stubs_of_calls_to_libraries_have_the_name_of_what_they_call(program: Path, tmp_path: Path) -> None:
    stubs = {}
    for line in run("objdump", "-d", "-j", ".plt.sec", "-j", ".plt", program).splitlines():
        if match := re.match(r"([0-9a-f]+) <(\w+)@plt>:", line):
            stubs[int(match[1], 16) + 4] = match[2]
    assert "rand" in stubs.values()
    found = {address: chain[0][0] for address, chain in zip(stubs, named(program, list(stubs)))}
    assert found == {address: f"{demangled(name)}@plt" for address, name in stubs.items()}


def test_what_takes_too_long_is_given_up_and_told(program: Path) -> None:
    addresses = calls(program)
    names = names_of(program, addresses, Settings(cache=False, seconds=1e-6))
    assert {chain[0] for chain in places(names)} == {(f"program+{address:#x}", ".", 0) for address in addresses}
    assert [loss.cause for loss in names.missing] == [f"{program}: its debug information takes too long to read"]


@pytest.mark.slow
def test_every_frame_of_a_real_trace_is_where_addr2line_says(
    tmp_path: Path, run_preloaded: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    program = compiled(tmp_path)
    run_preloaded([program, "3"], {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_TRACE": str(tmp_path / "traces")})
    trace = read_one(tmp_path / "traces")
    modules = [event for event in trace.of("module") if event["size"]]
    addresses: dict[str, set[int]] = {}
    for event in trace.of(*BIRTHS, "free"):
        for frame in event["frames"]:
            for module in modules:
                if module["begin"] < frame <= module["begin"] + module["size"]:
                    addresses.setdefault(module["path"], set()).add(frame - module["base"])
    ours = addresses[str(program)]
    assert len(ours) >= 5
    _same(program, sorted(ours), sorted(ours))


def test_rust_names_are_those_of_its_source(compile_c: Callable[..., Path], seed: int) -> None:
    old = "_ZN4core3ptr46drop_in_place$LT$alloc..vec..Vec$LT$u8$GT$$GT$17h0123456789abcdefE"
    new = [
        "_RNvCs1234_7mycrate3foo",
        "_RNvMNtNtCsk2n6w1IHbAY_6memchr4arch3allNtB2_6Finder3new",
        "_RINvNtCs64CLVdHhRII_12aho_corasick9automaton12try_find_fwdRNtNtNtB4_3nfa13noncontiguous3NFAEB4_",
        "_RNCNvMs_NtCs4fqI2P2rA04_3std3fooNtB4_3Bar3baz0B6_",
        "_RNvXs5_NtCs1_5alloc3vecINtB5_3VechENtNtCs2_4core3fmt5Debug3fmtB7_",
        "_RINvCs1_1a1fFKCRShPmOxEuE",
        "_RINvCs1_1a1fAtj10_TlTEbEKb1_Kc41_Kln2a_E",
        "_RINvCs1_1a1fDNtNtCs2_4core3ops5Debugp6OutputjNtNtCs2_4core3ops4SendEL_E",
    ]
    bad = ["_R", "_RNvC", "_RNvB_1a", "_RIB_E", "_RNvCs1_9zzzz", "_R9NvC1a1b", "_RI" + "I" * 5000]
    written = named_after(compile_c, [old, *new, *bad])
    assert written[old] == "core::ptr::drop_in_place<alloc::vec::Vec<u8>>"
    assert {name: written[name] for name in new} == {
        name: re.sub(r"\[[0-9a-f]+\]|: (usize|bool|char|i32)", "", demangled(name)) for name in new
    }
    assert {name: written[name] for name in bad} == {name: name for name in bad}
    chance = random.Random(seed)
    worse = set()
    for name in [*new, old] * 20:
        text = list(name)
        for _ in range(chance.choice((1, 3))):
            text[chance.randrange(2, len(text))] = chance.choice("0159_aszBCIKMNRTXE")
        worse.add("".join(text))
    assert all(named_after(compile_c, sorted(worse)).values())


def named_after(compile_c: Callable[..., Path], symbols: Sequence[str]) -> dict[str, str]:
    """What functions with these symbols are called."""
    parts = [f'void f{n}(void) __asm__("{name}"); void f{n}(void) {{}}' for n, name in enumerate(symbols)]
    program = compile_c("\n".join([*parts, "int main(void) {}"]), ["-g0", "-O0", "-Wl,--build-id"])
    where = {name: int(line.split()[0], 16) for line in run("nm", program).splitlines() for name in line.split()[2:]}
    chains = named(program, [where[name] + 1 for name in symbols])
    return {name: chain[0][0] for name, chain in zip(symbols, chains)}


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "flipped", "overwritten"])
def test_damaged_files_cost_their_names_and_nothing_else(
    damage: str, tmp_path: Path, seed: int, scale: Callable[[int], int]
) -> None:
    """Each in a process of its own, which may take neither more memory nor more time than it is granted."""
    chance = random.Random(seed)
    whole = compiled(tmp_path)
    data = whole.read_bytes()
    addresses = calls(whole)
    sections = [line.split("]")[1].split() for line in run("readelf", "-SW", whole).splitlines() if "] .debug" in line]
    ranges = [range(int(fields[3], 16), int(fields[3], 16) + int(fields[4], 16)) for fields in sections]
    for number in range(scale(200)):
        bad = bytearray(data)
        if damage == "cut":
            del bad[chance.randrange(len(bad)) :]
        for _ in range(0 if damage == "cut" else chance.choice((1, 20, 400))):
            place = chance.choice([*ranges, range(64), range(len(bad))])
            if damage == "flipped":
                bad[chance.choice(place)] ^= 1 << chance.randrange(8)
            else:
                at = chance.choice(place)
                bad[at : at + 4] = chance.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"])
        path = tmp_path / f"damaged{number}"
        path.write_bytes(bad)
        settings = Settings(cache=False, seconds=5, memory=1 << 30)
        names = names_of(path, addresses, settings, build_id=build_id(whole))
        assert len(names.ends) == len(addresses) and all(places(names))
        path.unlink()


def _same(program: Path, addresses: Sequence[int], exact: Sequence[int], debug: Path | None = None) -> None:
    addresses = sorted(set(addresses))
    ours, theirs = named(program, addresses), addr2line(debug or program, addresses)
    differences = {}
    for address, mine, other in zip(addresses, ours, theirs):
        told = difference(mine, other)
        # Between two functions there is nothing; it names the first one.
        if told and (address in exact or not mine[0][0].startswith(f"{program.name}+0x")):
            differences[address] = told
    assert not differences, {hex(address): told for address, told in differences.items()}
