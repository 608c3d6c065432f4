"""A redis-server under load is retuned through its control socket: not one request fails, and what the samples stand
for stays the truth."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests import traces
from tests.conftest import SOAK, Exercised
from tests.control_client import reach

from .conftest import Setting
from .redis_test import free_port

pytestmark = pytest.mark.slow
SECONDS = 60.0 if SOAK else 2.0  # at each period
PERIODS = ["32MiB", "64KiB", "32MiB"]
AT_LAST = "8KiB"  # so that next to nothing comes after the last sample
MIB = 1 << 20


class Load(threading.Thread):
    """Sets and gets values over a connection, and looks at each reply."""

    def __init__(self, port: int, seed: int) -> None:
        super().__init__()
        self.draw = random.Random(seed)
        self.port, self.replies, self.wrong = port, 0, ""
        self.over = threading.Event()

    def run(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=20) as peer, peer.makefile("rb") as lines:
                while not self.over.is_set():
                    self.batch(peer, lines)
        except BaseException as error:
            self.wrong = repr(error)

    def batch(self, peer: socket.socket, lines: Any) -> None:
        pairs = []
        for _ in range(20):
            key = f"key{self.port}:{self.name}:{self.draw.randrange(500)}".encode()
            pairs.append((key, self.draw.randbytes(4) * self.draw.choice([1, 10, 100, 1000, 20000])))
        words = [[b"SET", *pair] for pair in pairs] + [[b"GET", pairs[-1][0]], [b"APPEND", pairs[-1][0], b"more"]]
        peer.sendall(b"".join(encoded(each) for each in words))
        for _ in pairs:
            assert lines.readline() == b"+OK\r\n"
        value = pairs[-1][1]
        assert lines.readline() == b"$%d\r\n" % len(value)
        assert lines.read(len(value) + 2) == value + b"\r\n"
        assert lines.readline() == b":%d\r\n" % (len(value) + 4)
        self.replies += len(words)


def encoded(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def started(port: int, directory: Path, parent: Path) -> subprocess.Popen[bytes]:
    environment = Setting(period=PERIODS[0]).environment(POIREAU_STACK_DEPTH="4")
    environment |= {"POIREAU_TRACE": str(parent), "POIREAU_TRACE_LIMIT": "1G", "POIREAU_TRACE_TOTAL": "2G"}
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--dir", str(directory)], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process
        except ConnectionRefusedError:
            time.sleep(0.02)
    pytest.fail((directory / "log").read_text())


def test_redis_is_retuned_under_load_without_a_failed_request_or_a_wrong_estimate(
    tmp_path: Path, seed: int, exercised: Exercised
) -> None:
    port, parent = free_port(), tmp_path / "traces"
    process = started(port, tmp_path, parent)
    loads = [Load(port, seed + n) for n in range(2)]
    try:
        for load in loads:
            load.start()
        with reach(process.pid) as client:
            for period in PERIODS:
                before, begin = sum(load.replies for load in loads), time.monotonic()
                assert client.ask("set", "sample_period", period)["value"] == period
                assert client.ask("hello")["period"] == period
                time.sleep(SECONDS)
                rate = (sum(load.replies for load in loads) - before) / (time.monotonic() - begin)
                exercised.add("redis, checked replies a second", f"{period} {rate:.0f}")
            client.ask("set", "sample_period", AT_LAST)
            time.sleep(0.5)
        for load in loads:
            load.over.set()
            load.join()
        process.terminate()
        assert process.wait(60) == 0, (tmp_path / "log").read_text()
        assert [load.wrong for load in loads] == ["", ""]
    finally:
        for load in loads:
            load.over.set()
        process.kill()
        process.wait()
    trace = traces.read_one(parent)
    assert not any(traces.drops(trace.events).values()), traces.drops(trace.events)
    truth = trace.of("cost")[-1]["counted_bytes"]  # up to each thread's last sample
    births = trace.of("alloc", "resize")
    assert {event["period"] for event in births} >= {32 * MIB, 64 << 10}
    estimate, error = traces.bytes_asked_for(births)
    away = (estimate - truth) / error
    exercised.add("redis retuned", f"{truth >> 20} MiB in {len(births)} samples, {away:+.2f} sigma from the truth")
    assert abs(away) < 6, (estimate, truth, error)
