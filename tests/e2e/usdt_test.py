"""The probes in libpoireau.so, read by those who are meant to: gdb, bpftrace and perf. The latter two need root and a
kernel that lets them; where it doesn't, the run says so."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Exercised, clean_environment

PROGRAM = r"""
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char** argv) {
  size_t blocks = strtoul(argv[1], 0, 0), step = strtoul(argv[2], 0, 0);
  for (size_t i = 0; i < blocks; ++i) {
    size_t size = i * step;
    void* volatile block = i % 2 ? malloc(size) : calloc(1, size);
    printf("%lx %zu %s\n", (unsigned long)block, size, i % 2 ? "malloc" : "calloc");
    free(block);
  }
}
"""
NOTE = re.compile(r"Provider: (\w+)\s+Name: (\w+)\s+Location: 0x(\w+), Base: \w+, Semaphore: 0x(\w+)\s+Arguments:(.*)")


@pytest.fixture(scope="module")
def program(compile_c: Callable[..., Path]) -> Path:
    return compile_c(PROGRAM, ["-O1", "-fno-builtin"])


def printed(out: str) -> list[tuple[int, int, str]]:
    """The program's blocks: address, size, function."""
    rows = re.findall(r"^(\w+) (\d+) (malloc|calloc)$", out, re.MULTILINE)
    return [(int(address, 16), int(size), function) for address, size, function in rows]


def notes(library: Path) -> dict[str, tuple[int, int, list[str]]]:
    """Of each probe: where it is, its semaphore, its arguments."""
    text = subprocess.run(["readelf", "-nW", library], capture_output=True, text=True, check=True).stdout
    return {
        f"{provider}:{name}": (int(at, 16), int(semaphore, 16), arguments.split())
        for provider, name, at, semaphore, arguments in NOTE.findall(text)
    }


def gdb(library: Path, program: Path, script: str, *arguments: object, **options: object) -> str:
    settings = ["set pagination off", "set confirm off", "set breakpoint pending on", "set startup-with-shell off"]
    settings += ["set debuginfod enabled off", f"set environment LD_PRELOAD {library}"]
    settings += [f"set environment POIREAU_{name.upper()} {value}" for name, value in options.items()]
    given = [part for setting in settings for part in ("-ex", setting)]
    file = program.with_suffix(".gdb")
    file.write_text(script)
    command: list[str | Path] = [
        "gdb",
        "-q",
        "-nx",
        "-batch",
        *given,
        "-x",
        file,
        "--args",
        program,
        *map(str, arguments),
    ]
    done: subprocess.CompletedProcess[str]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and "exited normally" in done.stdout, done.stdout + done.stderr
    return done.stdout


def on(probe: str, *show: str) -> str:
    """Of a gdb script: print these each time."""
    return f"break -probe-stap {probe}\ncommands\nsilent\n" + "\n".join(show) + "\ncontinue\nend\n"


@pytest.mark.parametrize("preset", ["dev", pytest.param("release", marks=pytest.mark.soak)])
def test_every_event_has_one_probe_with_its_arguments(preset: str, build: Path) -> None:
    found = notes(build.parent / preset / "libpoireau.so")
    rows = json.loads(subprocess.run([build / "poireau-events", "--json"], check=True, capture_output=True).stdout)
    expected = {f"poireau:{row['name']}": row["arguments"] for row in rows}
    expected |= {"otel_memory:alloc": 3, "otel_memory:free": 1}
    assert {name: len(arguments) for name, (_, _, arguments) in found.items()} == expected
    assert all(argument.startswith("8@") for _, _, arguments in found.values() for argument in arguments)
    assert all(0 < row["arguments"] <= 12 for row in rows)


