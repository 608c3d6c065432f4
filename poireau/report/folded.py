"""Folded stacks, one a line: `root;...;leaf bytes`. What FlameGraph, inferno, speedscope, Pyroscope and Perfetto read.

Bytes are estimates, rounded so that totals are right. Stacks that read the same are one.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from poireau.naming import NO_STACK
from poireau.report.sums import whole
from poireau.views import View

_PARTS = str.maketrans({";": ":", "\n": " ", "\r": " ", "\t": " ", "\0": " "})  # what would tell frames or lines apart


def write(view: View, out: BinaryIO) -> None:
    folded: dict[str, int] = {}
    stacks = view.stacks
    assert stacks is not None
    names = [name.translate(_PARTS).strip() or "?" for name in stacks.names.functions]
    functions = np.asarray(stacks.names.function, np.int64)[stacks.places]
    numbers = view.table["stack"].to_numpy()
    begins, ends = stacks.begins[numbers].tolist(), stacks.ends[numbers].tolist()
    for begin, end, value in zip(begins, ends, whole(view.table["bytes"].to_numpy(np.float64)).tolist()):
        line = ";".join([names[function] for function in functions[begin:end][::-1].tolist()]) or NO_STACK
        folded[line] = folded.get(line, 0) + value
    for line, value in folded.items():
        if value > 0:
            out.write(f"{line} {value}\n".encode("utf-8", "replace"))
