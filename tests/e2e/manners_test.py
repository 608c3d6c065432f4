"""What a guest leaves as it found it: the program's pending errors, its signals, its stack, its pointers to us."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from .conftest import under


@pytest.mark.parametrize("pie", ["-pie", "-no-pie"])
def test_a_program_that_compares_pointers_to_malloc_is_sampled(program, run_preloaded, pie):
    flags = ["-fPIE"] if pie == "-pie" else ["-fno-pic"]
    done = run_preloaded([program("pointers.c", pie, *flags)], {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_LOG": "debug"})
    assert done.returncode == 0
    assert int(re.search(r"(\d+) samples", done.stderr)[1]) == 100


@pytest.mark.parametrize("extension", [None, "jemalloc", "tcmalloc", "mimalloc"])
def test_an_error_of_the_loader_is_neither_lost_nor_invented(program, run_preloaded, extension):
    pending = program("pending_error.c", "-shared", "-DLIBRARY")
    binary = program("pending_error.c", "-Wl,--no-as-needed", pending)
    done = run_preloaded([binary], extensions=[extension] if extension else [], preload=under(extension or "glibc"))
    assert done.stdout == "pending: /nowhere/at/all.so: cannot open shared object file: No such file or directory\n"


@pytest.mark.parametrize("how", ["info", "junk"])
def test_a_reader_that_is_gone_kills_nobody(program, library, how):
    read, write = os.pipe()
    os.close(read)
    setting = {"POIREAU_LOG": "debug"} if how == "info" else {"POIREAU_SAMPLE_PERIOD": "junk"}
    environment = {"LD_PRELOAD": str(library), **setting}
    done = subprocess.run([program("pointers.c")], env=environment, stderr=write, stdout=subprocess.PIPE)
    os.close(write)
    assert done.returncode == 0


def test_syscall_leaves_its_callers_stack_alone(program, same_as_bare):
    """A seventh argument that was not given is the caller's own memory, and somebody else may be writing to it."""
    done = same_as_bare([program("stack_neighbour.c", "-O2")])
    assert done.stdout == "3000000\n"
