"""Where every block is protected, sampled or not: programs do what they do bare, and what is freed stays closed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time

import pytest

from tests import traces
from tests.conftest import ROOT, clean_environment
from tests.control_client import Client, name_of

from .conftest import under

ALL = {"POIREAU_PROTECT": "all"}
KINDS = {name: {**ALL, "POIREAU_GUARD_MECHANISM": name} for name in ("auto", "userfaultfd", "markers", "mprotect")}

# use N: how N freed blocks are found; where: whether a block lies in the region. Says what it reads.
FREED = r"""
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef LIBRARY
void* ours(size_t size) { void* volatile got = malloc(size); return got; }
#else
void* ours(size_t size);
static int kept(const void* block) { return (uintptr_t)block >> 45 == 1; }
static volatile char* blocks[100000];
int main(int count, char** argument) {
  const long number = count > 2 ? atol(argument[2]) : 0;
  if (argument[1][0] == 's') {  // sizes
    for (size_t size = 1; size < 300000; size = size * 3 / 2 + 1) printf("%zu: %d\n", size, kept(malloc(size)));
  } else if (argument[1][0] == 'c') {  // callers
    printf("%d %d\n", kept(malloc(100)), kept(ours(100)));
  } else if (argument[1][0] == 'f') {  // freed blocks are read
    for (long i = 0; i < number; ++i) *(blocks[i] = malloc(48)) = 7;
    for (long i = 0; i < number; ++i) free((void*)blocks[i]);
    for (long i = 0; i < number; i += number / 10) (void)*blocks[i];
    puts("done");
  } else if (argument[1][0] == 'e') {  // no memory is left
    long got = 0;
    for (void** last = NULL; got < 10000000; ++got) {
      void** next = malloc(100);
      if (next == NULL) break;
      *next = last, last = next;
    }
    puts(got > 100000 ? "many" : "few");
  }
}
#endif
"""


@pytest.fixture
def freed(compile_c, tmp_path):
    library = compile_c(FREED, ["-DLIBRARY", "-shared", "-fPIC", "-O1", "-fno-builtin", "-Wl,-soname,libfreed.so"])
    shutil.copy(library, tmp_path / "libfreed.so")
    return compile_c(FREED, ["-O1", "-fno-builtin", "-w", tmp_path / "libfreed.so", f"-Wl,-rpath,{tmp_path}"])


@pytest.mark.parametrize("engine", KINDS)
def test_the_corners_of_the_malloc_family_are_as_bare(program, same_as_bare, engine):
    assert same_as_bare([program("promises.c", "-w", "-DPVALLOC")], KINDS[engine]).stdout.endswith("done\n")


@pytest.mark.parametrize("allocator", ["jemalloc", "tcmalloc"])  # mimalloc's aligned_alloc doesn't always align
def test_the_corners_are_as_bare_over_other_allocators(program, same_as_bare, allocator):
    same_as_bare([program("promises.c", "-w")], ALL, preload=under(allocator))


def test_operators_keep_their_promises(program, same_as_bare, allocator):
    same_as_bare([program("cxx_behaviour.cc", "-DPROGRAM")], ALL, preload=under(allocator))


@pytest.mark.parametrize("replaced", ["NEW DELETE", "NEW ARRAY NOTHROW ALIGNED DELETE"])
def test_replaced_operators_serve_exactly_what_they_do_bare(program, same_as_bare, replaced):
    chosen = [f"-D{name}" for name in replaced.split()]
    same_as_bare([program("replaced_operators.cc", "-DPROGRAM", *chosen)], ALL)


SCRIPT = """
import collections, concurrent.futures, json, re, zlib
text = json.dumps([{str(i): list(range(i % 50))} for i in range(2000)])
for _ in range(3): assert json.loads(text) == json.loads(zlib.decompress(zlib.compress(text.encode())))
def count(n): return len(re.findall("1", text[n:]))
with concurrent.futures.ThreadPoolExecutor(4) as pool: print(sum(pool.map(count, range(8))))
"""
COMMANDS = {
    "python": [sys.executable, "-c", SCRIPT],
    "python of malloc": ["env", "PYTHONMALLOC=malloc", sys.executable, "-c", SCRIPT],
    "unittest": [sys.executable, "-m", "timeit", "-n1", "-r1", "-s", "import decimal", "decimal.Decimal(2).sqrt()"],
    "git": ["git", "-C", "/", "--version"],
    "cc": ["sh", "-c", "echo 'int main(void) { return 0; }' | cc -O2 -x c - -S -o -"],
    "c++": ["sh", "-c", "printf '#include <map>\\nstd::map<int, int> m;' | c++ -O2 -x c++ - -S -o -"],
    "pipes": ["sh", "-c", "seq 20000 | sort -R --random-source=/dev/zero | awk '{s += $1} END {print s}'"],
    "xz": ["sh", "-c", "seq 100000 | xz -T2 | xz -d | md5sum"],
}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "unittest"])
def test_programs_do_what_they_do_bare(same_as_bare, name):
    same_as_bare(COMMANDS[name], ALL)


def test_only_sizes_that_are_listed_are_protected(freed, run_preloaded):
    done = run_preloaded([freed, "sizes"], {"POIREAU_PROTECT": "..20, 1000..100K", "POIREAU_SAMPLE_PERIOD": "0"})
    found = {int(size): int(kept) for size, kept in re.findall(r"(\d+): (\d)", done.stdout)}
    assert found == {size: int(size <= 20 or 1000 <= size <= 100 << 10) for size in found} and len(found) > 20


def test_only_callers_that_are_listed_are_protected(freed, run_preloaded):
    for callers, expected in (("libfreed.so", "0 1"), (freed.name, "1 0"), (f"{freed.name},libfreed.so", "1 1")):
        done = run_preloaded([freed, "callers"], {"POIREAU_PROTECT": callers, "POIREAU_SAMPLE_PERIOD": "0"})
        assert done.stdout == f"{expected}\n"


def uses(done) -> int:
    return done.stderr.count(": use after free: read at ")


def test_a_freed_block_is_closed_at_once_or_with_its_run(freed, run_preloaded):
    more = {**ALL, "POIREAU_SAMPLE_PERIOD": "0", "POIREAU_SWEEP": "off"}
    for revoke, number in (("immediate", 10000), ("governed", 1000), ("runs", 50000)):
        done = run_preloaded([freed, "freed", str(number)], {**more, "POIREAU_REVOKE": revoke})
        assert (done.returncode, done.stdout) == (0, "done\n")
        # Each place is told once: all are one place.
        assert uses(done) == 1, (revoke, done.stderr)


def test_protection_can_be_off_for_samples_too(freed, run_preloaded):
    off = {"POIREAU_PROTECT": "off", "POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "all"}
    assert uses(run_preloaded([freed, "freed", "100"], {**off, "POIREAU_PROTECT": "sampled"})) == 1
    assert uses(run_preloaded([freed, "freed", "100"], off)) == 0


def test_what_finds_no_home_is_an_ordinary_block_or_the_end(freed, run_preloaded):
    more = {**ALL, "POIREAU_SAMPLE_PERIOD": "0"}
    scarce = ["sh", "-c", f"ulimit -v 300000; exec {freed} exhausted"]
    done = run_preloaded(scarce, more)
    assert (done.returncode, done.stdout) == (0, "many\n")
    assert done.stderr.count(": some blocks are not protected: ") >= 1
    done = run_preloaded(scarce, {**more, "POIREAU_EXHAUSTED": "abort"})
    assert done.returncode == -6 and ": no home for a block that is to be protected: aborting" in done.stderr


def test_samples_stay_unbiased(program, run_preloaded, tmp_path, seed):
    env = {
        **ALL,
        "POIREAU_TRACE": str(tmp_path),
        "POIREAU_TRACE_LIMIT": "64MiB",
        "POIREAU_SEED": str(seed),
        "POIREAU_SAMPLE_PERIOD": "64KiB",
        "POIREAU_STACK_DEPTH": "1",
    }
    done = run_preloaded([program("fills.c", "-O1"), "1500", "77", "8000"], env)
    assert (done.returncode, done.stderr) == (0, "")
    truth = int(done.stdout.split()[0])
    alive = traces.alive(traces.read_one(tmp_path).events).values()
    estimate, error = traces.bytes_asked_for(event for event in alive if event["size"] <= 8000)
    assert abs(estimate - truth) <= 6 * error + 8192, (estimate, truth, error)


REMAPPED = {"POIREAU_PLACEMENT": "remap", "POIREAU_SAMPLE_PERIOD": "1", "POIREAU_REVOKE": "immediate"}
STACKS = r"use after free: read at [^\n]*-byte block from malloc\n.*\n  allocated [^\n]*:\n.*\n  freed [^\n]*:\n"
LIVES = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static void* lives(void* seed) {
  static __thread char* blocks[500];
  unsigned random = (unsigned)(size_t)seed;
  for (int i = 0; i < 2000; ++i) {
    random = random * 1103515245 + 12345;
    char** block = &blocks[random / 65536 % 500];
    const size_t size = random / 7 % (i % 100 == 0 ? 200000 : 5000) + 1;
    if (*block != NULL && **block != 1) abort();
    if (i % 3 == 0) free(*block), *block = malloc(size);
    else *block = realloc(*block, size);
    **block = 1;
  }
  for (int i = 0; i < 500; ++i) free(blocks[i]);
  return NULL;
}
int main(void) {
  pthread_t other;
  pthread_create(&other, NULL, lives, (void*)1);
  char* kept = memset(malloc(3000), 5, 3000);
  const pid_t child = fork();
  if (child == 0) memset(kept, 6, 3000);
  lives((void*)2);
  if (child == 0) _exit(kept[2999] != 6);
  int status;
  waitpid(child, &status, 0);
  pthread_join(other, NULL);
  printf("%d %d\n", status, kept[2999]);
  free(kept);
}
"""


