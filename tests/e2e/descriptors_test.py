"""Programs that close or replace every descriptor neither notice ours nor lose the guards that hang on it."""

from __future__ import annotations

import pytest

GUARDED = {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "all", "POIREAU_GUARD_MECHANISM": "userfaultfd"}
GUARDED["POIREAU_CONTROL"] = "off"  # its socket may be closed, and comes back: control_family_test
WAYS = ["loop", "loop down", "each range", "closefrom", "close_range", "unshare", "cloexec", "wrong", "dup", "from all"]
FOUND = "use after free: write at "


@pytest.fixture
def run_both(program, run_bare, run_preloaded):
    """The outputs, bare and under us, with descriptors up to 255 only."""

    def run(*arguments):
        argv = ["sh", "-c", 'ulimit -n 256; exec "$@"', "sh", program("descriptors.c"), *arguments]
        bare, ours = run_bare(argv), run_preloaded(argv, GUARDED)
        assert bare.returncode == 0, bare
        assert (ours.stdout, ours.returncode) == (bare.stdout, 0), ours
        return ours

    return run


@pytest.mark.parametrize("way", WAYS)
def test_guards_survive_and_nothing_is_noticed(run_both, exercised, way):
    done = run_both(way)
    assert done.stderr.count(FOUND) == 1, done
    exercised.add("closing all descriptors", way)


@pytest.mark.parametrize("way", WAYS)
def test_a_fork_child_keeps_its_guards_and_its_parents(run_both, way):
    assert run_both(way, "fork").stderr.count(FOUND) == 2


@pytest.mark.parametrize("way", [*WAYS, "dup and keep"])
def test_a_vfork_child_takes_nothing_from_its_parent(run_both, way):
    assert run_both(way, "vfork").stderr.count(FOUND) == 1


def test_a_program_may_have_every_number_there_is(run_both):
    run_both("dup and keep")  # its guards are lost, and nothing else


def test_no_program_that_is_executed_inherits_it(run_preloaded):
    bare_list = ["env", "-u", "LD_PRELOAD", "ls", "-l", "/proc/self/fd"]
    done = run_preloaded(bare_list, GUARDED)
    assert done.returncode == 0
    assert "/dev/null" in done.stdout
    assert "userfaultfd" not in done.stdout, done.stdout


@pytest.mark.parametrize(("mechanism", "has_one"), [("userfaultfd", 1), ("markers", 0), ("mprotect", 0), ("none", 0)])
def test_only_userfaultfd_keeps_a_descriptor(run_preloaded, mechanism, has_one):
    done = run_preloaded(["ls", "-l", "/proc/self/fd"], {**GUARDED, "POIREAU_GUARD_MECHANISM": mechanism})
    assert done.stdout.count("userfaultfd") == has_one, done
    assert done.stdout.count("\n") == len(["total", 0, 1, 2, "the folder"]) + has_one
