"""The client against servers that say anything: what it makes of them is an answer, or one line of plain words."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poireau import cli, ctl, processes, ps, sockets
from poireau.control import MOST_REQUEST, Request
from poireau.errors import NO_ANSWER, NOT_PRELOADED, OUR_FAILURE, REFUSED, USAGE, Failure

ROOT = Path(__file__).resolve().parents[2]
SERVER = Path(__file__).with_name("server.py")
OWN = f"poireau/{os.geteuid()}/PID/START"
NOBODY = 65534
Started = Callable[..., int]
Says = Callable[..., tuple[int, str, str]]


@pytest.fixture
def start() -> Iterator[Started]:
    """start(manner, text="", name=OWN, before=(), **Popen's own) -> the pid of a server, that is ready."""
    started: list[subprocess.Popen[str]] = []

    def begin(manner: str, text: str = "", name: str = OWN, before: tuple[str, ...] = (), **more: object) -> int:
        command = [*before, sys.executable, SERVER, name, manner, text]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)  # type: ignore[call-overload]
        started.append(process)
        ready = process.stdout.readline().split()
        assert ready[:1] == ["ready"]
        return int(ready[1]) if len(ready) > 1 else process.pid

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str]) -> Says:
    """says(arguments...) -> exit status, output, complaints of the command."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main([str(each) for each in arguments])
        return (status, *capsys.readouterr())

    return run


# What is asked


def test_a_request_is_one_line_of_json() -> None:
    assert Request("hello").line() == b'{"do":"hello"}\n'
    assert json.loads(Request("set", "trace", 'a "b"\n\u20ac').line()) == {
        "do": "set",
        "option": "trace",
        "value": 'a "b"\n\u20ac',
    }
    assert Request("set", "trace", "\n\u20ac\udcff").line().count(b"\n") == 1


def test_a_request_too_long_for_any_server_is_not_sent() -> None:
    with pytest.raises(Failure) as failure:
        Request("set", "trace", "x" * MOST_REQUEST).line()
    assert failure.value.status == USAGE


@pytest.mark.parametrize(
    ("verb", "words", "requests"),
    [
        ("stats", [], [Request("stats")]),
        ("get", ["armed"], [Request("get", "armed")]),
        ("set", ["a", "1", "b", "2"], [Request("set", "a", "1"), Request("set", "b", "2")]),
    ],
)
def test_words_become_requests(verb: str, words: list[str], requests: list[Request]) -> None:
    assert ctl.requests_of(verb, words) == requests


@pytest.mark.parametrize(
    ("verb", "words"), [("stats", ["x"]), ("get", []), ("get", ["a", "b"]), ("set", []), ("set", ["a"])]
)
def test_too_few_words_or_too_many_are_wrong_use(verb: str, words: list[str], says: Says) -> None:
    status, out, complaints = says("ctl", os.getpid(), verb, *words)
    assert (status, out) == (USAGE, "")
    assert verb in complaints


@pytest.mark.parametrize("pid", ["0", "-1", "x", "1.5", str(1 << 31), "\u0663"])
def test_what_is_no_pid_is_wrong_use(pid: str) -> None:
    assert cli.main(["ctl", pid, "hello"]) == USAGE


def run(*arguments: object, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "poireau", *map(str, arguments)]
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command, stderr=subprocess.PIPE, text=True, cwd=ROOT, **{"stdout": subprocess.PIPE, **more}
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["ps", "--json"], ["config"]], ids=" ".join)
def test_output_that_goes_nowhere_is_no_traceback(words: list[str], unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = run(*words, stdout=full, env=environment)
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (OUR_FAILURE, ["poireau: No space left on device"])
    reading, writing = os.pipe()
    os.close(reading)
    done = run(*words, stdout=writing, env=environment)
    os.close(writing)
    assert done.returncode == 0 and "rror" not in done.stderr


def test_a_terminal_need_not_know_unicode(start: Started) -> None:
    pid = start("says", 'GREETING\\n{"ok":true,"name":"\\\\u20ac"}\\n')
    done = run("ctl", pid, "get", "x", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "\\u20ac = ? (from: ?; default: ?)")


# What is answered


def test_requests_are_answered_in_their_order(start: Started, says: Says) -> None:
    pid = start("answers")
    status, out, complaints = says("ctl", pid, "set", "a", "2", "b", "3")
    assert (status, out, complaints) == (0, "a: 1 -> 2\nb: 1 -> 3\n", "")
    status, out, _ = says("ctl", "--json", pid, "get", "a")
    assert status == 0
    assert [answer["do"] for answer in json.loads(out)["answers"]] == ["get"]


def test_what_is_refused_is_said_and_the_rest_done(start: Started, says: Says) -> None:
    status, out, complaints = says("ctl", start("answers"), "set", "a", "wrong", "b", "3")
    assert (status, out, complaints) == (REFUSED, "b: 1 -> 3\n", "poireau: a: wrong is no value\n")


def test_what_was_answered_before_it_hung_up_is_told(start: Started, says: Says) -> None:
    pid = start("hangs-up", 'GREETING\\n{"ok":true,"name":"a","before":"1","value":"2"}\\n')
    status, out, complaints = says("ctl", pid, "set", "a", "2", "b", "3")
    assert (status, out) == (REFUSED, "a: 1 -> 2\n")
    assert "hung up before" in complaints and "queued" not in complaints


def test_a_trace_outside_of_its_root_is_not_copied(start: Started, says: Says, tmp_path: Path) -> None:
    answer = json.dumps({"ok": True, "trace": f"/../..{tmp_path}", "file": 1}) + "\\n"
    status, _, complaints = says("ctl", start("says", "GREETING\\n" + answer), "snapshot", "--to", tmp_path / "to")
    assert status == REFUSED and "no trace that could be copied" in complaints
    assert list(tmp_path.iterdir()) == []


def test_a_trace_that_is_not_mapped_is_copied_from_where_links_lead(start: Started, says: Says, tmp_path: Path) -> None:
    (tmp_path / "trace").mkdir()
    (tmp_path / "trace" / "metadata").write_text("/* CTF 1.8 */")
    (tmp_path / "link").symlink_to("trace")
    answer = json.dumps({"ok": True, "trace": f"{tmp_path}/link", "file": 1}) + "\\n"
    pid = start("says", "GREETING\\n" + answer)
    status, out, complaints = says("ctl", pid, "snapshot", "--to", tmp_path / "to")
    assert (status, complaints) == (0, "") and f"babeltrace2 {tmp_path}/to reads them" in out
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["metadata"]
    answer = json.dumps({"ok": True, "trace": f"{tmp_path}/\x1b[2J", "file": 1}).replace("\\", "\\\\") + "\\n"
    pid = start("says", "GREETING\\n" + answer)
    status, _, complaints = says("ctl", pid, "snapshot", "--to", tmp_path / "other")
    assert status == REFUSED and "\x1b" not in complaints and "No such file" in complaints


def test_an_answer_may_come_in_any_pieces(start: Started, says: Says) -> None:
    pid = start("drips", 'GREETING\\n{"ok":true,"do":"get","name":"\\u20ac"}\\n'.replace("\\u20ac", "\\xe2\\x82\\xac"))
    status, out, complaints = says("ctl", "--wait", "20", pid, "get", "x")
    assert (status, complaints) == (0, "")
    assert out.startswith("\u20ac = ")


@pytest.mark.parametrize(
    ("manner", "text", "why"),
    [
        ("says", "no json\\n", "no JSON"),
        ("says", "\\xff\\xfe\\n", "no JSON"),
        ("says", "[" * 100000 + "\\n", "no JSON"),
        ("says", "[1]\\n", "no object"),
        ("says", '{"a":[[[[[0]]]]]}\\n', "no object"),
        ("says", "{}\\n", "does not greet"),
        ("says", '{"poireau":1,"protocol":"1"}\\n', "does not greet"),
        ("says", "GREETING\\nno json\\n", "no JSON"),
        ("says", 'GREETING\\n{"ok":true,"period":1' + "0" * 400 + "}\\n", "no JSON"),
        ("says", 'GREETING\\n{"ok":true,"period":NaN}\\n', "no JSON"),
        ("says", 'GREETING\\n{"answer":1}\\n', "neither yes nor no"),
        ("says", 'GREETING\\n{"ok":1}\\n', "neither yes nor no"),
        ("says", '{"ok":false,"error":"\\\\u001b[2Jtoo many"}\\n', "too many"),
        ("hangs-up", "", "hung up"),
        ("hangs-up", "GREETING\\n", "hung up"),
        ("hangs-up", '{"half', "hung up"),
        ("floods", "", "more than"),
        ("floods", "GREETING\\n", "more than"),
    ],
)
def test_nonsense_is_one_line_of_plain_words(manner: str, text: str, why: str, start: Started, says: Says) -> None:
    status, out, complaints = says("ctl", "--wait", "30", start(manner, text), "stats")
    assert (status, out) == (REFUSED, "")
    assert why in complaints
    assert complaints.count("\n") == 1
    assert complaints[:-1].isprintable() and len(complaints) < 300


LARGEST = (1 << 64) - 1
FIGURES = [-1, 0, 1, LARGEST, 1e300, True, None, "\x1b[2J", [1], {"\x1b": "\x1b"}]


def test_figures_of_any_kind_are_shown(seed: int) -> None:
    rng = random.Random(seed)
    own = processes.look(os.getpid())
    assert own is not None
    names = "armed period by_calls age_ns live governor drops control samples cost_ppm errors x file live_bytes".split()
    for _ in range(500):
        stats = {"ok": True, **{name: rng.choice(FIGURES) for name in names if rng.random() < 0.8}}
        stats["live_by_class"] = [[rng.choice(FIGURES[:4]) for _ in range(4)] for _ in range(3)]
        stats["governor"] = {name: rng.choice(FIGURES) for name in ("period", "cost_ppm")}
        stats["drops"] = rng.choice([5, {"x": rng.choice(FIGURES)}])
        for verb in ctl.VERBS:
            assert ctl.text_of(Request(verb), stats, own).replace("\n", "").isprintable()
        assert ps.as_text([ps.Row(own, "answers", None, stats)]).replace("\n", "").isprintable()


def test_another_protocol_is_told_apart(start: Started, says: Says) -> None:
    other = '{"poireau":"9.0","protocol":2,"pid":1,"start":1,"uid":0,"run_id":"","program":"","control":""}\\n'
    status, _, complaints = says("ctl", start("says", other), "stats")
    assert status == REFUSED
    assert "protocol 2 (Poireau 9.0)" in complaints


def test_a_greeting_in_another_name_is_refused(start: Started, says: Says) -> None:
    other = '{"poireau":"1","protocol":1,"pid":1,"start":1,"uid":0,"run_id":"","program":"","control":""}\\n'
    status, _, complaints = says("ctl", start("says", other + '{"ok":true}\\n'), "quit")
    assert status == REFUSED
    assert "it says that it is 1" in complaints


# Who doesn't answer


def test_a_write_stays_queued(start: Started, says: Says) -> None:
    pid = start("nothing")
    began = time.monotonic()
    status, out, complaints = says("ctl", pid, "set", "a", "1")
    assert (status, out) == (0, "")
    assert complaints.endswith("queued\n") and "no sample so far" in complaints
    assert 0.5 < time.monotonic() - began < 5


def test_a_read_that_nobody_answers_has_failed(start: Started, says: Says) -> None:
    status, out, complaints = says("ctl", start("nothing"), "stats")
    assert (status, out) == (NO_ANSWER, "")
    assert "--wait" in complaints


def test_waiting_ends(start: Started, says: Says) -> None:
    began = time.monotonic()
    status, out, complaints = says("ctl", "--wait", "0.3", start("nothing"), "set", "a", "1")
    assert (status, out) == (NO_ANSWER, "")
    assert "no answer in 300 ms" in complaints and "still queued" in complaints
    assert time.monotonic() - began < 3


def test_a_full_queue_is_said(start: Started, says: Says) -> None:
    pid = start("nothing")
    for _ in range(9):
        assert says("ctl", "--wait", "0", pid, "set", "a", "1")[0] == NO_ANSWER
    status, _, complaints = says("ctl", pid, "set", "a", "1")
    assert status == NO_ANSWER
    assert "9 wait already" in complaints


def test_ps_leaves_room_in_the_queue(start: Started, says: Says) -> None:
    pid = start("nothing")
    for _ in range(6):
        (row,) = [each for each in ps.survey(0.05).rows if each.process.pid == pid]
        assert row.state == "idle: no sample so far"
    status, _, complaints = says("ctl", pid, "set", "a", "1")
    assert status == 0, complaints
    (listener,) = [each for each in sockets.listeners(sockets.network_of(pid)) if each.name.pid == pid]
    assert listener.waiting == ps.MOST_WAITING + 1


# Who is somebody else


def test_nobody_is_there(says: Says) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert says("ctl", gone.pid, "hello") == (USAGE, "", f"poireau: {gone.pid}: no such process\n")


def test_a_program_that_is_not_preloaded_is_said_to_be(says: Says) -> None:
    process = subprocess.Popen(["sleep", "60 s"[:2]])
    try:
        for words in (["ctl", process.pid, "hello"], ["attach", process.pid]):
            status, out, complaints = says(*words)
            assert (status, out) == (NOT_PRELOADED, "")
            assert complaints.endswith("is not preloaded; restart with: poireau run -- sleep 60\n")
    finally:
        process.kill()
        process.wait()


def test_a_squatter_is_not_spoken_to(start: Started, says: Says) -> None:
    victim = start("nothing", name="nothing/PID")
    ticks = int(Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[19])
    squatter = start("answers", name=f"poireau/{os.geteuid()}/{victim}/{ticks}")
    status, out, complaints = says("ctl", victim, "quit")
    assert (status, out) == (REFUSED, "")
    assert f"({squatter})" in complaints and "nothing is said to it" in complaints
    found = ps.survey(0.05)
    assert not {victim, squatter} & {row.process.pid for row in found.rows}
    assert [each for each in found.complaints if f"({squatter})" in each and "left alone" in each]


def test_a_squatter_does_not_hide_the_program(start: Started, says: Says) -> None:
    victim = start("answers", name=OWN + "/01234567")
    ticks = int(Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[19])
    start("says", "{}", name=f"poireau/{os.geteuid()}/{victim}/{ticks}")
    assert says("ctl", victim, "set", "a", "2") == (0, "a: 1 -> 2\n", "")


def test_what_a_program_calls_itself_is_spelled(start: Started, says: Says) -> None:
    victim = start("nothing", name="nothing/PID")
    ticks = int(Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[19])
    start("answers", "\x1b[2J", name=f"poireau/{os.geteuid()}/{victim}/{ticks}")
    complaints = says("ctl", victim, "quit")[2] + says("ps")[2]
    assert complaints.count("\\x1b[2J") == 2 and "\x1b" not in complaints


FORGED = "\n0000000000000000: 00000002 00000000 {} 0001 01 99999 @poireau/{}/{}/{}/01234567"


@pytest.mark.parametrize("flags", ["00010000", "nonsense"])
def test_forged_lines_of_sockets_do_not_hide_the_program(flags: str, start: Started, says: Says) -> None:
    with socket.socket(socket.AF_UNIX) as before, socket.socket(socket.AF_UNIX) as after:
        before.bind("\0" + FORGED.format(flags, os.geteuid(), 1, 0))
        pid = start("answers")
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        after.bind("\0" + FORGED.format(flags, os.geteuid(), pid, ticks))
        assert says("ctl", pid, "set", "a", "2") == (0, "a: 1 -> 2\n", "")
        assert pid in {row.process.pid for row in ps.survey(0.5).rows}


def test_a_squatter_of_another_kind_does_not_hide_the_program(start: Started, says: Says) -> None:
    pid = start("answers", name=OWN + "/01234567")
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as squatter:
        squatter.bind(f"\0poireau/{os.geteuid()}/{pid}/{ticks}")
        squatter.listen()
        assert says("ctl", pid, "set", "a", "2") == (0, "a: 1 -> 2\n", "")


def orphaned() -> list[sockets.Listener]:
    found = sockets.listeners(sockets.networks()[0])
    return [each for each in found if processes.look(each.name.pid) is None]


def test_a_listener_that_outlives_its_process_is_nobody(start: Started) -> None:
    child = start("leaves")
    try:
        deadline = time.monotonic() + 20
        while not (orphans := orphaned()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert orphans
        for listener in orphans:
            with sockets.connect(listener) as connection:
                assert sockets.server_of(connection, listener.name) is None
        assert child not in {row.process.pid for row in ps.survey(0.05).rows}
    finally:
        os.kill(child, signal.SIGKILL)


def test_another_user_is_told_at_once(start: Started) -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    pid = start("answers")
    command = [sys.executable, "-c", f"import os; os.setgid({NOBODY}); os.setuid({NOBODY})\n"
               "import sys; from poireau.cli import main; sys.exit(main(sys.argv[1:]))"]  # fmt: skip
    done = subprocess.run([*command, "ctl", str(pid), "hello"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert "is root's" in done.stderr
    listed = subprocess.run([*command, "ps", "--json"], cwd=ROOT, capture_output=True, text=True)
    assert listed.returncode == 0
    assert pid not in [row["pid"] for row in json.loads(listed.stdout)["processes"]]


def test_root_speaks_to_all(start: Started, says: Says) -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    drop = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
    pid = start("answers", name=f"poireau/{NOBODY}/PID/START", before=drop)
    assert says("ctl", pid, "set", "a", "2") == (0, "a: 1 -> 2\n", "")


# Where they are


@pytest.mark.parametrize("options", [("-n",), ("-n", "-p", "-f"), ("-p", "-f")], ids=" ".join)
def test_namespaces_are_seen_through(options: tuple[str, ...], start: Started, says: Says) -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    # With -f the program is unshare's child, and finds itself in a /proc of its own.
    more = ("--mount-proc", "--kill-child") if "-f" in options else ()
    outer = start("answers", before=("unshare", *options, *more))
    children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
    pid = int(children[0]) if "-f" in options else outer
    assert says("ctl", pid, "set", "a", "2") == (0, "a: 1 -> 2\n", "")
    assert pid in {row.process.pid for row in ps.survey(0.5).rows}
    status, _, complaints = says("ctl", os.getpid(), "hello")
    assert status == NOT_PRELOADED, complaints
