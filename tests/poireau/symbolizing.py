"""Programs with symbols of every kind, what we say of their addresses, and what addr2line says of them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from poireau.symbols import Settings, Symbolizer
from poireau.tables import Module, Names, Tables

Place = tuple[str, str, int]  # function, file, line

HEADER = """
#pragma once
namespace shapes {
template <typename Number> struct Box {
  Number side;
  Number area() const { return side * side + Number(1); }
  Number volume() const { return area() * side - Number(1); }
};
int far(int value);
}
"""
MAIN = """
#include <cstdio>
#include <cstdlib>
#include <vector>
#include "shapes.h"
namespace {
int sink;
__attribute__((noinline)) int hidden(int value) { sink += value; return value * rand(); }
inline int twice(int value) { return hidden(value) + hidden(value + 1); }
}
static __attribute__((noinline)) int local(int value) {
  if (value > 1000) throw value;
  return twice(value) + 2;
}
namespace shapes {
struct Counter {
  std::vector<int> seen;
  int add(int value) {
    auto square = [&](int x) { return hidden(x + value) * x; };
    seen.push_back(square(value));
    return twice(seen.back());
  }
};
}
extern "C" int plain(int value) { return local(value) ^ 7; }
int main(int count, char**) {
  shapes::Counter counter;
  shapes::Box<double> box{double(count)};
  int total = plain(count) + shapes::far(count) + int(box.volume() * hidden(3));
  for (int i = 0; i < count; ++i) total += counter.add(i);
  printf("%d\\n", total);
}
"""
FAR = """
#include "shapes.h"
#include <vector>
namespace shapes {
static std::vector<int> seen;
static int depth(int value) { return value <= 0 ? int(seen.size()) : depth(value - 2) + 1; }
int far(int value) {
  seen.push_back(value);
  Box<long> box{value};
  return depth(value) + int(box.volume());
}
}
"""


def compiled(directory: Path, *flags: str, name: str = "program", compiler: str = "g++") -> Path:
    """A program of two units, or, with -shared, a library. With debug information, unless flags say otherwise."""
    for file, text in (("shapes.h", HEADER), ("main.cc", MAIN), ("far.cc", FAR)):
        (directory / file).write_text(text)
    program = directory / name
    run(compiler, "-O2", "-g", "-Wl,--build-id", *flags, "-o", program, directory / "main.cc", directory / "far.cc")
    return program


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def demangled(name: str) -> str:
    return run("c++filt", name).strip()


def build_id(path: Path) -> str:
    match = re.search(r"Build ID: (\w+)", run("readelf", "-n", path))
    return match[1] if match else ""


def code(path: Path) -> range:
    """The addresses of .text."""
    for line in run("readelf", "-SW", path).splitlines():
        fields = line.replace("[ ", "[").split()
        if len(fields) > 5 and fields[1] == ".text":
            return range(int(fields[3], 16), int(fields[3], 16) + int(fields[5], 16))
    raise AssertionError(f"{path} has no .text")


def calls(path: Path) -> list[int]:
    """The addresses that calls return to: where ours always come from."""
    lines = run("objdump", "-d", "--no-show-raw-insn", "-j", ".text", path).splitlines()
    addresses = []
    for line, following in zip(lines, lines[1:]):
        if "\tcall" in line and re.match(r"\s*[0-9a-f]+:", following):
            addresses.append(int(following.split(":")[0], 16))
    return addresses


def tables(
    modules: Sequence[tuple[Module, Sequence[int]]],
    loose: Sequence[tuple[int, Sequence[int]]] = (),
    processes: Sequence[int] = (),
    sources: Sequence[str] = (),
) -> Tables:
    """With frames of modules, then of processes in no module."""
    module, process, address = [], [], []
    for number, (_, addresses) in enumerate(modules, 1):
        module += [number] * len(addresses)
        process += [0] * len(addresses)
        address += addresses
    for number, addresses in loose:
        module += [0] * len(addresses)
        process += [number] * len(addresses)
        address += addresses
    return Tables(
        strings=[""],
        modules=[Module("", ""), *(each for each, _ in modules)],
        frame_module=np.array(module, np.uint32),
        frame_process=np.array(process, np.uint32),
        frame_address=np.array(address, np.uint64),
        stack_ends=np.zeros(1, np.uint64),
        stack_frames=np.zeros(0, np.uint32),
        sources=list(sources),
        process_ids=list(processes),
        losses=[],
    )


def places(names: Names) -> list[list[Place]]:
    """Of each frame."""
    out, begin = [], 0
    for end in names.ends.tolist():
        out.append(
            [
                (
                    names.functions[names.function[i]],
                    os.path.normpath(names.files[names.file[i]] or "."),
                    int(names.line[i]),
                )
                for i in range(begin, end)
            ]
        )
        begin = end
    return out


def named(file: Path, addresses: Sequence[int], settings: Settings | None = None, **module: str) -> list[list[Place]]:
    return places(names_of(file, addresses, settings, **module))


def names_of(file: Path, addresses: Sequence[int], settings: Settings | None = None, **module: str) -> Names:
    """`module`: its path and build id, where they are not the file's."""
    which = Module(module.get("path", str(file)), module["build_id"] if "build_id" in module else build_id(file))
    return Symbolizer(settings or Settings(cache=False)).names(tables([(which, addresses)]))


def addr2line(path: Path, addresses: Sequence[int]) -> list[list[Place]]:
    """What it says of the instruction before each."""
    asked = "".join(f"{address - 1:#x}\n" for address in addresses)
    command = ["addr2line", "-aiCfe", str(path)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.returncode == 0, done.stderr
    out: list[list[Place]] = []
    lines = iter(done.stdout.splitlines())
    for line in lines:
        if line.startswith("0x"):
            out.append([])
            continue
        file, _, number = next(lines).partition(" (discriminator")[0].rpartition(":")
        out[-1].append((line, os.path.normpath(file if file != "??" else "."), int(number) if number.isdigit() else 0))
    return out


def difference(ours: Sequence[Place], theirs: Sequence[Place]) -> str:
    """What our word and addr2line's differ in that can't be explained; "" if in nothing."""
    if len(ours) != len(theirs):
        return f"depth {len(ours)} and {len(theirs)}"
    for depth, ((function, file, line), (other, other_file, other_line)) in enumerate(zip(ours, theirs)):
        same = function == other.partition(" [clone ")[0]
        # It knows neither what a function without a linkage name lies in nor its parameters.
        same |= f"::{_bare(function)}".endswith(f"::{_bare(other)}")
        # And it gives such a one, inlined, the name of the symbol that the address lies in.
        same |= depth == 0 and len(ours) > 1 and _bare(other).endswith(_bare(theirs[-1][0]))
        if not same:
            return f"{function} and {other}"
        # Of what has no line it says the name of some file in the table of symbols.
        if line != other_line or (line != 0 and file != other_file and not _is_beyond(other_file, other_line)):
            return f"{function}: {file}:{line} and {other_file}:{other_line}"
    return ""


def _bare(function: str) -> str:
    return re.sub(r"\(((?!anonymous).)*$", "", function.partition(" [clone ")[0])


def _is_beyond(file: str, line: int) -> bool:
    """It has no such line: addr2line takes the unit's own file for some that it includes or was linked from."""
    path = Path(file)
    return path.name == "<artificial>" or (path.is_file() and len(path.read_text().splitlines()) < line)
