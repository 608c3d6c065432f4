"""The commands on a program at work: what they print for programs to read, and that an interrupt is ours alone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from poireau.schemas import SCHEMAS
from tests.conftest import ROOT, clean_environment


@pytest.fixture
def obeys(program: Callable[..., Path], library: Path, traces_parent: Path) -> Iterator[Callable[..., int]]:
    """Starts tests/programs/obeys.c, has it carry out some orders, and returns its pid."""
    started: list[subprocess.Popen[str]] = []

    def start(*orders: str, **environment: str) -> int:
        chosen = {"LD_PRELOAD": str(library), "POIREAU_TRACE": str(traces_parent), **environment}
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [program("obeys.c")], env=clean_environment(**chosen), stdin=pipe, stdout=pipe, text=True, bufsize=1
        )
        started.append(process)
        assert process.stdin is not None and process.stdout is not None
        for order in orders:
            process.stdin.write(order + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
        return process.pid

    yield start
    for each in started:
        each.kill()
        each.wait()


def until_it_waits(pid: int) -> None:
    """Until it has slept through half a second: who starts reads files and computes, on a busy machine for long."""
    deadline, before, quiet = time.monotonic() + 60, "", 0
    while quiet < 25:
        assert time.monotonic() < deadline, "it never waits"
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        state, used = fields[0], " ".join(fields[11:13])
        quiet = quiet + 1 if (state, used) == ("S", before) else 0
        before = used
        time.sleep(0.02)


def schema_of(*words: object, schema: str) -> Mapping[str, Any]:
    command = [sys.executable, str(ROOT / "poireau.py"), *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=120)
    assert done.returncode == 0, done
    document: Mapping[str, Any] = json.loads(done.stdout)
    assert (document["schema"], document["version"]) == (schema, 1)
    assert schema in SCHEMAS
    return document


@pytest.mark.slow
def test_what_they_print_for_programs_has_a_schema(obeys: Callable[..., int], traces_parent: Path) -> None:
    pid = obeys("keep 100 100000", "slowly", POIREAU_SAMPLE_PERIOD="64K")
    assert schema_of("lib", schema="poireau.lib")["library"].endswith("libpoireau.so")
    assert schema_of("doctor", pid, schema="poireau.doctor")["healthy"] is True
    assert schema_of("config", schema="poireau.options")["options"]
    assert pid in [row["pid"] for row in schema_of("ps", "--wait", 2, schema="poireau.ps")["processes"]]
    wait = ("--wait", 20)
    assert schema_of("ctl", *wait, pid, "stats", schema="poireau.ctl")["pid"] == pid
    assert schema_of("attach", *wait, pid, schema="poireau.attach")["refusals"] == []
    assert schema_of("ctl", *wait, pid, "set", "sample_period", "32K", schema="poireau.ctl")["refusals"] == []
    settings = schema_of("config", "show", *wait, "--changed", pid, schema="poireau.settings")["settings"]
    changed = {each["name"]: (each["value"], each["origin"]) for each in settings}
    assert changed["sample_period"] == ("32KiB", "control socket")
    assert changed["trace"] == (str(traces_parent), "environment")
    for verb, what, by in (("live", "in-use", "line"), ("freed", "freed", "function"), ("peak", "peak", "function")):
        view = schema_of(verb, pid, schema="poireau.top")
        assert (view["what"], view["by"]) == (what, by)
    schema_of("top", "--tree", pid, schema="poireau.tree")
    schema_of("diff", "--from", "+0s", pid, schema="poireau.diff")


@pytest.mark.parametrize("words", [["ps", "--wait", "60"], ["ctl", "--wait", "60", "PID", "stats"]], ids=" ".join)
def test_an_interrupt_ends_us_alone(words: list[str], obeys: Callable[..., int]) -> None:
    pid = obeys("keep 10 10000", POIREAU_SAMPLE_PERIOD="1", POIREAU_SINK="none")
    ours = subprocess.Popen(
        [sys.executable, ROOT / "poireau.py", *(str(pid) if word == "PID" else word for word in words)],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until_it_waits(ours.pid)
    ours.send_signal(signal.SIGINT)
    _, said = ours.communicate()
    assert (ours.returncode, said) == (130, b"")
    assert Path(f"/proc/{pid}").exists()
