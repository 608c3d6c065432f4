"""`ps`, `ctl` and `attach` with real programs, wherever they run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from poireau import glimpse, processes, sockets
from poireau.errors import NO_ANSWER, NOT_PRELOADED, REFUSED
from tests import traces
from tests.conftest import clean_environment

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
USER = 54321  # has no name
Start = Callable[..., "Obeys"]


class Obeys:
    """tests/programs/obeys.c at work."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str], **more: object) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(  # type: ignore[call-overload]
            command, env=environment, stdin=pipe, stdout=pipe, text=True, bufsize=1, **more
        )

    def __call__(self, order: str) -> None:
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    @property
    def pid(self) -> int:
        """Of the program itself, behind what has started it."""
        pid = self.process.pid
        while children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            pid = int(children[0])
        return pid

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def start(program: Callable[..., Path], library: Path, traces_parent: Path) -> Iterator[Start]:
    """start(*orders, env={}, before=[], path=that of the program for whatever is before it, **Popen's own)."""
    started: list[Obeys] = []

    def begin(
        *orders: str,
        env: Mapping[str, str] | None = None,
        before: Sequence[str | Path] = (),
        path: Path | None = None,
        **more: object,
    ) -> Obeys:
        fixed = {"LD_PRELOAD": str(library), "POIREAU_TRACE": str(traces_parent), "POIREAU_SAMPLE_PERIOD": "64K"}
        chosen = {**fixed, **(env or {})}
        late = ["env", f"LD_PRELOAD={chosen.pop('LD_PRELOAD')}"]  # what is before it is not preloaded
        started.append(Obeys([*before, *late, path or program("obeys.c")], clean_environment(**chosen), **more))
        for order in orders:
            started[-1](order)
        return started[-1]

    yield begin
    for each in started:
        each.end()


def poireau(*arguments: object, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "poireau.py", *map(str, arguments)]
    options: dict[str, object] = {"env": clean_environment(), "stdin": subprocess.DEVNULL, **more}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command, capture_output=True, text=True, timeout=60, **options
    )


