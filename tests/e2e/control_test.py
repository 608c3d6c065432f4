"""What may be asked of a living program through its control socket, and what comes of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from itertools import groupby, pairwise

import pytest

from tests import traces
from tests.conftest import ROOT, clean_environment
from tests.control_client import Client, Closed, all_closed, eventually, listening, name_of, reach, start_time

pytestmark = pytest.mark.slow

KIB, MIB = 1 << 10, 1 << 20
TABLE = (ROOT / "config" / "options.def").read_text()
OPTIONS = dict(re.findall(r"^OPTION\((\w+),.*?\b(live|at_load),", TABLE, re.MULTILINE))
FIELDS = {"name", "value", "default", "origin", "range", "changes"}
# Of each option that may change, values in turn; and none that it would take.
LIVE = {
    "sample_period": (["64KiB", "32MiB", "0", "1MiB"], ["12Q", "-1", "", "2TiB"]),
    "sample_by": (["calls", "bytes"], ["byte", ""]),
    "callers": (["libc.so.6=8, controlled=1/16", ""], ["libc.so.6", "libc.so.6=9999", "=1"]),
    "armed": (["off", "on"], ["maybe", ""]),
    "overhead_budget": (["off", "1%"], ["101%", "much"]),
    "guard": (["all", "off", "100", "governed"], ["some", "1000001"]),
    "quarantine_size": (["1MiB", "0"], ["big"]),
    "quarantine_slots": (["12", "65536"], ["-3", "many"]),
    "quarantine_seconds": (["12", "0"], ["-3"]),
    "quarantine_share": (["10%", "off"], ["200%", "much"]),
    "revoke": (["immediate", "runs", "governed"], ["never"]),
    "exhausted": (["abort", "fallback"], ["on"]),
    "sweep": (["off", "on-demand", "inline"], ["always"]),
    "sweep_size": (["1MiB", "0"], ["-1"]),
    "release_rate": (["1MiB", "0"], ["fast"]),
    "zero": (["on", "off"], ["some"]),
    "cache": (["1MiB", "32MiB"], ["1.5MiB"]),
    "poison": (["on", "off"], ["2", "perhaps"]),
    "on_error": (["report", "continue"], ["ignore"]),
    "stack_depth": (["128", "0", "3"], ["129", "deep"]),
    "record": (["off", "on"], ["ctf"]),
    "trace_limit": (["64MiB"], ["lots"]),
    "trace_total": (["512MiB"], ["lots"]),
    "control": ([], ["all", ""]),
}


def control_off(pid):
    return name_of(pid) not in listening()


def own(trace, size=1000):
    return [event for event in trace.of("alloc") if event["size"] == size]


def option_events(trace):
    return [(event["name"], event["value"]) for event in trace.of("option")]


def finished(told, traces_parent, more=()):
    """Its trace, once it has stopped and ended well."""
    for command in (*more, "idle"):
        told(command)
    told.process.stdin.close()
    assert told.process.wait(60) == 0, told.process.stderr.read()
    return traces.read_one(traces_parent)


def test_a_program_says_who_it_is(controlled):
    told = controlled()
    pid = told.process.pid
    with reach(pid) as client:
        greeting = client.greeting
        assert set(greeting) == {"poireau", "protocol", "pid", "start", "uid", "run_id", "program", "control"}
        assert re.fullmatch(r"\d+\.\d+\.\d+", greeting["poireau"])
        assert re.fullmatch("[0-9a-f]{32}", greeting["run_id"])
        assert (greeting["protocol"], greeting["pid"], greeting["start"]) == (1, pid, start_time(pid))
        assert (greeting["uid"], greeting["control"]) == (0, "full")
        hello = client.ask("hello")
        assert {name: hello[name] for name in greeting} == greeting
        assert (hello["armed"], hello["period"]) == (True, "64KiB")
        assert client.ask("hello")["age_ns"] > hello["age_ns"] > 0


def test_its_run_id_is_that_of_its_trace(controlled, traces_parent):
    told = controlled(work="work 1 1000 50")
    with reach(told.process.pid) as client:
        run_id = client.greeting["run_id"]
    high, low = finished(told, traces_parent).run_id
    assert run_id == f"{high:016x}{low:016x}"


def test_every_option_is_listed_as_it_is(controlled):
    with reach(controlled({"POIREAU_TRACE_TOTAL": "2GiB"}).process.pid) as client:
        listed = {option["name"]: option for option in client.ask("list")["options"]}
        assert list(listed) == list(OPTIONS)
        assert all(option.keys() == FIELDS for option in listed.values())
        changes = {"live": "while running", "at_load": "at load"}
        assert {name: option["changes"] for name, option in listed.items()} == {
            name: changes[when] for name, when in OPTIONS.items()
        }
        shown = {
            name: tuple(listed[name][field] for field in ("value", "default", "origin"))
            for name in ("sample_period", "trace_total", "guard", "sample_by")
        }
        assert shown == {
            "sample_period": ("64KiB", "512KiB", "environment"),
            "trace_total": ("2GiB", "1GiB", "environment"),
            "guard": ("governed", "governed", "built-in"),
            "sample_by": ("bytes", "bytes", "built-in"),
        }
        assert listed["stack_depth"]["range"] == "0..128"
        for name, option in listed.items():
            got = client.ask("get", name)
            assert {field: got[field] for field in FIELDS} == option
        client.ask("get", "sample_period_bytes")  # an alias


@pytest.mark.parametrize("name", LIVE)
def test_a_live_option_takes_what_it_should_and_is_told_in_the_trace(controlled, traces_parent, name):
    told = controlled(work="work 1 10000 300")  # even dormant it answers soon
    values, wrong = LIVE[name]
    expected = []
    with reach(told.process.pid) as client:
        before = client.ask("get", name)["value"]
        for value in values:
            answer = client.ask("set", name, value)
            assert (answer["before"], answer["value"], answer["origin"]) == (before, value, "control socket")
            if value != before:
                expected.append((name, value))
            before = value
        for value in wrong:
            error = client.refused("set", name, value)
            assert re.match(rf"{name}: ({re.escape(value)}|an empty text) is (not|out of range) ", error), error
        assert client.ask("get", name)["value"] == before
        if values:
            client.ask("set", "record", True)
            client.ask("set", "sample_period", "1M")
            client.ask("arm")
    trace = finished(told, traces_parent)
    told_of = [event for event in option_events(trace) if event[0] == name]
    assert [each for each, _ in groupby(told_of)][: len(expected)] == expected


def test_every_live_option_is_tried():
    assert {name for name, when in OPTIONS.items() if when == "live"} == LIVE.keys()


def test_what_cannot_be_set_is_refused_and_nothing_changes(controlled, traces_parent):
    told = controlled()
    with reach(told.process.pid) as client:
        before = client.ask("list")["options"]
        for name in (name for name, when in OPTIONS.items() if when == "at_load"):
            value = next(option["default"] for option in before if option["name"] == name)
            assert name in client.refused("set", name, value)
        for request in [("set", "sample_perio", "1"), ("get", "nothing"), ("get",), ("set",), ("set", "sample_period")]:
            assert client.refused(*request)
        client.refused("set", None, "4K")
        assert client.ask("list")["options"] == before
    assert finished(told, traces_parent).of("option") == []


def until_sampled(client, more):
    """However busy the machine is."""
    before = client.ask("stats")["samples"]
    eventually(lambda: client.ask("stats")["samples"] >= before + more)


def test_another_period_takes_effect(controlled, traces_parent):
    told = controlled(work="work 1 1000 8")
    with reach(told.process.pid) as client:
        answer = client.ask("set", "sample_period", "4K")
        assert (answer["value"], answer["before"]) == ("4KiB", "64KiB")
        assert client.ask("hello")["period"] == "4KiB"
        until_sampled(client, 200)
        client.ask("set", "sample_period", 32768)
        until_sampled(client, 20)
    trace = finished(told, traces_parent)
    assert option_events(trace) == [("sample_period", "4KiB"), ("sample_period", "32KiB")]
    periods = [event["period"] for event in own(trace)]
    assert [period for period, _ in groupby(periods)] == [64 * KIB, 4 * KIB, 32 * KIB]
    assert periods.count(4 * KIB) > 100
    # But for the request that served us, and the one that was drawn for next, each is of the period that was in force.
    in_force, late = 64 * KIB, 0
    for event in trace.events:
        if event["event"] == "option":
            in_force = {"4KiB": 4 * KIB, "32KiB": 32 * KIB}[event["value"]]
        elif event["event"] == "alloc" and event["size"] == 1000:
            late += event["period"] != in_force
    assert late <= 4


def test_samples_by_calls_and_rates_by_caller_take_effect(controlled, program, traces_parent):
    told = controlled(work="work 1 1000 8")
    with reach(told.process.pid) as client:
        client.ask("set", "sample_by", "calls")
        client.ask("set", "sample_period", "16")
        until_sampled(client, 100)
        client.ask("set", "callers", f"{program('controlled.c').name}=1/4")
        until_sampled(client, 20)
    trace = finished(told, traces_parent)
    assert {event["by_calls"] for event in own(trace)} == {0, 1}
    assert [name for name, _ in option_events(trace)] == ["sample_by", "sample_period", "callers"]
    by_calls = [event["period"] for event in own(trace) if event["by_calls"]]
    assert by_calls.count(16) > 50
    assert by_calls[-1] == 64


def test_deeper_stacks_take_effect(controlled, traces_parent):
    told = controlled({"POIREAU_STACK_DEPTH": "1"})
    with reach(told.process.pid) as client:
        until_sampled(client, 10)
        client.ask("set", "stack_depth", "32")
        until_sampled(client, 10)
    depths = [len(event["frames"]) for event in own(finished(told, traces_parent))]
    assert depths[0] == 1
    assert depths[-1] > 1


def test_no_samples_are_taken_while_disarmed(controlled, traces_parent):
    told = controlled(work="work 1 1000 2000")
    with reach(told.process.pid) as client:
        answer = client.ask("disarm")
        assert (answer["armed"], answer["period"]) == (False, "0")
        first = client.ask("stats")["samples"]
        time.sleep(0.2)
        assert client.ask("hello")["armed"] is False
        assert client.ask("stats")["samples"] == first
        answer = client.ask("arm")
        assert (answer["armed"], answer["period"]) == (True, "64KiB")
        eventually(lambda: client.ask("stats")["samples"] > first)
    trace = finished(told, traces_parent)
    assert option_events(trace) == [("armed", "off"), ("armed", "on")]
    disarmed, born = False, 0
    for event in trace.events:
        if event["event"] == "option":
            disarmed = event["value"] == "off"
        born += disarmed and event["event"] == "alloc"
    assert born <= 1  # the request that served us


def test_a_dormant_program_is_armed_later(controlled, traces_parent):
    told = controlled({"POIREAU_ARMED": "0"}, work="work 1 1000 2000")
    with reach(told.process.pid) as client:
        assert client.ask("hello")["armed"] is False
        assert not traces_parent.exists()
        assert client.ask("arm")["period"] == "64KiB"
        eventually(lambda: client.ask("stats")["samples"] > 10)
    trace = finished(told, traces_parent)
    assert len(own(trace)) > 10


@pytest.mark.parametrize("environment", [{"POIREAU_SAMPLE_PERIOD": "0"}, {"POIREAU_ARMED": "0"}])
def test_who_does_not_sample_answers_every_sixteen_mebibytes(controlled, environment):
    told = controlled(environment, work="")
    pid = told.process.pid
    told("pass 1100 16384")  # more than 16 MiB
    told("pass 1100 16384")
    assert name_of(pid) in listening()
    with Client(name_of(pid), 2) as client:
        client.request("hello")
        told("pass 800 16384")  # less than that
        for _ in range(3):
            time.sleep(0.06)  # the rest after a turn
            told("pass 1100 16384")
        assert client.line()["period"] == "0"


def test_a_request_is_carried_out_though_its_sender_has_gone(controlled, traces_parent):
    told = controlled(work="")
    pid = told.process.pid
    told("pass 1000 1000")
    with Client(name_of(pid)) as client:
        client.request("set", "sample_period", "2K")
    time.sleep(0.06)
    told("pass 2000 1000")
    time.sleep(0.06)
    told("pass 2000 1000")
    told.process.stdin.close()
    assert told.process.wait(60) == 0
    trace = traces.read_one(traces_parent)
    assert option_events(trace) == [("sample_period", "2KiB")]
    assert own(trace)[-1]["period"] == 2 * KIB


def test_requests_are_answered_in_order_however_they_come(controlled):
    with reach(controlled().process.pid) as client:
        depths = [str(n % 129) for n in range(40)]
        client.send("".join(f'{{"do":"set","option":"stack_depth","value":"{each}"}}\n' for each in depths))
        answers = [client.line() for _ in depths]
        assert [answer["value"] for answer in answers] == depths
        assert all(after["before"] == answer["value"] for answer, after in pairwise(answers))
        for byte in b'{"do":"hello"}\n':
            client.send(bytes([byte]))
            time.sleep(0.002)
        assert client.line()["do"] == "hello"
        client.send('  { "value" : 16 , "do":"s\\u0065t" ,\t"option":"stack_depth"}\r\n')
        assert client.line()["value"] == "16"


@pytest.mark.parametrize(
    "line",
    [
        *("", "{}", "[]", "hello", '"hello"', '{"do":"hello"', '{"do":hello}', '{"do":"hello"} {}', '{"do":null}'),
        *('{"do":["hello"]}', '{"do":{"a":1}}', '{"do":"hello","do":"hello"}', '{"do":"hello","who":"me"}'),
        *('{"option":"sample_period"}', '{"do":"frobnicate"}', '{"do":""}', '{"do":"hell\\q"}', '{"do":"hell\\ud800"}'),
        *('{"do":"get","option":"sample\x01"}', '{"do":"get","option":"sample_period\0"}', "\0", '{"do" "hello"}'),
        *('{"do":"get","option":"sample_period",}', '{"do":"hello"}\0', "{" * 4000, '{"do":"' + "\\u0061" * 600 + '"}'),
    ],
)
def test_what_is_no_request_gets_an_error_and_the_next_one_an_answer(controlled, line):
    with reach(controlled().process.pid) as client:
        client.send(line + "\n")
        answer = client.line()
        assert answer.keys() == {"ok", "error"}, answer
        assert answer["ok"] is False
        assert answer["error"]
        client.ask("hello")


def test_a_line_may_be_so_long_and_no_longer(controlled):
    pid = controlled().process.pid
    with reach(pid) as client:
        request = '{"do":"hello"}'
        client.send(" " * (4096 - len(request)) + request + "\n")
        assert client.line()["ok"] is True
        client.send(" " * (4097 - len(request)) + request + "\n")
        assert client.line()["ok"] is False
        with pytest.raises(Closed):
            client.line()
    with reach(pid) as client:
        client.ask("hello")


def test_four_are_served_at_a_time_and_the_others_wait(controlled):
    pid = controlled().process.pid
    clients = [reach(pid) for _ in range(4)]
    waiting = [Client(name_of(pid)) for _ in range(3)]
    with all_closed(*clients, *waiting):
        for n, client in enumerate(clients):
            client.request("set", "stack_depth", n + 1)
        assert sorted(client.line()["value"] for client in clients) == ["1", "2", "3", "4"]
        waiting[0].socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            assert waiting[0].greeting
        waiting[0].socket.settimeout(10)
        for n, client in enumerate(waiting):
            clients[n].socket.close()
            client.ask("hello")


def test_flush_puts_all_that_lives_into_the_files_it_names(controlled, traces_parent, tmp_path):
    told = controlled({"POIREAU_SAMPLE_PERIOD": "1"}, work="")
    pid = told.process.pid
    told("keep 300 5000")
    told("pass 3000 100")
    told("work 1 1000 1")
    with reach(pid) as client:
        answers = [client.ask("flush"), client.ask("snapshot")]
        assert {"samples", "live"} <= answers[1]["stats"].keys()
    addresses = {int(each, 16) for each in told("show")}
    told("idle")
    told.process.kill()
    told.process.wait()
    for n, answer in enumerate(answers):
        assert traces_parent in type(traces_parent)(answer["trace"]).parents
        assert answer["live"] >= 300
        assert answer["live_bytes"] >= 300 * 5000
        part = tmp_path / f"part{n}"
        part.mkdir()
        for path in traces_parent.glob("*/*/*"):
            number = path.name.partition("samples_")[2]
            if not number or int(number) >= answer["file"]:
                shutil.copy(path, part)
        alive = traces.alive(traces.read_events(part)).values()
        kept = {event["address"] for event in alive if event["size"] == 5000}
        assert kept == addresses
    assert answers[0]["time"] < answers[1]["time"]


def test_without_a_trace_a_flush_says_so(controlled):
    with reach(controlled({"POIREAU_SINK": "none"}).process.pid) as client:
        assert client.refused("flush")
        client.ask("stats")


def test_verify_finds_what_was_written_behind_a_living_block(controlled):
    told = controlled({"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "off"}, work="")
    told("keep 50 100")
    told("work 1 1000 1")
    with reach(told.process.pid) as client:
        client.ask("set", "sample_period", "64K")
        clean = client.ask("verify")
        assert clean["errors"] == 0
        assert clean["blocks"] >= 50
        told("put 20 100")
        assert client.ask("verify")["errors"] == 1
        client.ask("hello")
    told.process.stdin.close()
    told.process.wait(60)
    assert re.search("short overflow.* 100-byte block", told.process.stderr.read())


def test_who_leaves_the_abort_of_a_verify_can_be_reached_again(program, library):
    environment = {"POIREAU_SINK": "none", "POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "off"}
    process = subprocess.Popen(
        [program("leaves_abort.c")],
        env=clean_environment(**environment, POIREAU_ON_ERROR="abort", LD_PRELOAD=str(library)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with reach(process.pid) as client:
            client.request("verify")
            with pytest.raises(Closed):
                client.line()
        for _ in range(3):
            with reach(process.pid, patience=10) as client:
                client.ask("hello")
        assert process.poll() is None
    finally:
        process.kill()
        output, complaints = process.communicate()
    assert output == "left\n"
    assert "short overflow" in complaints


def test_who_quits_lets_go_and_its_blocks_stay_what_they_are(controlled):
    told = controlled({"POIREAU_SAMPLE_PERIOD": "1", "POIREAU_GUARD": "all"}, work="")
    pid = told.process.pid
    told("keep 50 100")
    told("work 1 1000 1")
    with reach(pid) as client:
        client.ask("quit")
        eventually(lambda: control_off(pid))
        with pytest.raises((Closed, BrokenPipeError)):
            client.ask("hello")
    told("keep 50 100")
    told("pass 30000 1000")
    assert control_off(pid)
    told("free 0")
    told("free 0")  # twice: it is found, and the program goes on
    told("put 1 5")
    told("idle")
    told.process.stdin.close()
    assert told.process.wait(60) == 0
    complaints = told.process.stderr.read()
    assert complaints.count("double free") == 1, complaints


def test_control_may_be_for_reading_only(controlled):
    with reach(controlled({"POIREAU_CONTROL": "read"}).process.pid) as client:
        assert client.greeting["control"] == "read"
        for verb in ("hello", "list", "stats"):
            client.ask(verb)
        client.ask("get", "control")
        for verb in ("arm", "disarm", "flush", "snapshot", "verify", "quit", "sweep", "holders"):
            assert client.refused(verb)
        assert client.refused("set", "control", "full")
        assert client.refused("set", "sample_period", "1M")
        assert client.ask("get", "sample_period")["value"] == "64KiB"


def test_control_may_be_given_up_while_running(controlled):
    pid = controlled().process.pid
    with reach(pid) as client:
        client.ask("set", "control", "read")
        assert client.refused("set", "control", "full")
        client.ask("hello")


@pytest.mark.parametrize("at_load", [True, False])
def test_with_control_off_there_is_no_socket(controlled, at_load):
    told = controlled({"POIREAU_CONTROL": "off"} if at_load else {})
    pid = told.process.pid
    if not at_load:
        with reach(pid) as client:
            client.ask("set", "control", "off")
            eventually(lambda: control_off(pid))
    told("idle")
    told("pass 30000 1000")
    assert control_off(pid)
    assert not [line for line in told("files") if "socket" in line]


def test_stats_say_what_the_program_has_done(controlled):
    told = controlled({"POIREAU_SAMPLE_PERIOD": "1"}, work="")
    told("keep 100 1000")
    told("work 1 1000 1")
    with reach(told.process.pid) as client:
        first = client.ask("stats")
        time.sleep(0.1)
        second = client.ask("stats")
    for name in ("samples", "counted_bytes", "placed", "age_ns"):
        assert first[name] <= second[name], (name, first)
    assert first["live"] >= 100
    assert first["live_bytes"] >= 100 * 1000
    assert second["samples"] > first["samples"] >= 100
    assert second["control"]["requests"] == first["control"]["requests"] + 1


def test_the_estimate_holds_across_changes_of_the_period(controlled, traces_parent, exercised):
    told = controlled({"POIREAU_SAMPLE_PERIOD": "32M"}, work="")
    told("work 2 1000 1500")
    with reach(told.process.pid) as client:
        for period in ("32M", "512K", "2M", "256K", "32M"):
            client.ask("set", "sample_period", period)
            time.sleep(0.4)
    told("idle")
    calls, total, _ = map(int, told("made")[0].split())
    trace = finished(told, traces_parent)
    assert not [count for cause, count in traces.drops(trace.events).items() if count], traces.drops(trace.events)
    estimate, error = traces.bytes_asked_for(own(trace))
    exercised.add("retuned", f"{total >> 20} MiB, estimate {(estimate - total) / error:+.2f} sigma from it")
    assert calls * 1000 == total
    assert len({event["period"] for event in own(trace)}) == 4
    assert abs(estimate - total) < 6 * error, (estimate, total, error)
