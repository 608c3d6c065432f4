"""Colours of pictures, by what they are of: the same function has the same colour in every picture, on every machine.

The hues are Paul Tol's light scheme, made to be told apart by people who are colour-blind and to be written upon; each
has four shades. flamegraph/src/colour.ts has the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

HUES = ("#77aadd", "#ee8866", "#44bb99", "#eedd88", "#ffaabb", "#99ddff", "#b9cc5a", "#c9a8dd")
SHADES = (0.0, 0.14, 0.28, 0.42)  # of the paper's colour in them
_LIGHT = {"paper": "#ffffff", "ink": "#1c2430", "faint": "#66707c", "rule": "#dde1e6", "rest": "#c8cdd4"}
_DARK = {"paper": "#14181e", "ink": "#e8ebef", "faint": "#98a2ae", "rule": "#2c333c", "rest": "#454d57"}
# In the dark: how much of the paper is in each hue, so that all can be written upon and none is gloomy.
_DIM = (0.44, 0.43, 0.44, 0.59, 0.52, 0.59, 0.52, 0.48)
_DARK_SHADES = (0.0, 0.11, 0.22, 0.33)


def _mixed(colour: str, other: str, share: float) -> str:
    parts = zip(*([int(each[at : at + 2], 16) for at in (1, 3, 5)] for each in (colour, other)))
    return "#" + "".join(f"{round(one + (two - one) * share):02x}" for one, two in parts)


def _scheme(own: Mapping[str, str], dim: Sequence[float], by: Sequence[float]) -> dict[str, str]:
    hues = [_mixed(hue, own["paper"], share) for hue, share in zip(HUES, dim)]
    shades = {
        f"f{4 * n + m}": _mixed(hue, own["paper"], share) for n, hue in enumerate(hues) for m, share in enumerate(by)
    }
    return {**own, **shades}


LIGHT: Mapping[str, str] = _scheme(_LIGHT, [0.0] * len(HUES), SHADES)
DARK: Mapping[str, str] = _scheme(_DARK, _DIM, _DARK_SHADES)
"""What a colour is called -> what it is."""


def index(name: str) -> int:
    """Of a function, or of what else a band or a box is of: from 0 to 31, in whichever picture."""
    return _number(name) % (len(HUES) * len(SHADES))


def of_name(name: str) -> str:
    """The name of its colour."""
    return f"f{index(name)}"


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "little")
