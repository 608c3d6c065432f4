"""The daemon with real programs: what it finds, what it streams, what it raises, and what it survives."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import clean_environment
from tests.e2e.conftest import Told
from tests.e2e.serving import ROOT, Daemon, until

Start = Callable[..., Told]
EVERY = {"POIREAU_SAMPLE_PERIOD": "1"}
pytestmark = pytest.mark.slow
SPIN = """
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
__attribute__((noinline)) static void leak(void) { memset(malloc(3000), 1, 3000); }
__attribute__((noinline)) static void reuse(void) { char* p = malloc(3000); memset(p, 1, 3000); free(p); }
int main(void) { for (int i = 0; i < 60000; ++i) { leak(); reuse(); usleep(2000); } }
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    started = Daemon(tmp_path_factory.mktemp("serve") / "log", pace=5)
    yield started
    assert started.end() == 0
    assert "Traceback" not in started.said() and "Error" not in started.said()


def poireau(*arguments: object) -> Any:
    command = [sys.executable, str(ROOT / "poireau.py"), *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def test_a_process_is_listed_as_long_as_it_runs_and_a_while_longer(daemon: Daemon, controlled: Start) -> None:
    told = controlled()
    row = daemon.listed(told.process.pid, "armed")
    assert row["id"].startswith(f"{told.process.pid}-") and row["tunable"] and row["why_not"] == ""
    assert (row["period"], row["governed"], row["state"]) == (64 << 10, False, "armed")
    assert "controlled" in row["name"] or row["name"].startswith("program")
    assert row["live"]["ci95"][0] <= row["live"]["value"] <= row["live"]["ci95"][1] and row["rss"] > 1 << 20
    history = until(lambda: (got := daemon.get(f"/api/history?id={row['id']}")) and len(got["times"]) > 1 and got)
    assert history["times"] == sorted(history["times"]) and len(history["live"]) == len(history["rss"])
    events = daemon.events(row["id"])
    events.wait("point")
    told.process.kill()
    told.process.wait()
    events.wait(
        "processes",
        lambda data: any(each["id"] == row["id"] and each["state"] == "ended" for each in data["processes"]),
    )
    assert events.wait("gone")["id"] == row["id"]
    again = daemon.events(row["id"], "function")
    assert again.wait("history")["times"] and again.wait("gone")["why"] == "it has ended"
    assert daemon.control(id=row["id"], action="arm")[0] == 409
    events.close()
    again.close()


def test_the_stream_adds_up_to_what_top_says(daemon: Daemon, controlled: Start) -> None:
    told = controlled(EVERY, work="keep 50 1000")
    row = daemon.listed(told.process.pid)
    by_line, by_size = daemon.events(row["id"]), daemon.events(row["id"], "size")
    by_line.wait("point")
    for command in ("keep 40 5000", "drop", "keep 300 700", "work 2 2000 4", "idle"):
        told(command)
    top = poireau("top", told.process.pid, "--by", "line", "--limit", 0)
    for events in (by_line, by_size):
        until(lambda events=events: events.now()[0][0] == round(top["total"]["bytes"]["value"]))
        total, bands, other = events.now()
        assert sum(value[0] for value in bands.values()) + other[0] == pytest.approx(total[0], abs=len(bands) + 1)
        assert sum(value[3] for value in bands.values()) + other[3] == total[3]
    for each in top["rows"][:3]:
        figures = [round(each["bytes"]["value"]), *map(round, each["bytes"]["ci95"])]
        place = f":{each['line']} "
        until(  # it joins the bands once it has a name
            lambda place=place, function=each["function"], figures=figures: any(
                place in name and function in name and band[:3] == figures for name, band in by_line.now()[1].items()
            )
        )
    assert by_size.now()[1]["up to 1KiB"][0] >= 300 * 700
    times = [each["t"] for each in by_line.all("point")]
    assert times == sorted(set(times)) and times[0] > by_line.wait("history")["times"][-1]
    by_line.close()
    by_size.close()


def test_children_and_programs_executed_are_followed(daemon: Daemon, controlled: Start) -> None:
    told = controlled()
    row = daemon.listed(told.process.pid)
    events = daemon.events(row["id"], "stack")
    events.wait("point")
    (child,) = map(int, told("children 1 fork"))
    assert daemon.listed(child)["id"] != row["id"]
    resets = len([each for each in events.all("bands") if each["reset"]])
    told("exec")
    told("work 1 1000 4")
    until(lambda: len([each for each in events.all("bands") if each["reset"]]) > resets)
    assert daemon.listed(told.process.pid)["id"] == row["id"]
    os.kill(child, signal.SIGKILL)
    daemon.listed(child, "ended")
    events.close()


@pytest.fixture(scope="module", autouse=True)
def leaky(compile_c: Callable[..., Path], library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """It leaks from the beginning: what leaks can only be told after a while."""
    own = {"LD_PRELOAD": str(library), "POIREAU_TRACE": str(tmp_path_factory.mktemp("leaky")), **EVERY}
    with subprocess.Popen([compile_c(SPIN, ["-O1", "-fno-builtin"])], env=clean_environment(**own)) as process:
        yield process
        process.kill()


def test_an_error_is_raised_as_it_happens(daemon: Daemon, controlled: Start) -> None:
    told = controlled({**EVERY, "POIREAU_ON_ERROR": "report"}, work="keep 3 100")
    row = daemon.listed(told.process.pid)
    events = daemon.events(row["id"])
    assert events.wait("errors")["rows"] == []
    told("put 1 100")
    told("drop")
    found = events.wait("errors", lambda data: data["rows"])
    (error,) = found["rows"]
    assert (found["total"], error["count"]) == (1, 1) and "overflow" in error["kind"]
    assert error["where"] and error["allocated"] and error["message"]
    alert = events.wait("alert", lambda data: data["id"] == row["id"])
    assert alert["level"] == "error" and error["message"] in alert["text"]
    assert f"poireau serve: error: {row['name']}[{told.process.pid}]: " in daemon.said()
    events.close()


def test_it_retunes_a_process_and_says_so(daemon: Daemon, controlled: Start) -> None:
    told = controlled(work="work 1 4000 400")
    row = daemon.listed(told.process.pid)
    events = daemon.events(row["id"])
    assert daemon.control(id=row["id"], action="set", name="sample_period", value="32KiB") == (
        200,
        "sample_period: 64KiB -> 32KiB",
    )
    events.wait("health", lambda data: data["period"] == 32 << 10)
    assert daemon.control(id=row["id"], action="disarm")[0] == 200
    daemon.listed(told.process.pid, "dormant")
    assert "armed" in daemon.control(id=row["id"], action="arm")[1]
    daemon.listed(told.process.pid, "armed")
    assert daemon.control(id=row["id"], action="flush")[0] == 200
    status, why = daemon.control(id=row["id"], action="set", name="sample_period", value="much")
    assert status == 422 and "much is not" in why
    for wrong, status in (
        ({"action": "quit"}, 400), ({"action": "set"}, 400), ({"action": "arm", "name": "x"}, 400),
        ({"action": "set", "name": "sample_period", "value": 7}, 400), ({"action": "arm", "id": "1-1"}, 404),
        ({"action": "set", "name": "sample_period", "value": "9" * 1000}, 400),
    ):  # fmt: skip
        assert daemon.control(**{"id": row["id"], **wrong})[0] == status
    events.close()


def test_a_flamegraph_is_of_all_or_of_a_moment(daemon: Daemon, controlled: Start) -> None:
    told = controlled(EVERY, work="keep 20 1000")
    row = daemon.listed(told.process.pid)
    picture = daemon.get(f"/api/flame?id={row['id']}")
    assert picture["schema"] == "poireau.picture" and str(told.process.pid) in picture["title"]
    then = daemon.get(f"/api/flame?id={row['id']}&at={row['since'] + 1}")
    view = next(each for each in picture["views"] if each["key"] == "in-use")
    assert view["bytes"]["value"][0] >= 20_000 and then["views"]
    assert daemon.ask(f"/api/flame?id={row['id']}&at=x", X_Poireau_Token=daemon.token)[0] == 400
    assert daemon.ask("/api/flame?id=1-1", X_Poireau_Token=daemon.token)[0] == 404


@pytest.mark.soak
def test_traces_that_vanish_under_it_are_no_end(daemon: Daemon, controlled: Start, traces_parent: Path) -> None:
    told = controlled()
    row = daemon.listed(told.process.pid)
    events = daemon.events(row["id"])
    events.wait("point")
    shutil.rmtree(traces_parent)
    others = controlled()
    daemon.listed(others.process.pid)
    assert daemon.ask(f"/api/leaks?id={row['id']}", X_Poireau_Token=daemon.token)[0] in (200, 404, 500)
    assert daemon.get("/api/processes")["processes"]
    events.close()


@pytest.mark.parametrize(
    "path", ["/api/processes", "/api/events", "/api/flame?id=1-1", "/api/nothing", "/debug/pprof/heap"]
)
def test_nobody_is_told_anything_without_the_token(daemon: Daemon, path: str) -> None:
    for headers in ({}, {"X_Poireau_Token": "x"}, {"Authorization": f"Basic {daemon.token}"}):
        status, content, _ = daemon.ask(path, **headers)
        assert status == 403 and "token" in str(content)
    and_ = "&" if "?" in path else "?"
    for wrong in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
        status, content, _ = daemon.ask(f"{path}{and_}token={daemon.token}", **wrong)
        assert status == 403 and str(content)


def test_the_page_is_protected_by_its_headers(daemon: Daemon) -> None:
    assert daemon.ask("/", Host="evil.example")[0] == 403
    status, content, headers = daemon.ask("/")  # after a reload its address has no token any more
    assert status == 200 and content.startswith(b"<!doctype html>") and daemon.token.encode() not in content
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "connect-src 'self'" in policy
    assert (headers["X-Content-Type-Options"], headers["Cache-Control"], headers["Referrer-Policy"]) == (
        "nosniff", "no-store", "no-referrer",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{}", 403),
        ({"Origin": "OURS"}, b"{}", 403),  # another page can't read the token, and names no header
        ({"TOKEN": "1", "Origin": "http://evil.example", "Content_Type": "application/json"}, b"{}", 403),
        ({"TOKEN": "1", "Origin": "null", "Content_Type": "application/json"}, b"{}", 403),
        ({"TOKEN": "1", "Sec_Fetch_Site": "cross-site", "Content_Type": "application/json"}, b"{}", 403),
        ({"TOKEN": "1", "Host": "evil.example", "Content_Type": "application/json"}, b"{}", 403),
        ({"TOKEN": "1"}, b"{}", 415),
        ({"TOKEN": "1", "Content_Type": "text/plain"}, b"{}", 415),
        ({"TOKEN": "1", "Content_Type": "application/json"}, b"{", 400),
        ({"TOKEN": "1", "Content_Type": "application/json"}, b"[" * 4000, 400),
        ({"TOKEN": "1", "Content_Type": "application/json"}, b"[]", 400),
        ({"TOKEN": "1", "Content_Type": "application/json"}, b" " * 5000, 413),
        (
            {"TOKEN": "1", "Content_Type": "application/json", "Transfer_Encoding": "chunked"},
            b"2\r\n{}\r\n0\r\n\r\n",
            411,
        ),
        ({"TOKEN": "1", "Origin": "OURS", "Content_Type": "application/json"}, b'{"action": "arm", "id": "1-1"}', 404),
    ],
)
def test_what_changes_something_is_asked_for_in_one_way_only(
    daemon: Daemon, headers: dict[str, str], body: bytes, status: int
) -> None:
    given = {name: value.replace("OURS", f"http://127.0.0.1:{daemon.port}") for name, value in headers.items()}
    if given.pop("TOKEN", ""):
        given["X_Poireau_Token"] = daemon.token
    answered, content, _ = daemon.ask("/api/control", "POST", body, **given)
    assert answered == status and content["ok"] is False and content["text"]


def test_requests_that_are_too_long_are_refused(daemon: Daemon) -> None:
    for lines in ([b"X: " + b"y" * 40_000], [b"X%d: %s" % (n, b"y" * 1000) for n in range(50)]):
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=30) as connection:
            connection.sendall(
                b"GET /api/processes HTTP/1.1\r\nHost: localhost\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"
            )
            assert b" 431 " in connection.recv(100)
    assert daemon.ask(f"/?{'x' * 70_000}")[0] == 414


