"""Memory of a process that goes on for days: what was needed for a moment is given back to the system."""

from __future__ import annotations

import contextlib
import ctypes

_ARENA_MAX = -8  # <malloc.h>


def keep_little() -> None:
    """Before there are threads: each would otherwise have room of its own."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)


def give_back() -> None:
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
