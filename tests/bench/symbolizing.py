"""How many addresses a second are named that nobody asked for before, and that are in the cache.

python -m tests.bench.symbolizing [FILE ...]    # with debug information; by default a program that it compiles
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from poireau.symbols import Settings, Symbolizer
from poireau.tables import Module, Tables
from tests.poireau.symbolizing import build_id, code, run, tables

NEW, KEPT = 20_000, 1_000_000
UNIT = """
#include <map>
#include <regex>
#include <string>
#include <vector>
namespace unit%(number)d {
struct Thing { std::map<std::string, std::vector<double>> all; std::regex pattern{"a+(b|c)%(number)d"}; };
int work(const std::string& text) {
  Thing thing;
  thing.all[text].push_back(%(number)d);
  std::smatch match;
  return std::regex_search(text, match, thing.pattern) ? int(thing.all.size()) : 0;
}
}
"""


def large(directory: Path, units: int = 6) -> Path:
    for number in range(units):
        (directory / f"unit{number}.cc").write_text(UNIT % {"number": number})
        run("g++", "-c", "-fPIC", "-O2", "-g", "-o", directory / f"unit{number}.o", directory / f"unit{number}.cc")
    program = directory / "large.so"
    run("g++", "-shared", "-fPIC", "-Wl,--build-id", "-o", program, *sorted(directory.glob("*.o")))
    return program


def frames(file: Path, number: int) -> Tables:
    chance = np.random.default_rng(number)
    text = code(file)
    addresses = chance.integers(text.start, text.stop, number).tolist()
    return tables([(Module(str(file), build_id(file)), addresses)])


def rate(what: Tables, settings: Settings) -> tuple[float, int]:
    begin = time.perf_counter()
    names = Symbolizer(settings).names(what)
    return len(what.frame_address) / (time.perf_counter() - begin), len(names.function)


def main(arguments: list[str]) -> None:
    files = [each for each in arguments if each != "--json"]
    with tempfile.TemporaryDirectory() as directory:
        os.environ["XDG_CACHE_HOME"] = f"{directory}/cache"
        for file in [Path(each).resolve() for each in files] or [large(Path(directory))]:
            new, kept = frames(file, NEW), frames(file, KEPT)
            rate(new, Settings(cache=False))  # so that the file is in memory
            first, places = rate(new, Settings(cache=False))
            rate(kept, Settings())
            second, _ = rate(kept, Settings())
            if "--json" in arguments:
                print(json.dumps({"new": first, "kept": second}))
                continue
            size = file.stat().st_size / 1e6
            print(
                f"{file.name}, {size:.0f} MB: {first:,.0f} new a second ({places:,} places of {NEW:,} addresses), ",
                end="",
            )
            print(f"{second:,.0f} kept a second")


if __name__ == "__main__":
    main(sys.argv[1:])
