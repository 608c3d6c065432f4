"""Screens by prompt_toolkit: a page, a line at the bottom, keys, and a line of text where one is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import ANSI, StyleAndTextTuples, to_formatted_text
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import ConditionalContainer, HSplit, Layout, Window
from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl, UIContent
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.output import ColorDepth

if TYPE_CHECKING:
    from poireau.shell_screen import Screen


class _Page(FormattedTextControl):
    """Says how large it may be before it is drawn."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(lambda: to_formatted_text(ANSI(screen.page)), focusable=True, show_cursor=False)
        self._screen = screen

    def create_content(self, width: int, height: int | None) -> UIContent:
        self._screen.resized(width, height or 1)
        return super().create_content(width, height)


def application(screen: Screen) -> Application[None]:
    page = Window(_Page(screen), wrap_lines=False)
    asked = _Asked()
    buffer = Buffer(multiline=False, accept_handler=asked.accept)
    entry = Window(BufferControl(buffer, input_processors=[BeforeInput(lambda: f"{asked.key} ")]), height=1)
    said = Window(FormattedTextControl(lambda: _reverse(screen.said)), height=1)
    asking = Condition(lambda: asked.key != "")
    rows = HSplit(
        [page, ConditionalContainer(entry, asking), ConditionalContainer(said, Condition(lambda: bool(screen.said)))]
    )
    layout = Layout(rows, focused_element=page)
    keys = KeyBindings()
    normal = ~has_focus(buffer)

    def done(event: KeyPressEvent) -> None:
        asked.key = ""
        buffer.reset()
        event.app.layout.focus(page)

    @keys.add("c-c")
    def leave(event: KeyPressEvent) -> None:
        event.app.exit()

    @keys.add("q", filter=normal)
    def leave_too(event: KeyPressEvent) -> None:
        event.app.exit()

    if screen.any_key:

        @keys.add("<any>", filter=normal)
        def leave_by_any(event: KeyPressEvent) -> None:
            event.app.exit()

    for key, job in screen.keys.items():

        @keys.add(key, filter=normal)
        def act(event: KeyPressEvent, job: Callable[[], None] = job) -> None:
            screen.do(job)

    for key, take in screen.text_keys.items():

        @keys.add(key, filter=normal)
        def ask(event: KeyPressEvent, key: str = key, take: Callable[[str], None] = take) -> None:
            def given(text: str) -> None:
                screen.do(lambda: take(text))
                done(event)

            asked.key, asked.take = key, given
            event.app.layout.focus(buffer)

    @keys.add("escape", filter=has_focus(buffer), eager=True)
    def never_mind(event: KeyPressEvent) -> None:
        done(event)

    return Application(
        layout=layout, key_bindings=keys, full_screen=True, mouse_support=False, color_depth=colours(),
        min_redraw_interval=0.02,
    )  # fmt: skip


class _Asked:
    """What line of text is being asked for."""

    def __init__(self) -> None:
        self.key = ""
        self.take: Callable[[str], Any] = lambda text: None

    def accept(self, buffer: Buffer) -> bool:
        self.take(buffer.text)
        return False


def colours() -> ColorDepth | None:
    """None: as many as the terminal has."""
    return ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None


def _reverse(text: str) -> StyleAndTextTuples:
    return [("reverse", text)]
