"""The program's handlers of SIGSEGV and SIGBUS, its masks and its children's, with our handler in front: all is as
without us, but that a fault on a guard goes on."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from .conftest import ROOT

GUARDED = {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "all"}
MECHANISMS = ["markers", "userfaultfd", "mprotect"]
# Nothing but the program itself allocates homes, so that the first is made when it says.
LATE = {**GUARDED, "POIREAU_CALLERS": "libc.so.6=0, ld-linux-x86-64.so.2=0"}
FREED = r"use after free: read at 0x[0-9a-f]+, \d+ bytes into a freed \d+-byte block from malloc"

HANDLERS = [
    *("untouched", "default", "default+once", "ignore", "ignore+full", "signal", "signal default", "signal ignore"),
    *("sysv", "plain", "plain+full+open", "info", "info+stack", "info+once", "info+open", "info+open+once+stack"),
    *("info+full", "info+some+stack"),
]
CAUSES = ["null", "nowhere", "bus", "jump", "raise", "kill", "queue"]
ENDS = ["return", "jump", "nest", "exit"]
BLOCKED = (
    "sigprocmask again thread inherited attribute sa_mask sighold sigset sigblock sigsetmask sigsuspend daemon exec"
).split()
CHILDREN = (
    "fork raw vfork fork-default raw-default vfork-default fork+vfork fork+vfork-default fork+fork raw+raw-default"
).split()


def headlines(stderr: str) -> list[str]:
    return re.findall(r"^poireau: [^:]+: (.*)", stderr, re.MULTILINE)


@pytest.fixture
def goes_on(run_preloaded, run_bare):
    """Runs a program that uses freed blocks; fails unless that is told and all else is as bare."""

    def run(argv, environment, errors=1, **more):
        bare, ours = run_bare(argv, **more), run_preloaded(argv, environment, **more)
        assert (ours.stdout, ours.returncode) == (bare.stdout, bare.returncode), ours
        found = headlines(ours.stderr)
        assert len(found) == errors, ours.stderr
        assert all(re.fullmatch(FREED, line) for line in found), found
        return ours

    return run


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", HANDLERS)
def test_a_fault_that_is_not_ours_finds_the_programs_handler(program, same_as_bare, exercised, how, when):
    binary = program("signals.c")
    for cause in CAUSES:
        for end in ENDS:
            same_as_bare([binary, when, how, cause, end], LATE)
    exercised.count("handlers of the program's", f"set {when} the first guarded home", len(CAUSES) * len(ENDS))


@pytest.mark.parametrize("first", ["0", "1", "2", "5", "13", "40", "100"])
def test_functions_that_set_handlers_return_what_they_would_without_us(program, same_as_bare, first):
    done = same_as_bare([program("signals_setters.c"), first], LATE)
    assert "SIGSEGV" not in done.stderr
    assert done.stdout.count("\n") > 500


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("way", BLOCKED)
def test_who_blocks_every_signal_outlives_its_errors(program, goes_on, exercised, way, mechanism):
    binary = program("signals_blocked.c")
    goes_on([binary, way], {**GUARDED, "POIREAU_GUARD_MECHANISM": mechanism})
    exercised.add("ways to block every signal", way)


@pytest.mark.parametrize("way", CHILDREN)
def test_a_childs_handlers_are_its_own(program, goes_on, way):
    goes_on([program("signals_children.c"), way], GUARDED)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("room", ["0", "256", "4096", "65536"])
def test_a_small_alternate_stack_does_not_overflow(program, goes_on, room, mechanism):
    binary = program("signals_stack.c", "-O1", "-fno-optimize-sibling-calls", "-Wl,-z,now")
    goes_on([binary, room], {**GUARDED, "POIREAU_GUARD_MECHANISM": mechanism}, errors=2)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_program_may_close_pages_of_its_own_blocks(program, same_as_bare, mechanism):
    same_as_bare([program("signals_barrier.c"), "1000"], {**GUARDED, "POIREAU_GUARD_MECHANISM": mechanism})


@pytest.mark.parametrize("environment", [GUARDED, LATE], ids=["armed", "arming"])
def test_handlers_may_be_set_while_others_fault(program, goes_on, scale, environment):
    binary = program("signals_race.c")
    for _ in range(scale(300)):
        goes_on([binary, "200"], environment)
    goes_on([binary, str(scale(200_000))], environment)


@pytest.mark.parametrize(("way", "errors"), [("quiet", 0), ("ignores", 1), ("handles", 1)])
def test_in_an_inherited_sandbox_a_program_that_calls_sigaction_has_guards(program, goes_on, exercised, way, errors):
    goes_on([program("signals_sandboxed.c"), way], {**GUARDED, "POIREAU_TRACE": ""}, errors)
    exercised.add("sandboxes", f"inherited, sigaction allowed ({way})")


@pytest.mark.parametrize("how", ["untouched", "info+once+stack", "plain+full+open", "signal", "sysv"])
def test_a_static_programs_handlers_are_kept_too(program, library, run_bare, how):
    tables = "".join((ROOT / "preload" / name).read_text() for name in ("hooks.def", "syscalls.def"))
    rows = re.findall(r"^(?:HOOK\(\w+, libc, |CALL\()(\w+),", tables, re.MULTILINE)
    wraps = [f"-Wl,--wrap={name}" for name in rows]
    static = program("signals.c", "-static", library.parent / "libpoireau.a", *wraps)
    for cause in CAUSES:
        for end in ENDS:
            case = ["before", how, cause, end]
            bare, ours = run_bare([program("signals.c"), *case]), run_bare([static, *case], GUARDED)
            assert (ours.stdout, ours.stderr, ours.returncode) == (bare.stdout, bare.stderr, bare.returncode)


FAULTS = {
    "null": "import ctypes; ctypes.string_at(0)",
    "sent": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "handled": "import os, signal; signal.signal(11, lambda *_: print('handled')); os.kill(os.getpid(), 11); print(1)",
    "registered": "import faulthandler, os; faulthandler.register(7, chain=True); os.kill(os.getpid(), 7)",
    "overflow": "import faulthandler; faulthandler._stack_overflow()",
}


@pytest.mark.parametrize("enabled", [[], ["-X", "faulthandler"]], ids=["bare", "faulthandler"])
@pytest.mark.parametrize("fault", FAULTS)
def test_pythons_fault_handler_speaks_as_ever(run_preloaded, run_bare, fault, enabled):
    argv = [sys.executable, "-I", *enabled, "-c", FAULTS[fault]]
    environment = {"PYTHONMALLOC": "malloc", **GUARDED}

    def tell(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
        return done.returncode, done.stdout, re.sub(r"0x[0-9a-f]+", "ADDRESS", done.stderr)

    assert tell(run_preloaded(argv, environment)) == tell(run_bare(argv, environment))


JAVA = """
public class Nulls {
  static class Box { int value = 3; }
  static int read(Box box) { return box.value; }
  static int deep(int n) { return deep(n + 1) + 1; }
  public static void main(String[] unused) throws Exception {
    Runnable work = () -> {
      Box box = new Box();
      long sum = 0, nulls = 0;
      for (int i = 0; i < 2_000_000; ++i) {
        try { sum += read(i < 1_000_000 || i % 1000 != 0 ? box : null); } catch (NullPointerException e) { ++nulls; }
      }
      synchronized (Nulls.class) { System.out.println(sum + " " + nulls); }
    };
    Thread[] threads = {new Thread(work), new Thread(work)};
    for (Thread thread : threads) thread.start();
    for (Thread thread : threads) thread.join();
    try { deep(0); } catch (StackOverflowError e) { System.out.println("overflow"); }
  }
}
"""


@pytest.mark.slow
def test_java_follows_null_pointers(run_preloaded, tmp_path, exercised):
    (tmp_path / "Nulls.java").write_text(JAVA)
    try:
        subprocess.run(["javac", "Nulls.java"], cwd=tmp_path, check=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("there is no Java compiler")
    argv = ["java", "-XX:-OmitStackTraceInFastThrow", "Nulls"]
    environment = {**GUARDED, "POIREAU_SAMPLE_PERIOD": "1000", "POIREAU_RUNTIMES": "sample"}
    done = run_preloaded(argv, environment, cwd=tmp_path, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "5997000 1000\n5997000 1000\noverflow\n", "")
    exercised.add("runtimes that live on SIGSEGV", "Java")


NESTED = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static volatile char* freed;
static void on_fault(int number) { dprintf(1, "%d\n", number); _exit(7); }
int main(int count, char** argument) {
  signal(SIGSEGV, on_fault), signal(SIGBUS, on_fault);
  freed = malloc(40);
  free((void*)freed);
  if (count > 1) ((void (*)(void))freed)();
  return freed[20];
}
"""


