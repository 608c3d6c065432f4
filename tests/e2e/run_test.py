"""`run` stays beside its program, which is to notice nothing; and says in one line what there is to say at the end."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from poireau import news
from tests.conftest import ROOT, clean_environment

COMMAND = [sys.executable, ROOT / "poireau.py", "run"]
HANG = 60  # seconds
ERRORS = """
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int count, char** words) {
  char* volatile block = malloc(100);
  free(block);
  const int bad = ((volatile char*)block)[1] == 1;
  if (count > 1 && fork() == 0) {  // what it started has one of its own
    char* volatile short_one = malloc(24);
    short_one[24] = 1;
    free(short_one);
    _exit(0);
  }
  while (wait(NULL) > 0) {}
  return count > 2 ? atoi(words[2]) : bad;
}
"""
NEWS = "poireau: 1 use-after-free: see `"


def run(tmp_path: Path, *words: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(POIREAU_TRACE=str(tmp_path / "traces"), POIREAU_LOG="off")
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [*COMMAND, *words], **{"env": environment, "capture_output": True, "text": True, "timeout": HANG, **more}
    )


@pytest.fixture(scope="module")
def erring(compile_c) -> Path:
    return compile_c(ERRORS, ["-fno-builtin"])


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -KILL $$", -9), ("kill -SEGV $$", -11)])
def test_a_program_ends_as_without_us_and_nothing_is_said_where_there_is_no_news(tmp_path, script, status):
    done = run(tmp_path, "--", "sh", "-c", f"echo out; echo err >&2; {script}")
    assert (done.returncode, done.stdout, done.stderr) == (status, "out\n", "err\n")


def test_errors_of_all_its_processes_are_told_in_one_line(tmp_path, erring):
    done = run(tmp_path, "--protect", "all", "--", "sh", "-c", f"{erring} and-a-child; true")
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"poireau: 1 use-after-free, 1 short-overflow: see `\S+poireau.py errors`\n", done.stderr)


def test_errors_change_the_status_of_who_ended_well_and_asked_for_that(tmp_path, erring):
    options = ("--protect", "all", "--error-exitcode", "9", "--")
    for words, status in (([erring], 9), ([erring, "x", "4"], 4), (["true"], 0)):
        assert run(tmp_path, *options, *words).returncode == status, words


def test_who_asks_for_a_status_is_told_that_nobody_could_tell(tmp_path):
    (tmp_path / "file").touch()
    done = run(tmp_path, "--error-exitcode", "9", "--trace", tmp_path / "file" / "under", "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (2, "") and "can't be written to" in done.stderr


def test_without_guards_or_with_exec_nothing_is_told(tmp_path, erring):
    for options in (["--protect", "off"], ["--protect", "all", "--exec"], ["--protect", "all", "-q"]):
        done = run(tmp_path, *options, "--", erring)
        assert (done.returncode, done.stderr) == (0, ""), options


def test_the_record_lies_where_it_was_asked_for(tmp_path, erring):
    done = run(tmp_path, "--protect", "all", "-o", "%e-%n%%", "--", erring, cwd=tmp_path)
    directory = tmp_path / f"{erring.name}-1%"
    assert [run.name.split("-")[2] for run in directory.iterdir()] == [erring.name]
    assert done.stderr.startswith(NEWS) and str(directory) in done.stderr
    assert run(tmp_path, "-o", "%e-%n%%", "--", erring, cwd=tmp_path).returncode == 0
    assert (tmp_path / f"{erring.name}-2%").is_dir()


def test_a_record_may_be_one_file_that_others_read(tmp_path, erring):
    file = tmp_path / "it.poireau"
    done = run(tmp_path, "--protect", "all", "-o", file, "--", erring)
    assert done.returncode == 0 and done.stderr.endswith(f"errors {file}`\n"), done.stderr
    read = subprocess.run([sys.executable, ROOT / "poireau.py", "errors", file], capture_output=True, text=True)
    assert "use after free" in read.stdout, read
    assert "is there already" in run(tmp_path, "-o", file, "--", "true").stderr


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["-o", "%q"], "%q stands for nothing"),
        (["-o", "a", "--trace", "b"], "give one of them"),
        (["-q", "--error-exitcode", "1"], "nobody is there at the end"),
        (["-q", "-o", "a.poireau"], "nobody is there at the end"),
        (["--sink", "none", "--error-exitcode", "1"], "sink = none"),
        (["--set", "sink=lttng", "--error-exitcode", "1"], "sink = lttng"),
        (["--sink", "none", "-o", "a.poireau"], "sink = none"),
        (["--error-exitcode", "256"], "no exit status"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(tmp_path, options, complaint):
    done = run(tmp_path, *options, "--", "touch", tmp_path / "ran", cwd=tmp_path)
    assert done.returncode == 2 and complaint in done.stderr and not (tmp_path / "ran").exists()


def test_a_pipe_ends_when_the_program_closes_it_and_daemons_are_not_waited_for(tmp_path):
    script = "sleep 60 <&- >&- 2>&- & echo $!; exec >&-; read line; exit 3"
    environment = clean_environment(POIREAU_TRACE=str(tmp_path))
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with subprocess.Popen([*COMMAND, "--", "sh", "-c", script], env=environment, text=True, **pipes) as started:
        daemon = started.stdout.read().strip()  # to its end, while the program runs
        assert started.poll() is None
        started.stdin.write("go\n")
        started.stdin.close()
        assert started.wait(HANG) == 3
    os.kill(int(daemon), signal.SIGKILL)


def test_a_pipe_of_any_number_ends_when_the_program_closes_it(tmp_path):
    reading, writing = os.pipe()
    script = f"exec {writing}>&-; read line"
    environment = clean_environment(POIREAU_TRACE=str(tmp_path))
    command = [*COMMAND, "--", "bash", "-c", script]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, pass_fds=[writing]) as started:
        os.close(writing)
        assert os.read(reading, 1) == b""
        assert started.poll() is None
        started.stdin.close()
    os.close(reading)


STATE = """
grep -E 'Sig(Blk|Ign|Cgt)|Umask|NoNewPrivs|Seccomp:' /proc/self/status
ulimit -a; umask; nice; ls -l /proc/self/fd | sed 's/.* \\([0-9]* ->\\)/\\1/' | grep -v '/proc\\|pipe'; pwd
"""


def test_a_program_is_as_it_would_be_without_us(tmp_path):
    def told(*before: str | Path) -> str:
        environment = clean_environment(POIREAU_TRACE=str(tmp_path), POIREAU_CONTROL="off")
        outer = "umask 027; ulimit -c 0; ulimit -n 512; trap '' HUP CHLD USR1; exec nice -n 3 \"$@\""
        command = ["bash", "-c", outer, "-", *before, "bash", "-c", STATE]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG).stdout

    assert told(*COMMAND, "-c", "0", "--") == told()


@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
def test_who_stops_the_program_alone_has_only_the_program_go_on(tmp_path, end):
    environment = clean_environment(POIREAU_TRACE=str(tmp_path))
    command = [*COMMAND, "--", "sh", "-c", "echo $$; read line; exit 7"]
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with subprocess.Popen(command, env=environment, text=True, **pipes) as started:
        child = int(started.stdout.readline())
        os.kill(child, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(started.pid, os.WUNTRACED)[1])  # and is seen to
        os.kill(child, end)
        started.stdin.close()
        assert started.wait(HANG) == (7 if end == signal.SIGCONT else -end)


def test_an_alarm_that_was_set_before_us_is_the_programs(tmp_path):
    code = "import os, signal, sys; signal.setitimer(signal.ITIMER_REAL, 1); os.execvp(sys.argv[1], sys.argv[1:])"
    environment = clean_environment(POIREAU_TRACE=str(tmp_path))
    command = [sys.executable, "-c", code, *COMMAND, "--", "sleep", "60"]
    assert subprocess.run(command, env=environment, timeout=HANG).returncode == -signal.SIGALRM


def test_what_a_program_sends_its_own_group_it_gets_once(tmp_path):
    script = "trap 'echo caught' TERM; kill 0; sleep 0.3; sleep 0.3"
    done = run(tmp_path, "--", "sh", "-c", script, start_new_session=True)
    assert (done.returncode, done.stdout) == (0, "caught\n")


def test_who_kills_us_kills_the_program(tmp_path):
    environment = clean_environment(POIREAU_TRACE=str(tmp_path))
    command = [*COMMAND, "--", "sh", "-c", "echo $$; exec sleep 60"]
    with subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE) as started:
        child = int(started.stdout.readline())
        started.kill()
        started.stdout.read()  # ends when the program does
    status, until = Path(f"/proc/{child}/stat"), time.monotonic() + HANG
    while status.exists() and status.read_text().rpartition(")")[2].split()[0] not in "ZX":
        assert time.monotonic() < until
        time.sleep(0.01)


def test_input_and_output_are_the_programs_own(tmp_path):
    done = run(tmp_path, "--", "sh", "-c", "yes | head -1; cat", input="typed\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "y\ntyped\n", "")


PROMPT = r"\$ $"


class Terminal:
    """A shell with job control."""

    def __init__(self, folder: Path) -> None:
        self.process, self.file = pty.fork()
        if self.process == 0:
            environment = clean_environment(POIREAU_TRACE=str(folder), PS1="$ ", TERM="dumb")
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"], environment)

    def type(self, text: str, wanted: str) -> str:
        """What it says up to what is wanted."""
        os.write(self.file, text.encode())
        said, until = "", time.monotonic() + HANG
        while re.search(wanted, said) is None:
            assert time.monotonic() < until, f"{wanted} is not in {said}"
            if select.select([self.file], [], [], 0.1)[0]:
                said += os.read(self.file, 4096).decode()
        return said

    def stop(self) -> None:
        """All of the job: a process that waits for a processor would read what is typed next, and stop then."""
        job = os.tcgetpgrp(self.file)
        self.type("\x1a", rf"Stopped.*\r\n{PROMPT}")
        until = time.monotonic() + HANG
        while re.search(rf"^ *{job} [^T]", _output("ps", "-eo", "pgid=,stat="), re.MULTILINE):
            assert time.monotonic() < until


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def terminal(tmp_path) -> Iterator[Terminal]:
    started = Terminal(tmp_path / "traces")
    started.type("", PROMPT)
    yield started
    os.kill(started.process, signal.SIGKILL)
    os.close(started.file)
    os.waitpid(started.process, 0)


def test_a_shell_stops_resumes_and_interrupts_it_like_any_other(terminal):
    command = " ".join(map(str, COMMAND))
    trapped = """sh -c 'trap "echo caught; exit 9" INT; echo rea""dy; while :; do sleep 0.05; done'"""
    terminal.type(f"{command} -- {trapped}\n", r"ready\r")
    terminal.type("\x03", rf"caught\r\n{PROMPT}")
    terminal.type("echo status=$?\n", rf"status=9\r\n{PROMPT}")
    terminal.type(f"{command} -- cat\n", "cat\r\n")
    terminal.type("one\n", r"one\r\none\r")
    terminal.stop()
    terminal.type("fg\n", r"cat\r\n")
    terminal.type("two\n", r"two\r\ntwo\r")
    terminal.stop()
    terminal.type("bg\n", rf"Stopped.*\r\n|&\r\n{PROMPT}")
    while "Stopped" not in terminal.type("jobs\n", rf"cat.*\r\n{PROMPT}"):  # it wants to read
        pass
    terminal.type("fg\n", r"cat\r\n")
    terminal.type("three\n", r"three\r\nthree\r")
    terminal.type("\x04", PROMPT)
    terminal.type("echo status=$?\n", rf"status=0\r\n{PROMPT}")


def test_who_does_not_let_itself_be_stopped_goes_on(terminal):
    command = " ".join(map(str, COMMAND))
    stubborn = """sh -c 'trap "" TSTP; echo rea""dy; read word; echo got $word'"""
    terminal.type(f"{command} -- {stubborn}\n", r"ready\r")
    assert "Stopped" not in terminal.type("\x1aword\n", rf"got word\r\n{PROMPT}")


def test_a_period_is_automatic_unless_anybody_says_otherwise(tmp_path):
    def period(*options: str, **environment: str) -> str:
        own = clean_environment(**environment)
        return run(tmp_path, *options, "--", "sh", "-c", "echo $POIREAU_SAMPLE_PERIOD", env=own).stdout.strip()

    (tmp_path / "file").write_text("sample_period = 4M\n")
    assert period() == period("--protect", "sampled") == "auto"
    assert period("--set", "sample_period=1M") == period("-c", "1M", "--protect", "all") == "1M"
    assert period("--protect", "all") == "auto"
    assert period(POIREAU_SAMPLE_PERIOD="2M") == "2M"
    assert period(POIREAU_CONFIG=str(tmp_path / "file")) == ""


LEAKY = """
#include <stdlib.h>
#include <unistd.h>
void* volatile kept;
int main(int count, char** words) {
  for (int i = 0; i < 100 * atoi(words[count - 1]); ++i) {
    kept = malloc(20000);
    for (int j = 0; j < 5; ++j) free(calloc(1, 3000));
    usleep(10000);
  }
}
"""


@pytest.mark.slow
def test_there_is_news_of_a_leak(tmp_path, compile_c):
    assert run(tmp_path, "--", compile_c(LEAKY, ["-fno-builtin"]), "6").returncode == 0
    (directory,) = (tmp_path / "traces").iterdir()
    assert sum(news.leaks(directory, 1000.0).values()) == 1


@pytest.mark.soak
def test_a_leak_is_told_after_a_run_that_is_long_enough_to_tell(tmp_path, compile_c):
    # Telling may take a tenth of that time.
    done = run(tmp_path, "--", compile_c(LEAKY, ["-fno-builtin"]), "60", timeout=300)
    assert done.returncode == 0
    assert re.fullmatch(r"poireau: 1 (likely )?leak: see `\S+poireau.py leaks`\n", done.stderr), done.stderr
