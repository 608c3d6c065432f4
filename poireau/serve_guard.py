"""Who may ask: the token, the names that we are called by, and pages of others, for which no browser may ask.

A page in somebody's browser may resolve its own name to 127.0.0.1 and read what listens there, so only our own names
are answered; and it may send requests to us without reading the answers, so those that change something have to come
from our own page, or from who can name a header that pages can't.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import os
import secrets
import socket
import stat
from collections.abc import Mapping
from pathlib import Path

from poireau.errors import USAGE, Failure

HEADER = "X-Poireau-Token"
_FEWEST = 20  # characters of a token


def token(file: Path | None) -> str:
    """That of the file, or a new one. Raises Failure: others may read the file."""
    if file is None:
        return secrets.token_urlsafe(24)
    try:
        with open(file, "rb") as opened:
            status = os.fstat(opened.fileno())
            text = opened.read(4096).decode("utf-8", "replace").strip()
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}", USAGE) from None
    if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o077:
        raise Failure(f"{file}: others may read it: chmod 600 {file}", USAGE)
    if len(text) < _FEWEST or not text.isascii() or not text.replace("-", "").replace("_", "").isalnum():
        raise Failure(f"{file}: a token has {_FEWEST} letters, digits, - and _ at least, and nothing else", USAGE)
    return text


def given(headers: Mapping[str, str], asked: str) -> str:
    """`asked`: that of the address."""
    authorization = headers.get("Authorization", "")
    bearer = authorization.removeprefix("Bearer ") if authorization.startswith("Bearer ") else ""
    return headers.get(HEADER, "") or bearer or asked


def is_right(token: str, given: str) -> bool:
    return secrets.compare_digest(token.encode(), given.encode("utf-8", "replace"))


def host_of(header: str) -> str:
    """Without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header


def is_loopback(host: str) -> bool:
    if host.lower().rstrip(".") == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def is_ours(header: str, private: bool) -> bool:
    """Of Host, whether it is a name of ours: no page can have one, but an address or this machine's name."""
    host = host_of(header)
    if is_loopback(host):
        return True
    if private:
        return False
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return host.lower() in _own_names()


@functools.cache
def _own_names() -> frozenset[str]:
    """Asked for once: it may take a name server."""
    return frozenset(name.lower() for name in (socket.gethostname(), socket.getfqdn()))


def comes_from_us(headers: Mapping[str, str], changes: bool) -> bool:
    """`changes`: the request does something."""
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("Origin")
    if origin is None:
        return not changes or HEADER in headers
    return origin == f"http://{headers.get('Host', '')}"