def test_sighup_keeps_who_listens_and_sigterm_ends_it_well(tmp_path: Path, controlled: Start) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-24-characters")
    token.chmod(0o600)
    notify = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notify))
        env = {"NOTIFY_SOCKET": str(notify), "WATCHDOG_USEC": "2000000"}
        daemon = Daemon(tmp_path / "log", "--token-file", token, token="a-token-of-24-characters", env=env)
        manager.settimeout(60)
        assert manager.recv(100) == b"READY=1" and manager.recv(100) == b"WATCHDOG=1"
        assert "a-token-of" not in daemon.said()
        events = daemon.events()
        events.wait("hello")
        daemon.process.send_signal(signal.SIGHUP)
        told = controlled()
        events.wait("processes", lambda data: any(each["pid"] == told.process.pid for each in data["processes"]))
        assert daemon.end() == 0 and until(lambda: events.over)
        while (said := manager.recv(100)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"


@pytest.mark.soak
def test_of_a_trace_there_is_that_process_only_and_its_profile(tmp_path: Path, controlled: Start) -> None:
    told, other = controlled(EVERY, work="keep 20 1000"), controlled()
    daemon = Daemon(tmp_path / "log", told.process.pid)
    row = daemon.listed(told.process.pid)
    assert [each["id"] for each in daemon.get("/api/processes")["processes"]] == [row["id"]]
    assert daemon.row(other.process.pid) is None
    assert daemon.control(id=row["id"], action="flush")[0] == 200
    assert daemon.ask("/debug/pprof/heap?debug=1")[1].startswith(b"heap profile: ")
    told.process.kill()
    told.process.wait()
    daemon.listed(told.process.pid, "ended")
    events = daemon.events(row["id"])
    assert events.wait("history")["total"]["value"][-1] >= 20_000 and events.wait("gone")
    assert daemon.end() == 0


def test_names_that_are_to_be_pseudonyms_are_on_no_page(tmp_path: Path, controlled: Start) -> None:
    told = controlled(EVERY, work="keep 20 1000")
    log = tmp_path / "log"
    command = [sys.executable, str(ROOT / "poireau.py"), "serve", "--port", "0", "--redact", str(told.process.pid)]
    with log.open("wb") as out, subprocess.Popen(command, stderr=out) as process:
        said = until(lambda: re.search(r"serving (http://\S+)", log.read_text()))
        assert said[1].endswith("/debug/pprof/heap") and "token" not in log.read_text()
        process.terminate()
        assert process.wait() == 0


def test_a_process_of_another_user_is_left_alone(tmp_path: Path, controlled: Start, traces_parent: Path) -> None:
    if os.geteuid() != 0:
        pytest.fail("this takes root, to be another user")
    told = controlled(EVERY, work="keep 20 1000")
    place = Path("/tmp") / f"poireau-others-{os.getpid()}"
    shutil.copytree(traces_parent, place)
    subprocess.run(["chmod", "-R", "a+rX", str(place)], check=True)
    try:
        home = {"HOME": str(place)}
        as_nobody = {"env": home, "user": 65534, "group": 65534, "extra_groups": ()}
        with ThreadPoolExecutor() as pool:
            both = [(tmp_path / "log",), (tmp_path / "log2", place)]
            everything, of_trace = pool.map(lambda given: Daemon(*given, **as_nobody), both)
        assert everything.row(told.process.pid) is None
        assert everything.control(id=f"{told.process.pid}-1", action="disarm")[0] == 404
        assert everything.end() == 0
        row = until(lambda: of_trace.row(told.process.pid))
        status, why = of_trace.control(id=row["id"], action="disarm")
        assert (status, of_trace.row(told.process.pid)["tunable"]) in ((403, False), (409, False)) and why
        assert of_trace.end() == 0
    finally:
        shutil.rmtree(place)


def test_a_leak_is_raised_once(daemon: Daemon, leaky: Any) -> None:
    events = daemon.events(daemon.listed(leaky.pid)["id"])
    alert = events.wait("alert", lambda data: data["id"].startswith(f"{leaky.pid}-"))
    assert alert["level"] == "leak" and "leak" in alert["text"] and "reuse" not in alert["text"]
    rows = events.wait("leaks", lambda data: data["rows"] and data["rows"][0]["verdict"] == "leak")["rows"]
    assert rows[0]["function"] == "leak" and rows[0]["where"][1].startswith("main")
    assert rows[0]["rate"]["ci95"][0] > 1e8
    until(lambda: daemon.listed(leaky.pid)["leaks"] == 1)
    assert len(re.findall(rf"^poireau serve: leak: \S+\[{leaky.pid}\]: .*$", daemon.said(), re.MULTILINE)) == 1
    events.close()
