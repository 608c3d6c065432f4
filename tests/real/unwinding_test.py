"""Programs whose stacks are not what compilers make of them: greenlets, coroutines, code made at run time. In dev
builds each stack that is walked by rows is walked by libgcc too, and the program ends if they differ."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Exercised

from .conftest import OUR_LINE, Setting, run, samples_said
from .redis_test import FILL, ask, server

GREENLETS = r"""
import greenlet, json

def deep(depth, leave):
    return leave() if depth == 0 else [deep(depth - 1, leave), depth]

def work(i):
    for k in range(50):
        kept = json.dumps({"i": i, "k": list(range(k))})
        deep(k % 20, lambda: greenlet.getcurrent().parent.switch(k))
    return len(kept)

waiting = [greenlet.greenlet(lambda i=i: work(i)) for i in range(40)]
while waiting:
    for each in list(waiting):
        each.switch()
        if each.dead:
            waiting.remove(each)
print("done")
"""
LUA = r"""
local ffi = require("ffi")
ffi.cdef[[
void* malloc(size_t size); void free(void* ptr);
void qsort(void* base, size_t count, size_t size, int (*compare)(const int*, const int*));
]]
local function churn(n) for i = 1, n do ffi.C.free(ffi.C.malloc(i % 3000)) end end
churn(20000) -- soon from code of its own making
local numbers = ffi.new("int[300]")
for i = 0, 299 do numbers[i] = (i * 7919) % 1009 end
ffi.C.qsort(numbers, 300, 4, function(a, b) churn(3) return a[0] - b[0] end)
local waiting = {}
for i = 1, 100 do waiting[i] = coroutine.wrap(function() for k = 1, 50 do churn(5) coroutine.yield(k) end end) end
for k = 1, 50 do for i = 1, 100 do waiting[i]() end end
print(pcall(function() churn(10) error("done", 0) end))
"""
NODE = r"""
const made = [];
for (let i = 0; i < 50000; i++) made.push(JSON.stringify({ i, s: "x".repeat(i % 50) }));
const packed = require("zlib").gzipSync(made.join());
require("crypto").pbkdf2("a", "b", 100, 64, "sha512", (_, key) => console.log(packed.length > 1000, key.length));
"""
CXX = "".join(f"#include <{header}>\n" for header in "algorithm functional map regex string vector".split())


@dataclass(frozen=True)
class Deep(Setting):
    """Every frame of the stacks."""

    def environment(self, **more: str) -> dict[str, str]:
        more.setdefault("POIREAU_STACK_DEPTH", "128")
        more.setdefault("POIREAU_LOG", "debug")
        return super().environment(**more)


SETTING = Deep(period="1000", guard="off")
PROGRAMS = {
    "python3": (["/usr/bin/python3", "-c", GREENLETS], {"PYTHONMALLOC": "malloc"}, "done\n"),
    "luajit": (["luajit", "-e", LUA], {}, "false\tdone\n"),
    "node": (["node", "-e", NODE], {}, "true 64\n"),
    "cc1plus": (["g++", "-std=c++17", "-O2", "-x", "c++", "-", "-c", "-o", "/dev/null"], {}, ""),
}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("unwinder", ["rows", "libgcc"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_stacks_are_right_and_nothing_faults(name: str, unwinder: str, exercised: Exercised) -> None:
    command, environment, expected = PROGRAMS[name]
    if shutil.which(command[0]) is None:
        pytest.fail(f"{command[0]} is not installed: run scripts/setup", pytrace=False)
    source: dict[str, object] = {"stdin": None, "input": CXX} if name == "cc1plus" else {}
    done = run(command, SETTING, {**environment, "POIREAU_UNWINDER": unwinder}, **source)
    assert (done.returncode, done.stdout) == (0, expected), done.stderr
    assert OUR_LINE.sub("", done.stderr) == ""
    samples = samples_said(done.stderr).get(name, 0)
    assert samples > 100, done.stderr
    if unwinder == "rows":
        exercised.count("stacks by rows and by libgcc", name, samples)


def test_stacks_of_redis_are_right(tmp_path: Path, exercised: Exercised) -> None:
    with server(SETTING, tmp_path) as (port, end):
        assert "3000" in ask(port, "EVAL", FILL, "0").stdout
        bench = ["redis-benchmark", "-p", str(port), "-q", "-n", "2000", "-t", "set,get,lpush,lrange_300,mset"]
        assert subprocess.run(bench, capture_output=True, timeout=120).returncode == 0
        status, said = end()
    assert status == 0, said
    exercised.count("stacks by rows and by libgcc", "redis-server", samples_said(said).get("redis-server", 0))
