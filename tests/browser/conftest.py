"""One Chromium for all tests here, and pages in it that must have behaved when a test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.browsers import Browser, Page


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    started = Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.end()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Page]]:
    """opened(path or URL, width=, height=, dark=): a page that, in the end, has asked nobody else, and has no error."""
    pages: list[Page] = []

    def open_it(where: Path | str, **options: Any) -> Page:
        pages.append(browser.open(where, **options))
        return pages[-1]

    yield open_it
    wrong = [each for page in pages for each in page.misbehaviour()]
    for page in pages:
        page.close()
    assert not wrong, "\n".join(wrong)
