"""LTTng records what the embedded trace would, to the event, and does the program no harm whatever becomes of it. Each
test has a session daemon of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

pytestmark = pytest.mark.slow

NOBODY = 65534
HANG = 30  # seconds
SIZE = 12345  # of the blocks of lttng_blocks.c
TOOLS = ["lttng", "lttng-sessiond", "lttng-relayd", "babeltrace2", "setpriv", "unshare", "nsenter", "prlimit"]
READER = ["prlimit", "--as=4000000000", "babeltrace2"]  # what it makes of a damaged trace may be all memory there is
EVENT = re.compile(
    r"poireau:(?P<name>\w+): \{ cpu_id = \d+ \}, \{ vpid = (?P<pid>\d+), vtid = (?P<tid>\d+) \}, \{ (?P<fields>.*) \}$",
    re.MULTILINE,
)


def events_of(text: str) -> list[dict[str, str]]:
    """name, pid and tid, and the fields that are numbers or texts."""
    pairs = re.compile(r'(\w+) = (0x[0-9A-F]+|\d+|"[^"]*")')
    return [
        {**dict(pairs.findall(found["fields"])), "name": found["name"], "pid": found["pid"], "tid": found["tid"]}
        for found in EVENT.finditer(text)
    ]


def blocks(events: list[dict[str, str]], pid: int | None = None) -> tuple[int, int]:
    """How many of the program's blocks were born, and how many of these have died."""
    mine = [event for event in events if pid is None or int(event["pid"]) == pid]
    born = [event["id"] for event in mine if event["name"] == "alloc" and event["size"] == str(SIZE)]
    died = Counter(event["id"] for event in mine if event["name"] == "free")
    assert len(set(born)) == len(born)
    return len(born), sum(died[block] for block in born)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Lttng:
    """A session daemon and its clients, as a user of his own. Root's has its sockets in /run: it gets one."""

    def __init__(self, root: bool, library: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="poireau-lttng-"))
        self.environment = clean_environment(HOME=str(self.folder), LTTNG_HOME=str(self.folder))
        for name in ("libpoireau.so", "libpoireau-lttng.so"):  # beside each other, wherever that is
            shutil.copy(library.parent / name, self.folder)
        self.as_user: list[str] = []
        if not root and os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
            self.as_user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        self.started: list[subprocess.Popen[str]] = []
        own_run = 'mount -t tmpfs none /run && mount -t tmpfs none /dev/shm && exec "$@"'
        within = ["unshare", "--mount", "sh", "-c", own_run, "sh"] if root else []
        self.daemon = self.start([*within, "lttng-sessiond", "--no-kernel"], start_new_session=True)
        if root:
            self.as_user = ["nsenter", f"--target={self.daemon.pid}", "--mount"]
        until = time.monotonic() + HANG
        while self.run(["lttng", "--no-sessiond", "list"], check=False).returncode != 0:
            assert self.daemon.poll() is None, self.daemon.communicate()
            assert time.monotonic() < until, "the session daemon does not answer"
            time.sleep(0.05)

    def start(self, argv: list[str | Path], **more: object) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started = subprocess.Popen([*self.as_user, *argv], env=self.environment, cwd="/", **{**pipes, **more})
        self.started.append(started)
        return started

    def run(self, argv: list[str | Path], check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.as_user, *argv], env=self.environment, cwd="/", capture_output=True, text=True, timeout=HANG
        )
        assert done.returncode == 0 or not check, done
        return done

    def profiled(self, argv: list[str | Path], preload: str = "", **settings: str) -> list[str | Path]:
        own = {"SINK": "lttng", "SAMPLE_PERIOD": "1", **settings}
        values = [f"POIREAU_{name}={value}" for name, value in own.items()]
        return ["env", f"LD_PRELOAD={self.folder}/libpoireau.so{preload}", *values, *argv]

    def record(self, *create: str, per: str = "uid", channel: tuple[str, ...] = ()) -> Path:
        """Starts a session; where its trace will be."""
        output = self.folder / "trace"
        self.run(["lttng", "create", "s", *(create or (f"--output={output}",))])
        buffers = [f"--buffers-{per}", "--subbuf-size=256k", "--num-subbuf=4", *channel]
        self.run(["lttng", "enable-channel", "-u", "-s", "s", *buffers, "c"])
        self.run(["lttng", "enable-event", "-u", "-s", "s", "-c", "c", "poireau:*"])
        self.run(["lttng", "add-context", "-u", "-s", "s", "-c", "c", "-t", "vpid", "-t", "vtid"])
        self.run(["lttng", "start", "s"])
        return output

    def read(self, trace: Path) -> list[dict[str, str]]:
        done = self.run([*READER, trace])
        assert done.stderr == ""  # no event was discarded
        return events_of(done.stdout)

    def finish(self, trace: Path) -> list[dict[str, str]]:
        self.run(["lttng", "destroy", "s"])
        return self.read(trace)

    def close(self) -> None:
        for each in reversed(self.started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGCONT)
                each.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.daemon.pid, signal.SIGKILL)  # the consumer daemons that it has started
        for each in self.started:
            each.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(params=["another user", "root"])
