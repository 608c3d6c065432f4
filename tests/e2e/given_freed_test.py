"""With protect = all every function of syscalls.def reports freed memory it is given, whichever of its parameters has
it, readable still or not, before the kernel sees it: here the program ends then, so that no call is really made."""

from __future__ import annotations

import re

import pytest

from .conftest import ROOT

ROWS = re.findall(
    r"^CALL\((\w+), \(([\w, ]*)\), (.+)\)$", (ROOT / "preload" / "syscalls.def").read_text(), re.MULTILINE
)
DIRECT = re.compile(r"\b(?:given|filled|told|answered|string|strings|mask|bits|perhaps)\((\w+)|\((?:Use::\w+, )(\w+)")
HARNESS = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
typedef long Call(long, long, long, long, long, long, long);
enum how { ITSELF, TEXTS, PARTS, HEADER, LENGTH };
struct the_case { const char* name; Call* call; int at; enum how how; };
static long in_array[4];
static struct iovec parts[2];
static struct mmsghdr header;
static void* volatile hidden;
static long freed(size_t size) {
  memset(hidden = malloc(size), 0, size);
  free(hidden);
  return (long)hidden;
}
static void try(const struct the_case* tried) {
  long with[7] = {8, 8, 8, 8, 8, 8, 8};
  const long bad = freed(300);
  with[tried->at] = bad;
  if (tried->how == TEXTS) in_array[0] = bad, with[tried->at] = (long)in_array;
  parts[0].iov_base = (void*)bad, parts[0].iov_len = 8;
  if (tried->how == PARTS) with[tried->at] = (long)parts, with[tried->at + 1] = 1;
  if (tried->how == HEADER) {
    header.msg_hdr.msg_iov = parts, header.msg_hdr.msg_iovlen = 1, with[tried->at] = (long)&header;
  }
  tried->call(with[0], with[1], with[2], with[3], with[4], with[5], with[6]);
}
"""
MAIN = r"""
int main(void) {
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    int status;
    const pid_t child = fork();
    if (child == 0) {
      /* Should it be made after all, let it do no harm, and not wait. */
      if (geteuid() == 0 && setresuid(65534, 65534, 65534)) _exit(9);
      setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {1, 0}}, NULL);
      try(&cases[i]);
      _exit(0);
    }
    waitpid(child, &status, 0);
    printf("%s %d %d: %d\n", cases[i].name, cases[i].at, cases[i].how, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  }
  return 0;
}
"""


def cases() -> list[tuple[str, int, str]]:
    """(function, parameter, how it gets there)."""
    found = []
    for name, parameters, memory in ROWS:
        order = parameters.split(", ")
        for match in DIRECT.finditer(memory):
            found.append((name, order.index(match[1] or match[2]), "ITSELF"))
        for shape, how in (
            (r"strings\((\w+)", "TEXTS"),
            (r"vector\([\w:]+, (\w+)", "PARTS"),
            (r"messages?\([\w:]+, (\w+)", "HEADER"),
            (r"room\([\w:]+, \w+, (\w+)", "LENGTH"),
        ):
            found += [(name, order.index(each), how) for each in re.findall(shape, memory)]
    # What `room` leaves room in is looked at where its length can be read.
    return [each for each in found if not (each[2] == "ITSELF" and _is_room(*each[:2]))]


def _is_room(name: str, at: int) -> bool:
    (parameters, memory) = next((row[1], row[2]) for row in ROWS if row[0] == name)
    return re.search(rf"room\([\w:]+, {parameters.split(', ')[at]},", memory) is not None


def source() -> str:
    declared = "".join(f'extern Call call_{name} __asm__("{name}");\n' for name, _, _ in ROWS)
    table = ",\n".join(f'  {{"{name}", call_{name}, {at}, {how}}}' for name, at, how in cases())
    return f"#define _GNU_SOURCE\n{HARNESS}{declared}static const struct the_case cases[] = {{\n{table}\n}};\n{MAIN}"


@pytest.mark.parametrize("revoke", ["immediate", "runs"])
def test_every_parameter_of_every_function_is_looked_at(compile_c, run_preloaded, exercised, revoke):
    program = compile_c(source(), ["-w", "-fno-builtin"])
    settings = {"POIREAU_PROTECT": "all", "POIREAU_ON_ERROR": "abort", "POIREAU_REVOKE": revoke}
    done = run_preloaded([program], settings, timeout=120)
    outcomes = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    assert len(outcomes) == len(cases()) > 330, done
    assert {case: status for case, status in outcomes.items() if status != "6"} == {}
    told = re.findall(r"use after free: \w+ at 0x\w+, \d+ bytes into a freed 300-byte block .*, in (\w+)", done.stderr)
    assert set(told) == {re.sub(r"^__(.*)_\w+$", r"\1", name) for name, _, _ in ROWS}
    exercised.add("functions given freed blocks", f"{len(ROWS)}, {len(outcomes)} parameters")


def test_pointers_are_counted_by_what_they_point_at(program, run_preloaded):
    done = run_preloaded([program("asks.c"), "pointers"], {"POIREAU_PROTECT": "all"})
    assert done.stdout == "stack 1, data 2, heap 1, home 3\n"
    done = run_preloaded([program("asks.c"), "pointers"], {"POIREAU_PROTECT": "all", "POIREAU_SYSCALL_CHECK": "off"})
    assert done.stdout == "stack 0, data 0, heap 0, home 0\n"


@pytest.mark.parametrize("check", ["auto", "off"])
def test_nobody_waits_for_the_signal_that_holds_threads(program, run_preloaded, check):
    done = run_preloaded([program("asks.c"), "signals"], {"POIREAU_PROTECT": "all", "POIREAU_SYSCALL_CHECK": check})
    told, wanted = (int(line, 16) for line in done.stdout.split())
    kernel_and_libc = 1 << 8 | 1 << 18 | 3 << 31  # SIGKILL, SIGSTOP, and two of libc's
    missing = wanted & ~told & ~kernel_and_libc
    assert missing.bit_count() == 1 and missing.bit_length() > 34, done
