"""Our own libraries, when they are not what they should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from poireau.errors import Failure
from poireau.native.library import bound

NAME = "libpoireau-scan.so"


def test_a_library_of_another_version_is_told_in_a_line(
    compile_c: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POIREAUPY_NATIVE", str(tmp_path))
    shutil.copy(compile_c("int old(void) { return 7; }", ["-shared", "-fPIC"]), tmp_path / NAME)
    assert bound(NAME, {"old": (None, [])}).old is not None
    with pytest.raises(Failure, match=rf"{tmp_path}/{NAME} is of another version than this poireau: run `make build`"):
        bound(NAME, {"old": (None, []), "newer": (None, [])})
    (tmp_path / "none.so").write_bytes(b"no library")
    with pytest.raises(Failure, match=r"none.so can't be loaded: .*: run `make build`"):
        bound("none.so", {})
