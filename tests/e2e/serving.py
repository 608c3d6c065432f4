"""`serve` as its clients see it: the daemon, and what it says."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.conftest import clean_environment

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds
_ADDRESS = re.compile(r"serving http://127\.0\.0\.1:(\d+)/\?token=(\S+)")
_HASTY = """
import sys
sys.path.insert(0, {root!r})
from poireau import cli, serve_daemon
from poireau.serve_clock import Clock
serve_daemon.Clock = lambda: Clock({pace})
sys.exit(cli.main(sys.argv[1:]))
"""
Answer = tuple[int, Any, Mapping[str, str]]


class Daemon:
    """`poireau.py serve`, at a port of its own. What it says on standard error is in `log`."""

    def __init__(
        self,
        log: Path,
        *arguments: object,
        token: str = "",
        env: Mapping[str, str] | None = None,
        pace: float = 1,
        **more: Any,
    ) -> None:
        """`pace`: of its clock."""
        self.log = log
        started = [str(ROOT / "poireau.py")] if pace == 1 else ["-c", _HASTY.format(root=str(ROOT), pace=pace)]
        command = [sys.executable, *started, "serve", "--port", "0", *map(str, arguments)]
        environment = clean_environment(**(env or {}))
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, **more
            )
        said = until(
            lambda: re.search(r"serving http://127\.0\.0\.1:(\d+)/", self.said()) or self.process.poll() is not None
        )
        assert said is not True, self.said()
        self.port = int(said[1])
        found = _ADDRESS.search(self.said())
        self.token = token or (found[2] if found else "")

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def ask(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """As it is: without the token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        is_json = response.headers.get("Content-Type") == "application/json"
        return response.status, json.loads(content) if is_json and content else content, response.headers

    def get(self, path: str) -> Any:
        status, content, _ = self.ask(path, X_Poireau_Token=self.token)
        assert status == 200, (path, status, content)
        return content

    def control(self, **asked: Any) -> tuple[int, str]:
        headers = {"X_Poireau_Token": self.token, "Content_Type": "application/json"}
        status, content, _ = self.ask("/api/control", "POST", json.dumps(asked).encode(), **headers)
        assert content["ok"] is (status == 200)
        return status, content["text"]

    def row(self, pid: int) -> dict[str, Any] | None:
        """Of the process, as it is listed now."""
        rows = [each for each in self.get("/api/processes")["processes"] if each["pid"] == pid]
        return rows[-1] if rows else None

    def listed(self, pid: int, *states: str) -> dict[str, Any]:
        """Once it is in one of these states; otherwise, any in which it runs."""
        wanted = states or ("armed", "dormant", "silent")
        found = until(lambda: (row := self.row(pid)) is not None and row["state"] in wanted and row)
        assert isinstance(found, dict)
        return found

    def events(self, watch: str = "", by: str = "line") -> Events:
        return Events(self, f"/api/events?token={self.token}&watch={watch}&by={by}")

    def end(self, with_signal: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            os.kill(self.process.pid, with_signal)
        return self.process.wait(PATIENCE)


class Events:
    """All that has come so far, in the order it came: (kind, data)."""

    def __init__(self, daemon: Daemon, path: str) -> None:
        self.came: list[tuple[str, dict[str, Any]]] = []
        self.over = False
        self._connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=PATIENCE)
        self._connection.request("GET", path)
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        kind = ""
        try:
            for line in self._response:
                if line.startswith(b"event: "):
                    kind = line[7:-1].decode()
                elif line.startswith(b"data: "):
                    self.came.append((kind, json.loads(line[6:])))
        except (OSError, ValueError, http.client.HTTPException, AttributeError):
            pass
        self.over = True

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [data for each, data in list(self.came) if each == kind]

    def wait(self, kind: str, chosen: Callable[[dict[str, Any]], object] = lambda _: True) -> dict[str, Any]:
        found = until(lambda: next((each for each in self.all(kind) if chosen(each)), None))
        assert isinstance(found, dict)
        return found

    def now(self) -> tuple[list[int], dict[str, list[int]], list[int]]:
        """What a page has made of it: the total, the bands by name, and all others."""
        names, values, total, other = dict[str, str](), dict[str, list[int]](), [0] * 4, [0] * 4
        for kind, data in list(self.came):
            if kind == "bands":
                names = {band["key"]: band["name"] for band in data["bands"]}
                values = {} if data["reset"] else {key: value for key, value in values.items() if key in names}
            elif kind == "point":
                values.update(data["values"])
                total, other = data["total"], data["other"]
        return total, {names[key]: value for key, value in values.items()}, other

    def close(self) -> None:
        self._response.close()
        self._connection.close()


def until(true: Callable[[], Any]) -> Any:
    """What it is, once it is."""
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline, "this takes too long"
        time.sleep(0.05)
    return found