def any_user(request, library):
    yield from lttng_of(request.param == "root", library)


@pytest.fixture
def lttng(library):
    yield from lttng_of(False, library)


def lttng_of(root, library):
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.fail(f"{', '.join(missing)}: not installed, run `make setup`", pytrace=False)
    if root and os.geteuid() != 0:
        pytest.fail("only root can try what LTTng does for root", pytrace=False)
    own = Lttng(root, library)
    yield own
    own.close()


@pytest.fixture
def program_at(program):
    """Where any user can run it."""

    def build(lttng, name):
        return shutil.copy(program(name), lttng.folder / name.removesuffix(".c"))

    return build


def run(lttng, program_at, how, count, **settings):
    return lttng.run(lttng.profiled([program_at(lttng, "lttng_blocks.c"), how, str(count)], **settings), check=False)


def test_every_event_is_recorded(any_user, program_at):
    trace = any_user.record()
    done = run(any_user, program_at, "once", 2000, LOG="debug")
    events = any_user.finish(trace)
    assert done.returncode == 0, done
    assert blocks(events) == (2000, 2000)
    # Nor is anything else recorded than what was sampled: not what LTTng itself allocates, on its threads or ours.
    (samples,) = re.findall(r"(\d+) samples", done.stderr)
    assert sum(event["name"] in ("alloc", "resize") for event in events) == int(samples)
    assert events[0]["name"] == "process"
    assert len({event["tid"] for event in events}) == 1
    assert {event["size"] for event in events if event["name"] == "alloc"} == {str(SIZE)}


def test_each_thread_is_recorded(lttng, program_at):
    trace = lttng.record()
    done = run(lttng, program_at, "threads", 300)
    assert (done.returncode, done.stderr) == (0, "")
    events = lttng.finish(trace)
    assert blocks(events) == (1200, 1200)
    others = [event["size"] for event in events if event["name"] == "alloc" and event["size"] != str(SIZE)]
    assert len(others) <= 4, others  # what libc makes threads with
    assert {event["thread"] for event in events if "time" in event} == {event["tid"] for event in events}


def test_a_fork_child_is_recorded_as_itself(any_user, program_at):
    trace = any_user.record()
    done = run(any_user, program_at, "forks", 500)
    assert done.returncode == 0, done
    parent, child = map(int, done.stdout.split())
    events = any_user.finish(trace)
    assert (blocks(events, parent), blocks(events, child)) == ((500, 500), (507, 507))
    assert {event["pid"] for event in events} == {str(parent), str(child)}
    assert [event["pid"] for event in events if event["name"] == "process"] == [str(parent), str(child)]


def test_lttngs_own_library_for_forks_may_be_preloaded_too(lttng, program_at):
    trace = lttng.record()
    argv = [program_at(lttng, "lttng_blocks.c"), "forks", "500"]
    done = lttng.run(lttng.profiled(argv, preload=":liblttng-ust-fork.so.1"))
    assert done.stderr == ""
    parent = int(done.stdout.split()[0])
    assert blocks(lttng.finish(trace), parent) == (500, 500)


