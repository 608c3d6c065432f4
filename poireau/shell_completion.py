"""What may come next on a line of the shell: commands, their options and choices, targets, paths, names of options and
functions. Pure but for what `World` tells."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from poireau import commands, parsing, shell_verbs
from poireau.shell_state import PATTERNS, STICKY
from poireau.shell_targets import SHORT
from poireau.text import plain

MOST = 200


@dataclass(frozen=True)
class World:
    """What there is to name now."""

    targets: Callable[[], Iterable[tuple[str, str]]]  # and what each is
    pids: Callable[[], Iterable[tuple[str, str]]]
    options: Callable[[], Iterable[tuple[str, str]]]  # of the library
    functions: Callable[[], Iterable[str]]
    columns: Callable[[], Iterable[str]]  # of df


@dataclass(frozen=True)
class Candidate:
    text: str
    told: str = ""
    whole: bool = True  # nothing more belongs to it


def candidates(line: str, world: World) -> tuple[str, list[Candidate]]:
    """For a line up to its cursor: the word that is being written, and what it may become."""
    line = line.lstrip()
    attribute = re.search(r"\bdf\.(\w*)$", line) or re.search(r"\bdf\[['\"](\w*)$", line)
    if attribute is not None:
        return attribute[1], _fitting(attribute[1], ((name, "") for name in world.columns()))
    if line.startswith("!"):
        word = line.split(" ")[-1].removeprefix("!")
        return word, list(_paths(word))
    words = line.split(" ")
    word, before = words[-1], [each for each in words[:-1] if each]
    before = before[1:] if before[:1] == ["watch"] and len(before) > 1 and before[1] in commands.NAMES else before
    if not before:
        return word, _fitting(word, _verbs())
    if before[-1] in (">", ">>"):
        return word, list(_paths(word))
    return word, list(_after(before, word, world))[:MOST]


def _after(before: Sequence[str], word: str, world: World) -> Iterator[Candidate]:
    verb, *rest = before
    if verb in SHORT:
        verb, rest = "ctl", ["PID", verb, *rest]
    if verb == "use":
        yield from _fitting(word, [("newest", "the newest run"), *world.targets()])
        yield from _paths(word)
    elif verb == "help":
        yield from _fitting(word, _verbs())
    elif verb == "clear":
        yield from _fitting(word, ((name, "") for name in STICKY))
    elif verb in PATTERNS:
        yield from _fitting(word, [*((name, "") for name in world.functions()), ("clear", "no more of it")], True)
    elif verb in STICKY:
        yield from _fitting(word, [("clear", "no more of it")])
    elif verb in commands.NAMES:
        yield from _of_command(verb, rest, word, world)


def _of_command(verb: str, rest: Sequence[str], word: str, world: World) -> Iterator[Candidate]:
    parser = parsing.verbs_of(parsing.parser([verb])).choices[verb]
    flags = {flag: action for action in parser._actions for flag in action.option_strings}
    taking = flags.get(rest[-1]) if rest else None
    if word.startswith("-"):
        name, equals, value = word.partition("=")
        if equals and name in flags:
            for each in _values(flags[name], value, world):
                yield Candidate(f"{name}={each.text}", each.told, each.whole)
            return
        shown = ((flag, action.help or "") for flag, action in flags.items() if flag.startswith("--"))
        yield from _fitting(
            word, ((flag, told.replace("%%", "%")) for flag, told in shown if told != argparse.SUPPRESS)
        )
        return
    if taking is not None and taking.nargs != 0:
        yield from _values(taking, word, world)
        return
    if verb == "ctl":
        yield from _of_ctl([each for each in rest if not each.startswith("-")], word, world)
        return
    for action in parser._actions:
        if not action.option_strings and action.help != argparse.SUPPRESS:
            yield from _values(action, word, world)
    if verb == "watch":
        yield from _fitting(word, _verbs(commands.NAMES))


def _of_ctl(words: Sequence[str], word: str, world: World) -> Iterator[Candidate]:
    from poireau import ctl

    verbs = [(name, each.help) for name, each in ctl.VERBS.items()]
    named = next((each for each in words if each in ctl.VERBS), None)
    if named is None:
        yield from _fitting(word, [*verbs, *(world.pids() if not words else ())])
    elif named in ("set", "get"):
        behind = list(words)[list(words).index(named) + 1 :]
        if len(behind) % 2 == 0:
            yield from _fitting(word, world.options())


def _values(action: argparse.Action, word: str, world: World) -> Iterator[Candidate]:
    if action.choices is not None:
        yield from _fitting(word, ((str(choice), "") for choice in action.choices))
        return
    metavar = str(action.metavar or action.dest).upper()
    if metavar == "REGEX":
        yield from _fitting(word, ((name, "") for name in world.functions()), True)
    elif "PID" in metavar and "|" not in metavar:
        yield from _fitting(word, world.pids())
    elif metavar in ("TRACE", "TARGET", "A", "B"):
        yield from _fitting(word, world.targets())
        yield from _paths(word)
    elif any(kind in metavar for kind in ("FILE", "DIR", "PATH", "PROGRAM", "CORE")):
        yield from _paths(word)


def _verbs(names: Iterable[str] | None = None) -> list[tuple[str, str]]:
    helps = {each.dest: each.help or "" for each in parsing.verbs_of(parsing.parser())._choices_actions}
    if names is not None:
        return [(name, helps.get(name, "")) for name in names]
    short = dict.fromkeys(SHORT, "on the current process")
    return list({**helps, **short, **{name: each.help for name, each in shell_verbs.OWN.items()}}.items())


def _fitting(word: str, known: Iterable[tuple[str, str]], anywhere: bool = False) -> list[Candidate]:
    """What begins so; or has it anywhere, the beginnings first."""
    found = [Candidate(text, plain(told)) for text, told in known if text.startswith(word)]
    if anywhere and word:
        low = word.lower()
        first = {each.text for each in found}
        found += [Candidate(text, plain(told)) for text, told in known if low in text.lower() and text not in first]
    return found[:MOST]


def _paths(word: str) -> Iterator[Candidate]:
    directory, name = os.path.split(word)
    try:
        with os.scandir(os.path.expanduser(directory) or ".") as entries:
            found = sorted((e.name, e.is_dir()) for e in entries if e.name.startswith(name))
    except OSError:
        return
    for entry, is_directory in found[:MOST]:
        if (name or not entry.startswith(".")) and entry.isprintable():
            text = os.path.join(directory, entry)
            yield Candidate(f"{text}/" if is_directory else text, whole=not is_directory)
