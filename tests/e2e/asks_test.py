"""What a program may ask us, and tell us (poireau.h), under the library; without it, the same program runs alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from .conftest import ROOT

EVERY_SAMPLE = {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "all"}
ALL = {"POIREAU_PROTECT": "all"}


def poireau(*arguments: object) -> str:
    command = [sys.executable, ROOT / "poireau.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def errors(text: str) -> list[str]:
    found = re.findall(r"^poireau: [^:]+: (\w.* at 0x.*|double .*)", text, re.MULTILINE)
    return [re.sub("0x[0-9a-f]+", "AT", line) for line in found]


def test_without_the_library_nothing_is_asked(program, run_bare):
    assert run_bare([program("asks.c"), "blocks"]).stdout == "alone\n"


@pytest.mark.parametrize(("environment", "origin"), [(EVERY_SAMPLE, "sampled"), (ALL, "protected")])
def test_a_block_is_found_by_each_of_its_bytes_and_when_it_is_freed(program, run_preloaded, environment, origin):
    done = run_preloaded([program("asks.c"), "blocks"], environment)
    assert (done.stdout.splitlines(), done.returncode) == (
        [
            f"first byte: live {origin}, 24 bytes, at 0",
            f"last byte: live {origin}, 24 bytes, at 23",
            f"after free: freed {origin}, 24 bytes, at 0",
            "the stack: nothing",
            "a literal: nothing",
        ],
        0,
    )


def test_blocks_that_have_shared_memory_are_told_by_their_identity(program, run_preloaded):
    done = run_preloaded([program("asks.c"), "identities"], ALL)
    assert done.stdout == "memory comes again, two live ones differ\n"


@pytest.mark.parametrize("environment", [ALL, {}])
def test_objects_of_a_pool_are_known_and_freed_ones_are_reported(program, run_preloaded, environment):
    done = run_preloaded([program("asks.c"), "pool"], environment)
    assert done.stdout.splitlines() == [
        "before: nothing",
        "empty: nothing",
        "object: live of a pool, 40 bytes, at 0",
        "inside: live of a pool, 40 bytes, at 39",
        "its neighbour: live of a pool, 8 bytes, at 0",
        "behind them: nothing",
        "written: 10",
        "freed: freed of a pool, 40 bytes, at 36",
        "written: 10",
        "over both: live of a pool, 200 bytes, at 40",
        "destroyed: nothing",
    ]
    written = "use after free: read at AT, 6 bytes into a freed 40-byte block from a pool, in write"
    twice = "double free: AT, a freed 40-byte block from a pool, given to poireau_pool_freed"
    assert errors(done.stderr) == ([written, twice] if environment else [twice])


def test_a_phase_is_a_window_of_time(program, traced, traces_parent):
    done = traced([program("asks.c"), "phases"], {"POIREAU_SAMPLE_PERIOD": "1"})
    assert done.returncode == 0, done
    (trace,) = (path.parent for path in traces_parent.glob("*/*/metadata"))

    def bytes_in(*window: str) -> float:
        answer = json.loads(poireau("top", trace, "--what", "allocated", "--json", *window))
        return float(answer["total"]["bytes"]["value"])

    assert bytes_in("--phase", "warmup") == 100 * 2000
    assert bytes_in("--phase", "work") == 50 * 3000
    assert bytes_in() >= 1000 + 100 * 2000 + 50 * 3000


def test_a_block_that_is_kept_is_noted_by_its_beginning(program, traced, traces_parent):
    done = traced([program("asks.c"), "keep"], {"POIREAU_SAMPLE_PERIOD": "1"})
    assert done.stdout == "1 0 0\n"
    (trace,) = (path.parent for path in traces_parent.glob("*/*/metadata"))
    said = subprocess.run(["babeltrace2", trace], capture_output=True, text=True, check=True).stdout
    (kept,) = re.findall(r'option: .*name = "keep", value = "([0-9a-f]+)"', said)
    born = re.findall(r"alloc: .*id = (?:0x)?([0-9A-Fa-f]+),.* size = 5000,", said)
    assert born == [kept.upper()] or born == [kept], said
