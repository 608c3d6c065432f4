"""What a page may have a process do: change an option, be armed or disarmed, flush. It is what `ctl` does, to processes
that are served, and to those of the same user only; for root, to those whose sockets let it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from poireau import ctl, processes
from poireau.control import Request
from poireau.errors import Failure
from poireau.serve_processes import Seen

ACTIONS = {"set": 2, "arm": 0, "disarm": 0, "flush": 0}  # -> how many words it takes
_LONGEST = 200  # of a word


def carry_out(seen: Mapping[str, Seen], asked: Any) -> tuple[HTTPStatus, str]:
    """The status, and what was done or why not, in words."""
    if not isinstance(asked, dict) or asked.get("action") not in ACTIONS:
        return HTTPStatus.BAD_REQUEST, f"an action is one of {', '.join(ACTIONS)}"
    words = [asked[name] for name in ("name", "value") if asked.get(name) is not None]
    if len(words) != ACTIONS[asked["action"]] or not all(
        isinstance(each, str) and len(each) <= _LONGEST for each in words
    ):
        return HTTPStatus.BAD_REQUEST, "set takes a name and a value, each a text; others take none"
    target = seen.get(str(asked.get("id")))
    if target is None:
        return HTTPStatus.NOT_FOUND, "there is no such process here"
    if target.ended is not None:
        return HTTPStatus.CONFLICT, f"{target.name} ({target.pid}) has ended"
    try:
        now = processes.look(target.pid)
        if now is None or now.start != target.start:
            return HTTPStatus.CONFLICT, f"{target.name} ({target.pid}) has ended"
        if os.geteuid() not in (0, now.user):
            return HTTPStatus.FORBIDDEN, f"{target.name} ({target.pid}) is somebody else's"
        outcome = ctl.ask(target.pid, [Request(asked["action"], *words)], None)
    except Failure as failure:
        return HTTPStatus.FORBIDDEN, str(failure)
    if outcome.refusals:
        return HTTPStatus.UNPROCESSABLE_ENTITY, outcome.refusals[0]
    if outcome.waiting is not None:
        return HTTPStatus.OK, ctl.queued(outcome)
    text = ctl.text_of(outcome.requests[0], outcome.answers[0], outcome.process)
    return HTTPStatus.OK, text.strip().replace("\n", "; ")
