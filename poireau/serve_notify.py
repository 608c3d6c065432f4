"""What systemd is told of a service of type notify: nothing, where it does not ask."""

from __future__ import annotations

import contextlib
import os
import socket


def tell(state: str) -> None:
    """READY=1, STOPPING=1, WATCHDOG=1, STATUS=..."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")):
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
        told.sendto(state.encode(), address)


def watchdog() -> float | None:
    """How often WATCHDOG=1 is due, in seconds; None: never."""
    told = os.environ.get("WATCHDOG_USEC", "")
    mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(told) / 2e6 if told.isdecimal() and mine else None
