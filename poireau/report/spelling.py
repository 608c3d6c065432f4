"""Names of C++ as people write them."""

from __future__ import annotations

import re

from poireau.text import plain

_LONGEST = 4096  # characters of a name that is looked at
_INLINE = r"std::(?:__cxx11::|__1::)?"  # the standard library's own version of itself
_OF_CHAR = re.compile(rf"{_INLINE}basic_(\w+)<char(?:, {_INLINE}char_traits<char>)?(?:, {_INLINE}allocator<char>)? ?>")
_ALLOCATOR = re.compile(rf", {_INLINE}allocator<(?:[^<>]|<[^<>]*>)*> ?(?=>)")


def as_written(name: str) -> str:
    """std::string and std::vector<int>, rather than what these stand for; fit for a terminal."""
    if "std::" not in name or len(name) > _LONGEST:
        return plain(name)
    name = _OF_CHAR.sub(r"std::\1", name)
    shorter = _ALLOCATOR.sub("", name)
    while shorter != name:
        name, shorter = shorter, _ALLOCATOR.sub("", shorter)
    return plain(name)
