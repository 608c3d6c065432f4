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


def source(raw: bool) -> str:
    """`raw`: by syscall(2), where the kernel has one of that name."""
    table = "".join(
        f'#ifdef HAS_{name}\n  {{"{name}", call_{name}, {at}, {how}}},\n#endif\n' for name, at, how in cases()
    )
    made = (
        "#ifdef SYS_{0}\n#define HAS_{0}\nstatic long call_{0}(long a, long b, long c, long d, long e, long f, long g) "
        "{{ return syscall(SYS_{0}, a, b, c, d, e, f); }}\n#endif\n"
        if raw
        else '#define HAS_{0}\nextern Call call_{0} __asm__("{0}");\n'
    )
    declared = "".join(made.format(name) for name, _, _ in ROWS)
    start = "#define _GNU_SOURCE\n#include <sys/syscall.h>\n"
    return f"{start}{HARNESS}{declared}static const struct the_case cases[] = {{\n{table}}};\n{MAIN}"


@pytest.mark.parametrize("revoke", ["immediate", "runs"])
@pytest.mark.parametrize("raw", [False, True], ids=["function", "number"])
def test_every_parameter_of_every_function_is_looked_at(compile_c, run_preloaded, exercised, revoke, raw):
    program = compile_c(source(raw), ["-w", "-fno-builtin", "-O1"])
    settings = {"POIREAU_PROTECT": "all", "POIREAU_ON_ERROR": "abort", "POIREAU_REVOKE": revoke}
    done = run_preloaded([program], settings, timeout=120)
    outcomes = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    assert len(outcomes) > (180 if raw else 330) and (raw or len(outcomes) == len(cases())), done
    assert {case: status for case, status in outcomes.items() if status != "6"} == {}
    told = re.findall(r"use after free: \w+ at 0x\w+, \d+ bytes into a freed 300-byte block .*, in (\w+)", done.stderr)
    tried = {case.split()[0] for case in outcomes}
    assert set(told) == {re.sub(r"^__(.*)_\w+$", r"\1", name) for name in tried}
    exercised.add("functions given freed blocks", f"{len(tried)}, {len(outcomes)} parameters")


RAW = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void show(long got) { printf("%ld %d, ", got, errno); }
int main(void) {
  int ends[2], others[2], status = 0;
  char* text = malloc(100);
  errno = 7;
  show(syscall(SYS_pipe2, ends, 0));
  show(syscall(SYS_pipe2, others, O_NONBLOCK));
  show(syscall(SYS_write, ends[1], "abcdef", 6));
  show(syscall(SYS_splice, ends[0], NULL, others[1], NULL, 4, 0));
  show(syscall(SYS_splice, ends[0], NULL, others[1], NULL, 4, 1 << 20));
  show(syscall(SYS_read, others[0], text, 100));
  show(syscall(SYS_read, others[0], text, 100));
  show(syscall(SYS_read, ends[0], (void*)8, 1));
  show(syscall(9999));
  printf("%.4s %ld\n", text, syscall(SYS_getpid) - getpid());
  fflush(stdout);
  const long child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
  if (child == 0) syscall(SYS_exit_group, 3);
  syscall(SYS_wait4, child, &status, 0, NULL);
  printf("%d\n", WEXITSTATUS(status));
  free(text);
  show(syscall(SYS_read, ends[0], text, 1));
}
"""


def test_what_is_asked_for_by_number_is_answered_as_bare(compile_c, run_preloaded):
    program = compile_c(RAW, ["-w", "-O1"])
    done = run_preloaded([program], {"POIREAU_PROTECT": "all", "POIREAU_REVOKE": "immediate"})
    answers = "0 7, 0 7, 6 7, 4 7, -1 22, 4 22, -1 11, -1 14, -1 38, abcd 0\n3\n1 38, "
    assert (done.stdout, done.returncode) == (answers, 0), done
    assert done.stderr.count(": use after free: write at ") == 1 and ", in read\n" in done.stderr


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
