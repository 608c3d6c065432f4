from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from poireau import autopsy_end
from poireau.autopsy_end import End, Log
from tests.poireau.histories import BEGIN, SECOND, History

MIB = 1 << 20
AT = BEGIN + 30 * SECOND
OOM = (
    "Out of memory: Killed process 4242 (server) total-vm:93488kB, anon-rss:51200kB, file-rss:1024kB, "
    "shmem-rss:2048kB, UID:0 pgtables:192kB oom_score_adj:0"
)
OLD_OOM = "Killed process 4242 (server) total-vm:93488kB, anon-rss:51200kB, file-rss:1024kB, shmem-rss:0kB"
GROUP = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/app.slice,"
    "task_memcg=/app.slice/server,task=server,pid=4242,uid=0"
)


def ended(
    *lines: tuple[int, str], unread: str = "", running: bool = False, costs: int | None = None, **more: Any
) -> End:
    history = History()
    number = history.process(4242, executable="/usr/bin/server")
    history.event("thread", number, 0, thread=4250, name="worker")
    history.alloc(1, time=30 * SECOND, size=100)
    if costs is not None:
        history.event("cost", number, costs, cycles=1, cycles_per_second=1)
    for pid, fields in more.items():
        history.process(int(pid[1:]), **fields)
    return autopsy_end.of(history.heap(), number, running, Log(lines, unread))


@pytest.mark.parametrize("line", [OOM, OLD_OOM, OOM.replace("Out", "Memory cgroup out")])
def test_who_the_oom_killer_took_is_told_by_the_kernel(line: str) -> None:
    end = ended((AT - SECOND, "something else"), (AT + SECOND, line))
    assert (end.how, end.time, end.last) == ("oom", AT + SECOND, AT)
    assert end.killed is not None
    assert (end.killed.anonymous, end.killed.files) == (50 * MIB, MIB)
    assert "OOM killer" in end.said


def test_the_control_group_is_named_whose_limit_was_reached() -> None:
    end = ended((AT + SECOND, GROUP), (AT + SECOND, f"Memory cgroup {OOM}"))
    assert "limit of its control group /app.slice/server" in end.said


def test_another_process_or_time_is_not_it() -> None:
    assert ended((AT + SECOND, OOM.replace("4242", "4243"))).how == "cut short"
    assert ended((AT - 20 * SECOND, OOM)).how == "cut short"


@pytest.mark.parametrize(
    "line",
    [
        "server[4242]: segfault at 0 ip 0000555 sp 00007ffc error 4 in server[42c2,5559+2000] likely on CPU 0",
        "worker[4250]: segfault at 208000011011 ip 0000 error 4",
        "traps: server[4242] general protection fault ip:7f sp:7ff error:0 in libc.so.6",
        "traps: server[4242] trap invalid opcode ip:55 sp:7ff error:0 in server",
    ],
)
def test_a_crash_is_told_whichever_thread_it_was(line: str) -> None:
    assert ended((AT + 1, line)).how == "crash"
    assert ended((AT + 1, line.replace("42", "77"))).how == "cut short"


def test_who_took_leave_has_exited() -> None:
    assert ended(costs=30 * SECOND + 5000).how == "exit"
    assert ended(costs=10 * SECOND).how == "cut short"


def test_a_file_that_was_to_be_gone_on_in_says_that_it_was_cut_short(tmp_path: Path) -> None:
    history = History()
    number = history.process(4242)
    history.event("cost", number, SECOND, cycles=1)
    history.sources[number] = str(tmp_path)
    assert autopsy_end.of(history.heap(), number, False, Log(())).how == "exit"
    (tmp_path / ".samples_3").touch()
    assert autopsy_end.of(history.heap(), number, False, Log(())).how == "cut short"


def test_who_executed_another_program_is_that_now() -> None:
    later = {"time": 31 * SECOND, "start_time": 5000, "executable": "/bin/other"}
    end = ended(_4242=later)
    assert (end.how, end.said) == ("exec", "it executed another program, /bin/other")
    assert ended(_4242={**later, "start_time": 6000}).how == "cut short"


def test_who_runs_runs() -> None:
    assert ended((AT + 1, OOM), running=True).how == "runs"


def test_a_log_that_may_not_be_read_is_said() -> None:
    assert ended(unread="the kernel's log can't be read").evidence == ("the kernel's log can't be read",)


def test_what_the_log_says_is_fit_for_a_terminal() -> None:
    end = ended((AT + 1, OOM + "\x1b[31m\u202e"))
    assert all(said.isprintable() for said in end.evidence)


@pytest.mark.parametrize("version", [1, 2])
def test_a_control_group_tells_its_limit(tmp_path: Path, version: int) -> None:
    files = {
        1: {"memory/a/memory.limit_in_bytes": "1048576", "memory/a/memory.oom_control": "under_oom 0\noom_kill 2\n"},
        2: {"a/memory.max": "1048576", "a/memory.events": "low 0\noom 3\noom_kill 2\n"},
    }[version]
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert autopsy_end.of_group("/a", tmp_path) == ["control group /a: limit 1MiB, 2 OOM kills so far"]
    assert autopsy_end.of_group("/b", tmp_path) == []
    assert autopsy_end.of_group("/../a", tmp_path) == []


def test_the_kernels_log_is_read_or_it_is_said_why_not() -> None:
    log = autopsy_end.kernel_log()
    assert log.unread or all(0 < at < time.time_ns() + 60 * SECOND for at, _ in log.lines)
