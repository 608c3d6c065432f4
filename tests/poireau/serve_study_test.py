"""What pages ask for of a trace that is too long to have at hand is told without reading it again and again."""

from __future__ import annotations

from typing import Any

import pytest

from poireau import serve_study
from poireau.serve_study import Study
from tests.poireau.histories import BEGIN, SECOND, History


class Trace(History):
    def close(self) -> None:
        pass


def view(picture: Any, key: str) -> dict[str, Any]:
    return next(each for each in picture["views"] if each["key"] == key)


@pytest.mark.parametrize("kept", [0, 48 << 20])
def test_a_flamegraph_of_a_moment_is_the_same_whether_all_is_at_hand(
    monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    trace = Trace()
    trace.process(12)
    for id in range(1, 60):
        trace.alloc(id, size=1000, time=id * SECOND, stack=f"f{id % 3};main")
        if id > 10:
            trace.free(id - 10, time=id * SECOND)
    trace.alloc(100, size=1, time=90 * SECOND, stack="last;main")
    monkeypatch.setattr(serve_study, "KEPT", kept)
    monkeypatch.setattr(serve_study, "opened", lambda _: (trace, trace.symbolize))
    study = Study()
    now = study.flame("/trace", None, None)
    assert view(now, "in-use")["bytes"]["value"][0] == 10_001
    begun = trace.passes
    then = study.flame("/trace", None, (BEGIN + 5 * SECOND) // 1_000_000 + 500)
    assert view(then, "in-use")["bytes"]["value"][0] == 5_000
    if kept:
        assert now["times"] and len(now["views"]) > 4
    else:
        assert (now["times"], now["cells"], [each["key"] for each in now["views"]]) == (None, None, ["in-use"])
        assert begun == 1 and trace.passes <= 3 and "a long trace" in now["lines"][-1]
