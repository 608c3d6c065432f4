"""`top` and `diff` on programs that ran under the library."""

from __future__ import annotations

import contextlib
import io
import json
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from poireau import cli
from tests.conftest import ROOT, clean_environment, traces

MIB = 1 << 20
SOURCE = (ROOT / "tests/programs/hungry.cc").read_text().splitlines()


def poireau(*arguments: object, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """In this process: it takes a second less each time."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for name in ("POIREAU_TRACE", "STATE_DIRECTORY", "CLICOLOR_FORCE"):
            patch.delenv(name, raising=False)
        for name, value in {**variables, "XDG_CACHE_HOME": traces()}.items():
            patch.setenv(name, value)
        try:
            got = cli.main([str(argument) for argument in arguments])
        except SystemExit as wrong:
            got = int(str(wrong.code))
    assert got == status, (arguments, out.getvalue(), err.getvalue())
    return subprocess.CompletedProcess(arguments, got, out.getvalue(), err.getvalue())


def asked(*arguments: object, **variables: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(poireau(*arguments, "--json", **variables).stdout)
    return answer


@pytest.fixture(scope="module")
def hungry(compile_c: Callable[..., Path]) -> Path:
    return compile_c("\n".join(SOURCE), ["-O1", "-fno-builtin"], "c++", "c++")


@pytest.fixture
def run(library: Path, hungry: Path) -> Callable[..., tuple[int, list[int]]]:
    """run(traces, steps) -> its pid, and the time after each step."""

    def run(traces: Path, steps: Sequence[str], period: str = "4KiB") -> tuple[int, list[int]]:
        settings = {"POIREAU_TRACE": str(traces), "POIREAU_SAMPLE_PERIOD": period, "POIREAU_OVERHEAD_BUDGET": "off"}
        environment = clean_environment(LD_PRELOAD=str(library), **settings)
        pipe = subprocess.PIPE
        with subprocess.Popen([hungry], env=environment, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
            assert process.stdin and process.stdout
            times = []
            for step in steps:
                process.stdin.write(f"{step}\n")
                assert process.stdout.readline() == "done\n"
                times.append(time.time_ns())
                time.sleep(0.02)
            process.stdin.close()
            assert process.wait() == 0
        return process.pid, times

    return run


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(SOURCE, 1) if text in line)


def test_top_names_the_function_and_the_line_that_have_most(run: Callable[..., Any], tmp_path: Path) -> None:
    run(tmp_path, ["remember", "keep", "keep", "churn", "churn"])
    answer = asked("top", tmp_path)
    first = answer["rows"][0]
    assert (first["function"], first["line"]) == ("store::keep(unsigned long)", line_of("malloc(size)"))
    assert 17e6 < first["bytes"]["value"] < 19e6  # 6 standard deviations are less
    assert [frame["function"] for frame in first["frames"][:2]] == ["store::keep(unsigned long)", "main"]
    assert answer["of"][0]["complete"] and answer["of"][0]["lost"] == {}
    # std::map and std::string only pass requests on.
    assert {row["function"] for row in answer["rows"][:2]} == {"store::keep(unsigned long)", "store::remember(int)"}
    churned = asked("top", tmp_path, "--what", "temporary", "--within", "100")["rows"][0]
    assert (churned["function"], churned["line"]) == ("churn(unsigned long)", line_of("new char"))
    allocated = asked("top", tmp_path, "--what", "allocated", "--by", "line")["rows"]
    assert [row["line"] for row in allocated[:2]] == [line_of("new char"), line_of("malloc(size)")]


def test_top_prints_what_it_used_and_what_the_answer_rests_on(run: Callable[..., Any], tmp_path: Path) -> None:
    pid, _ = run(tmp_path, ["keep"])
    for done in (
        poireau("top", "--trace", tmp_path),
        poireau("top", POIREAU_TRACE=str(tmp_path)),
        poireau("top", pid, POIREAU_TRACE=str(tmp_path)),
    ):
        assert re.fullmatch(rf"using (run )?program\d+-\d+ \([\w ]+ ago\): {tmp_path}/\S+\n", done.stderr), done
        lines = done.stdout.splitlines()
        assert re.fullmatch(rf"\S+\[{pid}\], .* a sample every 4KiB; [\d,]+ samples; nothing lost; .*", lines[0]), lines
        table = next(at for at, line in enumerate(lines) if "FUNCTION" in line)
        assert "store::keep" in lines[table + 1] and f":{line_of('malloc(size)')}" in lines[table + 1], lines
        assert lines[table + 2].strip().startswith("main"), lines
        assert "\x1b" not in done.stdout


def significant(told: dict[str, Any]) -> dict[str, bool]:
    """Which of the store's functions changed, and whether they have less. The buffers of main's two streams are sampled
    in one run and not in another, which may pass for a change: one of twenty significant ones may be noise."""
    return {
        row["function"]: row["change"]["value"] < 0
        for row in told["rows"]
        if row["significant"] and row["function"].startswith("store::")
    }


def test_moments_and_runs_differ_by_what_was_done(run: Callable[..., Any], tmp_path: Path) -> None:
    _, times = run(tmp_path / "a", ["keep", "remember", "keep", "keep"])
    between = [f"@{(moment + 5_000_000) / 1e9:.6f}" for moment in times]
    grown = asked("diff", tmp_path / "a", "--from", between[0], "--to", between[1])
    assert significant(grown) == {"store::remember(int)": False}
    first = asked("diff", tmp_path / "a", "--from", between[1])["rows"][0]
    assert first["function"] == "store::keep(unsigned long)" and first["significant"]
    assert 17e6 < first["change"]["value"] < 19e6

    run(tmp_path / "b", ["keep", "churn"])
    told = asked("diff", tmp_path / "a", tmp_path / "b")
    assert significant(told) == {"store::keep(unsigned long)": True, "store::remember(int)": True}
    assert "SAMPLES" in poireau("diff", tmp_path / "a", tmp_path / "b").stdout


def test_every_call_is_exact(run: Callable[..., Any], tmp_path: Path) -> None:
    run(tmp_path, ["keep"], period="1")
    first = asked("top", tmp_path, "--by", "size")["rows"][0]
    assert first["bytes"] == {"value": 9e6, "ci95": [9e6, 9e6], "n": 1000}


def test_strict_fails_where_something_was_lost(run: Callable[..., Any], tmp_path: Path) -> None:
    run(tmp_path, ["keep", "keep"], period="1")
    poireau("top", tmp_path, "--strict")
    samples = min(tmp_path.glob("*/*/samples_*"))
    with open(samples, "r+b") as file:
        file.seek(2 * (64 << 10))
        file.write(b"noise" * 13_107)
    done = poireau("top", tmp_path, "--strict", status=3)
    assert "incomplete" in done.stdout and "lost: " in done.stdout
    poireau("diff", tmp_path, tmp_path, "--strict", status=3)


@pytest.mark.parametrize(
    "arguments",
    [
        ["top", "/nowhere"], ["top", "--focus", "("], ["top", "--since", "soon"],
        ["top", "--at", "1s", "--until", "2s"],
        ["top", "--process", "nobody"], ["top", "--within", "5"], ["top", "--what", "temporary", "--within", "x"],
        ["top", "--tree", "--by", "size"], ["diff", "."], ["diff", "--to", "5s"], ["top", "4194305"],
        ["top", "--limit", "-1"],
        ["top", "--since", "1s", "--until", "5s"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_use_is_said_in_a_line(run: Callable[..., Any], tmp_path: Path, arguments: list[str]) -> None:
    run(tmp_path, ["keep"])
    said = poireau(*arguments, status=2, POIREAU_TRACE=str(tmp_path)).stderr.splitlines()
    assert said and said[-1].startswith("poireau"), said


def test_as_a_command_it_says_the_same(run: Callable[..., Any], tmp_path: Path) -> None:
    run(tmp_path, ["keep"])
    command = ["/usr/bin/env", "python3", ROOT / "poireau.py", "top", tmp_path]
    environment = clean_environment(XDG_CACHE_HOME=traces())
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, poireau("top", tmp_path).stdout, "")


def test_no_trace_is_said_with_what_to_do(tmp_path: Path) -> None:
    assert "there is no trace in" in poireau("top", status=2, POIREAU_TRACE=str(tmp_path)).stderr


@pytest.mark.slow
def test_redis_has_its_heap_where_it_was_told_to(library: Path, tmp_path: Path) -> None:
    settings = {"POIREAU_TRACE": str(tmp_path), "POIREAU_SAMPLE_PERIOD": "64KiB", "POIREAU_OVERHEAD_BUDGET": "off"}
    environment = clean_environment(LD_PRELOAD=str(library), **settings)
    socket = tmp_path / "socket"
    command = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 30
            while not socket.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            fill = "for i = 1, 20000 do redis.call('SET', 'k' .. i, string.rep('x', 500)) end"
            subprocess.run(
                ["redis-cli", "-s", str(socket), "EVAL", fill, "0"], check=True, capture_output=True, timeout=60
            )
        finally:
            process.kill()
    answer = asked("top", tmp_path, "--limit", "0", "--strict")
    low, high = answer["total"]["bytes"]["ci95"]
    assert high > 20_000 * 500 and low < 60 * MIB
    assert sum(row["bytes"]["value"] for row in answer["rows"]) == pytest.approx(answer["total"]["bytes"]["value"])


@pytest.mark.slow
def test_python_is_read_without_a_loss(library: Path, tmp_path: Path) -> None:
    environment = clean_environment(LD_PRELOAD=str(library), POIREAU_TRACE=str(tmp_path), POIREAU_SAMPLE_PERIOD="16KiB")
    child = "subprocess.run(['/usr/bin/python3', '-c', '1'])"
    script = f"import json, subprocess; kept = [bytes(10000) for _ in range(2000)]; {child}"
    subprocess.run(["/usr/bin/python3", "-c", script], env=environment, check=True, timeout=60)
    answer = asked("top", tmp_path, "--strict", "--what", "peak")
    assert answer["of"][0]["processes"] and answer["of"][0]["complete"]
    assert answer["total"]["bytes"]["ci95"][1] > 20_000_000
    for by in ("stack", "threads"):
        rows = asked("top", tmp_path, "--by", by, "--limit", "0", "--what", "peak")["rows"]
        assert sum(row["bytes"]["value"] for row in rows) == pytest.approx(answer["total"]["bytes"]["value"])
