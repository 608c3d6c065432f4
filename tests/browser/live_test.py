"""The live page: real programs under the library, the daemon, and Chromium."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.load import Client, Load
from tests.browser.browsers import ROOT, Page
from tests.browser.serving import AWAY, Crowd, Redis, Served, Target, environment, listed, row, watch

Opened = Callable[..., Page]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(scope="module")
def served(redis: Redis, demo: tuple[Target, Client]) -> Iterator[Served]:
    with Served() as started:
        yield started


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Target, Client]]:
    """The demo's server, under load, and somebody else who asks it."""
    program, source = tmp_path_factory.mktemp("demo") / "demo", ROOT / "demo" / "demo.cc"
    subprocess.run(["g++", "-std=c++20", "-O1", "-g", "-pthread", "-o", program, source], check=True)
    with Target([program], POIREAU_SAMPLE_PERIOD="16K", POIREAU_GUARD="all") as server:
        port = int(server.told(re.compile(r"port (\d+)"))[1])
        load = Load(port)
        yield server, Client(port)
        load.stop()


@pytest.fixture
def page(served: Served, redis: Redis, opened: Opened) -> Page:
    """It shows redis."""
    page = opened(served.url)
    watch(page, redis.pid)
    return page


def tab(page: Page, name: str) -> None:
    page.click(f"[role=tab]:has-text('{name}')")


def asked(pid: int, *words: str) -> str:
    """What `ctl` says of it."""
    command = [sys.executable, str(ROOT / "poireau.py"), "ctl", str(pid), *words]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout


def test_it_lists_the_processes_and_their_stream_goes_on(page: Page, redis: Redis) -> None:
    assert "redis-server" in page.evaluate(f"{row(redis.pid)}.innerText")
    before = page.shown("total()")
    page.until(f"poireau.shown.total() > {before} * 1.05")


def test_the_token_leaves_the_address_bar_and_nobody_comes_in_without(
    page: Page, served: Served, opened: Opened
) -> None:
    token = re.search(r"token=([\w-]+)", served.url)
    assert token and token[1] not in page.evaluate("location.href")
    page.reload()
    page.until("document.querySelector('table[aria-label=Processes] tr[data-id]')")
    stranger = opened(f"http://127.0.0.1:{served.port}/")
    stranger.expected = ["403", "401"]
    assert stranger.evaluate("document.querySelector('table[aria-label=Processes] tr[data-id]')") is None


def test_a_period_set_in_the_page_takes_effect(page: Page, redis: Redis) -> None:
    for period in ("64KiB", "256KiB"):
        row_says = f"/{period[:-3]}(\\.0)?KiB/.test({row(redis.pid)}.innerText)"
        page("fill", "label:has-text('Sample period') input, input[aria-label='Sample period']", period)
        page.click("button:text-is('Set')")
        until = time.monotonic() + 20
        while period not in asked(redis.pid, "get", "sample_period"):
            assert time.monotonic() < until, page.text()
            time.sleep(0.1)
        page.until(row_says)


def test_what_makes_no_sense_is_refused_in_words(page: Page, redis: Redis) -> None:
    page.expected = ["400", "422", "409"]
    before = asked(redis.pid, "get", "sample_period")
    page("fill", "label:has-text('Sample period') input, input[aria-label='Sample period']", "many")
    page.click("button:text-is('Set')")
    page.until(
        "[...document.querySelectorAll('[role=status], [role=alert]')].some((each) => /many/.test(each.innerText))"
    )
    assert asked(redis.pid, "get", "sample_period") == before


def test_it_disarms_and_arms(page: Page, redis: Redis) -> None:
    page.click("button:text-is('Disarm')")
    page.until(f"/dormant|disarmed/i.test({row(redis.pid)}.innerText)")
    assert "off" in asked(redis.pid, "get", "armed")
    page.click("button:text-is('Arm')")
    page.until(f"!/dormant|disarmed/i.test({row(redis.pid)}.innerText)")
    assert "on" in asked(redis.pid, "get", "armed")


