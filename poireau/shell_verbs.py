"""What the shell has besides the commands: targets, what sticks, Python, help. A line of text each, and an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from poireau import commands, shell_help, shell_targets
from poireau.errors import USAGE, Failure
from poireau.parsing import meant
from poireau.shell_line import split, unquoted
from poireau.shell_state import PATTERNS, STICKY, TIMES

if TYPE_CHECKING:
    from poireau.shell_session import Session


@dataclass(frozen=True)
class Own:
    form: str  # of what follows it
    help: str
    example: str
    act: Callable[[Session, str], int]  # the text behind the verb -> an exit status
    whole: bool = False  # that text is what was written, with all its quotes and bars


def _use(session: Session, text: str) -> int:
    if text:
        session.state = shell_targets.use(session.state, split(text))
    print(f"the current target is {session.state.name or 'the newest run, whichever that is'}")
    return 0


def _targets(session: Session, text: str) -> int:
    for line in shell_targets.lines(session.state):
        print(line)
    return 0


def _sticky(name: str) -> Callable[[Session, str], int]:
    def act(session: Session, text: str) -> int:
        if text in ("clear", "none", "off"):
            session.state = session.state.without([name])
        elif text:
            session.state = session.state.with_(name, unquoted(text) if name in PATTERNS else text)
        value = getattr(session.state, name)
        print(f"{name} {value if isinstance(value, str) else ', '.join(value)}" if value else f"no {name}")
        return 0

    return act


def _clear(session: Session, text: str) -> int:
    names = split(text)
    for name in names:
        if name not in STICKY:
            raise Failure(f"{name} doesn't stick: {meant(name, STICKY) or ', '.join(STICKY)}", USAGE)
    session.state = session.state.without(names or STICKY)
    return _state(session, "")


def _state(session: Session, text: str) -> int:
    print(f"target {session.state.name or 'the newest run'}")
    for line in session.state.said() or ["no window, no filters"]:
        print(line)
    return 0


def _python(session: Session, text: str) -> int:
    raise Failure("py EXPRESSION: for example  py df.head()", USAGE)


def _help(session: Session, text: str) -> int:
    known = [*commands.NAMES, *OWN]
    if text and text not in known:
        raise Failure(f"there is no command {text}: {meant(text, known) or '`help` lists them'}", USAGE)
    print(shell_help.of(text, OWN) if text else shell_help.all_of(OWN), end="")
    return 0


def _quit(session: Session, text: str) -> int:
    from poireau.shell_session import Quit

    raise Quit


_WINDOW = {
    "since": ("TIME", "a window's beginning, for all commands", "since 5m"),
    "until": ("TIME", "and its end", "until 13:05"),
    "at": ("TIME", "what was in use at that time", "at 13:05"),
}
_FILTERS = {
    "focus": ("REGEX", "only stacks with such a function, file or module", "focus parse_"),
    "ignore": ("REGEX", "only stacks without one", "ignore libssl|^main$"),
    "hide": ("REGEX", "leave such frames out", "hide ^std::"),
    "process": ("PID|NAME...", "only these processes", "process worker"),
    "thread": ("TID|NAME...", "only these threads", "thread io-3"),
}
assert {*_WINDOW, *_FILTERS} == set(STICKY) and set(_WINDOW) == set(TIMES)

OWN: Mapping[str, Own] = {
    "use": Own("PID|PATH|newest", "what the commands are about from now on", "use newest", _use),
    "targets": Own("", "what there is: running processes, the newest runs", "targets", _targets),
    **{name: Own(*said, _sticky(name), whole=True) for name, said in {**_WINDOW, **_FILTERS}.items()},
    "clear": Own("[NAME]...", "forget window and filters, or some of them", "clear focus", _clear),
    "state": Own("", "target, window and filters", "state", _state),
    "py": Own("EXPRESSION", "Python: df is the last view's table, heap all there is", "py df.head()", _python),
    "help": Own("[COMMAND]", "what there is, and how it is used", "help leaks", _help),
    "quit": Own("", "leave the shell; so does Ctrl-D", "quit", _quit),
    "exit": Own("", "the same", "exit", _quit),
}
