"""The shell and `watch` as somebody at a terminal has them: keys in, a screen out, by tmux. Nothing waits for a time,
only for what is to be seen."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

pytestmark = pytest.mark.slow
PATIENCE = 120.0  # seconds, for a machine that is busy with other things
GROWS = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void* volatile kept;
__attribute__((noinline)) void leak_here(void) { memset(kept = malloc(2000), 1, 2000); }
__attribute__((noinline)) void pass_by(void) { free(malloc(100000)); }
int main(void) {
  alarm(600);
  for (;;) { leak_here(); pass_by(); usleep(4000); }
}
"""


class Screen:
    """A terminal with one program in it."""

    def __init__(self, command: str, state: Path, size: tuple[int, int] = (120, 40), **variables: str) -> None:
        self._directory = tempfile.mkdtemp(prefix="poireau-tmux-")
        self._tmux = ["tmux", "-S", f"{self._directory}/socket", "-f", "/dev/null"]
        environment = clean_environment(**{"XDG_STATE_HOME": str(state), "XDG_CACHE_HOME": str(state), **variables})
        environment["TERM"] = variables.get("TERM", "screen-256color")
        inside = shlex.join(["env", "-i", *(f"{name}={value}" for name, value in environment.items())])
        # What a program leaves on its screen stays there.
        line = f"{inside} {command}; echo status $?; exec cat"
        self._do("new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), line)

    def _do(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def type(self, text: str, *keys: str) -> None:
        if text:
            self._do("send-keys", "-l", "--", text)
        for key in keys:
            self._do("send-keys", key)

    def enter(self, text: str) -> None:
        self.type(text, "Enter")

    @property
    def text(self) -> str:
        return self._do("capture-pane", "-p")

    def wait(self, pattern: str, gone: bool = False) -> str:
        """Until it is there; or isn't."""
        deadline = time.monotonic() + PATIENCE
        while (re.search(pattern, text := self.text, re.MULTILINE) is None) != gone:
            assert time.monotonic() < deadline, f"{pattern!r} {'stays' if gone else 'does not come'}:\n{text}"
            time.sleep(0.05)
        return text

    def resize(self, columns: int, rows: int) -> None:
        self._do("resize-window", "-x", str(columns), "-y", str(rows))

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, timeout=PATIENCE)
        shutil.rmtree(self._directory, ignore_errors=True)


@pytest.fixture
def screen(tmp_path: Path, growing: tuple[int, Path]) -> Iterator[Callable[..., Screen]]:
    """screen(arguments of poireau, size=, variables...), over the traces that the growing program is in."""
    open_ones: list[Screen] = []

    def start(*arguments: object, size: tuple[int, int] = (120, 40), **variables: str) -> Screen:
        command = shlex.join([sys.executable, str(ROOT / "poireau.py"), *map(str, arguments)])
        open_ones.append(Screen(command, tmp_path, size, **{"POIREAU_TRACE": str(growing[1]), **variables}))
        return open_ones[-1]

    yield start
    for each in open_ones:
        each.close()


@pytest.fixture(scope="module")
def growing(
    library: Path, compile_c: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, Path]]:
    """The pid of a program that leaks, and where traces are."""
    with _grower(library, compile_c, tmp_path_factory.mktemp("traces")) as (process, where):
        yield process.pid, where


class _grower:
    def __init__(self, library: Path, compile_c: Callable[..., Path], where: Path) -> None:
        program = compile_c(GROWS, ["-O1", "-fno-builtin"])
        environment = clean_environment(
            LD_PRELOAD=str(library),
            POIREAU_TRACE=str(where),
            POIREAU_SAMPLE_PERIOD="16KiB",
            POIREAU_OVERHEAD_BUDGET="off",
        )
        self._process, self._where = subprocess.Popen([program], env=environment), where

    def __enter__(self) -> tuple[subprocess.Popen[bytes], Path]:
        deadline = time.monotonic() + PATIENCE
        while not list(self._where.glob("*/*/metadata")):
            assert time.monotonic() < deadline and self._process.poll() is None
            time.sleep(0.05)
        return self._process, self._where

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def test_what_is_typed_is_completed_answered_and_remembered(
    screen: Callable[..., Screen], growing: tuple[int, Path]
) -> None:
    pid, _ = growing
    shell = screen()
    shell.wait(rf"^ target \S+\[{pid}\]")
    shell.type("to", "Tab")
    shell.wait(r"^poireau> top")
    shell.type("--by li", "Tab")
    shell.wait(r"^poireau> top +--by line")
    shell.enter("--frames 0")
    shell.wait(r":\d+  leak_here$")
    shell.wait(rf"^ target \S+\[{pid}\] \| data up to .* running")
    shell.enter("df.function[0] + '!'")
    shell.wait(r"^leak_here!$")
    shell.type("help lea", "Tab")
    shell.wait(r"^poireau> help leaks")
    shell.enter("| tail -1")
    shell.wait(r"^for example: leaks")
    shell.type("set sample_pe", "Tab")
    shell.wait(r"^poireau> set sample_period")
    shell.type("", "C-c")
    shell.type("", "C-d")
    shell.wait(r"^status 0")
    again = screen()
    again.wait(r"^poireau>")
    again.type("", "Up", "Up")
    again.wait(r"^poireau> df.function\[0\]")
    again.type("", "C-c")
    again.wait(r"^poireau>$")
    again.type("top --b")  # what was typed before is suggested
    again.wait(r"^poireau> top --b ?y? ?l?i?n?e?")


