"""The parsers, fed with what nobody would write."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from poireau.glimpse import HEADER, PACKET
from tests.conftest import SOAK, clean_environment
from tests.trace_writer import write_trace

CORPUS = Path(__file__).parent / "corpus"
PRESETS = ["dev", *(pytest.param(each, marks=pytest.mark.soak) for each in ("asan", "ubsan"))]
SECONDS = 600 if SOAK else 3


@pytest.mark.parametrize("preset", PRESETS)
def test_no_configuration_breaks_the_parser(build, seed, exercised, preset):
    fuzzer = build.parent / preset / "config_fuzz"
    done = subprocess.run([fuzzer, str(SECONDS), str(seed)], capture_output=True, text=True, timeout=SECONDS + 100)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert ", 0 failures" in done.stdout
    exercised.add("fuzzed", f"configuration ({preset}) {done.stdout.strip().splitlines()[-1]}")


@pytest.mark.parametrize("preset", PRESETS)
def test_no_request_breaks_the_process(build, seed, exercised, tmp_path, preset):
    # The corpus as it is, then mutations of it.
    seeds = sorted((CORPUS / "control").iterdir())
    assert len(seeds) >= 30
    fuzzer = build.parent / preset / "control_fuzz"
    environment = clean_environment(POIREAU_TRACE=str(tmp_path))
    command = [fuzzer, str(SECONDS), str(seed), *seeds]
    done = subprocess.run(command, env=environment, capture_output=True, errors="replace", timeout=SECONDS + 100)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert ", 0 failures" in done.stdout
    exercised.add("fuzzed", f"control requests ({preset}) {done.stdout.strip().splitlines()[-1]}")


@pytest.mark.parametrize("preset", PRESETS)
def test_no_file_of_a_trace_breaks_the_decoder(build, seed, exercised, compile_c, tmp_path, preset):
    # Seeds: the beginnings of packets of a trace. What lies where, decode_fuzz.cc says.
    trace = write_trace(compile_c, tmp_path / "trace", 2000, frames=4, seed=seed)
    parts = [(1, trace / "facts_1", 0), *((2 * each, trace / f"samples_{1 + each}", 0) for each in range(3))]
    parts += [(2 + 8, trace / "samples_2", PACKET)]
    seeds = []
    for number, (where, file, at) in enumerate(parts):
        events = file.read_bytes()[at + HEADER.size :][:900]
        seeds.append(tmp_path / f"seed{number}")
        seeds[-1].write_bytes(bytes([where]) + len(events).to_bytes(2, "little") + events)
    (tmp_path / "all").write_bytes(b"".join(each.read_bytes() for each in seeds))
    fuzzer = build.parent / preset / "decode_fuzz"
    command = [fuzzer, str(SECONDS), str(seed), *seeds, tmp_path / "all"]
    done = subprocess.run(command, capture_output=True, errors="replace", timeout=SECONDS + 100)
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert ", 0 failures" in done.stdout
    exercised.add("fuzzed", f"traces ({preset}) {done.stdout.strip().splitlines()[-1]}")
