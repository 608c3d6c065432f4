"""Whole programs to run under a profiler: how each is started, and the CPU seconds it used."""

from __future__ import annotations

import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import measure
from measure import WORK, Config

# Objects of many sizes and lifetimes: dictionaries, lists, strings, instances, a graph with cycles.
PYTHON_SCRIPT = """
import json, random, sys

class Node:
    def __init__(self, name):
        self.name, self.edges = name, []

rng = random.Random(1)
total = 0
for turn in range(int(sys.argv[1])):
    nodes = [Node(f"node {turn} {i}") for i in range(3000)]
    for node in nodes:
        node.edges.extend(rng.sample(nodes, 3))
    table = {node.name: [edge.name.upper() for edge in node.edges] for node in nodes}
    total += sum(len(names) for names in json.loads(json.dumps(table)).values())
    words = " ".join(table).split()
    total += len(sorted(words)) + len({word[::-1] for word in words})
print(total)
"""

# sqlite's pages, sorter, parser and b-trees, all in memory.
SQL_SCRIPT = """
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, value REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
  INSERT INTO item SELECT i, 'item ' || (i * 7919 % 100003), i * 0.5 FROM n;
CREATE INDEX by_name ON item(name, value);
SELECT count(*), sum(value) FROM item WHERE name LIKE 'item 1%';
SELECT name, count(*), group_concat(id, ' ') FROM item GROUP BY name ORDER BY 2 DESC, 1 LIMIT 3;
UPDATE item SET name = upper(name) || ' again' WHERE id % 3 = 0;
SELECT count(*) FROM item a JOIN item b ON a.name = b.name WHERE a.id < b.id;
DELETE FROM item WHERE id % 2 = 0;
SELECT max(length(name)), hex(max(name)) FROM item;
"""

# Heavy headers, and templates instantiated once a number.
CXX_HEAD = """
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>
template <int N> struct Tag { int value = N; bool operator<(Tag o) const { return value < o.value; } };
template <int N> int work(const std::string& text) {
  std::map<Tag<N>, std::vector<std::variant<int, std::string>>> table;
  table[{}].emplace_back(text);
  std::unordered_map<std::string, std::shared_ptr<Tag<N>>> shared{{text, std::make_shared<Tag<N>>()}};
  std::function<int(int)> add = [&](int i) { return i + int(table.size() + shared.size()); };
  std::ostringstream out;
  for (auto& [tag, list] : table) std::stable_sort(list.begin(), list.end()), out << tag.value;
  return add(N) + int(out.str().size());
}
"""
CXX_CALL = 'int call{0}() {{ return work<{0}>("{0}"); }}\n'


@dataclass(frozen=True)
class Program:
    """`run(config, scale)` runs it once, `scale` of its full work, and returns its CPU seconds."""

    name: str
    tool: str
    package: str
    run: Callable[[Config, float], float]

    @property
    def installed(self) -> bool:
        return shutil.which(self.tool) is not None


def _write(name: str, text: str) -> str:
    path = WORK / name
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return str(path)


def cpu_of(config: Config, command: Sequence[str], **kwargs: Any) -> float:
    errors = WORK / "stderr.txt"
    with open(errors, "w") as stderr:
        process = measure.run(config, command, cpu=0, stdout=subprocess.DEVNULL, stderr=stderr, **kwargs)
        status, seconds = measure.wait_cpu(process)
    if status != 0:
        sys.exit(f"{config.name}: {command[0]}: status {status}\n{errors.read_text()}")
    return seconds


def run_python(config: Config, scale: float) -> float:
    script = _write("objects.py", PYTHON_SCRIPT)
    # The hash seed decides the order of sets, and so what is allocated.
    env = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-s", "-S", script, str(math.ceil(20 * scale))]
    return cpu_of(replace(config, env=config.env | env), command)


def run_compiler(config: Config, scale: float) -> float:
    calls = math.ceil(2 * scale)
    source = _write(f"heavy{calls}.cc", CXX_HEAD + "".join(map(CXX_CALL.format, range(calls))))
    return cpu_of(config, ["g++", "-std=c++17", "-S", source, "-o", "/dev/null"])


def run_sqlite(config: Config, scale: float) -> float:
    script = _write(f"heavy{scale:g}.sql", SQL_SCRIPT.format(rows=math.ceil(150_000 * scale)))
    with open(script) as stdin:
        return cpu_of(config, ["sqlite3", "-batch", ":memory:"], stdin=stdin)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_server(port: int, server: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
                client.sendall(b"PING\r\n")
                if client.recv(7) == b"+PONG\r\n":
                    return
        except OSError:
            time.sleep(0.01)
    sys.exit("redis-server does not answer")


def run_redis(config: Config, scale: float) -> float:
    """The CPU of the server alone; the client runs bare on another CPU."""
    port = str(_free_port())
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", ""]
    server = measure.run(config, [*command, "--appendonly", "no"], cpu=0, stdout=subprocess.DEVNULL)
    try:
        _wait_for_server(int(port), server)
        load = ["redis-benchmark", "-p", port, "-q", "-P", "16", "-r", "50000", "-d", "100"]
        load += ["-n", str(math.ceil(75_000 * scale)), "-t", "set,get,lpush,lpop,sadd,hset,zadd"]
        other = max(os.sched_getaffinity(0))
        client = measure.run(measure.BARE, load, cpu=other, stdout=subprocess.DEVNULL)
        if client.wait() != 0:
            sys.exit(f"redis-benchmark failed against redis-server under {config.name}")
    finally:
        server.terminate()  # by its pid, and only while it is ours to wait for
    if server.returncode is not None:
        sys.exit(f"{config.name}: redis-server died: status {server.returncode}")
    status, seconds = measure.wait_cpu(server)
    if status != 0:
        sys.exit(f"{config.name}: redis-server: status {status}")
    return seconds


PYTHON = Program("python3", sys.executable, "python3", run_python)
COMPILER = Program("cc1plus", "g++", "g++", run_compiler)
SQLITE = Program("sqlite3", "sqlite3", "sqlite3", run_sqlite)
REDIS = Program("redis-server", "redis-benchmark", "redis-server redis-tools", run_redis)

PROGRAMS = (PYTHON, COMPILER, REDIS, SQLITE)
