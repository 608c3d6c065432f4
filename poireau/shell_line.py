"""A line of the shell: words, as a POSIX shell quotes them, and where what is printed goes. `|` and `>` mean something
where a word begins, or behind the first, so that a regular expression may hold them: `top --focus a|b`, but
`top | head` and `top|head`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from poireau.errors import USAGE, Failure


@dataclass(frozen=True)
class Line:
    words: tuple[str, ...] = ()
    pipe: str = ""  # a command of /bin/sh that reads what is printed
    file: str = ""  # that it is written to
    append: bool = False
    background: bool = False  # it ends in &


def parse(text: str) -> Line:
    """Raises Failure: a quote is open."""
    end, rest = _end_of_words(text)
    words = split(text[:end])
    background = bool(words) and words[-1] == "&" and not rest
    if background:
        words.pop()
    if rest.startswith("|"):
        if not rest[1:].strip():
            raise Failure("| what? For example: top | head", USAGE)
        return Line(tuple(words), pipe=rest[1:].strip())
    if rest.startswith(">"):
        names = split(rest.lstrip(">"))
        background = names[-1:] == ["&"]
        names = names[: len(names) - background]
        if len(names) != 1:
            raise Failure("> which file? For example: top > top.txt", USAGE)
        return Line(tuple(words), file=names[0], append=rest.startswith(">>"), background=background)
    return Line(tuple(words), background=background)


def split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise Failure(f"{text.strip()}: {str(error).lower()}", USAGE) from error


def unquoted(text: str) -> str:
    """What was given whole, as regular expressions are: without the quotes around it."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _end_of_words(text: str) -> tuple[int, str]:
    """Where the words end, and what comes then."""
    quote, escaped, begins, first = "", False, True, True
    for at, character in enumerate(text):
        if escaped:
            escaped, begins = False, first
        elif quote:
            escaped = character == "\\" and quote == '"'
            quote = "" if character == quote else quote
        elif begins and character in "|>":
            return at, text[at:]
        elif begins and character == "#":
            return at, ""
        else:
            escaped = character == "\\"
            quote = character if character in "'\"" else ""
            first = first and not character.isspace()
            begins = first or character.isspace()
    return len(text), ""
