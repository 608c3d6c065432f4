"""export, pack and serve as commands, on a program that really ran."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pandas as pd
import pytest

from tests.conftest import ROOT, clean_environment
from tests.poireau.report.readers import go_pprof, protobuf

SOURCE = r"""
#include <stdlib.h>
#include <unistd.h>
static void *volatile kept[1000];
__attribute__((noinline)) void secret_keeper(int i) { kept[i] = malloc(3000); }
__attribute__((noinline)) void secret_waster(void) { void *volatile block = malloc(5000); free(block); }
int main(int argc, char **argv) {
  for (int i = 0; i < 1000; i++) { secret_keeper(i); secret_waster(); }
  if (argc > 1) for (;;) { secret_waster(); usleep(1000); }
}
"""
Poireau = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def program(compile_c: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "secretive"
    shutil.copy(compile_c(SOURCE, ["-O1", "-fno-omit-frame-pointer"]), path)
    return path


@pytest.fixture(scope="module")
def trace(program: Path, library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    traces = tmp_path_factory.mktemp("traces")
    subprocess.run([program], env=environment(library, traces), check=True, timeout=60)
    return traces


def environment(library: Path, traces: Path) -> dict[str, str]:
    return clean_environment(LD_PRELOAD=str(library), POIREAU_TRACE=str(traces), POIREAU_SAMPLE_PERIOD="1")


@pytest.fixture
def poireau(tmp_path: Path) -> Poireau:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "poireau", *arguments]
        return subprocess.run(command, capture_output=True, timeout=120, cwd=tmp_path, env=own_environment())

    return run


def own_environment() -> dict[str, str]:
    return clean_environment(PYTHONPATH=str(ROOT))


def test_a_program_s_heap_opens_in_pprof(trace: Path, poireau: Poireau, tmp_path: Path) -> None:
    done = poireau("export", "pprof", trace, "-o", "heap.pb.gz", "--strict")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    shown = go_pprof("-top", "-unit=b", tmp_path / "heap.pb.gz")
    assert re.search(r"\b3000000B .* secret_keeper", shown), shown
    allocated = go_pprof("-top", "-unit=b", "-sample_index=alloc_space", "-show_from=main", tmp_path / "heap.pb.gz")
    assert re.search(r"\b5000000B .* secret_waster", allocated), allocated
    parsed = protobuf((tmp_path / "heap.pb.gz").read_bytes())
    assert parsed.string_table[parsed.mapping[0].filename].endswith("/secretive")
    assert len(parsed.string_table[parsed.mapping[0].build_id]) == 40
    assert 0x1000 < parsed.mapping[0].memory_start < 1 << 47


def test_a_table_goes_to_standard_output(trace: Path, poireau: Poireau) -> None:
    done = poireau("export", "csv", "--table", "live", trace)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(io.BytesIO(done.stdout))
    assert (table["size"] == 3000).sum() == 1000


@pytest.mark.slow
def test_a_pack_serves_where_its_binary_is_not(trace: Path, program: Path, poireau: Poireau, tmp_path: Path) -> None:
    done = poireau("pack", trace)
    (file,) = tmp_path.glob("secretive-*.poireau")
    assert done.stderr.decode().startswith(f"{file.name}: ")
    hidden = program.with_name("elsewhere")
    program.rename(hidden)
    try:
        folded = poireau("export", "folded", file)
    finally:
        hidden.rename(program)
    assert re.search(rb"main;secret_keeper 3000000\n", folded.stdout), folded
    assert poireau("export", "folded", trace).stdout == folded.stdout


@pytest.mark.slow
def test_redacted_nothing_names_the_program(trace: Path, poireau: Poireau, tmp_path: Path) -> None:
    for form in ("folded", "firefox"):
        done = poireau("export", form, trace, "--redact")
        assert done.returncode == 0, done.stderr
        assert b"3000000" in done.stdout or form == "firefox"
        for name in ("secret", r"\bmain\b", re.escape(str(trace)), rf"\b{re.escape(os.uname().nodename)}\b"):
            assert not re.search(name.encode(), done.stdout), (form, name)
    key = ["--redact", "--redact-key", tmp_path / "key"]
    first, second = (poireau("export", "folded", trace, *key).stdout for _ in range(2))
    assert first == second != poireau("export", "folded", trace, "--redact").stdout


@pytest.mark.slow
def test_what_is_there_stays_and_what_is_wrong_is_one_line(trace: Path, poireau: Poireau, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    done = poireau("export", "folded", trace, "-o", "out")
    assert (done.returncode, done.stderr) == (2, b"poireau: out is there already; -f replaces it\n")
    assert (tmp_path / "out").read_bytes() == b"mine"
    assert poireau("export", "folded", trace, "-f", "-o", "out").returncode == 0
    (tmp_path / "zip").write_bytes(b"PK\x05\x06" + bytes(18))
    for arguments in (
        ["export", "folded", tmp_path / "zip"],
        ["export", "folded", trace, "--focus", "("],
        ["serve", trace, "--bind", "203.0.113.1", "--port", "0"],
    ):
        done = poireau(*arguments)
        assert done.returncode != 0
        assert done.stderr.count(b"\n") == 1, done.stderr


@pytest.mark.slow
def test_a_live_program_is_scraped(program: Path, library: Path, tmp_path: Path) -> None:
    running = subprocess.Popen([program, "on"], env=environment(library, tmp_path / "traces"))
    command = [sys.executable, "-m", "poireau", "serve", tmp_path / "traces", "--port", "0"]
    server = None
    try:
        deadline = time.monotonic() + 20
        while not list((tmp_path / "traces").glob("*/*/samples_*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=own_environment())
        assert server.stderr is not None
        url = next(line.split()[-1] for line in server.stderr if line.endswith("/heap\n"))
        with urlopen(f"{url}?seconds=1", timeout=60) as answer:
            parsed = protobuf(answer.read())
        names = {each.id: parsed.string_table[each.name] for each in parsed.function}
        assert "secret_waster" in names.values()
        assert sum(sample.value[1] for sample in parsed.sample) > 0
        assert "secret_keeper" in go_pprof("-top", url, cwd=tmp_path)
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=20) == 0
    finally:
        for process in (running, server):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
