"""`man`: manual pages in roff, poireau(1) and one of each command, made of the parsers themselves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from poireau import parsing
from poireau.errors import USAGE, Failure
from poireau.version import __version__

if TYPE_CHECKING:
    from poireau.grammar import Verb, Word

_FILES = (
    ("/etc/poireau.toml, ~/.config/poireau/config.toml", "Options of the library, the later winning (poireau config)."),
    ("~/.local/state/poireau/traces", "Traces, where neither the option trace nor $STATE_DIRECTORY says otherwise."),
    ("~/.cache/poireau/symbols", "Names of functions that have been looked up."),
)
_ENVIRONMENT = (
    ("POIREAU_<OPTION>", "An option of the library, in upper case: POIREAU_SAMPLE_PERIOD=64KiB."),
    ("POIREAU_CONFIG", "A file of options, by its absolute path."),
    ("NO_COLOR, CLICOLOR_FORCE", "Never, or always, use colours."),
    ("DEBUGINFOD_URLS", "Servers that --debuginfod asks for the names of functions."),
)


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "man",
        help="a manual page, of all of it or of a command",
        description="Prints poireau(1), or poireau-COMMAND(1), for man -l: poireau man top | man -l -",
    )
    verb.add_argument("command_of_it", metavar="COMMAND", nargs="?", help="of that command")
    verb.add_argument("--all", metavar="DIR", type=Path, help="write all of them into DIR, which is made")
    verb.set_defaults(act=_act)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import grammar

    verbs = grammar.verbs()
    pages = {parsing.PROGRAM: _whole(verbs), **{f"{parsing.PROGRAM}-{verb.name}": _page(verb) for verb in verbs}}
    if parsed.all is not None:
        parsed.all.mkdir(parents=True, exist_ok=True)
        for name, lines in pages.items():
            (parsed.all / f"{name}.1").write_text("\n".join(lines) + "\n")
        return 0
    wanted = parsing.PROGRAM if parsed.command_of_it is None else f"{parsing.PROGRAM}-{parsed.command_of_it}"
    if wanted not in pages:
        hint = parsing.meant(parsed.command_of_it, (verb.name for verb in verbs)) or "poireau help lists them"
        raise Failure(f"there is no command {parsed.command_of_it}: {hint}", USAGE)
    sys.stdout.write("\n".join(pages[wanted]) + "\n")
    return 0


def _whole(verbs: list[Verb]) -> Iterator[str]:
    from poireau.commands import EVERYDAY
    from poireau.schemas import SCHEMAS

    yield from _head(parsing.PROGRAM, parsing.HEAD)
    yield from _section("SYNOPSIS", [f".B {parsing.PROGRAM}", ".I COMMAND", "[options]"])
    yield from _section("DESCRIPTION", [_text(parsing.ABOUT)])
    for words, what in parsing.START:
        yield from _tagged(f"\\fB{_text(f'{parsing.PROGRAM} {words}')}\\fR", what)
    for title, day in (("EVERYDAY COMMANDS", True), ("MORE COMMANDS", False)):
        yield from _section(title, [])
        for verb in verbs:
            if (verb.name in EVERYDAY) == day:
                yield from _tagged(f"\\fB{_text(parsing.PROGRAM)}\\-{_text(verb.name)}\\fR(1)", verb.help)
    yield from _section("EXIT STATUS", [_text(parsing.STATUS)])
    for title, rows in (("ENVIRONMENT", _ENVIRONMENT), ("FILES", _FILES)):
        yield from _section(title, [])
        for name, what in rows:
            yield from _tagged(f"\\fB{_text(name)}\\fR", what)
    yield from _section("JSON", [_text("With --json there is one object, with its schema and a version, 1 so far:")])
    for schema, what in SCHEMAS.items():
        yield from _tagged(f"\\fB{_text(schema)}\\fR", what)


def _page(verb: Verb) -> Iterator[str]:
    yield from _head(f"{parsing.PROGRAM}-{verb.name}", verb.help)
    yield from _section("SYNOPSIS", [_usage(verb)])
    for each in verb.below:
        yield from (".br", _usage(each))
    yield from _section("DESCRIPTION", list(_paragraphs(verb.description or verb.help)))
    yield from _words(verb, "OPTIONS")
    for each in verb.below:
        yield from _section(f"{parsing.PROGRAM} {each.name}".upper(), list(_paragraphs(each.description or each.help)))
        yield from _words(each, "")
    if verb.epilog:
        yield from _section("NOTES", list(_paragraphs(verb.epilog)))
    yield from _section("SEE ALSO", [f".BR {parsing.PROGRAM} (1)"])


def _usage(verb: Verb) -> str:
    return _text(verb.usage).replace(",", ",\\:")  # where a line may end


def _words(verb: Verb, title: str) -> Iterator[str]:
    if title:
        yield from _section(title, [])
    for word in verb.words:
        yield from _tagged(_name(word), _told(word))


def _name(word: Word) -> str:
    value = f"\\fI{_text(word.metavar)}\\fR"
    if not word.flags:
        return value
    return ", ".join(f"\\fB{_text(flag)}\\fR" for flag in word.flags) + (f" {value}" if word.metavar else "")


def _told(word: Word) -> str:
    return "; ".join(filter(None, (word.help, f"one of {', '.join(word.choices)}" if word.choices else "")))


def _head(name: str, what: str) -> Iterator[str]:
    yield f'.TH {_quoted(name.upper())} 1 "" {_quoted(f"Poireau {__version__}")} "User Commands"'
    yield from (".nh", ".ad l", ".SH NAME", f"{_text(name)} \\- {_text(what.rstrip('.'))}")


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield f".SH {_quoted(title)}"
    yield from lines


def _tagged(tag: str, text: str) -> Iterator[str]:
    yield from (".TP", tag, _text(text) or "\\&")


def _paragraphs(text: str) -> Iterator[str]:
    """Lines that are set in stay lines, such as tables."""
    for number, paragraph in enumerate(text.strip().split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith("  "):
            yield from (".nf", *map(_text, paragraph.split("\n")), ".fi")
        else:
            yield _text(" ".join(paragraph.split()))


def _text(text: str) -> str:
    """As it stands: nothing in it is roff's."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    escaped = escaped.replace("~", "\\(ti").replace("^", "\\(ha")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def _quoted(text: str) -> str:
    return '"' + _text(text).replace('"', "\\(dq") + '"'
