"""What `doctor` says of the machine says what to do about it."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from poireau import doctor_machine, doctor_process, layout
from poireau.finding import NOTE, OK, PROBLEM, Finding
from tests.conftest import ROOT, clean_environment


def of(findings: list[Finding], about: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.about == about]
    return finding


def examine(root: Path = Path("/"), **environment: str) -> list[Finding]:
    return list(doctor_machine.examine(clean_environment(**environment), layout.PACKAGE, root))


def test_every_part_is_looked_at_and_none_of_it_is_fatal() -> None:
    findings = examine()
    assert PROBLEM not in {finding.level for finding in findings}
    about = "guard markers, userfaultfd calls, scanning, file size, core dumps, traces, LTTng, symbols, Python"
    assert set(about.split(", ")) <= {finding.about for finding in findings}


@pytest.mark.parametrize(
    ("scope", "able", "level", "words"),
    [
        ("0", False, OK, "this user's processes"),
        ("1", False, NOTE, "only that of our own children: as root"),
        ("2", False, NOTE, "only with CAP_SYS_PTRACE"),
        ("3", False, NOTE, "nobody may"),
        ("2", True, OK, "every process"),
        ("3", True, NOTE, "nobody may"),
    ],
)
def test_who_may_read_memory_is_told_as_the_kernel_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str, able: bool, level: str, words: str
) -> None:
    path = tmp_path / "proc/sys/kernel/yama/ptrace_scope"
    path.parent.mkdir(parents=True)
    path.write_text(scope + "\n")
    monkeypatch.setattr(doctor_machine, "_capabilities", lambda: -1 if able else 0)
    finding = of(examine(tmp_path), "scanning")
    assert finding.level == level and words in finding.text


def test_where_traces_go_has_to_be_there_and_have_room(tmp_path: Path) -> None:
    finding = of(examine(POIREAU_TRACE=str(tmp_path / "new" / "one")), "traces")
    assert f"{tmp_path}/new/one (made when needed), " in finding.text and finding.text.count("free") == 1
    (tmp_path / "file").touch()
    finding = of(examine(POIREAU_TRACE=str(tmp_path / "file" / "below")), "traces")
    assert (finding.level, "can't be written to: name another" in finding.text) == (NOTE, True)


def test_limits_of_files_are_told() -> None:
    code = (
        "import resource; from poireau import doctor_machine\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
        "from pathlib import Path\n"
        "print(doctor_machine._file_size().text); print(doctor_machine._cores(Path('/')).text)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "at most 1MiB: traces lose what doesn't fit" in said and "none are written here" in said
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1 << 20


def test_a_process_without_the_library_is_a_problem_with_its_remedy() -> None:
    findings = list(doctor_process.examine(os.getpid(), ROOT / "nothing.so"))
    assert of(findings, "process").level == OK
    finding = of(findings, "preload")
    assert finding.level == PROBLEM and "is not preloaded; restart with: poireau run -- " in finding.text
    (gone,) = doctor_process.examine(4194303, ROOT / "nothing.so")
    assert gone.level == PROBLEM and "no such process" in gone.text
