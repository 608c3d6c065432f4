"""A program that resizes its blocks only when malloc_usable_size says that they are full: the sampled ones are full
just when they would be bare, or they would be resized, and drawn anew, more often than the others."""

from __future__ import annotations

import pytest

from tests import traces

from .conftest import under

PERIOD, LAST = 256 << 10, 8000


@pytest.mark.parametrize("step", [310, 77])
def test_what_grows_when_it_is_full_is_estimated_as_any_other(
    step, program, run_bare, run_preloaded, allocator, tmp_path, seed, scale, exercised
):
    env = {
        "POIREAU_TRACE": str(tmp_path),
        "POIREAU_TRACE_LIMIT": "64MiB",
        "POIREAU_SEED": str(seed),
        "POIREAU_SAMPLE_PERIOD": str(PERIOD),
        "POIREAU_OVERHEAD_BUDGET": "off",
        "POIREAU_STACK_DEPTH": "1",
    }
    argv = [program("fills.c", "-O1"), str(scale(15000)), str(step), str(LAST)]
    done = run_preloaded(argv, env, preload=under(allocator))
    assert (done.returncode, done.stderr) == (0, "")
    truth, resizes = map(int, done.stdout.split())
    alive = traces.alive(traces.read_one(tmp_path).events).values()
    estimate, error = traces.bytes_asked_for(event for event in alive if event["size"] <= LAST)
    exercised.add("usable sizes", f"{allocator}: {(estimate - truth) / error:+.1f} sigma, {error / truth:.0%} expected")
    assert abs(estimate - truth) <= 6 * error + 8192, (estimate, truth, error)
    bare_resizes = int(run_bare(argv, preload=under(allocator)).stdout.split()[1])
    # glibc's blocks are now and then a little larger, by what would be left over beside them.
    assert abs(resizes - bare_resizes) <= (0.01 * bare_resizes if allocator == "glibc" else 0)


@pytest.mark.parametrize("kind", ["large", "small"])
def test_blocks_of_any_size_are_full_as_bare(kind, program, run_bare, run_preloaded, allocator):
    argv = [program("fills.c", "-O1"), *{"large": ["20", "20000", "1500000"], "small": ["3000", "13", "500"]}[kind]]
    env = {"POIREAU_SAMPLE_PERIOD": "1" if kind == "large" else "100", "POIREAU_OVERHEAD_BUDGET": "off"}
    bare, ours = (run(argv, env, preload=under(allocator)) for run in (run_bare, run_preloaded))
    assert (bare.returncode, ours.returncode, ours.stderr) == (0, 0, "")
    if allocator == "glibc":  # whose large blocks depend on what was freed before
        return
    assert ours.stdout == bare.stdout
