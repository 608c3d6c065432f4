"""Memory is there from the first instruction to the last."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from .conftest import under

PERIODS = ["1", "1000", "512KiB", "0"]


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("binding", ["now", "lazy"])
def test_every_stage_of_a_process_can_allocate(program, same_as_bare, allocator, binding, period):
    flags = ["-Wl,-z,now", "-fno-plt"] if binding == "now" else ["-Wl,-z,lazy"]
    # Resolvers run before other libraries are ready; other allocators crash when they are asked then, also bare.
    quiet = ["-DQUIET"] if under(allocator) else []
    library = program("stages_library.c", "-shared", *flags, *quiet)
    binary = program("stages.cc", *flags, *quiet, "-Wl,--no-as-needed", library)
    done = same_as_bare([binary], {"POIREAU_SAMPLE_PERIOD": period}, preload=under(allocator))
    assert done.returncode == 0
    assert done.stdout.startswith("preinit\nlibrary constructor\nconstructor\nglobal\nmain\nthread\n~thread_local\n")


def test_an_auditor_can_allocate(program, same_as_bare):
    audit = program("audit.c", "-shared")
    library = program("stages_library.c", "-shared")
    done = same_as_bare(
        [program("stages.cc", "-Wl,--no-as-needed", library)], {"POIREAU_SAMPLE_PERIOD": "1", "LD_AUDIT": str(audit)}
    )
    assert done.returncode == 0


def test_a_program_with_a_malloc_of_its_own_is_left_to_it(program, same_as_bare, run_preloaded):
    binary = program("own_malloc.c")
    same_as_bare([binary], {"POIREAU_SAMPLE_PERIOD": "1"})
    done = run_preloaded([binary], {"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_LOG": "info"})
    assert "not sampling: the program has a malloc of its own" in done.stderr


@pytest.fixture
def everybodys_folder():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        if os.geteuid() != 0 or os.statvfs(folder).f_flag & os.ST_NOSUID:
            pytest.fail("a setuid program needs root and a file system that honours it")
        yield folder


def make_setuid(program, folder):
    copy = folder / "setuid"
    shutil.copyfile(program, copy)
    os.chown(copy, 65534, 65534)
    copy.chmod(0o4755)
    return copy


def test_a_setuid_program_is_untouched(everybodys_folder, program, run_preloaded):
    config = everybodys_folder / "poireau.toml"
    config.write_text("nonsense\n")
    binary = make_setuid(program("secure.c"), everybodys_folder)
    done = run_preloaded(["env", binary], {"POIREAU_LOG": "off", "POIREAU_CONFIG": str(config)})
    assert done.stdout == "secure 1, uid 0, euid 65534, poireau absent\n"
    assert done.returncode == 3


def test_a_secure_program_that_has_the_library_takes_no_options(everybodys_folder, program, library, run_bare):
    ours = everybodys_folder / library.name
    shutil.copyfile(library, ours)
    binary = make_setuid(
        program("secure.c", "-Wl,--no-as-needed", ours, f"-Wl,-rpath={everybodys_folder}"), everybodys_folder
    )
    environment = {"POIREAU_LOG": "info", "POIREAU_SAMPLE_PERIOD": "nonsense", "POIREAU_CONFIG": "/dev/full"}
    done = run_bare([binary], environment)
    assert (done.stdout, done.stderr) == ("secure 1, uid 0, euid 65534, poireau there\n", "")


def test_a_static_program_ignores_the_preload(program, same_as_bare):
    assert same_as_bare([program("secure.c", "-static")], {"POIREAU_SAMPLE_PERIOD": "1"}).returncode == 3
