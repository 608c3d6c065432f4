"""`run`: what goes into LD_PRELOAD, which programs are left alone, and that nobody can tell it from a plain exec."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from poireau import launch, layout, loader, options, target
from poireau.errors import NOT_EXECUTABLE, NOT_FOUND, OUR_FAILURE, USAGE, Failure
from tests.conftest import ROOT, Exercised, clean_environment
from tests.poireau.elf_test import forged_header

EMPTY_MAIN = "int main(void) { return 0; }"
ALLOCATORS = {  # family -> file of Debian's package, and what it is called there
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
    "mimalloc": "libmimalloc.so.2",
}


@pytest.fixture(scope="session")
def stand_in(compile_c: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A do-nothing library with its extensions beside it: planning looks at files, never at what they do."""
    nothing = compile_c("int nothing_at_all;", ["-shared", "-fPIC"])
    directory = tmp_path_factory.mktemp("stand_in")
    for name in (layout.LIBRARY, *map(layout.extension, layout.FAMILIES)):
        shutil.copy(nothing, directory / name)
    return directory / layout.LIBRARY


@pytest.fixture(scope="session")
def installed(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `poireau` command of an install tree like CMake's, around the library under test."""
    prefix = tmp_path_factory.mktemp("prefix")
    package = prefix / "lib" / "poireau" / "python" / "poireau"
    shutil.copytree(ROOT / "poireau", package, ignore=shutil.ignore_patterns("__pycache__"))
    for built in library.parent.glob("libpoireau*.so"):
        (prefix / "lib" / built.name).symlink_to(built)
    (prefix / "share" / "poireau").mkdir(parents=True)
    shutil.copy(ROOT / "config" / "poireau.toml", prefix / "share" / "poireau")
    (prefix / "bin").mkdir()
    command = prefix / "bin" / "poireau"
    shutil.copy(ROOT / "scripts" / "poireau.in", command)
    command.chmod(0o755)
    return command


def poireau(command: Path, *arguments: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    options: dict[str, object] = {"env": clean_environment(), "stdin": subprocess.DEVNULL, **more}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, command, *arguments], capture_output=True, text=True, timeout=60, **options
    )


def planned(command: list[str | Path], library: Path, **environment: str) -> launch.Launch:
    return launch.plan([str(word) for word in command], {}, clean_environment(**environment), library)


def preload(plan: launch.Launch) -> list[str]:
    assert plan.warning is None
    return loader.preloads(plan.environment)


# What is preloaded


def test_our_library_comes_first_and_what_was_there_stays(stand_in: Path) -> None:
    assert preload(planned(["true"], stand_in)) == [str(stand_in)]
    assert preload(planned(["true"], stand_in, LD_PRELOAD="/a.so b.so:/c.so")) == [
        str(stand_in),
        "/a.so",
        "b.so",
        "/c.so",
    ]


def test_a_run_within_a_run_preloads_us_once(stand_in: Path) -> None:
    before = f"/x/libpoireau-jemalloc.so:/y/libpoireau.so:/z/libother.so:{stand_in}"
    assert preload(planned(["true"], stand_in, LD_PRELOAD=before)) == [str(stand_in), "/z/libother.so"]


def test_a_path_that_ld_preload_cannot_carry_is_our_failure(stand_in: Path, tmp_path: Path) -> None:
    spaced = tmp_path / "with space"
    shutil.copytree(stand_in.parent, spaced)
    with pytest.raises(Failure, match="space") as failure:
        planned(["true"], spaced / layout.LIBRARY)
    assert failure.value.status == OUR_FAILURE


@pytest.mark.parametrize("family", ALLOCATORS)
def test_the_extension_of_a_linked_allocator_is_added(
    compile_c: Callable[..., Path], stand_in: Path, family: str, exercised: Exercised
) -> None:
    program = compile_c(EMPTY_MAIN, ["-Wl,--no-as-needed", f"-l:{ALLOCATORS[family]}"])
    assert preload(planned([program], stand_in)) == [str(stand_in), str(stand_in.parent / layout.extension(family))]
    exercised.add("allocators recognised", family)


