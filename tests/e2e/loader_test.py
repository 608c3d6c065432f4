"""dlopen and its kin do what they do bare, and memory may cross where it crosses bare."""

from __future__ import annotations

import shutil

import pytest

from .conftest import PROGRAMS, under


@pytest.fixture(scope="module")
def tree(program, tmp_path_factory):
    """A program and a library, each with libraries that only its own RUNPATH leads to."""
    root = tmp_path_factory.mktemp("tree")
    for number, folder in enumerate(["of_program", "of_library"], 1):
        (root / folder).mkdir()
        shutil.copy(program("answer.c", "-shared", f"-DANSWER={number}"), root / folder / f"lib{folder}.so")
    library = program("opener.c", "-shared", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/of_library")
    shutil.copy(library, root / "libopener.so")
    flags = ["-DPROGRAM", f"-L{root}", "-lopener", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/of_program:$ORIGIN"]
    shutil.copy(program("opener.c", *flags), root / "opener")
    return root


@pytest.mark.parametrize("period", ["1", "512KiB"])
def test_libraries_are_found_by_their_callers_runpath(tree, same_as_bare, period):
    names = ["libof_program.so", "libof_library.so", "libnowhere.so"]
    done = same_as_bare([tree / "opener", *names], {"POIREAU_SAMPLE_PERIOD": period})
    assert "program, libof_program.so: 1\n" in done.stdout
    assert "library, libof_library.so: 2\n" in done.stdout


@pytest.mark.parametrize("period", ["1", "1000"])
def test_a_deepbound_plugin_may_free_what_its_host_made(program, run_preloaded, allocator, period):
    argv = [program("crossing_host.c"), "deepbind", program("crossing.c", "-shared")]
    done = run_preloaded(argv, {"POIREAU_SAMPLE_PERIOD": period}, preload=under(allocator))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "1 deepbinds, 0 namespaces, malloc ours\n"


def test_deepbind_keep_keeps_the_flag(program, run_preloaded):
    argv = [program("crossing_host.c"), "deepbind", program("crossing.c", "-shared")]
    done = run_preloaded(argv, {"POIREAU_SAMPLE_PERIOD": "1000", "POIREAU_DEEPBIND": "keep"})
    assert (done.returncode, done.stderr) == (0, "0 deepbinds, 0 namespaces, malloc its own\n")


def test_a_plain_plugin_is_no_deepbind(program, run_preloaded):
    argv = [program("crossing_host.c"), "plain", program("crossing.c", "-shared")]
    done = run_preloaded(argv, {"POIREAU_SAMPLE_PERIOD": "1"})
    assert (done.returncode, done.stderr) == (0, "0 deepbinds, 0 namespaces, malloc ours\n")


@pytest.mark.parametrize("period", ["1", "1000"])
def test_memory_crosses_namespaces_as_it_does_bare(program, run_preloaded, run_bare, period):
    argv = [program("crossing_host.c"), "namespace", program("crossing.c", "-shared")]
    bare, ours = (run(argv, {"POIREAU_SAMPLE_PERIOD": period}) for run in (run_bare, run_preloaded))
    assert (bare.returncode, bare.stdout) == (ours.returncode, ours.stdout) == (0, "")
    assert ours.stderr == "0 deepbinds, 1 namespaces, malloc its own\n"


def test_an_interposer_after_us_sees_every_call_once(program, run_preloaded):
    interposer = program("interposer.c", "-shared")
    # But for samples, which have homes of their own.
    done = run_preloaded([program("chain.c")], {"POIREAU_SAMPLE_PERIOD": "1TiB"}, preload=[interposer])
    assert done.stdout == "11 seen by the interposer, 0 of 11 wrong\n"


def test_an_interposer_before_us_works_as_bare(program, run_bare, library):
    # Whether we sample then is another matter: the program's calls come to it first.
    interposer = program("interposer.c", "-shared")
    done = run_bare([program("chain.c")], {"POIREAU_SAMPLE_PERIOD": "1"}, preload=[interposer, library])
    assert done.returncode == 0, done
    assert "11 seen by the interposer" in done.stdout or "12 seen by the interposer" in done.stdout


def test_a_program_that_wraps_malloc_itself_works_as_bare(program, same_as_bare):
    same_as_bare([program("chain.c", PROGRAMS / "interposer.c")], {"POIREAU_SAMPLE_PERIOD": "1"})


@pytest.mark.slow
def test_plugins_come_and_go_while_threads_allocate(program, same_as_bare, allocator):
    argv = [program("plugin_loop.c"), program("answer.c", "-shared", "-DANSWER=3")]
    assert same_as_bare(argv, {"POIREAU_SAMPLE_PERIOD": "1"}, preload=under(allocator)).stdout == "1500\n"
