"""What words on the command line mean, for `cli` and the shell alike: the parsers of all commands put together, and
complaints of one line that say what was meant.

A parser knows only the commands it is asked for, so that `poireau lib` imports what `lib` needs and nothing else.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from poireau import commands
from poireau.errors import NOT_EXECUTABLE, USAGE, Failure
from poireau.version import __version__

PROGRAM = "poireau"
START = (
    ("run -- ./server", "your program, its output, its status"),
    ("leaks", "what leaks, by line, in bytes an hour"),
    ("flame -o heap.html", "what is in use; stream -o: over time"),
    ("ctl PID set sample_period 64K", "look closer while it runs"),
    ("run --protect all -- ./tests", "catch memory errors; then `errors`"),
)
HEAD = "Where a native program's heap goes, what leaks, and who corrupts it."
ABOUT = (
    "A TRACE is a pid, or the path of a trace, a run, many runs or a pack, or the name of a program that left one, or "
    "net://host/...; without any it is the newest run. `poireau FILE` opens FILE, and without anything this is a shell."
)
STATUS = (
    "Exit status: 0 done; 1 something was found, or refused; 2 wrong use, or not preloaded; 3 incomplete (--strict), "
    "or no answer in time; 125 we failed; 126, 127 a program can't be run, isn't there; 128+n ended by signal n."
)


class Parser(argparse.ArgumentParser):
    """Takes words and options in any order, and raises Failure instead of printing how to use it and leaving."""

    _mixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Before Python 3.12 what comes after an option would be no TRACE any more."""
        fixed = any(each.nargs in (argparse.PARSER, argparse.REMAINDER) for each in self._get_positional_actions())
        if fixed or self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False

    def error(self, message: str) -> NoReturn:
        start, required, names = message.partition("required: ")
        if required:  # of a TRACE there may be none
            needless = [str(each.metavar) for each in self._actions if each.nargs in ("*", "?")]
            message = start + required + ", ".join(name for name in names.split(", ") if name not in needless)
        raise Failure(f"{_verb(self)}{message.removeprefix('argument ')} {_more(self)}", USAGE)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        what = "/".join(action.option_strings) or action.metavar or action.dest
        hint = meant(value, action.choices) or f"it takes {', '.join(map(str, action.choices))}"
        raise Failure(f"{_verb(self)}{what} takes no {value}: {hint}", USAGE)


class _Main(Parser):
    def format_help(self) -> str:
        verbs = verbs_of(self)
        lines = [f"usage: {PROGRAM} COMMAND [options]     {PROGRAM} help COMMAND explains one", "", HEAD, ""]
        lines += [f"  {f'{PROGRAM} {words}':<37}  {what}" for words, what in START]
        helps = {each.dest: each.help or "" for each in verbs._choices_actions}
        for title, names in (("every day", commands.EVERYDAY), ("more", commands.MORE)):
            lines += ["", f"{title}:", *(f"  {name:<11} {helps[name]}" for name in names if name in helps)]
        import shutil
        import textwrap

        for text in (ABOUT, STATUS):
            lines += ["", *textwrap.wrap(text, min(shutil.get_terminal_size().columns, 100))]
        return "\n".join(lines) + "\n"

    def format_usage(self) -> str:
        return f"usage: {PROGRAM} COMMAND [options]\n"


def parser(names: Iterable[str] = commands.NAMES) -> Parser:
    """Of these commands."""
    made = _Main(prog=PROGRAM, allow_abbrev=False)
    made.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}", help="say which")
    verbs: Any = made.add_subparsers(dest="verb", metavar="COMMAND", parser_class=Parser)
    for name in names:
        commands.add_to(verbs, name)
    return made


def verbs_of(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    return next(each for each in parser._actions if isinstance(each, argparse._SubParsersAction))


def parse(words: Sequence[str]) -> argparse.Namespace:
    """`verb` is None where there is none. Raises Failure, and SystemExit behind --help and --version."""
    # argparse would take the program's own options for ours, and each Python treats a -- differently.
    ours, separator, theirs = _split(_translated(list(words)))
    verb = next((word for word in ours if not word.startswith("-")), None)
    if verb is not None and verb not in commands.NAMES:
        raise _no_command(verb)
    helped = verb is None and ("-h" in ours or "--help" in ours)
    whole = parser(commands.NAMES if helped else [] if verb is None else [verb])
    parsed = argparse.Namespace()
    _, unknown = whole.parse_known_args(ours, parsed)
    if unknown:
        raise _unknown(whole, parsed.verb, unknown[0])
    if parsed.verb == "run":
        parsed.command = [*parsed.command, *([separator] if parsed.command and separator else []), *theirs]
        if not parsed.command:
            raise Failure("run: which program? For example: run -- ls -l", USAGE)
    elif "command" in parsed and separator:  # `check` runs one too
        parsed.command = [*parsed.command, *theirs]
    elif separator:
        raise Failure(f"{parsed.verb or PROGRAM} takes nothing after --", USAGE)
    return parsed


def _translated(words: list[str]) -> list[str]:
    """`help VERB` is VERB --help, and what can be opened is a TRACE of `top`."""
    if not words or words[0].startswith("-") or words[0] in commands.NAMES:
        return words
    if words[0] == "help":
        return [*words[1:2], "--help"]
    if opens(words[0]):
        return ["top", *words]
    return words


def opens(word: str) -> bool:
    """Whether it is no command, but something to look at. Raises Failure: it is a program."""
    if word in commands.NAMES:
        return False
    if (word.isascii() and word.isdecimal()) or word.startswith(("net://", "net4://", "net6://")):
        return True
    if os.path.isfile(word) and os.access(word, os.X_OK):
        raise Failure(f"{word} is a program: run it with `{PROGRAM} run -- {word}`", NOT_EXECUTABLE)
    return os.path.exists(word)


def _no_command(word: str) -> Failure:
    kind = "command or file" if "/" in word or "." in word else "command"
    return Failure(f"there is no {kind} {word}: {meant(word, commands.NAMES) or f'{PROGRAM} help lists them'}", USAGE)


def meant(word: object, known: Iterable[object], before: str = "") -> str:
    """A question, or nothing if nothing is near. `before`: what all of them begin with."""
    import difflib

    near = difflib.get_close_matches(str(word), [str(each) for each in known], n=1, cutoff=0.65)
    return f"did you mean {before}{near[0]}?" if near else ""


def _unknown(whole: Parser, verb: str | None, word: str) -> Failure:
    of = whole if verb is None else verbs_of(whole).choices[verb]
    name = word.partition("=")[0]
    if not word.startswith("-"):
        return Failure(f"{_verb(of)}{word} is a word too many {_more(of)}", USAGE)
    flags = [flag[2:] for action in of._actions for flag in action.option_strings if flag.startswith("--")]
    hint = meant(name.lstrip("-"), flags, "--") or _more(of)[1:-1]
    return Failure(f"{_verb(of)}there is no option {name}: {hint}", USAGE)


def _verb(parser: argparse.ArgumentParser) -> str:
    """ "top: ", or nothing."""
    verb = parser.prog.partition(" ")[2]
    return f"{verb}: " if verb else ""


def _more(parser: argparse.ArgumentParser) -> str:
    return f"(see {PROGRAM} help {parser.prog.partition(' ')[2]}".rstrip() + ")"


def _split(given: list[str]) -> tuple[list[str], str, list[str]]:
    at = given.index("--") if "--" in given else len(given)
    return given[:at], "--" if at < len(given) else "", given[at + 1 :]


def is_script() -> bool:
    """Whether what is on standard input has been put there: a file or a pipe."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def is_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
