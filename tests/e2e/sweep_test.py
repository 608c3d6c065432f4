"""Under protect = all: who points at freed blocks is found, and what is pointed at is not given out again."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import clean_environment
from tests.control_client import Client, name_of

REMAPPED = 56 << 40  # the first address of such homes (region.h)
PROTECTED = {"POIREAU_PROTECT": "all", "POIREAU_SAMPLE_PERIOD": "64K", "POIREAU_SEED": "1"}
PLACES = {
    0: "a global variable",
    1: "another block, into the middle",
    2: "a mapping of the program's",
    3: "a shared mapping",
    4: "a packed structure",
    5: "epoll",
    6: "a read-only mapping",
    10: "a register of another thread",
    11: "a thread's own variable",
}


class Dangling:
    """tests/programs/dangling.c at work."""

    def __init__(self, binary: Path, library: Path, environment: dict[str, str]) -> None:
        pipe = subprocess.PIPE
        own = clean_environment(LD_PRELOAD=str(library), **{**PROTECTED, **environment})
        self.process = subprocess.Popen([binary, "4000"], env=own, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().split()
        assert line[:1] == ["held"], self.process.communicate()
        self.held = {int(which): int(address) for which, address in (each.split(":") for each in line[1:])}
        self.client = Client(name_of(self.process.pid))

    def ask(self, verb: str) -> dict[str, Any]:
        """Another thread may not stand still in time on a busy machine."""
        answer: dict[str, Any] = {}
        for _ in range(20):
            self.client.request(verb)
            answer = self.client.line()
            if answer.get("ok") or "again" not in answer.get("error", ""):
                return answer
        return answer

    def end(self) -> str:
        out, err = self.process.communicate("\n", timeout=20)
        assert self.process.returncode == 0, (out, err)
        return out


@pytest.fixture
def dangling(program: Callable[..., Path], library: Path) -> Iterator[Callable[..., Dangling]]:
    started: list[Dangling] = []

    def start(**environment: str) -> Dangling:
        started.append(Dangling(program("dangling.c", "-O1", "-w"), library, environment))
        return started[-1]

    yield start
    for each in started:
        each.client.socket.close()
        each.process.kill()
        each.process.communicate()


@pytest.mark.parametrize("mechanism", ["auto", "userfaultfd"])
def test_who_points_at_freed_blocks_is_found_wherever_he_is(dangling, exercised, mechanism):
    program = dangling(POIREAU_GUARD_MECHANISM=mechanism)
    answer = program.ask("holders")
    assert answer["ok"], answer
    found = {block["address"]: block for block in answer["blocks"]}
    assert {PLACES[which] for which, address in program.held.items() if address not in found} == set()
    block = found[program.held[1]]
    assert [value - block["address"] for _, value in block["holders"]] == [50]
    assert (block["size"], block["kind"], block["count"]) == (100, "malloc", 1)
    assert block["freed"]
    assert found[program.held[5]]["holders"][0] == [0, program.held[5]]
    assert program.end() == "end\n"
    for place in PLACES.values():
        exercised.add("places of dangling pointers", place)


@pytest.mark.parametrize("revoke", ["immediate", "runs"])
def test_what_is_pointed_at_is_not_given_out_again(dangling, revoke):
    program = dangling(POIREAU_REVOKE=revoke)
    totals: dict[str, Any] = {}
    for _ in range(30):
        totals = program.ask("sweep")
        assert totals["ok"], totals
        assert totals["torn_forks"] == 0
    assert totals["sweeps"] >= 30
    assert totals["freed"] > 0
    assert totals["bytes"] > 0
    answer = program.ask("holders")
    remapped = {address for address in program.held.values() if address >= REMAPPED}  # a sample's home is another
    assert len(remapped) > len(program.held) // 2
    assert remapped <= {block["address"] for block in answer["blocks"]}
    assert program.end() == "end\n"  # else it says what it was given


def test_what_the_trace_says_of_samples_holds_none_of_them(dangling, tmp_path):
    program = dangling(POIREAU_PLACEMENT="remap", POIREAU_SAMPLE_PERIOD="1", POIREAU_TRACE=str(tmp_path))
    answer = program.ask("holders")
    maps = Path(f"/proc/{program.process.pid}/maps").read_text()
    ours = [
        range(int(begin, 16), int(end, 16)) for begin, end in re.findall(r"^(\w+)-(\w+) .*/samples_\d+$", maps, re.M)
    ]
    assert ours
    assert answer["blocks"]
    holders = [at for block in answer["blocks"] for at, _ in block["holders"]]
    assert [hex(at) for at in holders if any(at in each for each in ours)] == []


def test_a_sweep_can_be_forbidden(dangling):
    program = dangling(POIREAU_SWEEP="off")
    assert program.ask("sweep") == {"ok": False, "error": "sweep = off"}


def test_without_protection_there_is_nothing_to_sweep(dangling):
    program = dangling(POIREAU_PROTECT="sampled")
    assert program.ask("sweep") == {"ok": False, "error": "no block is remapped"}


KINDS = ["alone", "threads", "generations", "streams", "specific", "spawn", "several", "handler", "_Fork", "raw"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fork_child_has_blocks_of_its_own(program, run_preloaded, exercised, scale, kind):
    done = run_preloaded([program("forks.c", "-O1"), kind, str(scale(60))], PROTECTED, timeout=300)
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)
    exercised.add("forks under protect = all", kind)


SMALL_STACK = """
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
static char stacks[8][2048 + 65536];
static volatile int over, ready;
static void* wait(void* at) {
  const stack_t its = {.ss_sp = (char*)at + 65536, .ss_size = 2048};
  if (sigaltstack(&its, NULL) != 0) puts("refused");
  __atomic_fetch_add(&ready, 1, __ATOMIC_SEQ_CST);
  while (!over) poll(NULL, 0, 10);
  for (int i = 0; i < 65536; ++i)
    if (((char*)at)[i] != 0) return puts("overflown"), NULL;
  return NULL;
}
int main(void) {
  pthread_t threads[8];
  for (int i = 0; i < 8; ++i) pthread_create(&threads[i], NULL, wait, stacks[i]);
  while (ready != 8) poll(NULL, 0, 1);
  static void* blocks[20000];
  for (unsigned i = 0, x = 1; i < 600000; ++i) {
    x = x * 1664525 + 1013904223;
    free(blocks[(x >> 8) % 20000]);
    blocks[(x >> 8) % 20000] = malloc(x >> 9 & 1023);
  }
  over = 1;
  for (int i = 0; i < 8; ++i) pthread_join(threads[i], NULL);
  puts("fine");
}
"""


def test_a_small_signal_stack_is_left_alone(compile_c, run_preloaded):
    done = run_preloaded([compile_c(SMALL_STACK, ["-pthread"])], {**PROTECTED, "POIREAU_LOG": "info"}, timeout=60)
    assert (done.stdout, done.returncode) == ("fine\n", 0)
    assert int(re.findall(r"sweeps: (\d+)", done.stderr)[0]) > 0


HANDLERS = """
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef LIBRARY
static void leave(void) { errno = ENOENT; }
void begin(void) { pthread_atfork(leave, leave, leave); }
__attribute__((constructor)) static void load(void) { begin(); }
#else
void begin(void);
int main(void) {
  begin();  // another pair, on the other side of anybody's
  char* volatile block = malloc(100);
  strcpy(block, "parent's");
  const pid_t child = fork();
  if (child == 0) _exit(strcmp(block, "parent's") != 0);
  strcpy(block, "changed");
  int status;
  printf("%d %d\\n", waitpid(child, &status, 0) == child, status);
}
#endif
"""


def test_handlers_of_fork_may_leave_something_in_errno(compile_c, run_preloaded, tmp_path):
    library = compile_c(HANDLERS, ["-DLIBRARY", "-shared", "-fPIC", "-Wl,-soname,libhandlers.so"])
    shutil.copy(library, tmp_path / "libhandlers.so")
    binary = compile_c(HANDLERS, [tmp_path / "libhandlers.so", f"-Wl,-rpath,{tmp_path}"])
    assert run_preloaded([binary], PROTECTED).stdout == "1 0\n"


@pytest.mark.parametrize("mechanism", ["userfaultfd", "none"])
def test_however_single_blocks_are_closed(program, run_preloaded, mechanism):
    done = run_preloaded(
        [program("forks.c", "-O1"), "threads", "4"],
        {**PROTECTED, "POIREAU_GUARD_MECHANISM": mechanism, "POIREAU_REVOKE": "immediate"},
        timeout=120,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)
