"""A program that can be spoken to, with manners as they are asked for: for what no real one would do.

    server.py NAME MANNER [TEXT]

binds @NAME (PID and START in it are its own), says "ready", and until it is killed:
    answers     greets, and answers each request with what it was asked; TEXT is its name then
    says        sends TEXT (escapes undone) to whoever comes, and reads
    hangs-up    sends TEXT and closes at once
    floods      sends TEXT, and then endless text without a line's end
    drips       sends TEXT a byte every 2 ms
    nothing     never accepts
    leaves      never accepts: ends, and leaves its listener to a child whose pid it says
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path


def greeting() -> dict[str, object]:
    start = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return {
        "poireau": "0.1.0",
        "protocol": 1,
        "pid": os.getpid(),
        "start": start,
        "uid": os.geteuid(),
        "run_id": "0" * 32,
        "program": "server",
        "control": "full",
    }


def answer(line: bytes) -> bytes:
    request = json.loads(line)
    if request.get("value") == "wrong":
        return json.dumps({"ok": False, "error": f"{request['option']}: wrong is no value"}).encode() + b"\n"
    told = {"name": request.get("option"), "before": "1", "value": request.get("value"), "default": "1"}
    return json.dumps({"ok": True, **request, **told}).encode() + b"\n"


def serve(connection: socket.socket, manner: str, text: bytes) -> None:
    if manner == "answers":
        connection.sendall(json.dumps(greeting()).encode() + b"\n")
        for line in connection.makefile("rb"):
            connection.sendall(answer(line))
    elif manner == "drips":
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(0.002)
    else:
        connection.sendall(text)
        while manner == "floods":
            connection.sendall(b"x" * 65536)
        while manner == "says" and connection.recv(4096):
            pass


def main(name: str, manner: str, text: str = "") -> None:
    own = greeting()
    name = name.replace("PID", str(own["pid"])).replace("START", str(own["start"]))
    text = text.replace("GREETING", json.dumps(own))
    if manner == "answers" and text:
        Path("/proc/self/comm").write_text(text)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("\0" + name)
    listener.listen(8)
    child = os.fork() if manner == "leaves" else 0
    if child:
        print("ready", child, flush=True)
        return
    if manner != "leaves":
        print("ready", flush=True)
    while manner in ("nothing", "leaves"):
        time.sleep(60)
    while True:
        connection, _ = listener.accept()
        with connection:
            try:
                serve(connection, manner, text.encode("latin-1").decode("unicode_escape").encode("latin-1"))
            except OSError:
                continue  # he has gone


if __name__ == "__main__":
    main(*sys.argv[1:])
