"""What the commands share that draw: where to, in which form, and under pseudonyms maybe."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, BinaryIO

from poireau import asking, giving
from poireau.errors import USAGE, Failure
from poireau.text import as_size, plain

if TYPE_CHECKING:
    from poireau.model import Heap
    from poireau.selection import Selection

TEXTS = ("html", "svg", "folded", "csv")


def add_output(verb: argparse.ArgumentParser, forms: Sequence[str]) -> None:
    giving.add_common(verb)
    verb.add_argument("--format", choices=forms, help="rather than what FILE ends in")
    verb.add_argument("--json", action="store_true", help="print the same for a program; a picture only with -o")


def form_of(parsed: argparse.Namespace, forms: Sequence[str]) -> str:
    """What FILE ends in tells; a page, where there is none."""
    name = parsed.output or ""
    if parsed.json and name == "-":
        raise Failure("--json prints to standard output: name a FILE for the picture", USAGE)
    ending = os.path.splitext(name)[1][1:].lower()
    form = parsed.format or ("html" if name in ("", "-") else ending)
    if form not in forms:
        raise Failure(f"{name}: is it {', '.join(forms[:-1])} or {forms[-1]}? Let it end so, or add --format", USAGE)
    return form


def drawn(parsed: argparse.Namespace) -> bool:
    return not parsed.json or parsed.output is not None


def opened(parsed: argparse.Namespace, since: str | None, until: str | None) -> tuple[Heap, Selection]:
    original = asking.opened(parsed)
    # Regular expressions are about what things are really called.
    selection = asking.selection(parsed, original, since, until)
    heap, pseudonyms = giving.redacted(parsed, original)
    return heap, selection if pseudonyms is None else pseudonyms.selection(selection, original)


def both(
    parsed: argparse.Namespace, base: str, since: str | None, until: str | None
) -> tuple[tuple[Heap, Heap], tuple[Selection, Selection]]:
    """That trace, and the one that the command is about, under the same pseudonyms."""
    original = asking.opened(parsed, [base])
    selection = asking.selection(parsed, original, since, until)
    first, pseudonyms = giving.redacted(parsed, original)
    if pseudonyms is None:
        second, chosen = opened(parsed, since, until)
        return (first, second), (selection, chosen)
    from poireau.report import redact

    other = asking.opened(parsed)
    chosen = asking.selection(parsed, other, since, until)
    second = redact.redacted(other, pseudonyms)
    return (first, second), (pseudonyms.selection(selection, original), pseudonyms.selection(chosen, other))


def put(parsed: argparse.Namespace, form: str, heap: Heap | None, write: Callable[[BinaryIO], object]) -> None:
    """Into the file that was named, or one that says whose heap it is; and says where, and how large it is."""
    from poireau.report import output

    name = parsed.output or (f"{parsed.verb}-%e-%p.{form}" if heap is not None else f"{parsed.verb}.{form}")
    if heap is not None:
        name = output.named(name, heap)
    with output.opened(name, form not in TEXTS, parsed.force) as out:
        write(out)
    if name != output.STANDARD:
        print(f"{plain(name)}: {as_size(os.path.getsize(name))}", file=sys.stderr)
