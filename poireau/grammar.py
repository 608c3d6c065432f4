"""What can be typed, as plain facts: of the parsers of all commands, for completions, man pages and the shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from poireau import parsing

PIDS, TRACES, FILES, DIRECTORIES, PROGRAMS = "pids", "traces", "files", "directories", "programs"
OPTIONS, SETTINGS, NOTHING = "options", "settings", "nothing"  # of the library: their names; NAME=VALUE
_KINDS = {
    **dict.fromkeys(("PID", "PID|NAME"), PIDS),
    **dict.fromkeys(("TRACE", "PID|CORE|TRACE", "PID|TRACE"), TRACES),
    "DIR": DIRECTORIES,
    "NAME": OPTIONS,
    "NAME=VALUE": SETTINGS,
    **dict.fromkeys(("PROGRAM", "PROGRAM|PID"), PROGRAMS),
    **dict.fromkeys(("FILE", "LIB", "CORE"), FILES),
}


@dataclass(frozen=True)
class Word:
    """An option, or what stands by its place."""

    flags: tuple[str, ...]  # (): it stands by its place
    metavar: str  # "": nothing follows the flag
    choices: tuple[str, ...]
    help: str
    many: bool  # any number of them may come

    @property
    def kind(self) -> str:
        """What its values are, where there are no choices."""
        return NOTHING if self.flags and self.metavar == "NAME" else _KINDS.get(self.metavar, NOTHING)


@dataclass(frozen=True)
class Verb:
    name: str  # "lttng start" of those below another
    help: str
    usage: str
    description: str
    epilog: str
    words: tuple[Word, ...]
    runs: bool  # a program's command line follows --
    below: tuple[Verb, ...]

    @property
    def options(self) -> Iterator[Word]:
        return (word for word in self.words if word.flags)

    @property
    def places(self) -> Iterator[Word]:
        return (word for word in self.words if not word.flags)


def verbs() -> list[Verb]:
    """Every day's first."""
    return list(_below(parsing.parser()))


def _below(parser: argparse.ArgumentParser) -> Iterator[Verb]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            for name, each in action.choices.items():
                yield _verb(each, helps.get(name, ""))


def _verb(parser: argparse.ArgumentParser, help: str) -> Verb:
    hidden = argparse._SubParsersAction
    actions = [each for each in parser._actions if not isinstance(each, hidden)]
    return Verb(
        parser.prog.partition(" ")[2],
        help,
        " ".join(parser.format_usage().partition(":")[2].split()),
        parser.description or "",
        parser.epilog or "",
        tuple(_word(each, parser) for each in actions if each.help != argparse.SUPPRESS),
        any(each.nargs == argparse.REMAINDER for each in actions),
        tuple(_below(parser)),
    )


def _word(action: argparse.Action, parser: argparse.ArgumentParser) -> Word:
    takes = action.nargs != 0
    told = (action.help or "").replace("%%", "%")
    if action.option_strings and "-h" in action.option_strings:
        told = "say all this"
    metavar = action.metavar if isinstance(action.metavar, str) else None
    named = metavar or (action.dest if not action.option_strings else action.dest.upper())
    choices = tuple(map(str, action.choices or ()))
    many = action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction)
    return Word(tuple(action.option_strings), named if takes else "", choices, told, many)
