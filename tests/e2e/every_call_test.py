"""`run --every-call`: the program ends as it would, and all that it asked for is in its record; or it is said what is
not."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import poireau
from poireau import recording
from poireau.report import calls
from tests.conftest import ROOT, clean_environment

COMMAND = [sys.executable, ROOT / "poireau.py", "run", "--every-call"]


def run(traces: Path, *command: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [*COMMAND, "--trace", traces, "--", *command],
        env=clean_environment(PYTHONMALLOC="malloc"),
        capture_output=True,
        text=True,
        timeout=300,
        **more,
    )


def births_of(traces: Path) -> calls.Told:
    heap = poireau.open(traces)
    told = calls.Told()
    for _ in calls.calls(heap, calls.busiest(heap), told):
        pass
    return told


@pytest.mark.parametrize(
    ("script", "status", "output"), [("echo hello; exit 7", 7, "hello\n"), ("kill -TERM $$", -signal.SIGTERM, "")]
)
def test_the_program_ends_as_it_would(tmp_path, script, status, output):
    done = run(tmp_path / "traces", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (status, output)
    assert done.stderr.startswith("poireau: ") and done.stderr.count("\n") == 1
    assert f"1 process are in {tmp_path / 'traces'}" in done.stderr


def test_what_was_ignored_or_blocked_stays_so(tmp_path):
    def before() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    script = "import signal as s; print(int(s.getsignal(s.SIGCHLD)), *map(int, s.pthread_sigmask(s.SIG_BLOCK, [])))"
    done = run(tmp_path, sys.executable, "-c", script, preexec_fn=before)
    assert done.stdout == f"{int(signal.SIG_IGN)} {int(signal.SIGUSR1)}\n"


def test_signals_reach_the_program(tmp_path):
    script = "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    started = subprocess.Popen(
        [*COMMAND, "--trace", tmp_path / "traces", "--", "sh", "-c", script],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None and started.stdout.readline() == "ready\n"
    started.send_signal(signal.SIGTERM)
    out, _ = started.communicate(timeout=60)
    assert (out, started.returncode) == ("told\n", 3)


@pytest.mark.parametrize(
    "line", ['trace = "%s"', "[poireau]\ntrace='%s' # there", "trace = %s\n[other]\ntrace = '/no'"]
)
def test_a_record_is_found_where_a_file_of_settings_has_it(tmp_path, line):
    (tmp_path / "settings.toml").write_text(line % (tmp_path / "traces") + "\n")
    environment = clean_environment(POIREAU_CONFIG=str(tmp_path / "settings.toml"))
    del environment["POIREAU_TRACE"]
    done = subprocess.run(
        [*COMMAND, "--", "/bin/ls", "/"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"of 1 process are in {tmp_path / 'traces'}/" in done.stderr


def test_settings_are_overridden_by_those_that_are_given(tmp_path):
    done = subprocess.run(
        [*COMMAND, "--trace", tmp_path, "--set", "stack_depth=4", "--", "/bin/ls", "/"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    options = poireau.open(tmp_path).processes["options"].iloc[0]
    assert (options["stack_depth"], options["sample_period"], options["guard"]) == ("4", "1", "off")


@pytest.mark.slow
def test_nothing_of_real_programs_is_missing(tmp_path, exercised):
    sql = "with recursive c(x) as (values(1) union all select x+1 from c where x<20000) select count(x||'a') from c;"
    script = "import json; print(len(json.loads(json.dumps([[i, str(i)] for i in range(5000)]))))"
    for number, command in enumerate((["sqlite3", ":memory:", sql], ["/usr/bin/python3", "-c", script])):
        traces = tmp_path / str(number)
        done = run(traces, *command)
        assert done.returncode == 0
        assert "missing" not in done.stderr, done.stderr
        told = births_of(traces)
        assert (told.missing, told.of_a_sample, told.births) == (0, 0, told.samples)
        assert f"{told.births} requests of 1 process" in done.stderr
        exercised.count("every call", command[0], told.births)


def test_what_is_missing_is_said(tmp_path):
    """Under a limit, what the library may map is a small part of it, and blocks without a home are not recorded."""
    limit = 1 << 30
    script = "kept = [bytearray(1000) for _ in range(30000)]"
    done = run(
        tmp_path / "traces",
        *("/usr/bin/python3", "-c", script),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 0
    assert "calls are missing (no home: limits: " in done.stderr
    told = births_of(tmp_path / "traces")
    assert told.missing > 10_000
    assert f"poireau: {told.missing} calls are missing" in done.stderr


def test_a_run_that_left_nothing_says_so(tmp_path):
    record = recording.look(tmp_path / "none")
    assert record.lines() == [f"nothing is in {tmp_path / 'none'}"]


@pytest.mark.slow
def test_redis_makes_the_same_calls_again(tmp_path):
    """A server under load, recorded, and replayed with every call."""
    socket = tmp_path / "socket"
    redis = ["redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--dir", tmp_path]
    server = subprocess.Popen(
        [*COMMAND, "--trace", tmp_path / "traces", "--", *redis],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not socket.exists():
        assert server.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    load = ["redis-benchmark", "-s", socket, "-t", "set,get,lpush", "-n", "3000", "-r", "1000", "-q"]
    subprocess.run(load, check=True, capture_output=True, timeout=120)
    server.send_signal(signal.SIGTERM)
    _, said = server.communicate(timeout=60)
    assert server.returncode == 0 and "missing" not in said, said
    told = births_of(tmp_path / "traces")
    assert (told.missing, told.births) == (0, told.samples)
    replay = subprocess.run(
        [sys.executable, ROOT / "poireau.py", "replay", tmp_path / "traces", "--repeat", "1"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert replay.returncode == 0, replay.stderr
    assert "libjemalloc.so.2 (recorded)" in replay.stdout
