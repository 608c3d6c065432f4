"""What the commands share that hand a heap on in files: where to, and under pseudonyms maybe."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from poireau import asking
from poireau.errors import USAGE, Failure

if TYPE_CHECKING:
    from poireau.model import Heap
    from poireau.report.redact import Pseudonyms

REDACTION = (
    "Under --redact the names of functions, source files, modules, executables, threads and hosts, directories and the "
    "values of options are pseudonyms, and addresses in memory are left out. Numbers, times and structure stay, as do "
    "build ids and offsets in modules: whoever has the same binaries can look functions up by them. The key of the "
    "pseudonyms is made anew each time and forgotten, unless --redact-key names a file to keep it in."
)


def add_redaction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--redact", action="store_true", help="pseudonyms for all names (see below)")
    parser.add_argument("--redact-key", metavar="FILE", type=Path, help="their key; made if FILE isn't there")


def add_common(parser: argparse.ArgumentParser) -> None:
    asking.add_targets(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="%%p, %%e, %%h, %%t in it: pid, program, host, time")
    parser.add_argument("-f", "--force", action="store_true", help="FILE may be there already")
    asking.add_strict(parser)
    add_redaction(parser)


def redacted(parsed: argparse.Namespace, heap: Heap) -> tuple[Heap, Pseudonyms | None]:
    """If that is asked for."""
    from poireau.report import redact

    if not parsed.redact:
        if parsed.redact_key is not None:
            raise Failure("--redact-key is for --redact", USAGE)
        return heap, None
    key = redact.new_key() if parsed.redact_key is None else redact.key_of(parsed.redact_key)
    pseudonyms = redact.Pseudonyms(key)
    return redact.redacted(heap, pseudonyms), pseudonyms
