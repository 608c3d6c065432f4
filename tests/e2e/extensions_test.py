"""The functions that only some allocators have: counted once where they are, absent where they are not."""

from __future__ import annotations

import re

import pytest

from .conftest import ALLOCATORS, ROOT, under

EXTENDED = [name for name in ALLOCATORS if name != "glibc"]
ROW = re.compile(r"^HOOK\(\w+, (jemalloc|tcmalloc|mimalloc|dlmalloc), (\w+),", re.MULTILINE)
NAMES = sorted({name for _, name in ROW.findall((ROOT / "preload" / "hooks.def").read_text())})


@pytest.mark.parametrize("protect", ["sampled", "all"])
@pytest.mark.parametrize("where", ["preloaded", "linked"])
@pytest.mark.parametrize("allocator", EXTENDED)
def test_every_request_to_an_extension_counts_exactly_once(
    program, run_preloaded, exercised, allocator, where, protect
):
    needed = ["-Wl,--no-as-needed", f"-l:{ALLOCATORS[allocator]}"] if where == "linked" else []
    done = run_preloaded(
        [program(f"of_{allocator}.c", *needed)],
        {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_PROTECT": protect},
        extensions=[allocator],
        preload=under(allocator) if where == "preloaded" else [],
    )
    assert done.stdout.startswith("0 of "), done
    assert done.returncode == 0
    exercised.add("extensions", allocator)


@pytest.mark.parametrize("period", ["1000", "0"])
@pytest.mark.parametrize("allocator", EXTENDED)
def test_an_extension_library_alone_changes_nothing(program, run_preloaded, library, run_bare, allocator, period):
    # Without libpoireau.so before it, it has nobody to count for.
    preload = [library.parent / f"libpoireau-{allocator}.so", *under(allocator)]
    done = run_bare([program("every_call.cc"), "no pvalloc"], {"POIREAU_SAMPLE_PERIOD": period}, preload=preload)
    assert done.returncode == 1  # nothing is counted, all is served
    assert "0 samples" in done.stdout


@pytest.mark.parametrize("extended", [False, True])
def test_extensions_are_seen_exactly_as_bare(program, run_bare, run_preloaded, allocator, extended):
    binary = program("presence.c", program("presence.c", "-shared", "-DLIBRARY"))
    extensions = [allocator] if extended and under(allocator) else []
    bare = run_bare([binary, *NAMES], preload=under(allocator))
    ours = run_preloaded([binary, *NAMES], extensions=extensions, preload=under(allocator))
    assert bare.returncode == ours.returncode == 0
    assert ours.stdout.splitlines() == bare.stdout.splitlines()
    assert "there" in bare.stdout or allocator == "glibc"


# MAKER RELEASE ORDER: of alignment (a), size (s) and count (c) in what the maker takes, and of size and alignment in
# what the release takes behind the block. Says where the blocks lie, and reads a freed one.
OWN_NAMES = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef void* (*Function)(long, long, long);
static long given(char what, long size) { return what == 's' ? size : what == 'a' ? 64 : what == 'c' ? 1 : 0; }
int main(int count, char** argument) {
  const Function make = (Function)dlsym(RTLD_DEFAULT, argument[1]);
  const Function release = (Function)dlsym(RTLD_DEFAULT, argument[2]);
  const char *made = argument[3], *released = strchr(made, ',') + 1;
  if (make == NULL || release == NULL) return !!puts("absent");
  char* block = malloc(1);
  int ours = 0;
  for (long size = 1; size < 200000; size = size * 3 + 1) {
    const int resizes = made[0] == 'p';
    block = resizes ? make((long)block, given(made[1], size), given(made[2], size))
                    : make(given(made[0], size), given(made[1], size), given(made[2], size));
    ours += (uintptr_t)block >> 45 == 1;
    if (resizes && size > 1 && block[size / 3 - 1] != 7) return !!puts("lost");
    memset(block, 7, size);
    if (!resizes || size > 60000) release((long)block, given(released[0], size), given(released[1], size));
  }
  printf("%d ours\n", ours);
  fflush(stdout);
  (void)*(volatile char*)block;
}
"""
OWN = {
    "jemalloc": "mallocx dallocx s0,0 mallocx sdallocx s0,s rallocx dallocx ps0,0",
    "tcmalloc": "tc_malloc tc_free s0,0 tc_calloc tc_cfree cs0,0 tc_memalign tc_free_sized as0,s tc_new tc_delete s0,0 "
    "tc_newarray_aligned tc_deletearray_sized_aligned sa0,sa tc_realloc tc_free ps0,0",
    "mimalloc": "mi_malloc mi_free s0,0 mi_zalloc_aligned mi_free_aligned sa0,a mi_calloc mi_free_size cs0,s "
    "mi_new mi_free s0,0 mi_mallocn mi_free sc0,0 mi_memalign mi_cfree as0,0 mi_rezalloc mi_free ps0,0",
}


@pytest.mark.parametrize("allocator", OWN)
def test_blocks_of_an_allocators_own_functions_are_protected(compile_c, run_preloaded, allocator):
    program = compile_c(OWN_NAMES, ["-O1", "-w", "-fno-builtin"])
    words = OWN[allocator].split()
    for arguments in zip(words[::3], words[1::3], words[2::3], strict=True):
        settings = {"POIREAU_PROTECT": "all", "POIREAU_SAMPLE_PERIOD": "0", "POIREAU_REVOKE": "immediate"}
        done = run_preloaded([program, *arguments], settings, extensions=[allocator], preload=under(allocator))
        # One may be looked at by the sampler, and be served beneath by a function whose blocks stay there.
        assert done.stdout in ("11 ours\n", *["10 ours\n"] * (allocator == "mimalloc")), (arguments, done)
        said = re.findall(r": (use after free: read at .*|[^ ]+ [^ ]+: 0x.*)", done.stderr)
        assert len(said) == 1 and said[0].startswith("use after free: read"), (arguments, done.stderr)
        assert f"block from {arguments[0]}\n" in done.stderr, done.stderr


def test_an_arena_that_the_program_names_keeps_its_blocks(compile_c, run_preloaded):
    program = compile_c(OWN_NAMES.replace(": 0; }", ": 1 << 20; }"), ["-O1", "-w", "-fno-builtin"])
    settings = {"POIREAU_PROTECT": "all", "POIREAU_SAMPLE_PERIOD": "1"}
    arguments = ["mallocx", "dallocx", "s0,0"]
    done = run_preloaded([program, *arguments], settings, extensions=["jemalloc"], preload=under("jemalloc"))
    assert (done.stdout, done.returncode) == ("0 ours\n", 0), done
