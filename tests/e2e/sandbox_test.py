"""A seccomp filter that lets the bare program live lets it live under us."""

from __future__ import annotations

import pytest

WAYS = ["prctl", "syscall", "tsync", "bare", "strict"]
# Who names a directory for traces says that files may be made.
NOBODY_VOUCHES = {"POIREAU_TRACE": ""}
# A filter that comes by a bare instruction is one that we don't know of.
UNSEEN = {"bare": {"POIREAU_SINK": "none", "POIREAU_CONTROL": "off", "POIREAU_OVERHEAD_BUDGET": "off"}}


@pytest.fixture
def run_boxed(run_bare, run_preloaded):
    """Runs it bare, to see that the sandbox suits the bare program, and preloaded."""

    def run(argv, environment):
        assert run_bare(argv, environment).returncode == 0
        return run_preloaded(argv, {**NOBODY_VOUCHES, **environment})

    return run


@pytest.mark.parametrize("period", ["1", "1000"])
@pytest.mark.parametrize("way", WAYS)
def test_a_program_lives_in_the_sandbox_it_makes_itself(program, run_boxed, exercised, way, period):
    done = run_boxed([program("sandboxed.c"), way], {"POIREAU_SAMPLE_PERIOD": period, **UNSEEN.get(way, {})})
    assert done.stdout in ("alive, sampling\n", "alive, not sampling\n"), done
    assert (done.returncode, done.stderr) == (0, "")
    exercised.add("sandboxes", way)


@pytest.mark.parametrize("way", ["prctl", "syscall", "bare"])
def test_a_sandboxed_program_may_fork(program, run_boxed, way):
    done = run_boxed([program("sandboxed.c"), way, "fork"], {"POIREAU_SAMPLE_PERIOD": "1", **UNSEEN.get(way, {})})
    assert done.returncode == 0, done
    assert done.stdout.startswith("alive")


@pytest.mark.parametrize(
    "environment", [{}, {"POIREAU_LOG": "info"}, {"POIREAU_LOG": "debug"}, {"POIREAU_SAMPLE_BY": "nonsense"}]
)
def test_a_program_lives_in_a_sandbox_it_was_executed_in(program, run_boxed, exercised, environment):
    argv = [program("sandbox_launcher.c"), program("sandboxed.c"), "inherited"]
    done = run_boxed(argv, {"POIREAU_SAMPLE_PERIOD": "1", **environment})
    assert done.returncode == 0, done
    assert done.stdout.startswith("alive")
    if environment.get("POIREAU_LOG"):
        assert "in a seccomp sandbox" in done.stderr
    exercised.add("sandboxes", "inherited")


def test_a_configuration_file_kills_no_program_in_an_inherited_sandbox(program, run_boxed, tmp_path):
    config = tmp_path / "poireau.toml"
    config.write_text("sample_period = 1\n")
    argv = [program("sandbox_launcher.c"), program("sandboxed.c"), "inherited"]
    done = run_boxed(argv, {"POIREAU_CONFIG": str(config)})
    assert done.returncode == 0, done


def test_an_unreadable_configuration_kills_no_program_in_an_inherited_sandbox(program, run_boxed):
    argv = [program("sandbox_launcher.c"), program("sandboxed.c"), "inherited"]
    done = run_boxed(argv, {"POIREAU_CONFIG": "/nowhere", "POIREAU_SAMPLE_PERIOD": "1"})
    assert done.returncode == 0, done


def test_a_cxx_program_lives_in_an_inherited_sandbox(program, run_boxed):
    argv = [program("sandbox_launcher.c"), program("cxx_behaviour.cc", "-DPROGRAM")]
    assert run_boxed(argv, {"POIREAU_SAMPLE_PERIOD": "1"}).returncode == 0
