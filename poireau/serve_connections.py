"""Connections: only so many, none of which lasts for long without a word; and what is read of each, only so much.

Anybody on this machine can connect, and before the token is seen nobody knows who it is.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
import threading
import time
from http.server import ThreadingHTTPServer
from typing import Any

MOST_CONNECTIONS = 64
SOON = 20.0  # seconds for a request to come, all of it
HURRY = 2.0  # the same, where there is no room for others
MOST_HEAD = 32 << 10  # bytes of its lines
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TOO_LONG = b"x" * ((1 << 16) + 1)  # what http.server refuses


class Connections(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str, port: int, handler: Any) -> None:
        self.room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.awaited: dict[socket.socket, float] = {}  # whose request has not come yet -> since when
        if ":" in address:
            self.address_family = socket.AF_INET6
        super().__init__((address, port), handler)

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                time.sleep(0.1)  # who waits goes on waiting: to ask again at once would take all of a processor
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.room.acquire(blocking=False):
            with contextlib.suppress(OSError):  # what it sent is not read, nor is it waited for
                request.send(_FULL, socket.MSG_DONTWAIT)
            self.shutdown_request(request)
            self._hang_up(HURRY)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self.room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.awaited.pop(request, None)
            self.room.release()

    def service_actions(self) -> None:
        self._hang_up(SOON)

    def _hang_up(self, patience: float) -> None:
        """On who takes longer to say what he wants."""
        late = time.monotonic() - patience
        for connection, since in list(self.awaited.items()):
            if since < late:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up is no error; anything else is a line."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            self.complain(f"{client_address[0]}: {type(error).__name__}: {error}")

    def complain(self, text: str) -> None:
        with contextlib.suppress(OSError):
            print(f"poireau: {text}", file=sys.stderr)


class Head:
    """What a request is read from: so many bytes of lines, and then a line that is too long."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.left = MOST_HEAD

    def readline(self, limit: int) -> bytes:
        line: bytes = self._file.readline(min(limit, self.left + 1))
        self.left -= len(line)
        return line if self.left >= 0 else _TOO_LONG

    def read(self, size: int) -> bytes:
        content: bytes = self._file.read(size)
        return content

    def close(self) -> None:
        self._file.close()
