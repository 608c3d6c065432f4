"""`doctor`: each thing that can stand in the way is said, and only what does is called a problem."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from poireau import doctor, guards, layout
from poireau.finding import NOTE, OK, PROBLEM, Finding
from tests.conftest import Exercised, clean_environment

EMPTY_MAIN = "int main(void) { return 0; }"
QUIET = "int quiet;"
TALKING = """
#include <unistd.h>
__attribute__((constructor)) static void start(void) { write(2, "poireau: here\\n", 14); }
"""
DYING = "#include <stdlib.h>\n__attribute__((constructor)) static void start(void) { _Exit(9); }"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Where the package would lie in an empty install tree."""
    (tmp_path / "lib").mkdir()
    return tmp_path / "lib" / "poireau" / "python" / "poireau"


@pytest.fixture
def install(package: Path, compile_c: Callable[..., Path]) -> Callable[..., None]:
    """Puts a stand-in for the library there, which does as little as its source says."""

    def put(source: str = TALKING, extensions: bool = True) -> None:
        built = compile_c(source, ["-shared", "-fPIC"])
        names = [layout.LIBRARY, *(map(layout.extension, layout.FAMILIES) if extensions else [])]
        for name in names:
            shutil.copy(built, package.parents[2] / name)

    return put


def about(findings: list[Finding], subject: str) -> list[Finding]:
    return [finding for finding in findings if finding.about == subject]


def only(findings: list[Finding], subject: str) -> Finding:
    (finding,) = about(findings, subject)
    return finding


def examine(package: Path, program: str | Path | None = None, **environment: str) -> list[Finding]:
    return doctor.examine(None if program is None else str(program), clean_environment(**environment), package)


def test_a_working_library_is_fine_and_its_own_line_is_shown(package: Path, install: Callable[..., None]) -> None:
    install()
    findings = examine(package)
    assert doctor.healthy(findings)
    assert only(findings, "loading") == Finding(OK, "loading", "poireau: here")
    subjects = "C library, kernel, LD_PRELOAD, open files, address space, data segment, seccomp, mappings, overcommit"
    assert set(subjects.split(", ")) <= {f.about for f in findings}


def test_a_missing_library_is_a_problem(package: Path) -> None:
    findings = examine(package)
    assert not doctor.healthy(findings)
    assert only(findings, "library").level == PROBLEM


def test_a_broken_library_is_a_problem(package: Path) -> None:
    (package.parents[2] / layout.LIBRARY).write_bytes(b"\x7fELF" + bytes(100))
    assert only(examine(package), "library").level == PROBLEM


def test_a_library_that_ends_programs_is_a_problem(package: Path, install: Callable[..., None]) -> None:
    install(DYING)
    finding = only(examine(package), "loading")
    assert finding.level == PROBLEM and "ended with 9" in finding.text


def test_a_library_the_loader_rejects_is_a_problem(package: Path, install: Callable[..., None]) -> None:
    install()
    path = package.parents[2] / layout.LIBRARY
    content = bytearray(path.read_bytes())
    content[16] = 1  # a relocatable object, which is nothing to preload
    path.write_bytes(content)
    finding = only(examine(package), "loading")
    assert finding.level == PROBLEM and "cannot be preloaded" in finding.text


def test_a_silent_library_is_noted(package: Path, install: Callable[..., None]) -> None:
    install(QUIET)
    findings = examine(package)
    assert only(findings, "loading").level == NOTE
    assert doctor.healthy(findings)


def test_missing_extensions_are_noted(package: Path, install: Callable[..., None]) -> None:
    install(extensions=False)
    finding = only(examine(package), "extensions")
    assert finding.level == NOTE and "jemalloc" in finding.text


def test_other_preloads_are_noted(package: Path, install: Callable[..., None]) -> None:
    install()
    finding = only(examine(package, LD_PRELOAD="/one.so two.so"), "LD_PRELOAD")
    assert finding.level == NOTE and "/one.so, two.so" in finding.text