def ask(pid: int, *words: object, wait: float = 20) -> dict[str, object]:
    """The one answer, that is there within `wait` seconds."""
    done = poireau("ctl", "--json", "--wait", wait, pid, *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    (answer,) = json.loads(done.stdout)["answers"]
    return answer  # type: ignore[no-any-return]


def rows() -> dict[int, dict[str, object]]:
    done = poireau("ps", "--json", "--wait", 2)
    assert done.returncode == 0, done
    return {row["pid"]: row for row in json.loads(done.stdout)["processes"]}


def test_a_running_program_is_listed_with_what_it_does(start: Start, traces_parent: Path) -> None:
    pid = start("keep 2000 10000", "slowly").pid
    row = rows()[pid]
    assert row["state"] == "answers"
    assert Path(row["trace"]).is_relative_to(traces_parent)
    low, high = row["live"]["ci95"]
    assert abs(row["live"]["value"] - 20_000_000) < 6 * (high - low) / 2 / 1.96 + 200_000
    assert row["rss_bytes"] > 1_000_000
    assert row["stats"]["governor"]["period"] == "pinned"
    line = next(line for line in poireau("ps", "--wait", 2).stdout.splitlines() if line.split()[0] == str(pid))
    assert "64KiB pinned" in line and " \u00b1 " in line


def test_every_verb_is_answered_in_words(start: Start) -> None:
    pid = start("keep 1000 10000", "slowly").pid
    expected = {
        "hello": r"obeys|program.* armed, period 64KiB, control full",
        "list": r"(?m)^sample_period +64KiB +512KiB ",
        "get sample_period": r"sample_period = 64KiB \(from: .*default: 512KiB\)",
        "set sample_period 128K stack_depth 10": r"sample_period: 64KiB -> 128KiB\nstack_depth: 64 -> 10\n",
        "stats": r"(?ms)^  samples: \d+.*^  page_tables: .*^  mappings: \d+, \d+ of them ours",
        "flush": r"\d+ live samples \(.*\) are in /.*, from samples_\d+ on",
        "snapshot": r"(?ms)live samples.*^  samples: ",
        "verify": r"\d+ blocks looked at, 0 errors found",
        "disarm": r"dormant",
        "arm": r"armed: it samples every 128KiB",
    }
    for words, pattern in expected.items():
        done = poireau("ctl", "--wait", 20, pid, *words.split())
        assert (done.returncode, done.stderr) == (0, ""), (words, done)
        assert re.search(pattern, done.stdout), (words, done.stdout)


def test_what_is_wrong_is_refused_with_a_reason(start: Start) -> None:
    pid = start("slowly").pid
    for words, reason in {
        "set sample_period 12Q": "12Q",
        "set sample_periods 12": "sample_periods",
        "set seed 12": "seed",
        "get nothing": "nothing",
    }.items():
        done = poireau("ctl", "--wait", 20, pid, *words.split())
        assert (done.returncode, done.stdout) == (REFUSED, ""), (words, done)
        assert reason in done.stderr and done.stderr.count("\n") == 1


def test_a_change_is_in_force_and_in_the_trace(start: Start, traces_parent: Path) -> None:
    obeys = start("slowly")
    pid = obeys.pid
    assert ask(pid, "set", "sample_period", "256K")["before"] == "64KiB"
    assert ask(pid, "get", "sample_period")["value"] == "256KiB"
    assert ask(pid, "stats")["period"] == 256 << 10
    trace = processes.trace_of(pid)
    assert trace is not None and glimpse.settings_of(trace)["sample_period"] == "256KiB"
    obeys.end()
    changes = [(event["name"], event["value"]) for event in traces.read_one(traces_parent).of("option")]
    assert ("sample_period", "256KiB") in changes


def test_a_snapshot_is_a_trace_of_what_is_alive(start: Start, tmp_path: Path) -> None:
    pid = start("keep 3000 10000", "churn 50000000", "slowly").pid
    done = poireau("ctl", "--json", "--wait", 20, pid, "snapshot", "--to", tmp_path / "kept")
    assert done.returncode == 0, done
    (answer,) = json.loads(done.stdout)["answers"]
    kept = traces.read(tmp_path / "kept")
    alive = [each for each in traces.alive(kept.events).values() if each["size"] == 10000]
    sampled = 3000 * 10000 / 65536
    assert abs(len(alive) - sampled) < 6 * sampled**0.5
    assert len(alive) <= answer["live"] <= len(alive) + 100
    again = poireau("ctl", pid, "snapshot", "--to", tmp_path / "kept")
    assert again.returncode == 2 and "is there already" in again.stderr


def test_the_pace_that_is_glimpsed_is_the_traces(start: Start, traces_parent: Path) -> None:
    obeys = start("churn 100000000")
    trace = processes.trace_of(obeys.pid)
    assert trace is not None
    pace = glimpse.pace_of(trace)
    obeys.end()
    times = [event["time"] for event in traces.read_one(traces_parent).of("alloc", "resize")]
    assert pace.last is not None and abs(pace.last - max(times)) < 10_000_000
    assert pace.gap is not None and 0 < pace.gap < 100_000_000


# Programs that do not answer


def test_an_idle_program_does_it_at_its_next_sample(start: Start) -> None:
    obeys = start("churn 10000000")
    time.sleep(1.1)
    done = poireau("ctl", obeys.pid, "set", "sample_period", "32K")
    assert (done.returncode, done.stdout) == (0, ""), done
    assert re.search(r"last sample \d+ (m?s) ago; answer expected in about \d+ m?s; queued", done.stderr), done
    reading = poireau("ctl", obeys.pid, "stats")
    assert reading.returncode == NO_ANSWER and "--wait" in reading.stderr
    assert rows()[obeys.pid]["state"].startswith("idle: last sample")
    obeys("slowly")
    assert ask(obeys.pid, "get", "sample_period")["value"] == "32KiB"


def test_waiting_lasts_until_the_program_comes_back(start: Start) -> None:
    obeys = start("churn 10000000")
    command = [sys.executable, ROOT / "poireau.py", "ctl", "--wait", "30", str(obeys.pid), "set", "stack_depth", "7"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as waiting:
        time.sleep(0.7)
        assert waiting.poll() is None
        obeys("slowly")
        assert waiting.communicate(timeout=30)[0] == "stack_depth: 64 -> 7\n"
        assert waiting.returncode == 0


def test_a_dormant_program_is_armed(start: Start) -> None:
    obeys = start("churn 40000000", "slowly", env={"POIREAU_ARMED": "0"})
    done = poireau("attach", "--wait", 20, obeys.pid)
    assert done.returncode == 0 and "is armed now: it samples every 64KiB" in done.stdout, done
    assert "was armed already" in poireau("attach", "--wait", 20, obeys.pid).stdout
    assert ask(obeys.pid, "stats")["armed"] is True


def test_a_dormant_program_that_does_nothing_is_said_to_be(start: Start) -> None:
    done = poireau("attach", start(env={"POIREAU_ARMED": "0"}).pid)
    assert done.returncode in (0, NO_ANSWER) and "dormant" in done.stderr, done


def test_a_program_that_is_let_go_is_not_reached_again(start: Start) -> None:
    pid = start("slowly").pid
    assert ask(pid, "quit")["ok"] is True
    done = poireau("ctl", pid, "hello")
    assert done.returncode == NO_ANSWER and "let go" in done.stderr, done


def test_control_may_be_off_or_to_read_only(start: Start) -> None:
    pid = start("slowly", env={"POIREAU_CONTROL": "off"}).pid
    done = poireau("ctl", pid, "hello")
    assert done.returncode == REFUSED and "control is off" in done.stderr, done
    assert "control is off" in rows()[pid]["state"]
    pid = start("slowly", env={"POIREAU_CONTROL": "read"}).pid
    assert ask(pid, "hello")["control"] == "read"
    done = poireau("ctl", "--wait", 20, pid, "disarm")
    assert done.returncode == REFUSED and "read" in done.stderr, done


def test_a_program_that_samples_rarely_is_waited_for(start: Start) -> None:
    # 100 MB/s, and a sample every 64 MiB: at its pace an answer takes most of a second, or several.
    pid = start("churn 200000000", "slowly", env={"POIREAU_SAMPLE_PERIOD": "64M"}).pid
    began = time.monotonic()
    assert ask(pid, "set", "sample_period", "64K")["before"] == "64MiB"
    assert time.monotonic() - began < 15
    began = time.monotonic()
    assert ask(pid, "hello")["period"] == "64KiB"
    assert time.monotonic() - began < 5


def test_a_program_without_the_library_is_to_be_restarted(start: Start) -> None:
    obeys = start(env={"LD_PRELOAD": ""})
    done = poireau("attach", obeys.pid)
    assert done.returncode == NOT_PRELOADED and "restart with: poireau run -- /" in done.stderr, done


# Programs elsewhere


@pytest.mark.parametrize("options", ["-n", "-pf --kill-child", "-npf --kill-child --mount-proc", "-m"])
def test_namespaces_are_no_obstacle(start: Start, options: str, tmp_path: Path) -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    obeys = start("keep 1000 10000", "slowly", before=["unshare", *options.split()])
    check_everything_works(obeys.pid, tmp_path)


@pytest.mark.parametrize("proc", [True, False], ids=["with /proc", "without /proc"])
def test_another_root_is_no_obstacle(
    start: Start, proc: bool, program: Callable[..., Path], library: Path, tmp_path: Path
) -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    root = tmp_path / "root"
    listed = subprocess.run(
        ["ldd", program("obeys.c"), library, "/bin/env"], capture_output=True, text=True, check=True
    )
    files = {*re.findall(r"(/\S+) \(0x", listed.stdout), "/bin/env"}
    for file in files:
        (root / file[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / file[1:])
    shutil.copy(program("obeys.c"), root / "obeys")
    shutil.copy(library, root / "libpoireau.so")
    (root / "proc").mkdir()
    try:
        if proc:
            subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
        env = {"LD_PRELOAD": "/libpoireau.so", "POIREAU_TRACE": "/traces"}
        obeys = start("keep 1000 10000", "slowly", env=env, before=["chroot", root], path=Path("/obeys"))
        check_everything_works(obeys.pid, tmp_path)
        obeys.end()
    finally:
        if proc:
            subprocess.run(["umount", "-l", root / "proc"], check=True)


def check_everything_works(pid: int, tmp_path: Path) -> None:
    assert ask(pid, "set", "stack_depth", "9")["value"] == "9"
    row = rows()[pid]
    assert row["state"] == "answers" and row["trace"], row
    done = poireau("ctl", "--wait", 20, pid, "snapshot", "--to", tmp_path / "kept")
    assert done.returncode == 0, done
    assert traces.read(tmp_path / "kept").of("alloc", "live")


# Programs of others


def test_another_user_has_no_say(start: Start, traces_parent: Path) -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    pid = start("slowly").pid
    as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": ()}
    done = poireau("ctl", pid, "set", "sample_period", "1", **as_nobody)
    assert done.returncode == REFUSED and f"({pid}) is root's" in done.stderr, done
    listed = poireau("ps", "--json", **as_nobody)
    assert str(pid) not in re.findall(r'"pid": (\d+)', listed.stdout)
    assert ask(pid, "stats")["control"]["refused"] == 0  # not even by `ps`; anybody of ours may have asked meanwhile
    # Who asks all the same is not heard.
    (name,) = [each.name.text for each in sockets.listeners(sockets.network_of(pid)) if each.name.pid == pid]
    script = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(chr(0) + sys.argv[1])\n"
        's.sendall(b\'{"do":"disarm"}\\n\')\n'
        "try: print(s.recv(100))\n"
        "except ConnectionError: print(b'')"
    )
    told = subprocess.run([sys.executable, "-c", script, name], capture_output=True, text=True, timeout=60)
    assert told.stdout == "b''\n", told
    stats = ask(pid, "stats")
    assert stats["armed"] is True and stats["control"]["refused"] >= 1


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory of USER's; tmp_path is closed to him."""
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, USER, USER)
        yield Path(directory)


def test_where_nothing_is_preloaded_a_line_says_so() -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    as_user = {"user": USER + 1, "group": USER + 1, "extra_groups": ()}
    done = poireau("ps", **as_user)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "poireau: nothing is preloaded that you may speak to\n"
    assert json.loads(poireau("ps", "--json", **as_user).stdout)["processes"] == []


def test_a_user_rules_his_own_programs(
    public: Path, start: Start, program: Callable[..., Path], library: Path, tmp_path: Path
) -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    as_user = {"user": USER, "group": USER, "extra_groups": ()}
    preload, own = (Path(shutil.copy(each, public)) for each in (library, program("obeys.c")))
    env = {"LD_PRELOAD": str(preload), "POIREAU_TRACE": str(public / "traces")}
    pid = start("slowly", env=env, path=own, **as_user).pid
    done = poireau("ctl", "--wait", 20, pid, "set", "stack_depth", "9", **as_user)
    assert (done.returncode, done.stdout) == (0, "stack_depth: 64 -> 9\n"), done
    kept = poireau("ctl", "--wait", 20, pid, "snapshot", "--to", public / "kept", **as_user)
    assert kept.returncode == 0, kept
    check_everything_works(pid, tmp_path)  # for root, too


def test_python_is_a_program_like_any_other(start: Start, library: Path, traces_parent: Path) -> None:
    script = "while True: [bytes(10000) for _ in range(100)]"
    fixed = {"LD_PRELOAD": str(library), "POIREAU_TRACE": str(traces_parent)}
    with subprocess.Popen(["/usr/bin/python3", "-c", script], env=clean_environment(**fixed)) as python:
        try:
            assert ask(python.pid, "set", "sample_period", "1M")["value"] == "1MiB"
            assert rows()[python.pid]["program"] == "python3"
        finally:
            python.kill()