@pytest.mark.parametrize("preset", ["dev", pytest.param("release", marks=pytest.mark.soak)])
def test_every_probe_has_a_semaphore_in_writable_data_of_the_file(preset: str, build: Path) -> None:
    library = build.parent / preset / "libpoireau.so"
    table = subprocess.run(["readelf", "-SW", library], capture_output=True, text=True, check=True).stdout
    row = re.search(r"\.probes +PROGBITS +(\w+) +\w+ +(\w+) +\w+ +WA ", table)
    assert row, table
    semaphores = sorted(semaphore for _, semaphore, _ in notes(library).values())
    begin, size = int(row[1], 16), int(row[2], 16)
    assert semaphores == list(range(begin, begin + size, 2))


def test_gdb_sees_each_block_with_its_function_frames_and_end(library: Path, program: Path) -> None:
    script = on(
        "poireau:alloc",
        'printf "A %lx %lx %lu %s %lu\\n", $_probe_arg0, $_probe_arg1, $_probe_arg2, (char*)$_probe_arg3, $_probe_arg5',
        'printf "at "',
        "info symbol ((unsigned long*)$_probe_arg4)[0]",
    )
    script += on("poireau:free", 'printf "F %lx %lx %s\\n", $_probe_arg0, $_probe_arg1, (char*)$_probe_arg2')
    out = gdb(library, program, script + "run\n", 20, 37, sample_period=1)
    births = re.findall(r"^A (\w+) (\w+) (\d+) (\w+) (\d+)\nat (.*)$", out, re.MULTILINE)
    by_address = {
        (int(at, 16), int(size), name): (id, int(count), where) for id, at, size, name, count, where in births
    }
    deaths = {
        int(id, 16): (int(at, 16), name) for id, at, name in re.findall(r"^F (\w+) (\w+) (\w+)$", out, re.MULTILINE)
    }
    blocks = printed(out)
    assert len(blocks) == 20
    for block in blocks:
        id, count, where = by_address[block]
        assert count >= 1 and where.startswith("main "), (block, where)
        assert deaths[int(id, 16)] == (block[0], "free")


@pytest.mark.parametrize(
    ("sample_by", "period"), [("bytes", 1), ("bytes", 700), ("bytes", 20_000), ("calls", 1), ("calls", 3)]
)
def test_the_weights_are_what_the_samples_stand_for(sample_by: str, period: int, library: Path, program: Path) -> None:
    script = on("otel_memory:alloc", 'printf "A %lx %lu %lu\\n", $_probe_arg0, $_probe_arg1, $_probe_arg2')
    script += on("otel_memory:free", 'printf "F %lx\\n", $_probe_arg0')
    out = gdb(library, program, script + "run\n", 300, 97, sample_period=period, sample_by=sample_by, seed=1)
    births = re.findall(r"^A (\w+) (\d+) (\d+)$", out, re.MULTILINE)
    assert len(births) > 30
    for _, size, weighted in births:
        counted = max(int(size), 1)
        chance = 1.0 if period == 1 else -math.expm1(-(1 if sample_by == "calls" else counted) / period)
        assert math.isclose(int(weighted), counted / chance, rel_tol=1e-6, abs_tol=1), (size, weighted)
    freed = re.findall(r"^F (\w+)$", out, re.MULTILINE)
    ours = {f"{address:x}" for address, _, _ in printed(out)}
    assert {address for address, _, _ in births} & ours <= set(freed)


UNHEARD = """
break main
run
python
import re
hits = 0
class Counted(gdb.Breakpoint):
    def stop(self):
        global hits
        hits += 1
        return False
table = gdb.execute("info probes stap poireau", to_string=True)
rows = re.findall(r"^stap +poireau +(alloc|free) +0x(\\w+) ", table, re.M)
assert len(rows) == 2, table
for name, where in rows:
    location, semaphore = PROBES[name]
    Counted("*0x" + where)
    if LISTEN:
        gdb.execute("set var *(unsigned short*)%d = 1" % (int(where, 16) - location + semaphore))
gdb.execute("continue")
print("hits", hits)
end
"""