@pytest.mark.parametrize(("mechanism", "number"), [("markers", 11), ("userfaultfd", 7), ("mprotect", 11)])
def test_the_fault_goes_to_the_programs_handler_after_the_report(compile_c, run_preloaded, mechanism, number):
    environment = {**GUARDED, "POIREAU_GUARD_MECHANISM": mechanism, "POIREAU_ON_ERROR": "report"}
    done = run_preloaded([compile_c(NESTED, ["-fno-builtin"])], environment)
    assert (done.returncode, done.stdout) == (7, f"{number}\n")
    assert re.fullmatch(FREED, headlines(done.stderr)[0])


def test_what_is_executed_is_never_let_through(compile_c, run_preloaded):
    done = run_preloaded([compile_c(NESTED, ["-fno-builtin"]), "execute"], GUARDED)
    assert (done.returncode, done.stdout) == (7, "11\n")
    assert "use after free: execute at 0x" in headlines(done.stderr)[0]


def test_without_fault_handler_nothing_is_touched(program, run_preloaded, run_bare):
    environment = {**GUARDED, "POIREAU_FAULT_HANDLER": "off"}
    binary = program("signals_setters.c")
    assert run_preloaded([binary, "1"], environment).stdout == run_bare([binary, "1"]).stdout
    done = run_preloaded([program("signals_blocked.c"), "executed"], environment)
    assert (done.returncode, done.stdout, done.stderr) == (-11, "", "")
