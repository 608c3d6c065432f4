"""The functions that only some allocators have: counted once where they are, absent where they are not."""

from __future__ import annotations

import re

import pytest

from .conftest import ALLOCATORS, ROOT, under

EXTENDED = [name for name in ALLOCATORS if name != "glibc"]
ROW = re.compile(r"^HOOK\(\w+, (jemalloc|tcmalloc|mimalloc|dlmalloc), (\w+),", re.MULTILINE)
NAMES = sorted({name for _, name in ROW.findall((ROOT / "preload" / "hooks.def").read_text())})


@pytest.mark.parametrize("where", ["preloaded", "linked"])
@pytest.mark.parametrize("allocator", EXTENDED)
def test_every_request_to_an_extension_counts_exactly_once(program, run_preloaded, exercised, allocator, where):
    needed = ["-Wl,--no-as-needed", f"-l:{ALLOCATORS[allocator]}"] if where == "linked" else []
    done = run_preloaded(
        [program(f"of_{allocator}.c", *needed)],
        {"POIREAU_SAMPLE_PERIOD": "1"},
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