@pytest.mark.parametrize("listen", [False, True])
def test_nothing_is_passed_unless_the_semaphore_is_raised(listen: bool, library: Path, program: Path) -> None:
    probes = {name: place[:2] for name, place in notes(library).items()}
    script = UNHEARD.replace("LISTEN", str(listen)).replace("PROBES[name]", f"{probes}['poireau:' + name]")
    out = gdb(library, program, script, 10, 100, sample_period=1)
    hits = re.search(r"^hits (\d+)$", out, re.MULTILINE)
    assert hits, out
    assert int(hits[1]) >= 20 if listen else int(hits[1]) == 0


def test_bpftrace_reads_the_probes(library: Path, program: Path, exercised: Exercised, tmp_path: Path) -> None:
    if not kernel_allows(["bpftrace", "-e", "BEGIN { exit(); }"]):
        exercised.skip("this kernel or user may not run bpftrace")
        return
    script = (
        'BEGIN { printf("ready\\n"); }'
        f' usdt:{library}:poireau:alloc {{ printf("A %lx %d %s %d\\n", arg1, arg2, str(arg3), arg5); }}'
        f' usdt:{library}:poireau:free {{ printf("F %lx %s\\n", arg1, str(arg2)); }}'
        f' usdt:{library}:otel_memory:alloc {{ printf("O %lx %d %d\\n", arg0, arg1, arg2); }}'
    )
    log = tmp_path / "out"
    with log.open("w") as out, subprocess.Popen(["bpftrace", "-e", script], stdout=out, stderr=out) as listener:
        try:
            wait_for(lambda: "ready" in log.read_text(), log)
            environment = clean_environment(LD_PRELOAD=str(library), POIREAU_SAMPLE_PERIOD="1")
            run = subprocess.run([program, "20", "37"], env=environment, capture_output=True, text=True, timeout=60)
            expected = [f"A {address:x} {size} {function} " for address, size, function in printed(run.stdout)]
            wait_for(lambda: not expected or expected[-1] in log.read_text(), log)
        finally:
            listener.send_signal(signal.SIGINT)
            listener.wait(30)
    text = log.read_text()
    assert len(expected) == 20
    for address, size, function in printed(run.stdout):
        assert f"A {address:x} {size} {function} " in text
        assert f"F {address:x} free" in text
        assert f"O {address:x} {size} {max(size, 1)}" in text
    exercised.add("readers of USDT", "bpftrace")


def test_perf_records_the_probes(library: Path, program: Path, exercised: Exercised, tmp_path: Path) -> None:
    cache = ["perf", "--buildid-dir", str(tmp_path / "cache")]
    added = subprocess.run([*cache, "buildid-cache", "--add", library], capture_output=True, text=True, timeout=60)
    assert added.returncode == 0, added.stderr
    if os.geteuid() != 0 or not kernel_allows([*cache, "probe", "-q", "sdt_poireau:free"]):
        exercised.skip("this kernel or user may not run perf probe")
        return
    data = tmp_path / "perf.data"
    try:
        record: list[str | Path] = [
            *cache,
            "record",
            "-q",
            "-o",
            data,
            "-e",
            "sdt_poireau:free",
            "--",
            "env",
            f"LD_PRELOAD={library}",
        ]
        run = subprocess.run(
            [*record, "POIREAU_SAMPLE_PERIOD=1", program, "20", "37"],
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert run.returncode == 0, run.stderr
        shown = subprocess.run([*cache, "script", "-i", data], capture_output=True, text=True, timeout=60).stdout
    finally:
        subprocess.run([*cache, "probe", "-q", "-d", "sdt_poireau:free"], capture_output=True, timeout=60)
    for address, _, _ in printed(run.stdout):
        assert re.search(rf"sdt_poireau:free:.* arg2={address}\b|arg2=0x{address:x}\b", shown), shown[-2000:]
    exercised.add("readers of USDT", "perf")


def kernel_allows(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def wait_for(ready: Callable[[], bool], log: Path) -> None:
    for _ in range(300):
        if ready():
            return
        time.sleep(0.1)
    pytest.fail(f"it took too long:\n{log.read_text()}")
