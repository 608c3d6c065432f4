"""Which part of a heap a question is about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """Times are nanoseconds since 1970; None: from the beginning, to the end."""

    since: int | None = None
    until: int | None = None
    processes: tuple[int, ...] = ()  # numbers; none: all
    threads: tuple[str, ...] = ()  # names or ids; none: all
    focus: str = ""  # regular expressions, searched in functions, files and modules: stacks that have such a frame
    ignore: str = ""  # stacks that have none
    hide: str = ""  # frames that are left out
