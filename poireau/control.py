"""Talking to a program's control socket: lines of JSON, a request each, answered in their order after a greeting.

Who answers is a process that we look into: what it says is checked, and held to a size. Nobody is waited for beyond
the time that was given; what was sent by then is carried out all the same, at the program's next turn.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from poireau.errors import REFUSED, USAGE, Failure

PROTOCOL = 1
MOST_REQUEST = 4096  # bytes of a line, without its end
MOST_ANSWER = 256 << 10
MOST_LEVELS = 5  # of lists and objects in each other
_NUMBERS, _TEXTS = ("protocol", "pid", "start", "uid"), ("poireau", "run_id", "program", "control")

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    verb: str
    option: str | None = None
    value: str | None = None

    def line(self) -> bytes:
        parts = {"do": self.verb, "option": self.option, "value": self.value}
        said = json.dumps({name: text for name, text in parts.items() if text is not None}, separators=(",", ":"))
        if len(said) > MOST_REQUEST:
            raise Failure(f"{self.verb}: a request has at most {MOST_REQUEST} bytes, and this one {len(said)}", USAGE)
        return said.encode() + b"\n"


@dataclass
class Exchange:
    """Some requests to one program, and what has come of them."""

    connection: socket.socket
    requests: Sequence[Request]
    greeting: Answer | None = None
    answers: list[Answer] = field(default_factory=list)
    failure: Failure | None = None  # what it says makes no sense, or it says no more
    _unsent: bytes = b""
    _unread: bytes = b""

    def __post_init__(self) -> None:
        self._unsent = b"".join(request.line() for request in self.requests)

    @property
    def sent(self) -> bool:
        return not self._unsent

    @property
    def finished(self) -> bool:
        return self.failure is not None or (self.greeting is not None and len(self.answers) == len(self.requests))

    @property
    def interest(self) -> int:
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)

    def go_on(self) -> None:
        """Sends and reads what it can without waiting."""
        try:
            self._send()
            self._receive()
        except Failure as failure:
            self.failure = failure

    def _send(self) -> None:
        try:
            if self._unsent:
                self._unsent = self._unsent[self.connection.send(self._unsent, socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent = b""  # it may have said why it hung up

    def _receive(self) -> None:
        while not self.finished:
            try:
                got = self.connection.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:  # it hung up before it had read everything
                got = b""
            if not got:
                raise Failure(self._why_it_hung_up(), REFUSED)
            *lines, self._unread = (self._unread + got).split(b"\n")
            for line in lines:
                self._take(line)
            if len(self._unread) > MOST_ANSWER:
                raise Failure(f"an answer of more than {MOST_ANSWER} bytes", REFUSED)

    def _take(self, line: bytes) -> None:
        if self.finished:
            raise Failure("more answers than requests", REFUSED)
        said = _understand(line)
        if self.greeting is None:
            self.greeting = _greeting(said)
        elif not isinstance(said.get("ok"), bool):
            raise Failure(f"an answer that says neither yes nor no: {shown(line)}", REFUSED)
        else:
            self.answers.append(said)

    def _why_it_hung_up(self) -> str:
        if self.greeting is None:
            return "it hung up without a word: it speaks to its own user and root only"
        last = self.answers[-1] if self.answers else {}
        return f"it hung up: {last['error']}" if "error" in last else "it hung up before it had answered"


def _understand(line: bytes) -> Answer:
    try:
        said = json.loads(line.decode("utf-8"), parse_int=_number, parse_constant=_number)
    except (ValueError, RecursionError) as error:
        raise Failure(f"an answer that is no JSON: {shown(line)}", REFUSED) from error
    if not isinstance(said, dict) or not _is_flat(said, MOST_LEVELS):
        raise Failure(f"an answer that is no object: {shown(line)}", REFUSED)
    return said


def _number(text: str) -> int:
    """Raises ValueError: it is not one that we could count with."""
    if len(text) > 20 or not -(1 << 64) < int(text) < 1 << 64:
        raise ValueError(text)
    return int(text)


def _is_flat(value: object, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inside is None or (levels > 0 and all(_is_flat(each, levels - 1) for each in inside))


def _greeting(said: Answer) -> Answer:
    if said.get("ok") is False:
        raise Failure(str(said.get("error")), REFUSED)
    numbers = all(type(said.get(name)) is int for name in _NUMBERS)
    if not numbers or not all(isinstance(said.get(name), str) for name in _TEXTS):
        raise Failure("it does not greet as Poireau does", REFUSED)
    if said["protocol"] != PROTOCOL:
        versions = f"protocol {said['protocol']} (Poireau {said['poireau']}), and this is {PROTOCOL}"
        raise Failure(f"it speaks {versions}: take the client of its version", REFUSED)
    return said


def shown(line: bytes) -> str:
    """Its beginning, fit for a terminal."""
    return ascii(line[:60].decode("utf-8", "replace")) + ("..." if len(line) > 60 else "")


def talk(exchanges: Sequence[Exchange], seconds: float) -> None:
    """Goes on with all of them until they are finished or the time is up."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for exchange in exchanges:
            exchange.go_on()
            if not exchange.finished:
                selector.register(exchange.connection, exchange.interest, exchange)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                exchange = key.data
                exchange.go_on()
                if exchange.finished:
                    selector.unregister(exchange.connection)
                elif key.events != exchange.interest:
                    selector.modify(exchange.connection, exchange.interest, exchange)
