"""What the live page shows: programs under the library, and `poireau.py serve`. Each is ended by its own pid."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.browser.browsers import ROOT, Page

NATIVE = Path(os.environ.get("POIREAUPY_NATIVE", ROOT / "build" / "dev"))
STACKS = 500
# What a page's console says of a server that has ended.
AWAY = "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET"
_URL = re.compile(r"http://\S+")


def environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "POIREAUPY_NATIVE": str(NATIVE), "LC_ALL": "C.UTF-8", **more}


class Started:
    """A process that ends with the block it is used in. What it says goes to a file, `log`."""

    def __init__(self, command: Sequence[str | Path], env: Mapping[str, str]) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="poireau-browser-")
        self.log = Path(self._directory.name, "log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        self.pid = self.process.pid

    def told(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """What it has said that looks so; waited for."""
        until = time.monotonic() + 60
        while (found := pattern.search(self.log.read_text(errors="replace"))) is None:
            assert self.process.poll() is None and time.monotonic() < until, self.log.read_text(errors="replace")
            time.sleep(0.02)
        return found

    def end(self, with_signal: int = signal.SIGKILL) -> int:
        if self.process.poll() is None:
            os.kill(self.pid, with_signal)
        return self.process.wait(timeout=60)

    def __enter__(self) -> Started:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        self.end()
        self._directory.cleanup()


class Served(Started):
    """The daemon, at a port of its own."""

    command: tuple[str | Path, ...] = (sys.executable, ROOT / "poireau.py")

    def __init__(self, token: Path | None = None, port: int = 0) -> None:
        """`token`: the file that has it, which then is not in what is said."""
        kept = [] if token is None else ["--token-file", token]
        environ = environment(PYTHONPATH=str(ROOT))
        super().__init__([*self.command, "serve", "--port", str(port), *kept], environ)
        self.url = self.told(_URL)[0] + ("" if token is None else f"?token={token.read_text()}")
        self.port = int(re.findall(r":(\d+)", self.url)[0])

    def __enter__(self) -> Served:
        return self


class Target(Started):
    """A program under the library."""

    def __init__(self, command: Sequence[str | Path], **options: str) -> None:
        self._traces = tempfile.TemporaryDirectory(prefix="poireau-traces-")
        self.traces = Path(self._traces.name)
        given = {"LD_PRELOAD": str(NATIVE / "libpoireau.so"), "POIREAU_TRACE": self._traces.name}
        super().__init__(command, environment(**given, POIREAU_LOG="off", **options))

    def __enter__(self) -> Target:
        return self

    def end(self, with_signal: int = signal.SIGKILL) -> int:
        status = super().end(with_signal)
        self._traces.cleanup()
        return status


class Redis(Target):
    """Under load from a thread of ours: `rate` requests a second of `size` bytes, of keys that are never deleted."""

    def __init__(self, directory: Path, size: int = 4096, rate: float = 2000, **options: str) -> None:
        self._at = directory / "redis"
        command = ["redis-server", "--port", "0", "--unixsocket", str(self._at), "--save", "", "--dir", str(directory)]
        super().__init__(command, **{"POIREAU_SAMPLE_PERIOD": "256K", **options})
        self.told(re.compile("accept connections"))
        self._stopped = threading.Event()
        self._load = threading.Thread(target=self._set, args=(size, rate), daemon=True)
        self._load.start()

    def _set(self, size: int, rate: float) -> None:
        batch, number, due = 50, 0, time.monotonic()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._at))
            try:
                while not self._stopped.is_set():
                    keys = range(number, number + batch)
                    number += batch
                    connection.sendall(b"".join(b"SET key%d %s\r\n" % (key, b"x" * size) for key in keys))
                    answered = 0
                    while answered < batch:
                        answered += connection.recv(1 << 16).count(b"\n")
                    due += batch / rate
                    time.sleep(max(0.0, due - time.monotonic()))
            except OSError:
                return  # it has been ended

    def end(self, with_signal: int = signal.SIGKILL) -> int:
        self._stopped.set()
        return super().end(with_signal)

    def __enter__(self) -> Redis:
        return self


class Crowd(Target):
    """500 functions that ask for memory, each at a line and with a rhythm of its own."""

    def __init__(self, stacks: int = STACKS, **options: str) -> None:
        self._built = tempfile.TemporaryDirectory(prefix="poireau-crowd-")
        program = Path(self._built.name, "crowd")
        subprocess.run(["cc", "-g", "-O1", "-x", "c", "-", "-o", program], input=_crowd(stacks), text=True, check=True)
        super().__init__([program], **{"POIREAU_SAMPLE_PERIOD": "64K", **options})

    def end(self, with_signal: int = signal.SIGKILL) -> int:
        status = super().end(with_signal)
        self._built.cleanup()
        return status


def _crowd(stacks: int) -> str:
    """Each keeps what it has for longer, or shorter, than the others."""
    functions = (
        f"__attribute__((noinline)) void* take_{i}(void) {{ char* p = malloc({500 + 13 * i}); *p = 1; return p; }}"
        for i in range(stacks)
    )
    return "\n".join(
        [
            "#include <stdlib.h>\n#include <unistd.h>",
            *functions,
            f"static void* (*const take[])(void) = {{{', '.join(f'take_{i}' for i in range(stacks))}}};",
            f"enum {{ kMany = {stacks}, kKept = 64 }};\nstatic void* kept[kMany][kKept];",
            "int main(void) {",
            "  for (unsigned long turn = 0;; ++turn, usleep(1000))",
            "    for (int i = 0; i < 20; ++i) {",
            "      const unsigned long n = turn * 20 + i, who = n % kMany, at = n / kMany % (8 + who % (kKept - 8));",
            "      free(kept[who][at]);",
            "      kept[who][at] = take[who]();",
            "    }",
            "}",
        ]
    )


def cpu_of(pid: int) -> float:
    """Seconds that it has used."""
    return time.clock_gettime((~pid << 3) | 2)


def memory_of(pid: int) -> int:
    """Bytes of it in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def own_memory_of(pid: int) -> int:
    """Bytes of it in memory; of what it shares with others, its part."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) << 10


def row(pid: int) -> str:
    """Of the table of processes, as an expression."""
    return f"document.querySelector(\"table[aria-label=Processes] tr[data-id^='{pid}-']\")"


def listed(page: Page, pid: int) -> None:
    """Only rows that can be seen are there, of those that the filter lets through."""
    page("fill", "[aria-label='Filter processes']", str(pid))
    page.until(f"{row(pid)} !== null")


def watch(page: Page, pid: int) -> None:
    """Has it show what becomes of that process, and waits until it does."""
    listed(page, pid)
    page.click(f"table[aria-label=Processes] tr[data-id^='{pid}-'] button")
    page.until("poireau.shown.points() > 0")