def test_filters_stick_until_they_are_cleared(screen: Callable[..., Screen]) -> None:
    shell = screen()
    shell.wait(r"^poireau>")
    shell.enter("focus no_such_thing")
    shell.wait(r"^ target .*\| focus no_such_thing")
    shell.enter("top")
    shell.wait(r"in use at the end \(focus no_such_thing\)")
    shell.wait(r"^nothing")
    shell.enter("top --focus leak_here --frames 0 | tail -1")  # the line says otherwise
    shell.wait(r"leak_here  \S+:\d+$")
    shell.enter("since 1x")
    shell.wait(r"^poireau: 1x is no time")
    shell.enter("clear")
    shell.wait(r"no window, no filters")
    shell.wait(r"\| focus no_such_thing", gone=True)


def test_ctrl_c_ends_the_command_and_nothing_else(screen: Callable[..., Screen], growing: tuple[int, Path]) -> None:
    pid, _ = growing
    shell = screen()
    shell.wait(r"^poireau>")
    shell.enter("py import time")
    shell.enter("=[print(flush=True, end='at work '), time.sleep(1000)]")
    shell.wait(r"^at work")
    shell.type("", "C-c")
    shell.wait(r"^.*poireau: interrupted")
    shell.enter("!echo $((6 * 7)); sleep 1000")
    shell.wait(r"^42$")
    shell.type("", "C-c")
    shell.enter("top --what nonsense")
    shell.wait(r"^poireau: top: --what takes no nonsense")
    shell.enter("top --help | head -1")  # argparse ends programs
    shell.wait(r"^usage: poireau top")
    shell.enter("=1 / 0")
    shell.wait(r"^poireau: ZeroDivisionError: division by zero")
    assert "Traceback" not in shell.text
    os.kill(pid, 0)
    shell.enter("quit")
    shell.wait(r"^status 1")


def test_a_running_program_is_retuned_in_place(screen: Callable[..., Screen]) -> None:
    shell = screen()
    shell.wait(r"^poireau>")
    shell.enter("set sample_period 32K")
    shell.wait(r"^sample_period: \S+ -> 32KiB")
    shell.enter("get sample_period")
    shell.wait(r"^sample_period = 32KiB")
    shell.enter("disarm")
    shell.wait(r"^dormant: it samples nothing")
    shell.enter("arm")
    shell.wait(r"^armed: it samples every 32KiB|queued$")
    shell.enter("set sample_period 16K")
    shell.wait(r"^sample_period: 32KiB -> 16KiB|queued$(.*\n)+.*queued$")


def test_watch_is_drawn_again_and_hears_keys(screen: Callable[..., Screen], growing: tuple[int, Path]) -> None:
    pid, _ = growing
    page = screen("watch", pid, "--interval", "0.3")
    page.wait(r"^q quit .*sort: in use .*by line")
    page.wait(r"\+\S+B .* since \d\d:\d\d:\d\d \(")  # it has grown
    page.wait(r"IN USE +GROWTH.*\n.*\+\S+iB .*leak_here$")
    page.type("b")
    page.wait(r"by function ")
    page.type("s")
    page.wait(r"sort: growth ")
    page.type("", "Down", "Down", "Enter")
    page.wait(r"> .*")
    page.type("/", "")
    page.wait(r"^/")
    page.enter("no_such_thing")
    page.wait(r"^nothing is in use")
    page.type("/", "Enter")
    page.wait(r"leak_here")
    page.type("+")
    page.wait(rf"^{pid}: sample_period \S+ -> \d\d?KiB")
    page.type("-")
    page.wait(rf"^{pid}: sample_period (8KiB -> 16|16KiB -> 32)KiB")
    page.type("?")
    page.wait(r"leave +p  pause")
    page.type("?")
    page.type("p")
    page.wait(r"^PAUSED")
    page.type("p")
    page.wait(r"^PAUSED", gone=True)
    page.resize(60, 12)
    page.wait(r"^q quit.{1,60}$")
    page.wait(r"leak_here")
    page.type("q")
    page.wait(r"^status 0")


def test_watch_says_that_the_program_has_ended(
    library: Path, compile_c: Callable[..., Path], screen: Callable[..., Screen], tmp_path: Path
) -> None:
    with _grower(library, compile_c, tmp_path / "traces") as (process, where):
        page = screen("watch", "--interval", "0.2", POIREAU_TRACE=str(where))
        page.wait(r"leak_here$")
        process.kill()
        process.wait()
        page.wait(r"^THE PROGRAM HAS ENDED")
        page.wait(r"leak_here$")  # its last state stays


