"""What was looked up once is found again, the same, and what is wrong with the cache costs no more than time."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from poireau import symbol_cache, symbol_library
from poireau.symbol_cache import Cache
from poireau.symbol_places import Places, empty, joined
from poireau.symbols import Settings, Symbolizer
from poireau.tables import Module, Tables
from tests.poireau.symbolizing import build_id, calls, compiled, named, places, run, tables


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "poireau" / "symbols"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("program"))


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many addresses, each time."""
    seen: list[int] = []
    real = symbol_library.look_up

    def look_up(
        binary: str | None, debug: str | None, supplement: str | None, addresses: np.ndarray, *rest: object
    ) -> object:
        seen.append(len(addresses))
        return real(binary, debug, supplement, addresses, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(symbol_library, "look_up", look_up)
    return seen


def frames(program: Path, addresses: Sequence[int]) -> Tables:
    return tables([(Module(str(program), build_id(program)), addresses)])


def some_places(number: int, chance: random.Random) -> Places:
    counts = np.array([chance.randrange(4) for _ in range(number)], np.uint64)
    rows = int(counts.sum())
    columns = [np.array([chance.randrange(3) for _ in range(rows)], np.uint32) for _ in range(3)]
    addresses = np.array(sorted(chance.sample(range(1 << 40), number)), np.uint64)
    inlined = np.array([chance.random() < 0.5 for _ in range(rows)], np.bool_)
    return Places(addresses, np.cumsum(counts), *columns, inlined, ["", "f", "über()"], ["", "a.c", "b.c"])


def same(one: Places, other: Places) -> bool:
    def listed(each: Places) -> list[object]:
        functions = [each.functions[number] for number in each.function]
        return [each.addresses.tolist(), each.ends.tolist(), functions, each.line.tolist(), each.inlined.tolist()]

    return listed(one) == listed(other)


def test_a_warm_cache_says_the_same_and_looks_nothing_up(program: Path, looked_up: list[int]) -> None:
    addresses = calls(program)
    cold = places(Symbolizer().names(frames(program, addresses[::2])))
    assert sum(looked_up) == len(addresses[::2])
    assert places(Symbolizer().names(frames(program, addresses[::2]))) == cold
    assert sum(looked_up) == len(addresses[::2])
    every = places(Symbolizer().names(frames(program, addresses)))
    assert sum(looked_up) == len(addresses), "only what is new is looked up"
    assert every == named(program, addresses)


def test_a_program_that_is_gone_is_still_known(program: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(program.read_bytes())
    addresses = calls(program)
    every = frames(copy, addresses)
    known = places(Symbolizer().names(every))
    copy.unlink()
    assert places(Symbolizer().names(every)) == known
    assert places(Symbolizer(Settings(cache=False)).names(every)) != known


def test_debug_information_that_comes_later_is_noticed(program: Path, tmp_path: Path) -> None:
    stripped = tmp_path / "stripped"
    run("objcopy", "--strip-all", program, stripped)
    addresses = calls(program)
    tree = tmp_path / "debug" / ".build-id" / build_id(program)[:2]
    settings = Settings(debug_directories=[str(tmp_path / "debug")])
    before = places(Symbolizer(settings).names(frames(stripped, addresses)))
    tree.mkdir(parents=True)
    run("objcopy", "--only-keep-debug", program, tree / f"{build_id(program)[2:]}.debug")
    after = places(Symbolizer(settings).names(frames(stripped, addresses)))
    assert before != after == named(program, addresses)


def test_what_is_damaged_is_looked_up_again(program: Path, home: Path, seed: int) -> None:
    chance = random.Random(seed)
    addresses = calls(program)
    every = frames(program, addresses)
    known = places(Symbolizer().names(every))
    (file,) = home.iterdir()
    good = file.read_bytes()
    for number in range(60):
        bad = bytearray(good)
        if number % 3 == 0:
            del bad[chance.randrange(len(bad)) :]
        elif number % 3 == 1:
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        else:
            at = chance.randrange(100)
            bad[at : at + 8] = b"\xff" * 8
        file.write_bytes(bad)
        assert places(Symbolizer().names(every)) == known
        assert file.read_bytes() == good, "and kept again"


@pytest.mark.parametrize("what", ["pipe", "link", "somebody else's"])
def test_what_others_put_there_is_not_read(what: str, program: Path, home: Path) -> None:
    every = frames(program, calls(program))
    known = places(Symbolizer().names(every))
    (file,) = home.iterdir()
    aside = home / "aside"
    file.rename(aside)
    if what == "pipe":
        os.mkfifo(file)
    elif what == "link":
        file.symlink_to(aside)
    else:
        shutil.copy(aside, file)
        os.chown(file, 1234, -1)
    assert Cache(home).load(build_id(program), "debug") is None
    assert places(Symbolizer().names(every)) == known


@pytest.mark.parametrize("home", ["a file", "relative", "unwritable", "missing"])
def test_without_a_place_to_keep_it_all_works(
    home: str, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    where = {"a file": f"{tmp_path}/file", "relative": "relative", "unwritable": "/proc/none", "missing": ""}
    monkeypatch.setenv("XDG_CACHE_HOME", where[home])
    monkeypatch.setenv("HOME", "/proc/none" if home in ("missing", "relative") else str(tmp_path))
    monkeypatch.chdir(tmp_path)
    addresses = calls(program)
    assert places(Symbolizer().names(frames(program, addresses))) == named(program, addresses)
    assert not (tmp_path / "relative").exists()


def test_what_is_stored_is_what_is_loaded(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    cache = Cache(tmp_path / "kept")
    for number in (0, 1, 2, 1000):
        stored = some_places(number, chance)
        cache.store("12ab", "debug", stored)
        loaded = cache.load("12ab", "debug")
        assert loaded is not None and same(loaded, stored)
    assert cache.load("12ab", "symbols") is None and cache.load("12ac", "debug") is None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    cache = Cache(tmp_path / "kept", most=60_000)
    for number in range(20):
        cache.store(f"{number:04x}", "debug", some_places(300, chance))
        for file in cache.place.iterdir():
            os.utime(file, (number if file.name.startswith(f"{number:04x}") else os.stat(file).st_mtime,) * 2)
        assert cache.load("0000", "debug") is not None, "it is used all the time"
        assert sum(file.stat().st_size for file in cache.place.iterdir()) <= 60_000
    kept = sorted(int(file.name[:4], 16) for file in cache.place.iterdir())
    assert kept[0] == 0 and kept[1:] == list(range(21 - len(kept), 20))


def test_readers_and_writers_at_once_see_whole_files(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    cache = Cache(tmp_path / "kept")
    versions = [some_places(500, chance) for _ in range(4)]
    stop, wrong = threading.Event(), []

    def write(places: Places) -> None:
        while not stop.is_set():
            cache.store("ab", "debug", places)

    def read() -> None:
        while not stop.is_set():
            got = cache.load("ab", "debug")
            if got is None or not any(same(got, each) for each in versions):
                wrong.append(got)

    cache.store("ab", "debug", versions[0])
    threads = [threading.Thread(target=write, args=(each,)) for each in versions]
    threads += [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    stop.wait(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert [file.name for file in cache.place.iterdir()] == ["ab.debug.places"]


def test_what_two_have_the_first_one_says(seed: int) -> None:
    chance = random.Random(seed)
    one, other = some_places(50, chance), some_places(60, chance)
    both = joined([one, other, one])
    assert same(joined([one, one]), one) and same(joined([empty(), one]), one)
    assert sorted(both.addresses.tolist()) == both.addresses.tolist()
    assert set(both.addresses.tolist()) == {*one.addresses.tolist(), *other.addresses.tolist()}


def test_the_directory_is_the_one_of_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert symbol_cache.directory() == Path("/x/poireau")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/who")
    assert symbol_cache.directory() == Path("/home/who/.cache/poireau")
