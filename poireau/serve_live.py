"""What the live page asks for: itself, the stream of events, single answers, and to have something done."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from poireau import serve_control
from poireau.errors import Failure
from poireau.serve_bands import BYS
from poireau.serve_clients import Client
from poireau.serve_daemon import Daemon
from poireau.serve_pprof import HTML, Answer, Refused

JSON = "application/json"
Asked = Mapping[str, str]  # of the address
_POLICY = re.compile(rb'http-equiv="Content-Security-Policy" content="([^"]*)"')


class Live:
    """Raises Refused."""

    def __init__(self, daemon: Daemon, title: str) -> None:
        self.daemon = daemon
        self._title = title
        self._page: Answer | None = None

    def page(self) -> Answer:
        if self._page is None:
            from poireau.report import page

            content = page.around("live", self._title, connect="'self'")
            found = _POLICY.search(content)
            policy = found[1].decode() if found else "default-src 'none'"
            self._page = Answer(HTML, content, policy=f"{policy}; frame-ancestors 'none'")
        return self._page

    def client(self, asked: Asked) -> Client:
        by = asked.get("by", "line")
        if by not in BYS:
            raise Refused(HTTPStatus.BAD_REQUEST, f"by is one of {', '.join(BYS)}")
        client = Client(asked.get("watch", "")[:64], by)
        why = self.daemon.join(client)
        if why:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, why)
        return client

    def answer(self, name: str, asked: Asked, packed: bool) -> Answer:
        make = self._ANSWERS.get(name)
        if make is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is only {', '.join(['events', *self._ANSWERS, 'control'])}")
        return _json(make(self, asked), packed)

    def control(self, body: bytes) -> tuple[HTTPStatus, Answer]:
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "this is no JSON") from None
        status, text = serve_control.carry_out(self.daemon.found.seen, asked)
        if status == HTTPStatus.OK:
            self.daemon.reload()
        return status, _json({"ok": status == HTTPStatus.OK, "text": text})

    def _processes(self, asked: Asked) -> Any:
        return self.daemon.found.told()

    def _leaks(self, asked: Asked) -> Any:
        document = self.daemon.study.leaks(*self._trace(asked))
        return {name: value for name, value in document.items() if name != "found"}

    def _errors(self, asked: Asked) -> Any:
        return self.daemon.study.errors(*self._trace(asked))

    def _history(self, asked: Asked) -> Any:
        history = self._seen(asked).history
        return {name: [point[at] for point in history] for at, name in enumerate(("times", "live", "rss"))}

    def _flame(self, asked: Asked) -> Any:
        at = asked.get("at", "")
        if at and (not at.isascii() or not at.isdecimal() or len(at) > 15):
            raise Refused(HTTPStatus.BAD_REQUEST, "at is a time in milliseconds since 1970")
        return self.daemon.study.flame(*self._trace(asked), int(at) if at else None)

    _ANSWERS: Mapping[str, Callable[[Live, Asked], Any]] = {
        "processes": _processes,
        "leaks": _leaks,
        "errors": _errors,
        "history": _history,
        "flame": _flame,
    }

    def _seen(self, asked: Asked) -> Any:
        seen = self.daemon.found.seen.get(asked.get("id", ""))
        if seen is None:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such process here")
        return seen

    def _trace(self, asked: Asked) -> tuple[str, int | None]:
        seen = self._seen(asked)
        if not seen.trace:
            raise Refused(HTTPStatus.NOT_FOUND, f"it has no trace: {seen.why_not or 'no sample so far'}")
        return seen.trace, seen.number


def _json(document: Any, packed: bool = False) -> Answer:
    content = json.dumps(document, separators=(",", ":"), allow_nan=False).encode("utf-8", "surrogateescape")
    packed = packed and len(content) > 1000
    return Answer(JSON, gzip.compress(content, 5, mtime=0) if packed else content, packed=packed)


def failed(failure: Failure) -> Refused:
    """Its trace has gone, say."""
    return Refused(HTTPStatus.NOT_FOUND, str(failure))
