"""What it takes to draw a trace of a million events and a hundred thousand stacks, from start to end, and how large the
page is: as a command, and apart from that what of it comes after the trace has been read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.reporting import EVENTS, FRAMES, ROOT, STACKS, WRITER

SECONDS, DRAWING, BYTES = 6.0, 3.0, 8 << 20  # at most; DRAWING of what is in use
APART = """
import sys, time
from poireau import asking, cli
opened, read = asking.opened, []
asking.opened = lambda *a, **more: (opened(*a, **more), read.append(time.process_time()))[0]
status = cli.main(sys.argv[1:])
print(time.process_time() - read[0])
sys.exit(status)
"""
PICTURES = {
    "flame.html": ["flame"],
    "allocated.html": ["flame", "--what", "allocated"],
    "flame.png": ["flame"],
    "stream.html": ["stream"],
    "stream.png": ["stream"],
}


def measure(trace: Path, picture: Path, command: list[str]) -> dict[str, float]:
    begin = time.monotonic()
    whole = [sys.executable, "-c", APART, *command, str(trace), "-f", "-o", str(picture)]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
        assert process.stdout is not None
        drawing = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, whole
    return {
        "seconds": time.monotonic() - begin,
        "drawing_seconds": float(drawing),
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * 1024,
        "bytes": picture.stat().st_size,
    }


def main(arguments: list[str]) -> int:
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="poireau-pictures-") as directory:
        writer, trace = Path(directory, "trace_writer"), Path(directory, "trace")
        subprocess.run(["c++", "-std=c++20", "-O2", f"-I{ROOT}", *WRITER, "-o", writer], cwd=ROOT, check=True)
        subprocess.run([writer, trace, "1", str(EVENTS), str(STACKS), str(FRAMES)], check=True)
        for name, command in PICTURES.items():
            figures[name] = each = measure(trace, Path(directory, name), command)
            if "--json" not in arguments:
                took = f"{each['seconds']:5.1f} s  {each['cpu_seconds']:5.1f} s CPU"
                took += f", {each['drawing_seconds']:4.1f} s drawing"
                print(f"{name:<16} {took}  {each['memory'] / (1 << 20):5.0f} MiB  {each['bytes'] / 1024:6.0f} KiB")
    if "--json" in arguments:
        print(json.dumps(figures, indent=1))
    slow = figures["flame.html"]["drawing_seconds"] > DRAWING
    return int(slow or any(each["cpu_seconds"] > SECONDS or each["bytes"] > BYTES for each in figures.values()))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
