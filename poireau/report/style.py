"""How wide a report may be, and whether it has colours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TextIO


@dataclass(frozen=True)
class Style:
    width: int | None = None  # None: as wide as it gets
    colours: bool = False

    @classmethod
    def of(cls, out: TextIO) -> Style:
        terminal = out.isatty()
        environment = os.environ
        forced = environment.get("CLICOLOR_FORCE", "0") not in ("", "0")
        colours = forced or (terminal and environment.get("TERM") != "dumb")
        return cls(
            shutil.get_terminal_size().columns if terminal else None, colours and not environment.get("NO_COLOR")
        )

    def wrapped(self, lines: Iterable[str]) -> Iterator[str]:
        """Between words."""
        import textwrap

        for line in lines:
            yield from textwrap.wrap(line, self.width) if self.width is not None else [line]

    def paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colours and colour and text else text
