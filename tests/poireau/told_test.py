"""Names from several places."""

from __future__ import annotations

import numpy as np

from poireau.tables import Loss, Names
from poireau.told import joined


def names(functions: list[list[str]], files: list[str], loss: str = "") -> Names:
    """Of frames: the functions inlined at each, all in the last of `files`."""
    texts = list(dict.fromkeys(each for frame in functions for each in frame))
    rows = [texts.index(each) for frame in functions for each in frame]
    ends = np.cumsum([len(frame) for frame in functions])
    zeros = np.zeros(len(rows), np.uint32)
    missing = [Loss(0, loss, 1)] if loss else []
    return Names(
        ends, np.array(rows, np.uint32), zeros + len(files) - 1, zeros + 7, zeros == 1, texts, ["", *files[1:]], missing
    )


def test_each_frame_has_the_names_of_the_first_that_knows_it_and_a_text_has_one_number() -> None:
    pack = names([["a", "main"], [], ["b"]], ["", "pack.c"], "of the pack")
    found = names([["x"], ["main"], ["y"], ["z", "main"]], ["", "found.c"], "of the other")
    merged = joined(5, [(pack, np.array([2, 3, 0])), (found, np.array([0, 1, 2, 3]))])
    said = []
    for begin, end in zip([0, *merged.ends[:-1].tolist()], merged.ends.tolist()):
        said.append(
            [(merged.functions[merged.function[row]], merged.files[merged.file[row]]) for row in range(begin, end)]
        )
    assert said == [
        [("b", "pack.c")],
        [("main", "found.c")],
        [("a", "pack.c"), ("main", "pack.c")],
        [("z", "found.c"), ("main", "found.c")],
        [],
    ]
    assert len(set(merged.functions)) == len(merged.functions) and merged.files[0] == ""
    assert [loss.cause for loss in merged.missing] == ["of the pack", "of the other"]
