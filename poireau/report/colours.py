"""Colours of pictures, by what they are of: the same function has the same colour in every picture, on every machine.

The hues are Paul Tol's light scheme, made to be told apart by people who are colour-blind and to be written upon. Whose
code it is gives the hue, and the function a shade of it. Bands of a stream are side by side and have hues of their own:
the first one by name that no other has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

HUES = ("#77aadd", "#ee8866", "#44bb99", "#eedd88", "#ffaabb", "#99ddff", "#b9cc5a", "#c9a8dd")
SHADES = (0.0, 0.14, 0.28, 0.42)  # of the paper's colour in them
BANDS = 2 * len(HUES)
_LIGHT = {"paper": "#ffffff", "ink": "#1c2430", "faint": "#66707c", "rule": "#dde1e6", "rest": "#c8cdd4"}
_DARK = {"paper": "#14181e", "ink": "#e8ebef", "faint": "#98a2ae", "rule": "#2c333c", "rest": "#454d57"}
_DIM = 0.58  # how much of the paper is in every hue, in the dark


def _mixed(colour: str, other: str, share: float) -> str:
    parts = zip(*([int(each[at : at + 2], 16) for at in (1, 3, 5)] for each in (colour, other)))
    return "#" + "".join(f"{round(one + (two - one) * share):02x}" for one, two in parts)


def _scheme(own: Mapping[str, str], dim: float) -> dict[str, str]:
    hues = [_mixed(hue, own["paper"], dim) for hue in HUES]
    shades = {
        f"f{4 * n + m}": _mixed(hue, own["paper"], by) for n, hue in enumerate(hues) for m, by in enumerate(SHADES)
    }
    deep = [_mixed(hue, own["paper"] if dim else "#4a4a4a", 0.25) for hue in hues]
    return {**own, **shades, **{f"b{number}": colour for number, colour in enumerate([*hues, *deep])}}


LIGHT: Mapping[str, str] = _scheme(_LIGHT, 0.0)
DARK: Mapping[str, str] = _scheme(_DARK, _DIM)
"""What a colour is called -> what it is."""


def of_function(function: str, module: str) -> str:
    """The name of its colour."""
    return f"f{len(SHADES) * (_number(module) % len(HUES)) + _number(function) % len(SHADES)}"


def of_module(module: str) -> str:
    return f"f{len(SHADES) * (_number(module) % len(HUES)) + 1}"


def of_bands(names: Iterable[str]) -> list[str]:
    """Of each, no two the same while there are enough."""
    taken: set[int] = set()
    found = []
    for name in names:
        wanted = _number(name) % BANDS
        free = (at % BANDS for at in range(wanted, wanted + BANDS) if at % BANDS not in taken)
        number = next(free, wanted)
        taken.add(number)
        found.append(f"b{number}")
    return found


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogateescape"), digest_size=4).digest(), "little")
