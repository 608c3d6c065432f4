"""The shell at a terminal: a prompt with completion, history, suggestions from it, and a line that says what the next
command will be about."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from poireau import layout, options, shell_completion, shell_targets
from poireau.selection import clock
from poireau.shell_completion import World
from poireau.shell_session import Quit, Session
from poireau.shell_terminal import colours
from poireau.text import duration

MOST_HISTORY = 1 << 20  # bytes, of which the newer half is kept
MOST_FUNCTIONS = 5000
WARM = ("pandas", "poireau.views", "poireau.opening", "poireau.preamble", "poireau.report.text")


def talk(session: Session) -> int:
    """Until the end. The status of the last command."""
    shell = _Prompt(session)
    session.warm = shell.warm  # type: ignore[method-assign]
    history = history_of(os.environ)
    prompt: PromptSession[str] = PromptSession(
        "poireau> ", history=history, auto_suggest=AutoSuggestFromHistory(), completer=_Completer(shell.world()),
        complete_in_thread=True, complete_while_typing=False, bottom_toolbar=shell.toolbar, refresh_interval=1.0,
        color_depth=colours(), key_bindings=_keys(),
    )  # fmt: skip
    while True:
        try:
            text = prompt.prompt(pre_run=shell.start)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return session.status
        try:
            with shell.busy:
                session.obey(text)
                shell.see()
        except Quit:
            return session.status


def _keys() -> KeyBindings:
    """A Ctrl-D that came while nobody was asking is a NUL to the next prompt, which is Ctrl-@."""
    keys = KeyBindings()

    @keys.add("c-@", filter=Condition(lambda: not get_app().current_buffer.text))
    def _(event: KeyPressEvent) -> None:
        event.app.exit(exception=EOFError)

    return keys


class _Prompt:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.busy = threading.Lock()  # a heap is being looked at
        self._imports = threading.Thread(target=_import, daemon=True)
        self._functions: tuple[object, list[str]] = (None, [])
        self._age: tuple[int, bool] | None = None  # the last event's time, and whether more may come

    def start(self) -> None:
        """What takes long is imported while somebody thinks."""
        with contextlib.suppress(RuntimeError):
            self._imports.start()

    def warm(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._imports.start()
        self._imports.join()

    def see(self) -> None:
        heap = self.session.kept.last
        self._age = None if heap is None else (heap.end, any(heap.running.values()))

    def toolbar(self) -> str:
        state = self.session.state
        parts = [f"target {state.name or 'the newest run'}", *state.said()]
        if self._age is not None:
            end, running = self._age
            seconds = max(time.time() - end / 1e9, 0)
            parts.append(f"data up to {clock(end)}, {duration(seconds)} ago{', running' if running else ''}")
        return " " + " | ".join(parts)

    def world(self) -> World:
        return World(_targets, _pids, _options, self.functions, self.columns)

    def functions(self) -> list[str]:
        """Of what is in use, for a regular expression to name. Nobody waits for a command that is running."""
        heap = self.session.kept.last
        if heap is None or not self.busy.acquire(blocking=False):
            return self._functions[1]
        try:
            if self._functions[0] is not heap:
                from poireau.naming import stacks_of
                from poireau.stacks import qualified

                names = stacks_of(heap, heap.live()["stack"].to_numpy()).names.functions[:MOST_FUNCTIONS]
                found = sorted({re.escape(qualified(name)).replace("\\ ", " ") for name in names if name})
                self._functions = heap, [name for name in found if " " not in name and name.isprintable()]
        finally:
            self.busy.release()
        return self._functions[1]

    def columns(self) -> list[str]:
        table = self.session.python.names.get("df")
        return ["query", "head", "sort_values", "describe"] if table is None else [str(name) for name in table.columns]


class _Completer(Completer):
    def __init__(self, world: World) -> None:
        self._world = world

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        word, found = shell_completion.candidates(document.text_before_cursor, self._world)
        for each in found:
            # What it is completes to, and goes on behind a blank.
            text = f"{each.text} " if each.whole and not document.text_after_cursor else each.text
            yield Completion(text, -len(word), display=each.text, display_meta=each.told)


def _targets() -> list[tuple[str, str]]:
    return [*_pids(), *((str(run), shell_targets.called(run)) for run in shell_targets.runs())]


def _pids() -> list[tuple[str, str]]:
    return [(str(pid), name) for pid, name in shell_targets.running()]


def _options() -> list[tuple[str, str]]:
    return [(option.name, option.help) for option in options.parse(layout.options_file().read_text())]


def _import() -> None:
    from importlib import import_module

    for name in WARM:
        with contextlib.suppress(Exception):  # whoever needs it says what is wrong
            import_module(name)


def history_of(environment: os._Environ[str]) -> History:
    """Kept in a file that nobody else may read, or, where there can be none, in memory."""
    path = _place(environment)
    try:
        if path is None:
            raise OSError(0, "there is no home directory")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW, 0o600))
        os.chmod(path, 0o600)
        _shorten(path)
    except OSError as error:
        print(f"poireau: what is typed is not kept: {path or ''}{': ' * bool(path)}{error.strerror}", file=sys.stderr)
        return InMemoryHistory()
    return _Kept(str(path))


class _Kept(FileHistory):
    """What begins with a blank is nobody's business."""

    def store_string(self, string: str) -> None:
        if not string.startswith(" "):
            with contextlib.suppress(OSError):  # the disk may be full
                super().store_string(string)


def _place(environment: os._Environ[str]) -> Path | None:
    state = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return Path(state, "poireau/history")
    home = environment.get("HOME") or os.path.expanduser("~")
    return Path(home, ".local/state/poireau/history") if os.path.isabs(home) else None


def _shorten(path: Path) -> None:
    if path.stat().st_size <= MOST_HISTORY:
        return
    kept = path.read_bytes()[-MOST_HISTORY // 2 :]
    kept = kept[max(kept.find(b"\n# "), 0) :]  # from the beginning of an entry
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(kept)
    os.replace(beside, path)
