"""A whole pipeline may be preloaded and one of its programs profiled."""

from __future__ import annotations

import re

import pytest

LINE = re.compile(r"^poireau: (\S+)\[\d+\]: version \S+, over \S+, (.*)$", re.MULTILINE)


def profiled(done):
    """Program names by whether they said that they sample."""
    said = LINE.findall(done.stderr)
    return {name for name, rest in said if not rest.startswith("not sampling")}, {name for name, _ in said}


@pytest.mark.parametrize("only", ["sort", "so*", "nothing,sort", "/sort,sort"])
def test_only_profiles_the_program_it_names(run_bare, run_preloaded, only):
    script = ["sh", "-c", "seq 1000 | sort -r | head"]
    done = run_preloaded(script, {"POIREAU_LOG": "info", "POIREAU_SAMPLE_PERIOD": "1", "POIREAU_ONLY": only})
    assert done.stdout == run_bare(script).stdout
    sampling, all_programs = profiled(done)
    assert sampling == {"sort"}
    assert {"seq", "sort", "head"} < all_programs


def test_exclude_wins_over_only(run_preloaded):
    script = ["sh", "-c", "seq 1000 | sort -r | head"]
    environment = {"POIREAU_LOG": "info", "POIREAU_ONLY": "s*", "POIREAU_EXCLUDE": "seq,sh"}
    assert profiled(run_preloaded(script, environment))[0] == {"sort"}


def test_a_script_goes_by_its_own_name_too(run_preloaded, tmp_path):
    script = tmp_path / "my-job"
    script.write_text("#!/bin/sh\nseq 3 | cat\n")
    script.chmod(0o755)
    done = run_preloaded([script], {"POIREAU_LOG": "info", "POIREAU_ONLY": "my-job"})
    assert done.stdout == "1\n2\n3\n"
    assert len(profiled(done)[0]) == 1


def test_a_program_left_alone_counts_nothing(program, run_preloaded):
    done = run_preloaded([program("chain.c")], {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_ONLY": "others"})
    assert "11 of 11 wrong" in done.stdout