def test_a_moment_of_the_stream_is_a_flamegraph(page: Page) -> None:
    x, y = page.shown("middle()")
    page("mouse.click", x, y)
    page.until("document.querySelector('[role=tree]')")
    assert page.shown("stream.flame().root()")["value"] > 0
    page.key("Escape")


def test_a_pause_holds_it(page: Page) -> None:
    drawn = "document.querySelector('canvas').toDataURL()"
    page.click("button:text-is('Pause')")
    before, points = page.evaluate(drawn), page.shown("points()")
    page.until(f"poireau.shown.points() > {points} + 2")
    assert page.evaluate(drawn) == before
    page.click("button[aria-pressed=true]:text-is('Pause'), button:text-is('Go on')")
    page.until(f"{drawn} !== {json.dumps(before)}")


def test_errors_and_leaks_appear_as_they_happen(demo: tuple[Target, Client], served: Served, opened: Opened) -> None:
    server, client = demo
    page = opened(served.url)
    watch(page, server.pid)
    for attempt in range(200):
        client.ask(f"upload u{attempt} 4000", f"cancel u{attempt}", f"sum u{attempt}")
    tab(page, "Errors")
    page.until("/use after free/.test(document.querySelector('[role=tabpanel]:not([hidden])').innerText)")
    page.click("[role=tabpanel] summary >> visible=true")
    for function in ("sum(", "upload(", "cancel("):
        assert function in page.text("[role=tabpanel] >> visible=true")
    tab(page, "Leaks")
    page.until("/note/.test(document.querySelector('[role=tabpanel]:not([hidden])').innerText)")
    for each in ("Errors", "Leaks", "Health", "Alerts", "Bands"):
        tab(page, each)
        assert not page.axe()


def test_a_target_that_ends_is_said_to_have(served: Served, redis: Redis, opened: Opened) -> None:
    page = opened(served.url)
    with Crowd(20) as crowd:
        watch(page, crowd.pid)
    page.until("/ended|gone/i.test(document.body.innerText)")
    page.until(f"{row(crowd.pid)} === null || /ended|gone/i.test({row(crowd.pid)}.innerText)")
    watch(page, redis.pid)


def test_a_server_that_comes_back_is_found_again(redis: Redis, opened: Opened, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    token.chmod(0o600)
    with Served(token) as first:
        page = opened(first.url)
        page.expected = list(AWAY)
        watch(page, redis.pid)
        assert first.end(signal.SIGTERM) == 0, first.log.read_text()
    page.until("/lost|again/i.test(document.querySelector('.state').innerText)")
    before = page.shown("points()")
    with Served(token, first.port):
        page.until(f"/connected/.test(document.querySelector('.state').innerText) && poireau.shown.points() > {before}")


def test_everybody_can_use_it_in_the_dark_too(served: Served, opened: Opened, redis: Redis) -> None:
    page = opened(served.url, dark=True)
    watch(page, redis.pid)
    assert not page.axe()


def test_who_is_called_something_hostile_is_text(served: Served, opened: Opened, tmp_path: Path) -> None:
    name = "<img src=x onerror=pwned(1)>\u202e"
    program = tmp_path / name.encode().decode("utf-8", "surrogateescape")
    program.symlink_to("/usr/bin/sleep")
    page = opened(served.url)
    page("addInitScript", {"content": "window.ran = []; window.pwned = (what) => window.ran.push(what);"})
    page.reload()
    with Target([program, "60"], POIREAU_SAMPLE_PERIOD="1") as target:
        listed(page, target.pid)
        assert "<img src=x" in page.evaluate(f"{row(target.pid)}.innerText")
        watch(page, target.pid)
    assert page.evaluate("window.ran") == []
    assert page.evaluate("document.querySelectorAll('img, [onerror]').length") == 0
