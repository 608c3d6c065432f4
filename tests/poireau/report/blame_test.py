from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from poireau.report.blame import blame


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "below/a.c").write_text("one\ntwo\n")
    who = ["-c", "user.name=Ann \x1b[31m Author", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "--no-verify", "-m", "Two lines"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    return tmp_path


def row(file: object, line: int) -> dict[str, Any]:
    return {"file": str(file), "line": line}


def test_a_line_has_a_commit_an_author_and_a_date(repository: Path) -> None:
    said = blame(row(repository / "below/a.c", 2))
    commit = subprocess.run(
        ["git", "-C", repository, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout
    assert said.startswith(f"blame: {commit[:10]} Ann ") and said.endswith(": Two lines") and "\x1b" not in said


def test_where_there_is_nothing_to_tell_nothing_is_told(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "b.c"
    elsewhere.write_text("one\n")
    (repository / "new.c").write_text("one\n")
    nothing = [("a.c", 1), ("", 0), ("/none/a.c", 1), (repository / "below/a.c", 99), (repository / "below/a.c", 0)]
    assert [blame(row(*each)) for each in [*nothing, (elsewhere, 1), (repository / "new.c", 1)]] == [""] * 7
    (repository / "below/a.c").write_text("one\nchanged\n")
    assert blame(row(repository / "below/a.c", 2)) == "blame: not committed yet"


def test_nobody_elses_program_is_run(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    for name in ("core.pager", "core.fsmonitor", "pager.blame", "core.editor", "diff.x.textconv"):
        subprocess.run(["git", "-C", repository, "config", name, str(trap)], check=True)
    (repository / ".gitattributes").write_text("*.c diff=x\n")
    monkeypatch.setenv("GIT_PAGER", str(trap))
    monkeypatch.setenv("GIT_DIR", "/none")
    assert blame(row(repository / "below/a.c", 1)) and not (tmp_path / "sprung").exists()