def test_a_limit_on_address_space_is_noted(package: Path, install: Callable[..., None]) -> None:
    install()
    code = (
        "import os, resource, sys; from pathlib import Path; from poireau import doctor\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "print(doctor.as_text(doctor.examine(None, dict(os.environ), Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, package], capture_output=True, text=True, cwd=layout.PACKAGE.parent
    )
    assert "warning: address space: at most 4294967296" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("used", "level", "words"),
    [
        ("markers", OK, "any number of blocks"),
        ("userfaultfd", OK, "where guard markers (Linux 6.13) do not work"),
        ("mprotect", NOTE, "few blocks"),
        ("none", NOTE, "no access faults"),
        ("runes", OK, "as the library says"),
    ],
)
def test_the_mechanism_of_guard_pages_is_named_with_its_reason(
    tmp_path: Path, used: str, level: str, words: str
) -> None:
    said = f"poireau: true[7]: version 1, over libc.so.6, guards by {used}, a sample every 512KiB"
    finding = only(list(guards.examine(said, None, tmp_path)), "guards")
    assert (finding.level, finding.text.partition(":")[0]) == (level, f"by {used}")
    assert words in finding.text
    assert only(list(guards.examine(said, used, tmp_path)), "guards") == finding


@pytest.mark.parametrize(
    ("said", "option"), [("protecting all", "protect = all"), ("samples remapped", "placement = remap")]
)
def test_the_engine_of_remapped_homes_is_named_with_its_option(said: str, option: str) -> None:
    found = guards.examine(f"guards by markers, {said} by userfaultfd", None)
    assert only(list(found), option).text == "by userfaultfd: userfaultfd closes freed blocks one by one"


def test_a_mechanism_that_was_asked_for_in_vain_is_noted() -> None:
    finding = only(list(guards.examine("guards by none,", "userfaultfd")), "guards")
    assert finding.level == NOTE and "asks for userfaultfd" in finding.text


def test_what_the_kernel_is_set_to_is_told(tmp_path: Path) -> None:
    said = list(guards.examine("", None, tmp_path))
    assert about(said, "guards") == []
    assert {finding.level for finding in said} == {OK}
    for name, value in {
        "proc/sys/vm/max_map_count": "1000",
        "proc/sys/vm/overcommit_memory": "2",
        "proc/sys/vm/unprivileged_userfaultfd": "0",
        "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    told = {finding.about: finding for finding in guards.examine("", None, tmp_path)}
    assert "1000" in told["mappings"].text
    assert told["overcommit"].level == NOTE
    assert told["huge pages"].text.startswith("always")
    assert "enough" in told["userfaultfd"].text


@pytest.mark.parametrize(("flag", "word"), [("-static", "static"), ("-fsanitize=address", "AddressSanitizer")])
def test_what_run_leaves_alone_is_a_problem(
    package: Path, install: Callable[..., None], compile_c: Callable[..., Path], flag: str, word: str
) -> None:
    install()
    findings = examine(package, compile_c(EMPTY_MAIN, [flag]))
    assert word in only(findings, "preload").text
    assert not doctor.healthy(findings)


def test_a_malloc_inside_the_program_is_a_problem(
    package: Path, install: Callable[..., None], compile_c: Callable[..., Path]
) -> None:
    install()
    own = compile_c("void *malloc(unsigned long n) { return 0; } int main(void) { return 0; }", ["-rdynamic"])
    finding = only(examine(package, own), "allocator")
    assert finding.level == PROBLEM and "itself" in finding.text


def test_the_allocator_beneath_and_its_extension_are_named(
    package: Path, install: Callable[..., None], compile_c: Callable[..., Path]
) -> None:
    install()
    plain = examine(package, compile_c(EMPTY_MAIN))
    assert "libc.so.6" in only(plain, "allocator").text
    over = examine(package, compile_c(EMPTY_MAIN, ["-Wl,--no-as-needed", "-l:libjemalloc.so.2"]))
    assert "libjemalloc.so.2" in only(over, "allocator").text
    assert any("libpoireau-jemalloc.so" in finding.text for finding in about(over, "extensions"))
    assert doctor.healthy(plain) and doctor.healthy(over)


def test_a_needed_extension_that_is_missing_is_a_problem(
    package: Path, install: Callable[..., None], compile_c: Callable[..., Path]
) -> None:
    install(extensions=False)
    findings = examine(package, compile_c(EMPTY_MAIN, ["-Wl,--no-as-needed", "-l:libjemalloc.so.2"]))
    assert [finding.level for finding in about(findings, "extensions")] == [NOTE, PROBLEM]


def test_runtimes_with_heaps_of_their_own_are_noted(
    package: Path, install: Callable[..., None], compile_c: Callable[..., Path], tmp_path: Path
) -> None:
    install()
    go = compile_c('__attribute__((section(".go.buildinfo"))) int info = 1; int main(void) { return 0; }')
    jvm = tmp_path / "libjvm.so"
    shutil.copy(compile_c("int jvm;", ["-shared", "-fPIC", "-Wl,-soname,libjvm.so"]), jvm)
    embedding = compile_c(EMPTY_MAIN, ["-Wl,--no-as-needed", str(jvm), f"-Wl,-rpath,{tmp_path}"])
    java = Path(shutil.copy(compile_c(EMPTY_MAIN), tmp_path / "java"))
    wine = Path(shutil.copy(compile_c(EMPTY_MAIN), tmp_path / "wine64"))
    for program, name in ((go, "Go"), (embedding, "Java"), (java, "Java"), (wine, "Wine")):
        findings = examine(package, program)
        finding = only(findings, "runtime")
        assert finding.level == NOTE and finding.text.startswith(name)
        assert doctor.healthy(findings)
    assert about(examine(package, compile_c(EMPTY_MAIN)), "runtime") == []


def test_a_missing_program_is_a_problem(package: Path, install: Callable[..., None]) -> None:
    install()
    finding = only(examine(package, "no-such-program"), "program")
    assert finding.level == PROBLEM


def test_a_script_is_reported_with_its_interpreter(package: Path, install: Callable[..., None], tmp_path: Path) -> None:
    install()
    path = tmp_path / "tool"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    assert only(examine(package, path), "program").text == f"{path}, run by /bin/sh"


def test_text_has_one_line_a_finding_and_json_has_a_schema(package: Path, install: Callable[..., None]) -> None:
    install()
    findings = examine(package)
    assert doctor.as_text(findings).count("\n") == len(findings)
    described = json.loads(json.dumps(doctor.as_json(findings)))
    assert (described["schema"], described["version"]) == ("poireau.doctor", 1)
    assert described["healthy"] is True
    assert len(described["findings"]) == len(findings)


def test_the_real_library_works_here(library: Path, package: Path, exercised: Exercised) -> None:
    for built in library.parent.glob("libpoireau*.so"):
        (package.parents[2] / built.name).symlink_to(built)
    findings = examine(package, "/bin/sh")
    assert doctor.healthy(findings), doctor.as_text(findings)
    assert only(findings, "loading").level == OK
    exercised.add("C library", only(findings, "C library").text)
    exercised.add("kernel", only(findings, "kernel").text)