@pytest.mark.parametrize("family", ALLOCATORS)
def test_the_extension_of_a_preloaded_allocator_is_added(stand_in: Path, family: str) -> None:
    plan = planned(["true"], stand_in, LD_PRELOAD=ALLOCATORS[family])
    assert preload(plan) == [str(stand_in), str(stand_in.parent / layout.extension(family)), ALLOCATORS[family]]


def test_no_extension_is_added_for_one_that_is_not_built(
    compile_c: Callable[..., Path], stand_in: Path, tmp_path: Path
) -> None:
    program = compile_c(EMPTY_MAIN, ["-Wl,--no-as-needed", f"-l:{ALLOCATORS['jemalloc']}"])
    alone = shutil.copy(stand_in, tmp_path / layout.LIBRARY)
    assert preload(planned([program], Path(alone))) == [str(alone)]


def test_a_library_named_like_an_allocator_without_its_functions_adds_nothing(
    compile_c: Callable[..., Path], stand_in: Path, tmp_path: Path
) -> None:
    fake = tmp_path / "libjemalloc.so.2"
    shutil.copy(compile_c("int not_mallocx;", ["-shared", "-fPIC", "-Wl,-soname,libjemalloc.so.2"]), fake)
    program = compile_c(EMPTY_MAIN, ["-Wl,--no-as-needed", str(fake)])
    plan = planned([program], stand_in, LD_LIBRARY_PATH=str(tmp_path))
    assert preload(plan) == [str(stand_in)]


def test_functions_of_the_program_itself_call_for_no_extension(compile_c: Callable[..., Path], stand_in: Path) -> None:
    program = compile_c("void *mallocx(unsigned long n, int f) { return 0; } int main(void) {}", ["-rdynamic"])
    assert preload(planned([program], stand_in)) == [str(stand_in)]


@pytest.mark.parametrize("tags", ["--enable-new-dtags", "--disable-new-dtags"])
def test_libraries_are_found_as_the_loader_finds_them(
    compile_c: Callable[..., Path], stand_in: Path, tmp_path: Path, tags: str
) -> None:
    (tmp_path / "inner").mkdir()
    inner = tmp_path / "inner" / "libinner.so"
    shutil.copy(compile_c("void *mallocx(void) { return 0; }", ["-shared", "-fPIC", "-Wl,-soname,libinner.so"]), inner)
    outer = tmp_path / "libouter.so"
    flags = ["-shared", "-fPIC", "-Wl,--no-as-needed", str(inner), f"-Wl,{tags},-rpath,$ORIGIN/inner"]
    shutil.copy(compile_c("int outer;", [*flags, "-Wl,-soname,libouter.so"]), outer)
    link = ["-Wl,--no-as-needed", str(outer), f"-Wl,-rpath-link,{inner.parent}", f"-Wl,{tags},-rpath,{tmp_path}"]
    program = compile_c(EMPTY_MAIN, link)
    listed = subprocess.run([program], env=clean_environment(LD_TRACE_LOADED_OBJECTS="1"), capture_output=True).stdout
    assert str(inner).encode() in listed, "the loader itself finds it"
    assert preload(planned([program], stand_in))[1:] == [str(stand_in.parent / layout.extension("jemalloc"))]


