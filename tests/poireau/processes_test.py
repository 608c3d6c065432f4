"""What is found in /proc, for processes in odd places and with odd names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poireau import processes, sockets
from poireau.processes import Mapping

Begin = Callable[..., int]
MAPS_A_FILE = """
import mmap, os, sys
root, directory, inner = sys.argv[1:]
if root: os.chroot(root); os.chdir("/")
os.makedirs(directory, exist_ok=True)
with open(os.path.join(directory, inner), "wb+") as file:
    file.truncate(65536)
    held = mmap.mmap(file.fileno(), 0)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def begin() -> Iterator[Begin]:
    """begin(command...) -> the pid of what has said that it is ready, and goes on until its standard input ends."""
    started: list[subprocess.Popen[str]] = []

    def run(*command: object, **more: object) -> int:
        pipe = subprocess.PIPE
        words = [os.fspath(each) if isinstance(each, (Path, bytes)) else str(each) for each in command]
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, **more)  # type: ignore[call-overload]
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process.pid  # type: ignore[no-any-return]

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_process_is_what_the_kernel_says_of_it() -> None:
    own = processes.look(os.getpid())
    assert own is not None
    assert (own.pid, own.inner_pid, own.user) == (os.getpid(), os.getpid(), os.geteuid())
    assert own.users == {os.getuid(), os.geteuid()}
    assert 0 < own.page_tables < 1 << 30
    assert processes.command(os.getpid())[0]


def test_what_has_ended_is_no_process() -> None:
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert processes.look(ended.pid) is None  # nobody has asked yet how it ended
    ended.wait()
    assert processes.look(ended.pid) is None
    assert processes.command(ended.pid) == []


def test_a_thread_is_no_process(begin: Begin) -> None:
    script = "import threading, sys; e = threading.Event(); t = threading.Thread(target=e.wait, daemon=True); t.start()"
    pid = begin(sys.executable, "-c", script + "; print('ready', flush=True); sys.stdin.read()")
    threads = {int(each) for each in os.listdir(f"/proc/{pid}/task")}
    assert len(threads) == 2
    assert [each for each in threads if processes.look(each) is not None] == [pid]


def test_a_process_outlives_its_first_thread(compile_c: Callable[..., Path], begin: Begin) -> None:
    source = """
        #include <pthread.h>
        #include <unistd.h>
        static void* go_on(void* first) {
          pthread_join(*(pthread_t*)first, 0);
          while (write(1, "ready\\n", 6) == 6) pause();
          return 0;
        }
        static pthread_t first, second;
        int main(void) {
          first = pthread_self();
          pthread_create(&second, 0, go_on, &first);
          pthread_exit(0);
        }"""
    pid = begin(compile_c(source, ["-pthread"]))
    found = processes.look(pid)
    assert found is not None and found.pid == pid


@pytest.mark.parametrize("name", ["a) S (b", "two words", "((", "1 2 3"])
def test_programs_have_any_name(name: str, begin: Begin) -> None:
    script = "import sys; open('/proc/self/comm', 'w').write(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
    found = processes.look(begin(sys.executable, "-c", script, name))
    assert found is not None
    assert found.program == name
    assert found.start > 0


def test_pids_of_inner_namespaces_are_known(begin: Begin) -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    outer = begin("unshare", "-pf", "--kill-child", "sh", "-c", "echo ready; read line")
    (child,) = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
    found = processes.look(int(child))
    assert found is not None
    assert (found.pid, found.inner_pid) == (int(child), 1)


def test_mappings_of_ours_are_told_apart() -> None:
    def mapping(path: str = "", begin: int = 4096, inode: int = 7) -> Mapping:
        return Mapping(begin, begin + 4096, inode, path)

    assert mapping(begin=1 << 45).ours and mapping(begin=(1 << 46) - 4096).ours
    assert not mapping(begin=1 << 46).ours and not mapping(begin=(1 << 45) - 4096).ours
    assert mapping("/a/libpoireau.so").of_library and mapping("/a/libpoireau.so (deleted)").of_library
    assert mapping("/a/libpoireau-jemalloc.so").ours and not mapping("/a/libpoireau-jemalloc.so").of_library
    assert mapping("/a/samples_12").of_trace and mapping("/a/facts_1").of_trace
    assert not mapping("/a/samples_12.txt").of_trace and not mapping("/a/.samples_3").of_trace


@pytest.mark.parametrize("directory", ["/run/process", "/a b/(deleted)/c", "/back\\slash/new\nline", "/samples_1"])
@pytest.mark.parametrize("rooted", [False, True], ids=["own root", "chroot"])
def test_a_pid_finds_its_trace(directory: str, rooted: bool, begin: Begin, tmp_path: Path) -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    root = tmp_path / "root"
    root.mkdir()
    inner = directory if rooted else f"{root}{directory}"
    pid = begin(sys.executable, "-c", MAPS_A_FILE, root if rooted else "", inner, "samples_3")
    trace = processes.trace_of(pid)
    assert trace is not None
    assert (trace / "samples_3").samefile(f"{root}{directory}/samples_3")
    assert processes.place(trace) == inner


def test_a_trace_in_a_file_system_that_only_its_process_has(begin: Begin, tmp_path: Path) -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    script = 'mount -t tmpfs own "$1" && exec "$2" -c "$3" "" "$1/run" samples_1'
    pid = begin("unshare", "-m", "sh", "-c", script, "sh", tmp_path, sys.executable, MAPS_A_FILE)
    assert list(tmp_path.iterdir()) == []
    trace = processes.trace_of(pid)
    assert trace is not None
    assert (trace / "samples_1").stat().st_size == 65536
    assert processes.place(trace) == f"{tmp_path}/run"


def test_a_trace_that_is_gone_or_another_is_none(begin: Begin, tmp_path: Path) -> None:
    pid = begin(sys.executable, "-c", MAPS_A_FILE, "", tmp_path, "samples_1")
    (tmp_path / "samples_1").unlink()
    assert processes.trace_of(pid) is None
    (tmp_path / "samples_1").write_bytes(b"another file")
    assert processes.trace_of(pid) is None
    assert processes.trace_of(os.getpid()) is None


OTHERS = ("poireau", "poireau/0/1", "poireau/0/1/2/3", "poireau/0/1/2/0123456g", "poireau/-1/1/2", "xpoireau/0/1/2")


@pytest.mark.parametrize("text", [*OTHERS, "poireau/0/1/2\n"])
def test_other_names_are_no_control_sockets(text: str) -> None:
    assert sockets.name_of(text) is None


def test_names_say_whose_they_are() -> None:
    own = processes.look(os.getpid())
    assert own is not None
    for text in (
        f"poireau/0/{own.pid}/{own.start}",
        f"poireau/0/{own.pid}/{own.start}/0123abcd",
        f"poireau/0/{own.pid}/0",
    ):
        name = sockets.name_of(text)
        assert name is not None and name.is_of(own) and str(name) == f"@{text}"
    other = sockets.name_of(f"poireau/0/{own.pid}/{own.start + 1}")
    assert other is not None and not other.is_of(own)
