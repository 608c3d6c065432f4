"""A copy of the part of a trace that says what is alive, made while the trace goes on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from poireau.errors import REFUSED, USAGE, Failure
from poireau.glimpse import HEADER, MAGIC, MOST_IN_FILE, PACKET, files_of, number_of
from poireau.roots import open_file

TRIES = 3
_MOST_METADATA = 1 << 20


def check_target(directory: Path) -> None:
    if os.path.lexists(directory):
        raise Failure(f"{directory} is there already", USAGE)
    if not directory.absolute().parent.is_dir():
        raise Failure(f"{directory.absolute().parent}: no such directory", USAGE)


def copy(trace: Path, first: int, directory: Path) -> list[str]:
    """Of the samples, the files from `first` on. Returns the names of what is in `directory` now."""
    for tries_left in reversed(range(TRIES)):
        try:
            directory.mkdir(mode=0o700)
            return _copy(trace, first, directory)
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            # Old files go as new ones come, which then hold what was alive in them.
            if not tries_left or not isinstance(error, FileNotFoundError):
                raise Failure(f"{trace} can't be copied to {directory}: {error.strerror}", REFUSED) from error
    raise AssertionError


def _copy(trace: Path, first: int, directory: Path) -> list[str]:
    with open_file(trace / "metadata") as file:
        (directory / "metadata").write_bytes(file.read(_MOST_METADATA))
    facts = files_of(trace, "facts")
    samples = [path for path in files_of(trace, "samples") if number_of(path) >= first]
    for path in (*facts, *samples):
        _copy_packets(path, directory / path.name)
    return sorted(os.listdir(directory))


def _copy_packets(source: Path, to: Path) -> None:
    with open_file(source) as reading, open(to, "xb") as writing:
        for _ in range(MOST_IN_FILE):
            # What a header says is there was there before it: so it is read first.
            header = reading.read(HEADER.size)
            rest = reading.read(PACKET - HEADER.size)
            if len(rest) != PACKET - HEADER.size or HEADER.unpack(header)[0] != MAGIC:
                break
            content = HEADER.unpack(header)[3] // 8
            writing.write(header + rest[: max(0, content - HEADER.size)].ljust(len(rest), b"\0"))
