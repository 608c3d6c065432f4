"""Where every block is protected and threads allocate all the time: forks, execs, cancelled and ending threads,
signals, overflown stacks, libraries that go. The program says what it says bare, and we say nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import pytest

from tests.conftest import SOAK, clean_environment
from tests.control_client import listening

PROTECTED = {"POIREAU_PROTECT": "all"}
SETTINGS = {
    "governed": {},
    "immediate": {"POIREAU_REVOKE": "immediate"},
    "userfaultfd": {"POIREAU_GUARD_MECHANISM": "userfaultfd", "POIREAU_REVOKE": "immediate"},
    "runs": {"POIREAU_GUARD_MECHANISM": "mprotect", "POIREAU_REVOKE": "runs"},
}
# How often, in `make soak`; for "many" as many threads at once, for "maps" so many mappings of the program's own.
TIMES = {
    "forks": 100,
    "stacks": 500,
    "cancel": 200,
    "threads": 5000,
    "spawns": 50,
    "clones": 100,
    "exec": 1,
    "overflow": 50,
}
FIXED = {"many": 1000, "maps": 32000}
EACH = [
    pytest.param(setting, what, marks=[] if setting == "governed" else pytest.mark.soak)
    for setting in SETTINGS
    for what in [*TIMES, *FIXED]
]


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "what"), EACH)
def test_the_program_does_what_it_does_bare(program, same_as_bare, scale, setting, what):
    number = FIXED.get(what) or scale(TIMES[what])
    more = PROTECTED | SETTINGS[setting]
    done = same_as_bare([program("harsh.c", "-O1", "-w"), what, str(number)], more, timeout=600)
    assert done.returncode == 0 and done.stdout.endswith(" done\n")


@pytest.mark.parametrize("setting", SETTINGS)
def test_libraries_may_go_while_blocks_of_theirs_live(program, same_as_bare, scale, setting):
    plugin = program("harsh.c", "-DLIBRARY", "-shared", "-w")
    command = [program("harsh.c", "-O1", "-w"), "dl", str(scale(200)), plugin]
    assert same_as_bare(command, PROTECTED | SETTINGS[setting], timeout=300).stdout == "dl done\n"


@pytest.mark.parametrize("setting", SETTINGS)
def test_signal_handlers_may_allocate(program, run_preloaded, scale, setting):
    command = [program("harsh.c", "-O1", "-w"), "signals", str(scale(20))]
    done = run_preloaded(command, PROTECTED | SETTINGS[setting], preload=[program("bump.c", "-shared")], timeout=120)
    assert (done.stdout, done.stderr, done.returncode) == ("signals done\n", "", 0)


SAMPLED = {"POIREAU_SAMPLE_PERIOD": "1K", "POIREAU_ON_ERROR": "abort"}
OF_HANDLERS = {name: PROTECTED | more for name, more in SETTINGS.items()} | {
    "sampled": SAMPLED,
    "samples remapped": SAMPLED | {"POIREAU_PLACEMENT": "remap"},
}


@pytest.mark.slow
@pytest.mark.parametrize("setting", OF_HANDLERS)
def test_a_child_of_a_handler_may_go_on_with_what_that_interrupted(program, same_as_bare, scale, setting):
    command = [program("harsh.c", "-O1", "-w"), "children", str(scale(1500))]
    assert same_as_bare(command, OF_HANDLERS[setting], timeout=300).stdout == "children done\n"


# What is stepped through: the size of its blocks, and how many; `pairs` and `malloc` come to where there are no more.
STEPPED = {"pairs": (64, 70), "malloc": (3000, 100), "frees": (60000, 40), "zeroed": (100, 70), "grows": (100, 60)}
STEPPED |= {"forks": (64, 3)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "what"),
    [
        pytest.param(setting, what, marks=[] if setting == "governed" or what == "pairs" else pytest.mark.soak)
        for setting in OF_HANDLERS
        for what in STEPPED
    ],
)
def test_whatever_instruction_is_interrupted_the_child_goes_on(program, run_preloaded, exercised, scale, setting, what):
    stride, most = (1, 5000) if SOAK else (47, 150)
    command = [program("stepped.c", "-O1"), what, *map(str, (*STEPPED[what], stride, most))]
    done = run_preloaded(command, OF_HANDLERS[setting] | {"POIREAU_ON_ERROR": "abort"}, timeout=300)
    assert (done.returncode, done.stderr) == (0, "") and re.fullmatch(r"\d+ signals\n", done.stdout), done
    came = int(done.stdout.split()[0])
    assert came > 5
    exercised.count("signals at instructions", setting, came)


def test_who_is_killed_leaves_nothing(program, library):
    environment = clean_environment(LD_PRELOAD=str(library), **PROTECTED)
    for i in range(5):
        running = subprocess.Popen([program("harsh.c", "-O1", "-w"), "forever"], env=environment)
        time.sleep(0.3 + i / 20)
        os.kill(running.pid, signal.SIGKILL)
        assert running.wait(timeout=10) == -signal.SIGKILL
        assert not [name for name in listening() if f"/{running.pid}/" in name]
