"""What the shell does with a line, whoever reads it: a prompt or a script."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from poireau import asking, commands, ctl, layout, parsing, shell_line, shell_state, shell_targets, shell_verbs
from poireau.errors import OUR_FAILURE, USAGE, Failure
from poireau.shell_keep import Kept
from poireau.shell_line import Line
from poireau.shell_python import Python, is_python
from poireau.shell_state import State
from poireau.shell_targets import SHORT
from poireau.text import plain

if TYPE_CHECKING:
    import pandas as pd

    from poireau.model import Heap

INTERRUPTED = 130
APART = ("run", "check", "replay", "lttng")  # they become, or start, programs: each in a process of its own
AFRESH = ("pack", "export", "serve")  # they read every event again, which never ends for who follows


class Quit(Exception):
    """The shell is to end."""


class Session:
    def __init__(self, targets: Sequence[str] = ()) -> None:
        self.state = State()
        self.kept = Kept()
        self.status = 0
        self.last: argparse.Namespace | None = None  # the last line that was about a heap
        self.python = Python(
            {"df": self.table, "heap": self.heap, "pd": _module("pandas"), "np": _module("numpy"),
             "poireau": _module("poireau")}
        )  # fmt: skip
        if targets:
            self.state = shell_targets.use(self.state, targets)

    def obey(self, text: str) -> int:
        """Raises Quit, and nothing else: what goes wrong is said in a line."""
        try:
            self.status = self._obey(text.strip())
            sys.stdout.flush()
        except Failure as failure:
            self.status = complain(str(failure), failure.status)
        except SystemExit as end:  # behind --help
            self.status = end.code if isinstance(end.code, int) else 0 if end.code is None else USAGE
        except BrokenPipeError:
            self.status = 0
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
            self.status = complain(what, OUR_FAILURE)
        except KeyboardInterrupt:
            self.kept.forget()
            self.status = complain("interrupted", INTERRUPTED)
        except MemoryError:
            self.kept.forget()
            self.status = complain("there is not enough memory for that", OUR_FAILURE)
        except Quit:
            raise
        except Exception as error:  # the shell goes on
            self.kept.forget()
            said = f"{type(error).__name__}: {error}".splitlines()[0]
            self.status = complain(f"that is a fault of Poireau's own: {said}", OUR_FAILURE)
        return self.status

    def _obey(self, text: str) -> int:
        if not text or text.startswith("#"):
            return 0
        if "\0" in text:
            raise Failure("a line has no NUL in it", USAGE)
        if text.startswith("!"):
            return wait(subprocess.Popen(["/bin/sh", "-c", text[1:]]))
        verb, _, rest = text.partition(" ")
        if verb == "py" or is_python(text):
            self.python.run(rest if verb == "py" else text)
            return 0
        own = shell_verbs.OWN.get(verb)
        if own is not None and own.whole:
            return own.act(self, rest.strip())
        line = shell_line.parse(text)
        with self._output(line) as out:
            if own is not None:
                return own.act(self, shlex.join(line.words[1:]))
            return self._command(list(line.words), line, out)

    def _command(self, words: list[str], line: Line, out: Any) -> int:
        words = self._with_pid(words)
        if words[0] == "watch" and len(words) > 1 and words[1] in commands.NAMES and words[1] != "watch":
            from poireau import shell_repeat

            return shell_repeat.repeat(words[1:], lambda words: self._command(words, line, out))
        if words[0] in APART:
            return self._apart(words, line, out)
        if line.background:
            raise Failure(f"only {', '.join(APART)} go to the background", USAGE)
        parsed = self.parsed(words)
        asking.keeper = None if words[0] in AFRESH else self.kept
        self.warm()
        try:
            status = int(parsed.act(parsed))
        finally:
            asking.keeper = None
        if getattr(parsed, "targets", None) is not None and self.kept.last is not None:
            self.last = parsed
            self.python.refresh()
        return status

    def parsed(self, words: Sequence[str]) -> argparse.Namespace:
        """With what sticks. Raises Failure."""
        parsed = parsing.parse(words)
        if parsed.verb is None:
            raise Failure("which command? `help` lists them", USAGE)
        parser = parsing.verbs_of(parsing.parser([parsed.verb])).choices[parsed.verb]
        shell_state.apply(self.state, parsed, shell_state.said_by(parser, words))
        return parsed

    def warm(self) -> None:
        """Waits for what is still being imported by another thread."""

    def _with_pid(self, words: list[str]) -> list[str]:
        """What is about a process, and doesn't say which, is about the current one."""
        if words[0] in SHORT:
            words = ["ctl", *words]
        if words[0] == "ctl" and len(words) > 1 and words[1] in ctl.VERBS:
            return ["ctl", self._pid(), *words[1:]]
        if words == ["attach"]:
            return ["attach", self._pid()]
        if words[0] == "whatis" and len(words) == 2 and not os.path.exists(words[1]):
            return ["whatis", self._pid(), words[1]]
        return words

    def _pid(self) -> str:
        return str(shell_targets.pid_of(self.state))

    def _apart(self, words: list[str], line: Line, out: Any) -> int:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(
            filter(None, (str(layout.PACKAGE.parent), os.environ.get("PYTHONPATH")))
        )}  # fmt: skip
        command = [sys.executable, "-m", "poireau", *words]
        sys.stdout.flush()
        if line.background:
            stdin = subprocess.DEVNULL
            process = subprocess.Popen(command, env=environment, stdin=stdin, stdout=out, start_new_session=True)
            print(f"[{process.pid}] in the background: `targets` has it once it runs, `use newest`")
            shell_targets.BACKGROUND.append(process)
            return 0
        status = wait(subprocess.Popen(command, env=environment, stdout=out))
        if words[0] == "run":
            with contextlib.suppress(Failure):
                self.state = shell_targets.use(self.state, ["newest"])
        return status

    @contextlib.contextmanager
    def _output(self, line: Line) -> Iterator[Any]:
        """Where this line prints to: what a child process may have as its standard output."""
        if line.file:
            mode = "a" if line.append else "w"
            with (
                open(line.file, mode, encoding="utf-8", errors="backslashreplace") as file,
                contextlib.redirect_stdout(file),
            ):
                yield file
        elif line.pipe:
            sys.stdout.flush()
            reader = subprocess.Popen(["/bin/sh", "-c", line.pipe], stdin=subprocess.PIPE)
            assert reader.stdin is not None
            pipe = io.TextIOWrapper(reader.stdin, "utf-8", "backslashreplace")
            try:
                with contextlib.redirect_stdout(pipe):
                    yield pipe
            finally:
                with contextlib.suppress(OSError):
                    pipe.close()
                wait(reader)
        else:
            yield None

    # What Python at the prompt has.

    def heap(self) -> Heap:
        if self.kept.last is None:
            self.warm()
            parsed = self.parsed(["top"])
            asking.keeper = self.kept
            try:
                asking.opened(parsed)
            finally:
                asking.keeper = None
            self.last = parsed
        assert self.kept.last is not None
        return self.kept.last

    def table(self) -> pd.DataFrame:
        from poireau import shell_table

        heap = self.heap()
        assert self.last is not None
        return shell_table.of(heap, self.last)


def wait(process: subprocess.Popen[Any]) -> int:
    """For a program in the foreground, which gets the terminal's Ctrl-C itself."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return 128 - status if status < 0 else status


def complain(text: str, status: int) -> int:
    sys.stdout.flush()
    print(f"poireau: {plain(text)}", file=sys.stderr, flush=True)
    return status


def _module(name: str) -> Any:
    from importlib import import_module

    return lambda: import_module(name)
