"""Debug information from the servers that DEBUGINFOD_URLS names, for who asks for it.

What was fetched is kept in the cache directory, and that a server doesn't have it, for an hour. A server that
does not answer in time is not asked again.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from poireau import symbol_cache

MOST = 4 << 30  # bytes of a file
REMEMBERED = 3600  # seconds
_PART = 1 << 20
_FAILURES = (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError, ValueError, RuntimeError)


class Debuginfod:
    def __init__(self, seconds: float, say: Callable[[str], None], most: int = MOST) -> None:
        self._seconds = seconds
        self._say = say
        self._most = most
        urls = os.environ.get("DEBUGINFOD_URLS", "").split()
        self._servers = [url.rstrip("/") for url in urls if urlsplit(url).scheme in ("http", "https")]
        kept = symbol_cache.directory()
        self._place = None if kept is None else kept / "debuginfod"
        self._said: set[str] = set()

    def fetch(self, build_id: str, kind: str) -> str | None:
        """The path of its "debuginfo" or its "executable"; None: nobody has it."""
        if not re.fullmatch(r"[0-9a-f]{8,128}", build_id):
            return None
        if not self._servers:
            if not self._said:
                self._say_once("debuginfod: DEBUGINFOD_URLS names no server")
            return None
        if self._place is None:
            self._say_once("debuginfod: there is no directory to keep files in: set XDG_CACHE_HOME")
            return None
        path, absent = self._place / build_id / kind, self._place / build_id / f"{kind}.absent"
        if path.is_file():
            return str(path)
        with suppress(OSError):
            if time.time() - absent.stat().st_mtime < REMEMBERED:
                return None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._fetched(f"buildid/{build_id}/{kind}", path):
                return str(path)
            absent.touch()
        except OSError as error:
            self._say_once(f"debuginfod: {path.parent} can't be written to: {error.strerror}")
        return None

    def _fetched(self, what: str, path: Path) -> bool:
        for server in list(self._servers):
            try:
                with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".") as file:
                    self._download(f"{server}/{what}", file.write)
                    file.flush()
                    os.link(file.name, path)
                return True
            except FileExistsError:  # somebody else fetched it, too
                return True
            except urllib.error.HTTPError as error:
                if error.code != 404:
                    self._give_up(server, f"HTTP status {error.code}")
            except _FAILURES as error:
                self._give_up(server, str(getattr(error, "reason", error)) or type(error).__name__)
        return False

    def _download(self, url: str, write: Callable[[bytes], object]) -> None:
        """In a thread that may be left behind: asking for an address, and reading headers, can take any time."""
        failed: list[Exception] = []

        def work() -> None:
            try:
                self._read(url, write)
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(self._seconds)
        if thread.is_alive():
            raise TimeoutError("timed out")
        if failed:
            raise failed[0]

    def _read(self, url: str, write: Callable[[bytes], object]) -> None:
        until = time.monotonic() + self._seconds
        left = self._most
        with _opener().open(url, timeout=self._seconds) as answer:
            length = answer.headers.get("Content-Length")
            whole = int(length) if length is not None else None
            got = 0
            while part := answer.read1(_PART):
                write(part)
                got += len(part)
                if got > left:
                    raise ValueError(f"a file of more than {self._most} bytes")
                if time.monotonic() > until:
                    raise TimeoutError("timed out")
            if whole is not None and got != whole:
                raise ValueError("the file is not whole")

    def _give_up(self, server: str, why: str) -> None:
        self._servers.remove(server)
        self._say_once(f"debuginfod: {server} is not asked again: {why}")

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)


def _opener() -> urllib.request.OpenerDirector:
    """That knows no other way than HTTP: what a server redirects to may not be one of our files."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPRedirectHandler,
    ):
        opener.add_handler(handler())
    return opener