def test_a_command_is_repeated_in_place_until_a_key(screen: Callable[..., Screen]) -> None:
    shell = screen()
    shell.wait(r"^poireau>")
    shell.enter("watch leaks 0.3")
    first = shell.wait(r"^leaks, every 0.3 s; (\S+); any key ends it\n\n.*(.*\n)*.*leak_here")
    stamp = re.search(r"0.3 s; (\S+);", first)
    assert stamp is not None
    shell.wait(rf"^leaks, every 0.3 s; (?!{stamp[1]})")
    shell.type("x")
    shell.wait(r"^poireau> watch leaks 0.3")


@pytest.mark.parametrize(
    "variables",
    [
        {"TERM": "dumb"},
        {"NO_COLOR": "1", "HOME": "/nonexistent", "XDG_STATE_HOME": "/proc/no"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=["dumb", "no colours and no home", "no UTF-8"],
)
def test_poor_terminals_do(screen: Callable[..., Screen], variables: dict[str, str]) -> None:
    shell = screen(size=(40, 12), **variables)
    shell.wait(r"^poireau>")
    shell.enter("top --limit 1 --frames 0 | tail -1")
    shell.wait(r"leak_here")
    shell.type("", "C-d")
    shell.wait(r"^status 0")


def poireau(*arguments: object, traces: Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = clean_environment(POIREAU_TRACE=str(traces), XDG_CACHE_HOME=str(traces))
    command = [sys.executable, ROOT / "poireau.py", *map(str, arguments)]
    return subprocess.run(
        command, env=environment, input=text, capture_output=True, text=True, timeout=PATIENCE, errors="surrogateescape"
    )


def test_commands_on_standard_input_are_a_script(growing: tuple[int, Path], tmp_path: Path) -> None:
    pid, traces = growing
    lines = [
        f"use {pid}", "top --by line --limit 1 > " + str(tmp_path / "top.txt"), "# nothing", "df.function[0]",
        "top | wc -l", "nonsense", "help at", "quit", "=never",
    ]  # fmt: skip
    done = poireau(traces=traces, text="\n".join(lines))
    assert done.returncode != 0, done  # one of them failed
    assert done.stderr.startswith("poireau: there is no command nonsense"), done
    assert len(done.stderr.splitlines()) == 1 and "never" not in done.stdout, done
    assert re.search(r"^leak_here\n\d+\nat TIME", done.stdout, re.MULTILINE), done
    assert "leak_here" in (tmp_path / "top.txt").read_text()
    assert poireau(traces=traces, text="=40 + 2").stdout == "42\n"
    noise = poireau(traces=traces, text="\udcff\udcfe\n!a\0b\ntop \0\n!echo \udcff\nuse \x1b[31m")
    assert len(noise.stderr.splitlines()) == 4 and "\x1b" not in noise.stderr, noise
    assert "Traceback" not in noise.stderr and noise.returncode == 2
    kept = "top > /dev/null", "py one = heap, heap.end", "!sleep 0.5", "top > /dev/null"
    told = "=heap is one[0]", "=heap.end > one[1]", "=any(heap.running.values())"
    assert poireau(traces=traces, text="\n".join([*kept, *told])).stdout == "True\n" * 3


def test_a_terminal_whose_input_has_ended_before_anything_was_asked_is_left(tmp_path: Path) -> None:
    ours, its = os.openpty()  # as of `script -c poireau.py /dev/null </dev/null`
    os.write(ours, b"\x04")
    environment = clean_environment(POIREAU_TRACE=str(tmp_path), XDG_STATE_HOME=str(tmp_path), TERM="xterm")
    command = [sys.executable, ROOT / "poireau.py"]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True) as shell:
        try:
            assert shell.wait(PATIENCE) == 0
        finally:
            shell.kill()
    os.close(its)
    os.close(ours)


def test_watch_is_a_log_where_there_is_no_terminal(growing: tuple[int, Path]) -> None:
    pid, traces = growing
    done = poireau("watch", pid, "--interval", "0.2", "--count", "2", traces=traces)
    assert (done.returncode, done.stdout.count("in use ")) == (0, 2), done
    assert "leak_here" in done.stdout and "\x1b" not in done.stdout
    done = poireau("top", "-f", "--json", pid, "--interval", "0.5", "--count", "3", traces=traces)
    looks = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["schema"], each["version"]) for each in looks] == [("poireau.watch", 1)] * 3, done
    grown = looks[-1]["total"]["growth"]
    assert 0 < grown["ci95"][0] <= grown["value"] <= grown["ci95"][1]
    assert looks[0]["total"]["growth"]["value"] == 0 and looks[-1]["rss"] > 0
    assert looks[-1]["rows"][0]["function"] == "leak_here"
    missing = poireau("watch", "999999999", "--count", "1", traces=traces)
    assert missing.returncode == 2 and len(missing.stderr.splitlines()) == 1, missing
