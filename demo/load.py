"""Work for the server of demo.cc: requests over a few connections, at a steady rate or as fast as they are answered."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from collections.abc import Sequence

CONNECTIONS = 4
KEYS = 3000
RATE = 2000  # requests a second
BATCH = 20  # of them at a time


class Client:
    """Speaks to the server from one thread at a time."""

    def __init__(self, port: int) -> None:
        self._connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
        self._draw = random.Random(port)
        self._asked = 0

    def ask(self, *lines: str) -> list[str]:
        """Over one connection."""
        return self._answers([(self._connections[0], lines)])

    def get(self, count: int) -> None:
        """So many, over all connections."""
        share = count // CONNECTIONS
        self._answers([(each, [f"get key{self._key()}" for _ in range(share)]) for each in self._connections])

    def _key(self) -> int:
        """Each of them once, then any."""
        self._asked += 1
        return self._asked - 1 if self._asked <= KEYS else self._draw.randrange(KEYS)

    @staticmethod
    def _answers(requests: Sequence[tuple[socket.socket, Sequence[str]]]) -> list[str]:
        for connection, lines in requests:
            connection.sendall("".join(f"{line}\n" for line in lines).encode())
        answers: list[str] = []
        for connection, lines in requests:
            pieces, missing = [], len(lines)
            while missing > 0:
                piece = connection.recv(1 << 18)
                if not piece:
                    raise ConnectionError("the server has hung up")
                missing -= piece.count(b"\n")
                pieces.append(piece)
            answers += b"".join(pieces).decode().splitlines()
        return answers


class Load(threading.Thread):
    """RATE requests a second, until it is stopped."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._load, self._asking = Client(port), Client(port)
        self._stopped = threading.Event()
        self._began = time.monotonic()
        self.start()

    def run(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            with contextlib.suppress(ConnectionError):  # the server has been killed
                self._load.get(BATCH)
            due += BATCH / RATE
            time.sleep(max(0, due - time.monotonic()))

    def leaked(self) -> float:
        """Bytes a second so far, as the server counts them."""
        told = json.loads(self._asking.ask("truth")[0])
        return float(told["leaked_bytes"]) / (time.monotonic() - self._began)

    def stop(self) -> None:
        self._stopped.set()
        self.join()
