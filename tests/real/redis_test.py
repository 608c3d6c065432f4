"""Debian's redis-server, under all the commands of its own benchmark. (It is linked with jemalloc: that is beneath us
unless another allocator is preloaded.)"""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import SOAK, Exercised

from .conftest import OUR_ERROR, Setting, in_every_home, in_every_setting, run, samples_said

REQUESTS = 200_000 if SOAK else 1_000  # of each command
CLIENT = Setting()  # the benchmark itself runs bare
FILL = "for i = 1, 3000 do redis.call('SET', 'k' .. i, string.rep('v' .. i, i % 400)) " + (
    "redis.call('RPUSH', 'list' .. i % 7, i) redis.call('HSET', 'hash' .. i % 11, i, i * i) "
    "redis.call('ZADD', 'zset' .. i % 5, i % 101, 'm' .. i) redis.call('SADD', 'set' .. i % 3, 'x' .. i) end "
    "return 3000"
)

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def ask(port: int, *words: str) -> subprocess.CompletedProcess[str]:
    return run(["redis-cli", "-h", "127.0.0.1", "-p", str(port), *words], CLIENT)


@contextlib.contextmanager
def server(setting: Setting, directory: Path) -> Iterator[tuple[int, Callable[[], tuple[int, str]]]]:
    """A server's port, and what ends it: gives its exit status and what it said."""
    environment = setting.environment(**({"POIREAU_LOG": "debug"} if setting.period is not None else {}))
    log = directory / f"{setting}.log"
    for _ in range(20):  # until no one else takes the port first
        port = free_port()
        command = [
            *setting.limit.command,
            "redis-server",
            "--bind",
            "127.0.0.1",
            "--port",
            str(port),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        command += ["--daemonize", "no", "--dir", str(directory), "--logfile", ""]
        with log.open("w") as out:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
            )
        while process.poll() is None and ask(port, "ping").stdout != "PONG\n":
            time.sleep(0.05)
        if process.poll() is None and f"process_id:{process.pid}\n" in ask(port, "info", "server").stdout:
            break
        if process.poll() is None:  # we were answered by another server
            process.terminate()
        process.wait()
        assert "Address already in use" in log.read_text(), log.read_text()
    else:
        pytest.fail("no port is free")

    def end() -> tuple[int, str]:
        process.terminate()
        return process.wait(), log.read_text()

    try:
        yield port, end
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def serve(setting: Setting, requests: int, directory: Path) -> tuple[list[str], list[str], str]:
    """The commands that the benchmark got through, the data as the server gives it back, and its last words."""
    with server(setting, directory) as (port, end):
        data = [ask(port, "eval", FILL, "0").stdout]
        data.append(ask(port, "debug", "digest").stdout)
        data.append(
            ask(
                port, "eval", "local n = 0 for i = 1, 3000 do n = n + redis.call('STRLEN', 'k' .. i) end return n", "0"
            ).stdout
        )
        data.append(ask(port, "sort", "list3", "desc", "limit", "0", "20").stdout)
        benchmark = ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-q", "-n", str(requests)]
        done = run(benchmark, CLIENT)
        assert done.returncode == 0, done
        # A line is rewritten while it is measured; what a command ended with is a rate.
        commands = sorted(set(re.findall(r"([\w ()]+(?: \([^)]*\))?): [0-9.]+ requests per second", done.stdout)))
        data.append(ask(port, "flushall").stdout)
        status, said = end()
    assert status == 0, said
    assert "bye bye" in said
    assert "BUG REPORT" not in said
    return commands, data, said


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Setting], object]:
    directory = tmp_path_factory.mktemp("bare")
    return cache(lambda setting: serve(setting, REQUESTS, directory))


@in_every_setting([Setting(period="1"), Setting("mimalloc", "1000")])
def test_redis_serves_as_without_us(
    setting: Setting,
    bare: Callable[[Setting], tuple[list[str], list[str], str]],
    tmp_path: Path,
    exercised: Exercised,
) -> None:
    commands, data, _ = bare(setting.bare)
    assert len(commands) > 15, commands
    got_commands, got_data, said = serve(setting, REQUESTS, tmp_path)
    assert (got_commands, got_data) == (commands, data)
    if setting.period in ("1", "1000"):
        assert sum(samples_said(said).values()) > 1000, said  # Debian's redis-server is a link to another name
    exercised.add("real programs", "redis-server")


@in_every_home("glibc-1-none", "glibc-1000-markers-all-address space", "glibc-1000-markers-all-filter from inside")
def test_redis_serves_so_from_every_home(
    setting: Setting,
    bare: Callable[[Setting], tuple[list[str], list[str], str]],
    confine: Callable[..., Setting],
    tmp_path: Path,
    exercised: Exercised,
) -> None:
    setting = confine(setting, "redis-server", bare)
    commands, data, _ = bare(setting.bare)
    got_commands, got_data, said = serve(setting, REQUESTS, tmp_path)
    assert (got_commands, got_data) == (commands, data)
    assert not OUR_ERROR.findall(said), said
    exercised.count("programs at home", "redis-server")