@pytest.mark.parametrize("how", ["closes loop", "closes range", "closes from", "closes dup", "daemon loop"])
def test_a_program_that_closes_all_descriptors_goes_on_being_recorded(lttng, program_at, how):
    trace = lttng.record()
    done = run(lttng, program_at, how, 500)
    assert (done.returncode, done.stderr) == (0, "")
    assert blocks(lttng.finish(trace)) == (1000, 1000)


def test_what_a_killed_program_did_is_recorded(lttng, program_at):
    trace = lttng.record()
    assert run(lttng, program_at, "killed", 1234).returncode == -signal.SIGKILL
    assert blocks(lttng.finish(trace)) == (1234, 1234)


def test_buffers_may_be_each_process_s_own(lttng, program_at):
    trace = lttng.record(per="pid")
    assert run(lttng, program_at, "forks", 100).returncode == 0
    assert blocks(lttng.finish(trace)) == (207, 207)


def test_a_snapshot_holds_what_has_happened(lttng, program_at):
    output = lttng.folder / "snapshots"
    lttng.record("--snapshot", f"--output={output}", channel=("--overwrite",))
    assert run(lttng, program_at, "once", 300).returncode == 0
    lttng.run(["lttng", "snapshot", "record", "-s", "s"])
    assert blocks(lttng.read(output)) == (300, 300)