def test_samples_live_in_remapped_homes(freed, compile_c, run_preloaded, tmp_path):
    addresses = run_preloaded([freed, "sizes"], REMAPPED)
    assert re.findall(r": (\d)", addresses.stdout) == ["1"] * addresses.stdout.count("\n")
    for more in ({}, ALL):
        done = run_preloaded([freed, "freed", "100"], {**REMAPPED, **more, "POIREAU_LOG": "info"})
        assert uses(done) == 1 and re.search(STACKS, done.stderr, re.DOTALL), done.stderr
        assert ("samples remapped by" in done.stderr) == (not more), done.stderr


@pytest.mark.parametrize("protect", ["sampled", "all"])
def test_remapped_samples_are_born_and_die_in_the_record(compile_c, run_preloaded, tmp_path, protect):
    program = compile_c(LIVES, ["-O1", "-fno-builtin", "-pthread"])
    done = run_preloaded([program], {**REMAPPED, "POIREAU_PROTECT": protect, "POIREAU_TRACE": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 5\n", "")
    read = traces.read_all(tmp_path)
    own = max(read, key=lambda trace: len(trace.events))
    for trace in read:
        living = [event for event in traces.alive(trace.events).values() if event["size"] <= 3000]
        assert len(trace.of("alloc")) + len(trace.of("live")) - len(trace.of("free")) == len(traces.alive(trace.events))
        assert trace is not own or len(living) < 20, living  # what libc keeps
        assert not traces.drops(trace.events)
    assert len(own.of("free")) > 2000 and all(0x2 << 44 <= event["address"] < 0x4 << 44 for event in own.of("alloc"))


def test_samples_live_in_slots_where_there_is_no_other_home(freed, run_preloaded):
    scarce = ["sh", "-c", f"ulimit -f 1; exec {freed} freed 100"]
    done = run_preloaded(scarce, {**REMAPPED, "POIREAU_SINK": "none"})
    assert uses(done) == 1
    said = re.findall(rf"{freed.name}\S*: samples live in slots: (.*)", done.stderr)
    assert said == ["there can be no remapped homes here"]


SLOW = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char** argument) {
  for (long i = 0;; ++i, usleep(1000)) {
    void* volatile block = malloc(40);
    if (count > 1) free(block);
    if (i == 300) puts("on its way"), fflush(stdout);
  }
}
"""


@pytest.mark.parametrize("arguments", [[], ["and free"]])
def test_who_allocates_little_and_may_never_free_answers_soon(compile_c, library, arguments):
    env = clean_environment(**ALL, POIREAU_SINK="none", LD_PRELOAD=str(library))
    program = [compile_c(SLOW, ["-fno-builtin", "-w"]), *arguments]
    with subprocess.Popen(program, env=env, stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            began = time.monotonic()
            with Client(name_of(process.pid)) as client:
                client.ask("stats")
                client.ask("set", "revoke", "immediate")
            assert time.monotonic() - began < 5  # some 0.3 s; a period of bytes would take 13
        finally:
            process.kill()


HELD = r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
struct node { struct node* next; char more[1000]; }* head;
void** table;  // large: it has a guarded home
int main(void) {
  table = malloc(5000 * sizeof *table);
  for (int i = 0; i < 5000; ++i) table[i] = malloc(300);
  for (int i = 0; i < 5000; ++i) {
    struct node* node = malloc(sizeof *node);
    node->next = head, head = node;
  }
  for (int i = 0; i < 500; ++i) *(volatile char*)malloc(2000) = 1;
  puts("there"), fflush(stdout);
  for (;;) free(malloc(100)), usleep(1000);
}
"""


@pytest.mark.parametrize("how", [{**ALL, "POIREAU_SAMPLE_PERIOD": "10K"}, REMAPPED], ids=["protected", "remapped"])
def test_what_protected_blocks_point_at_is_not_lost(compile_c, library, tmp_path, how):
    env = clean_environment(**how, POIREAU_TRACE=str(tmp_path), LD_PRELOAD=str(library))
    program = compile_c(HELD, ["-g", "-fno-builtin", "-w"])
    with subprocess.Popen([program], env=env, stdout=subprocess.PIPE) as process:
        try:
            process.stdout.readline()
            time.sleep(1)
            command = [sys.executable, ROOT / "poireau.py", "leaks", str(process.pid)]
            told = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=100)
        finally:
            process.kill()
    assert "scanned " in told.stdout and len(re.findall("^lost ", told.stdout, re.MULTILINE)) == 1, told
    assert re.search(r"^ +0 of \d+ objects reachable", told.stdout, re.MULTILINE), told
