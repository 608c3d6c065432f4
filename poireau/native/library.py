"""Our native libraries, by ctypes."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from typing import Any

from poireau import layout
from poireau.errors import Failure


def bound(name: str, functions: Mapping[str, tuple[Any, Sequence[Any]]]) -> ctypes.CDLL:
    """With the results and arguments of these functions. Raises Failure: it can't be loaded, or is another version."""
    path = layout.native(name)
    remedy = "run `make build`" if layout.in_checkout() else "run `make install` again"
    try:
        library = ctypes.CDLL(os.fspath(path))
    except OSError as error:
        raise Failure(f"{name} can't be loaded: {error}: {remedy}") from None
    for function, (result, arguments) in functions.items():
        try:
            entry = getattr(library, function)
        except AttributeError:
            raise Failure(f"{path} is of another version than this poireau: {remedy}") from None
        entry.restype, entry.argtypes = result, arguments
    return library