def test_a_trace_may_be_rotated_while_the_program_runs(lttng, program_at):
    trace = lttng.record()
    process = lttng.start(lttng.profiled([program_at(lttng, "lttng_blocks.c"), "waits", "400"]), stdin=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    lttng.run(["lttng", "rotate", "s"])
    archived = lttng.read(trace / "archives")
    assert process.communicate("\n", timeout=HANG) == ("", "")
    assert (process.returncode, blocks(archived), blocks(lttng.finish(trace))) == (0, (400, 400), (800, 800))


def test_events_can_be_watched_live(lttng, program_at):
    view, control, data = (f"tcp://127.0.0.1:{free_port()}" for _ in range(3))
    lttng.start(["lttng-relayd", "-L", view, "-C", control, "-D", data, "-o", lttng.folder / "relayed"])
    created, until = subprocess.CompletedProcess([], 1), time.monotonic() + HANG
    urls = [f"--ctrl-url={control}", f"--data-url={data}"]
    while created.returncode != 0:  # it may not be listening yet
        assert time.monotonic() < until, created
        created = lttng.run(["lttng", "create", "probe", "--live=200000", *urls], check=False)
    lttng.run(["lttng", "destroy", "probe"])
    lttng.record("--live=200000", *urls)
    relayed = view.replace("tcp", "net")
    viewer = lttng.start([*READER, "-i", "lttng-live", f"{relayed}/host/{socket.gethostname()}/s"])
    while "1 client(s)" not in lttng.run([*READER, "-i", "lttng-live", relayed], check=False).stdout:
        assert time.monotonic() < until, viewer.communicate()
    events: list[dict[str, str]] = []
    all_seen = threading.Event()

    def watch() -> None:
        for line in viewer.stdout:
            events.extend(events_of(line))
            if line.count("poireau:free") and len(events) >= 1000 and blocks(events) == (500, 500):
                all_seen.set()

    threading.Thread(target=watch, daemon=True).start()
    assert run(lttng, program_at, "once", 500).returncode == 0
    assert all_seen.wait(HANG), Counter(event["name"] for event in events)


def test_a_session_may_begin_and_end_while_the_program_runs(lttng, program_at):
    argv = lttng.profiled([program_at(lttng, "lttng_blocks.c"), "waits", "100"], LOG="debug")
    process = lttng.start(argv, stdin=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    trace = lttng.record()
    _, said = process.communicate("\n", timeout=HANG)
    events = lttng.finish(trace)
    assert (process.returncode, blocks(events)) == (0, (100, 100))
    # What LTTng's threads needed for that are no samples: there is just the buffer of standard output besides.
    assert " 201 samples" in said
    # It learns then whose process this is, and which files the stacks are in.
    names = [event["name"] for event in events]
    assert names[0] == "process"
    assert "module" in names
    assert names.index("module") < names.index("alloc")


def test_without_a_session_daemon_nothing_is_said_and_nothing_hangs(lttng, program_at):
    lttng.daemon.terminate()
    lttng.daemon.wait(HANG)
    done = run(lttng, program_at, "forks", 100)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stopped_session_daemon_delays_a_program_by_half_a_second(lttng, program_at):
    run(lttng, program_at, "once", 1)
    lttng.daemon.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    done = run(lttng, program_at, "once", 100)
    passed = time.monotonic() - begin
    lttng.daemon.send_signal(signal.SIGCONT)
    assert (done.returncode, done.stderr) == (0, "")
    assert passed < 3, "LTTng's own 3 s: the variable did not reach it"


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_session_daemon_may_go_at_any_time(lttng, program_at, end):
    lttng.record()
    process = lttng.start(lttng.profiled([program_at(lttng, "lttng_blocks.c"), "waits", "1000"]), stdin=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    os.killpg(lttng.daemon.pid, end)
    assert process.communicate("\n", timeout=HANG) == ("", "")
    assert process.returncode == 0


@pytest.mark.parametrize("given", [None, "100"])
def test_the_environment_is_as_it_was(lttng, program_at, given):
    if given is not None:
        lttng.environment["LTTNG_UST_REGISTER_TIMEOUT"] = given
    done = run(lttng, program_at, "environment", 0)
    seen = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert seen.get("LTTNG_UST_REGISTER_TIMEOUT") == given
    assert seen.items() >= lttng.environment.items()


def test_a_sink_that_is_not_there_is_said_once(lttng, program_at):
    (lttng.folder / "libpoireau-lttng.so").unlink()
    done = run(lttng, program_at, "forks", 100)
    assert done.returncode == 0
    assert re.fullmatch(
        r"poireau: lttng_blocks\[\d+\]: no events to LTTng: \S+/libpoireau-lttng.so: cannot open shared object.*\n",
        done.stderr,
    ), done.stderr


def test_nothing_of_it_is_loaded_unless_asked_for(lttng):
    done = lttng.run(lttng.profiled(["cat", "/proc/self/maps"], SINK="none"))
    assert "lttng-ust" not in done.stdout
    assert "lttng-ust" in lttng.run(lttng.profiled(["cat", "/proc/self/maps"])).stdout


def test_its_fields_are_those_of_the_table(lttng, program_at):
    trace = lttng.record()
    assert run(lttng, program_at, "once", 1).returncode == 0
    lttng.run(["lttng", "destroy", "s"])
    (folder,) = {path.parent for path in trace.rglob("metadata")}
    text = lttng.run([*READER, "--output-format=ctf-metadata", folder]).stdout
    declared = {
        name: re.findall(r"^\s*(\S.*) _(\w+)((?:\[.*\])?);$", fields, re.MULTILINE)
        for name, fields in re.findall(r'name = "poireau:(\w+)";.*?fields := struct \{\n(.*?)\t\};', text, re.DOTALL)
    }
    assert declared == {name: lttng_fields(fields) for name, fields in table().items()}


def table() -> dict[str, list[tuple[str, str]]]:
    """Kind and name of the fields of each event, as event.def has them."""
    text = (ROOT / "preload" / "event.def").read_text()
    flags = [
        "-E",
        "-P",
        "-x",
        "c",
        "-DFIELD(kind, name, help)=kind name;",
        "-DEVENT(name, Name, help, ...)=@name __VA_ARGS__",
    ]
    done = subprocess.run(["cc", *flags, "-"], input=text, capture_output=True, text=True, check=True)
    rows = (part.split(maxsplit=1) for part in done.stdout.split("@")[1:])
    return {name: re.findall(r"(\w+) (\w+);", fields) for name, fields in rows}


def lttng_fields(fields: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    def number(bits: int, base: int = 10) -> str:
        return f"integer {{ size = {bits}; align = 8; signed = 0; encoding = none; base = {base}; }}"

    kinds = {"hex": number(64, 16), "text": "string", "bytes": number(8), "frames": number(64, 16)}
    kinds |= {f"u{bits}": number(bits) for bits in (8, 16, 32, 64)}
    out = []
    for kind, name in fields:
        if kind in ("bytes", "frames"):
            out += [(number(16), f"_{name}_length", ""), (kinds[kind], name, f"[ __{name}_length ]")]
        else:
            out.append((kinds[kind], name, ""))
    return out