def test_a_cycle_of_libraries_ends(compile_c: Callable[..., Path], stand_in: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "libfirst.so", tmp_path / "libsecond.so"
    flags = ["-shared", "-fPIC", "-Wl,--no-as-needed"]
    shutil.copy(compile_c("int cycle1;", [*flags, "-Wl,-soname,libfirst.so"]), first)
    shutil.copy(compile_c("int cycle2;", [*flags, str(first), "-Wl,-soname,libsecond.so"]), second)
    shutil.copy(compile_c("int cycle3;", [*flags, str(second), "-Wl,-soname,libfirst.so"]), first)
    program = compile_c(EMPTY_MAIN, ["-Wl,--no-as-needed", str(first), "-Wl,--allow-shlib-undefined"])
    found = target.examine(program, clean_environment(LD_LIBRARY_PATH=str(tmp_path)), stand_in)
    assert [each.path.name for each in found.objects].count("libfirst.so") == 1


# What is left alone


def refusal(program: Path, library: Path, **environment: str) -> str:
    plan = planned([program], library, **environment)
    assert plan.warning is not None, f"{program} was not refused"
    assert plan.environment == clean_environment(**environment), "left alone means its environment too"
    assert plan.warning.endswith(": running it without the shim")
    return plan.warning


def test_a_static_program_is_left_alone(compile_c: Callable[..., Path], stand_in: Path) -> None:
    assert "is static" in refusal(compile_c(EMPTY_MAIN, ["-static"]), stand_in)


def test_the_loader_run_by_its_name_is_no_static_program(stand_in: Path) -> None:
    interpreter = target.examine(Path("/bin/true"), {}, stand_in).objects[0].interpreter
    assert interpreter is not None
    assert preload(planned([interpreter, "/bin/true"], stand_in)) == [str(stand_in)]


def test_a_program_for_another_machine_is_left_alone(stand_in: Path, tmp_path: Path) -> None:
    for bits, machine, reason in ((32, 3, "32-bit"), (64, 8, "another processor")):
        forged = tmp_path / f"forged{bits}"
        forged.write_bytes(forged_header(bits, "<", machine))
        forged.chmod(0o755)
        assert reason in refusal(forged, stand_in)


def test_a_program_of_another_c_library_is_left_alone(
    compile_c: Callable[..., Path], stand_in: Path, tmp_path: Path
) -> None:
    program = compile_c(EMPTY_MAIN, [f"-Wl,--dynamic-linker={tmp_path}/ld-musl-x86_64.so.1"])
    assert "another C library" in refusal(program, stand_in)


@pytest.mark.parametrize("flags", [["address"], ["thread"], ["leak"], ["address", "-static-libasan"]])
def test_a_sanitizer_build_is_left_alone(compile_c: Callable[..., Path], stand_in: Path, flags: list[str]) -> None:
    name = {"address": "AddressSanitizer", "thread": "ThreadSanitizer", "leak": "LeakSanitizer"}[flags[0]]
    program = compile_c(EMPTY_MAIN, [f"-fsanitize={flags[0]}", *flags[1:]])
    assert f"built with {name}" in refusal(program, stand_in)


def test_ubsan_is_no_reason_to_leave_a_program_alone(compile_c: Callable[..., Path], stand_in: Path) -> None:
    assert preload(planned([compile_c(EMPTY_MAIN, ["-fsanitize=undefined"])], stand_in)) == [str(stand_in)]


def test_a_preloaded_sanitizer_is_left_alone(compile_c: Callable[..., Path], stand_in: Path) -> None:
    runtime = subprocess.run(["cc", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    assert "AddressSanitizer" in refusal(compile_c(EMPTY_MAIN), stand_in, LD_PRELOAD=runtime)


def test_a_preloaded_runtime_of_a_sanitizer_stays_the_first(compile_c: Callable[..., Path], stand_in: Path) -> None:
    runtimes = ["/a/libubsan.so.1", "/b/libclang_rt.ubsan_standalone-x86_64.so"]
    others = ["/c/libother.so", "/d/libsane.so.1"]
    before = ":".join([others[0], runtimes[0], others[1], runtimes[1]])
    assert preload(planned([compile_c(EMPTY_MAIN)], stand_in, LD_PRELOAD=before)) == [*runtimes, str(stand_in), *others]


@pytest.mark.parametrize(("mode", "word"), [(0o4755, "setuid"), (0o2755, "setgid")])
def test_a_program_that_gains_rights_is_left_alone(
    compile_c: Callable[..., Path], stand_in: Path, tmp_path: Path, mode: int, word: str
) -> None:
    program = Path(shutil.copy(compile_c(EMPTY_MAIN), tmp_path / "privileged"))
    program.chmod(mode)
    assert preload(planned([program], stand_in)) == [str(stand_in)], "our own rights are no gain"
    if os.getuid() != 0:
        pytest.fail("needs root, to make a program that belongs to somebody else")
    os.chown(program, 1, 1)
    program.chmod(mode)
    assert f"is {word}" in refusal(program, stand_in)


# Scripts


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_script_is_examined_through_its_interpreter(
    compile_c: Callable[..., Path], stand_in: Path, tmp_path: Path
) -> None:
    static = compile_c(EMPTY_MAIN, ["-static"])
    direct = script(tmp_path / "direct", f"#!{static} -x\n")
    assert str(static) in refusal(direct, stand_in)
    assert str(static) in refusal(script(tmp_path / "twice", f"#! {direct}\n"), stand_in)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "interpreter").symlink_to(static)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    for line in ("interpreter", "-S A=1 interpreter -x"):
        by_env = script(tmp_path / "by_env", f"#!/usr/bin/env {line}\n")
        assert "is static" in refusal(by_env, stand_in, PATH=path)
    assert preload(planned([script(tmp_path / "sh", "#!/bin/sh\nexit 0\n")], stand_in)) == [str(stand_in)]
    assert preload(planned([script(tmp_path / "bare", "exit 0\n")], stand_in)) == [str(stand_in)]


def test_a_script_that_is_its_own_interpreter_ends(stand_in: Path, tmp_path: Path) -> None:
    path = tmp_path / "loop"
    plan = planned([script(path, f"#!{path}\n")], stand_in)
    assert plan.path == path


def test_a_missing_interpreter_is_not_found(stand_in: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="/no/such") as failure:
        planned([script(tmp_path / "orphan", "#!/no/such/interpreter\n")], stand_in)
    assert failure.value.status == NOT_FOUND


# Finding the program


def test_programs_are_searched_for_as_execvp_does(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    (first / "prog").write_text("not executable")
    script(second / "prog", "#!/bin/sh\n")
    environment = {"PATH": f"{first}:{second}"}
    assert target.find("prog", environment) == second / "prog"
    for command, status in (
        ("missing", NOT_FOUND),
        ("", NOT_FOUND),
        (f"{first}/missing", NOT_FOUND),
        (f"{first}/prog", NOT_EXECUTABLE),
        (str(first), NOT_EXECUTABLE),
    ):
        with pytest.raises(Failure) as failure:
            target.find(command, environment)
        assert failure.value.status == status


# The command itself


@pytest.mark.parametrize("how", [[], ["--exec"]])
def test_the_program_cannot_tell_run_from_a_plain_exec(
    installed: Path, compile_c: Callable[..., Path], tmp_path: Path, how: list[str]
) -> None:
    """Same arguments, environment, descriptors, signal dispositions, output; only the two additions."""
    program = script(
        tmp_path / "witness",
        "#!/bin/sh\n"
        'echo "$0" "$@"; cat; env | grep -v -e ^LD_PRELOAD= -e ^POIREAU_ | sort; ls /proc/self/fd\n'
        "grep -e ^SigIgn -e ^SigBlk -e ^SigCgt /proc/self/status\necho error >&2; exit 7\n",
    )
    environment = {"PATH": os.environ["PATH"], "LANG": "C", "EMPTY": "", "WORD": "\udcff"}  # Python coerces LANG=C
    environment["HOME"] = str(tmp_path)  # so that there is a place for traces
    environment["POIREAU_CONTROL"] = "off"  # or whoever is sampled has a socket
    more: dict[str, object] = {"env": environment, "stdin": None, "input": "typed\n"}
    bare = subprocess.run(
        [program, "a", "", "--", "b c"], capture_output=True, text=True, errors="surrogateescape", **more
    )
    ours = poireau(
        installed,
        "run",
        *how,
        "--period",
        "1GiB",
        "--",
        program,
        "a",
        "",
        "--",
        "b c",
        errors="surrogateescape",
        **more,
    )
    assert ours.returncode == bare.returncode == 7
    assert ours.stdout == bare.stdout
    assert ours.stderr == bare.stderr == "error\n"


def test_run_with_exec_keeps_the_process(installed: Path) -> None:
    with subprocess.Popen(
        [sys.executable, installed, "run", "--exec", "--", "sh", "-c", "echo $$; kill -TERM $$"],
        stdout=subprocess.PIPE,
        env=clean_environment(),
        text=True,
    ) as process:
        assert process.communicate(timeout=60)[0] == f"{process.pid}\n"
        assert process.returncode == -signal.SIGTERM


def test_options_reach_the_library_as_its_variables(installed: Path) -> None:
    arguments = ["--period", "64KiB", "--by", "calls", "--only", "env,sh", "--log", "off", "--set", "seed=5"]
    done = poireau(installed, "run", *arguments, "env")
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert re.fullmatch(r"\d{8}-\d{6}-env-\d+-[0-9a-f]{8}", variables.pop("POIREAU_RUN"))
    tests_own = {name: value for name, value in clean_environment().items() if name.startswith("POIREAU_")}
    assert {name: value for name, value in variables.items() if name.startswith("POIREAU_")} == tests_own | {
        "POIREAU_SAMPLE_PERIOD": "64KiB",
        "POIREAU_SAMPLE_BY": "calls",
        "POIREAU_ONLY": "env,sh",
        "POIREAU_LOG": "off",
        "POIREAU_SEED": "5",
    }
    assert variables["LD_PRELOAD"] == str(installed.parents[1] / "lib" / layout.LIBRARY)


def test_the_directory_of_traces_need_not_be_absolute(installed: Path, tmp_path: Path) -> None:
    for given, meant in (("traces", tmp_path / "traces"), ("../x/", tmp_path.parent / "x"), ("/a/b", Path("/a/b"))):
        done = poireau(installed, "run", "--trace", given, "env", cwd=tmp_path)
        assert f"POIREAU_TRACE={meant}" in done.stdout.splitlines()


def test_each_run_has_a_name_of_its_own_whatever_the_program_is_called(installed: Path, tmp_path: Path) -> None:
    program = script(tmp_path / ("a b-\N{WHITE SMILING FACE}" + "x" * 40), '#!/bin/sh\necho "$POIREAU_RUN"\n')
    outer = [poireau(installed, "run", "--", program).stdout for _ in range(2)]
    inner = poireau(installed, "run", "--", sys.executable, installed, "run", "--", program).stdout
    for name in (*outer, inner):
        assert re.fullmatch(r"\d{8}-\d{6}-a_b-_x{27}-\d+-[0-9a-f]{8}\n", name)
    assert len({*outer, inner}) == 3


def test_all_processes_of_a_run_share_one_directory_of_traces(installed: Path, tmp_path: Path) -> None:
    done = poireau(installed, "run", "--trace", "traces", "-c", "1", "--", "sh", "-c", "ls; ls -l", cwd=tmp_path)
    assert (done.stderr, done.returncode) == ("", 0)
    (run,) = (tmp_path / "traces").iterdir()
    assert "-sh-" in run.name
    assert len(list(run.iterdir())) >= 2


def test_the_library_speaks_up_when_asked_to(installed: Path) -> None:
    done = poireau(installed, "run", "--log", "info", "--", "true")
    assert done.returncode == 0
    assert done.stderr.startswith("poireau") and done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize("family", ALLOCATORS)
def test_a_program_over_another_allocator_runs_as_before(
    installed: Path, compile_c: Callable[..., Path], family: str, exercised: Exercised
) -> None:
    source = '#include <stdio.h>\n#include <stdlib.h>\nint main(void) { free(malloc(100)); return puts("done") < 0; }'
    program = compile_c(source, ["-Wl,--no-as-needed", f"-l:{ALLOCATORS[family]}"])
    done = poireau(installed, "run", "--log", "info", "--period", "1", "--", program)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert ALLOCATORS[family].split(".so")[0] in done.stderr
    exercised.add("allocators", family)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["run"], USAGE, "which program"),
        (["run", "--"], USAGE, "which program"),
        (["run", "--by", "hours", "--", "true"], USAGE, "hours"),
        (["run", "--set", "seed", "--", "true"], USAGE, "NAME=VALUE"),
        (["run", "--set", "sample_peroid=1", "--", "true"], USAGE, "did you mean sample_period?"),
        (["run", "--", "no-such-program"], NOT_FOUND, "no-such-program"),
        (["run", "--", "/etc/passwd"], NOT_EXECUTABLE, "Permission denied"),
        (["run", "--", "/"], NOT_EXECUTABLE, "Is a directory"),
        (["fly"], USAGE, "fly"),
        (["lib", "--", "x"], USAGE, "nothing after --"),
        ([], USAGE, None),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    installed: Path, arguments: list[str], status: int, says: str | None
) -> None:
    done = poireau(installed, *arguments)
    assert done.returncode == status
    if says is not None:
        assert says in done.stderr.splitlines()[-1]
        assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_broken_program_is_not_executable(installed: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(Path("/bin/true").read_bytes()[:100])
    broken.chmod(0o755)
    done = poireau(installed, "run", "--", broken)
    assert done.returncode == NOT_EXECUTABLE
    assert "can't be examined" in done.stderr


def test_a_program_left_alone_still_runs(installed: Path, compile_c: Callable[..., Path]) -> None:
    source = (
        '#include <stdio.h>\n#include <stdlib.h>\nint main(void) { return puts(getenv("LD_PRELOAD") ? "y" : "n"), 3; }'
    )
    for flag in ("-static", "-fsanitize=address"):
        done = poireau(installed, "run", "--", compile_c(source, [flag]))
        assert (done.returncode, done.stdout) == (3, "n\n")
        assert done.stderr.startswith("poireau: ") and done.stderr.count("\n") == 1


def test_a_script_without_a_first_line_runs_in_the_shell(installed: Path, tmp_path: Path) -> None:
    done = poireau(installed, "run", "--", script(tmp_path / "bare", 'echo "$1"; exit 4\n'), "word")
    assert (done.returncode, done.stdout) == (4, "word\n")


def test_the_command_works_from_anywhere_through_a_link(installed: Path, tmp_path: Path) -> None:
    link = tmp_path / "poireau"
    link.symlink_to(installed)
    done = poireau(link, "lib", cwd="/")
    assert done.stdout == f"{installed.parents[1] / 'lib' / layout.LIBRARY}\n"


def test_a_missing_library_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POIREAUPY_NATIVE")
    (tmp_path / "poireau.py").touch()
    with pytest.raises(Failure, match="make build"):
        layout.library(tmp_path / "poireau")
    with pytest.raises(Failure, match="make install"):
        layout.library(tmp_path / "lib" / "poireau" / "python" / "poireau")


@pytest.mark.parametrize("directory", ["lib", "lib/x86_64-linux-gnu", "lib64"])
def test_an_installed_library_is_found_where_distributions_put_it(tmp_path: Path, directory: str) -> None:
    (tmp_path / directory).mkdir(parents=True)
    (tmp_path / directory / layout.LIBRARY).touch()
    assert layout.library(tmp_path / "lib" / "poireau" / "python" / "poireau").parent == tmp_path / directory


def test_the_release_build_of_a_checkout_is_preferred_unless_another_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POIREAUPY_NATIVE")
    (tmp_path / "poireau.py").touch()
    for preset in ("dev", "release"):
        (tmp_path / "build" / preset).mkdir(parents=True)
        (tmp_path / "build" / preset / layout.LIBRARY).touch()
        assert layout.library(tmp_path / "poireau").parent.name == preset
    monkeypatch.setenv("POIREAUPY_NATIVE", str(tmp_path / "build" / "dev"))
    assert layout.library(tmp_path / "poireau").parent.name == "dev"


# Options and the file that describes them


def test_every_option_of_the_generated_file_is_understood(build: Path) -> None:
    described = json.loads(subprocess.run([build / "poireau-options", "--json"], capture_output=True).stdout)
    parsed = options.parse((ROOT / "config" / "poireau.toml").read_text())
    assert [(each.name, each.help, each.variable) for each in parsed] == [
        (each["name"], each["help"], each["env"]) for each in described
    ]


def test_config_prints_the_file(installed: Path) -> None:
    assert poireau(installed, "config").stdout == (ROOT / "config" / "poireau.toml").read_text()
    assert '"sample_period"' in poireau(installed, "config", "--json").stdout


def test_the_entry_of_a_checkout_is_executable_and_short() -> None:
    entry = ROOT / "poireau.py"
    assert entry.stat().st_mode & stat.S_IXUSR
    code = [line for line in entry.read_text().splitlines()[2:] if line]
    assert len(code) <= 6
