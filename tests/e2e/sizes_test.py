"""Odd requests are answered by the allocator beneath, to the letter."""

from __future__ import annotations

import pytest

from .conftest import under


@pytest.mark.parametrize("period", ["1", "1000", "512KiB", "0"])
def test_odd_requests_get_the_answers_they_get_bare(program, run_bare, run_preloaded, allocator, period):
    argv = [program("sizes.c"), *{"jemalloc": ["no-pvalloc"], "tcmalloc": ["modest"]}.get(allocator, [])]
    environment = {"POIREAU_SAMPLE_PERIOD": period}
    bare, ours = (run(argv, environment, preload=under(allocator)) for run in (run_bare, run_preloaded))
    different = [pair for pair in zip(bare.stdout.splitlines(), ours.stdout.splitlines()) if pair[0] != pair[1]]
    assert not different
    assert len(bare.stdout.splitlines()) == len(ours.stdout.splitlines()) > 400
    assert (ours.returncode, ours.stderr == "") == (bare.returncode, bare.stderr == "")
