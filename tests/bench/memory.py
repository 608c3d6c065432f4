"""memory.py RECORD [NAME=VALUE...] -- COMMAND...: becomes the command, with these variables, while another process
looks at it and at its children every few milliseconds. Writes the most memory that they had at once, in KiB, and what
the library in the command last said of protected blocks."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

PERIOD = 0.02
PROC = Path("/proc")


def family(pid: int) -> list[int]:
    """It, its children, and theirs."""
    found = [pid]
    for task in (PROC / str(pid) / "task").iterdir():
        children = (task / "children").read_text().split()
        found += [each for child in map(int, children) for each in family(child)]
    return found


def fields(text: str) -> dict[str, int]:
    return {name: int(number) for name, number in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def shared_kib(process: Path) -> int:
    """Memory behind descriptors (memfd) that this process has mapped somewhere, whether any page table shows it."""
    inodes: dict[str, str] = {}
    for line in (process / "maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[5].startswith("/memfd:"):
            inodes.setdefault(words[4], words[0])
    return sum((process / "map_files" / mapping).stat().st_blocks // 2 for mapping in inodes.values())


def kib_of(pid: int) -> int:
    """Its share of all memory, what its page tables take, and what it holds without showing it."""
    process = PROC / str(pid)
    rollup = fields((process / "smaps_rollup").read_text())
    shown = rollup["Pss_Shmem"]
    tables = fields((process / "status").read_text())["VmPTE"]
    return rollup["Pss"] - shown + max(shown, shared_kib(process)) + tables


def protection_of(pid: int) -> dict[str, Any]:
    """What its library says of protected blocks; nothing from who has none, or does not answer now."""
    status = (PROC / str(pid) / "status").read_text()
    start = int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
    uid = re.search(r"^Uid:\s+\d+\s+(\d+)", status, re.MULTILINE)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(0.2)
        client.connect(f"\0poireau/{uid[1] if uid else 0}/{pid}/{start}")
        client.sendall(b'{"do":"stats"}\n')
        lines = b""
        while lines.count(b"\n") < 2 and (got := client.recv(65536)):
            lines += got
    found: dict[str, Any] = json.loads(lines.splitlines()[1]).get("protection", {})
    return found


def runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "stat").read_text().rpartition(") ")[2][0] not in "ZX"
    return False


def family_kib(pid: int) -> int:
    total = 0
    for each in family(pid):
        with contextlib.suppress(OSError, KeyError):  # it has ended
            total += kib_of(each)
    return total


def ask(pid: int, said: dict[int, dict[str, Any]], ended: threading.Event) -> None:
    while not ended.wait(5 * PERIOD):
        with contextlib.suppress(OSError):
            for each in family(pid):
                with contextlib.suppress(OSError, IndexError, ValueError):
                    said[each] = protection_of(each)


def watch(pid: int, record: Path, before: bytes) -> None:
    """From when it has become the command: until then it is what is told in `before`."""
    most = 0
    said: dict[int, dict[str, Any]] = {}
    ended = threading.Event()
    asking = threading.Thread(target=ask, args=(pid, said, ended))
    asking.start()
    command = PROC / str(pid) / "cmdline"
    with contextlib.suppress(OSError):
        while command.read_bytes() == before:
            time.sleep(PERIOD / 10)
        while runs(pid):
            with contextlib.suppress(OSError):
                most = max(most, family_kib(pid))
            time.sleep(PERIOD)
    ended.set()
    asking.join()
    record.write_text(json.dumps({"kib": most, "protection": [each for each in said.values() if each]}))


def main() -> None:
    split = sys.argv.index("--")
    record, command = Path(sys.argv[1]), sys.argv[split + 1 :]
    variables = dict(each.split("=", 1) for each in sys.argv[2:split])
    pid = os.getpid()
    before = Path("/proc/self/cmdline").read_bytes()
    record.unlink(missing_ok=True)
    if os.fork() == 0:  # twice, or the command would have a child that it knows nothing of
        if os.fork() == 0:
            for descriptor in range(3):
                os.close(descriptor)
            os.open(os.devnull, os.O_RDWR)
            watch(pid, record, before)
        os._exit(0)
    os.wait()
    os.execvpe(command[0], command, os.environ | variables)


if __name__ == "__main__":
    main()
