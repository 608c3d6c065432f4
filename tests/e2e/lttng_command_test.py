"""`lttng start|stop`: a session with all that reading needs, by daemons of one's own; or one line that says why not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

pytestmark = pytest.mark.slow
POIREAU = f"{sys.executable} {ROOT / 'poireau.py'}"
BLOCKS = "for i in range(3000): kept = bytearray(5000)"
HANG = 120  # seconds


@pytest.fixture
def lttng_home(tmp_path):
    """With a /run of its own, where root's daemons have their sockets; they are ended by what they wrote there."""
    if shutil.which("lttng-sessiond") is None:
        pytest.fail("lttng-sessiond: not installed, run `make setup`", pytrace=False)
    return tmp_path


def shell(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    daemons = f'/run/lttng/lttng-sessiond.pid "{folder}/.lttng/lttng-sessiond.pid"'
    end = f"; for each in {daemons}; do [ -f $each ] && kill $(cat $each); done; true"
    own_run = "mount -t tmpfs none /run && mount -t tmpfs none /dev/shm && " if os.geteuid() == 0 else ""
    command = ["sh", "-c", f"{own_run}{{ {script}; }}{end}"]
    if own_run:
        command = ["unshare", "--mount", *command]
    environment = clean_environment(HOME=str(folder), LTTNG_HOME=str(folder), POIREAU_SAMPLE_PERIOD="64K")
    output = folder / "said"
    with output.open("w") as out:  # a pipe would be the daemons', too
        started = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        started.wait(HANG)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
    return subprocess.CompletedProcess(command, started.returncode, output.read_text(), "")


def test_what_start_begins_run_records_stop_ends_and_top_reads(lttng_home):
    trace = lttng_home / "of ours"
    said = shell(
        lttng_home,
        f"{POIREAU} lttng stop; {POIREAU} lttng start -o '{trace}' && {POIREAU} lttng start; "
        f"{POIREAU} run --sink lttng -- /usr/bin/python3 -c '{BLOCKS}'; {POIREAU} lttng stop; "
        f"{POIREAU} top --what allocated '{trace}'; {POIREAU} lttng stop --name other",
    ).stdout
    assert said.startswith("poireau: there is no session poireau: `poireau lttng start` begins one\n"), said
    assert f"session poireau records to {trace}\n" in said
    assert "poireau: there is a session poireau already: `poireau lttng stop` ends it" in said
    assert f"session poireau has ended: `poireau top '{trace}'` reads it\n" in said
    assert "python3" in said and "nothing lost" in said, said
    assert "there is no session other" in said and "Traceback" not in said


def test_a_live_session_is_read_while_it_is_written(lttng_home):
    said = shell(
        lttng_home,
        f"{POIREAU} lttng start --live --name now -o {lttng_home}/relayed; "
        f"{POIREAU} run --sink lttng -- /usr/bin/python3 -c '{BLOCKS}'; {POIREAU} lttng stop --name now; "
        f"{POIREAU} top --what allocated {lttng_home}/relayed/*/now-*; "
        f"for each in $(grep -sl {lttng_home}/relayed /proc/[0-9]*/cmdline); do "
        "grep -q ^lttng-relayd $each && kill $(echo $each | cut -d/ -f3); done",
    ).stdout
    assert f"`poireau top net://127.0.0.1/host/{os.uname().nodename}/now` reads it\n" in said, said
    assert "session now has ended: its relay daemon has it" in said
    assert "python3" in said and "nothing lost" in said, said


def test_without_lttng_that_is_said_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "poireau.py", "lttng", "start"],
        env=clean_environment(PATH=str(tmp_path)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 125 and done.stderr.startswith("poireau: lttng is not installed"), done
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words", [["stop", "-o", "x"], ["start", "--name", "a/b"], ["start", "--live", "--url", "net://h"]]
)
def test_wrong_use_is_told(words):
    done = subprocess.run([sys.executable, ROOT / "poireau.py", "lttng", *words], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
