"""The live page and its server over a long time, in a short one: points come 60 times as fast, or as fast as the
machine can, which is said."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest

from tests.browser.browsers import Browser, Page
from tests.browser.serving import Crowd, Served, memory_of, own_memory_of, watch
from tests.conftest import Exercised

HOUR, FASTER = 3600, 60
MOST = 300e6  # bytes, each
_HASTY = """
import sys
from poireau import cli, serve_daemon
serve_daemon.INTERVAL /= {faster}
sys.exit(cli.main(sys.argv[1:]))
"""


class Hasty(Served):
    command = (sys.executable, "-c", _HASTY.format(faster=FASTER))


@pytest.mark.soak
def test_an_hour_of_points_sixty_times_as_fast_stays_small(
    opened: Callable[..., Page], browser: Browser, scale: Callable[[int], int], exercised: Exercised
) -> None:
    with Crowd() as crowd, Hasty() as served:
        page = opened(served.url)
        watch(page, crowd.pid)
        until, server, script, renderer = time.monotonic() + scale(HOUR), 0, 0.0, 0
        while time.monotonic() < until:
            time.sleep(5)
            server, script = max(server, memory_of(served.pid)), max(script, page.memory())
            renderer = max(
                renderer, *(own_memory_of(each["id"]) for each in browser.processes() if each["type"] == "renderer")
            )
            assert max(server, script, renderer) < MOST, (server, script, renderer)
        points = page.shown("points()")
    sizes = (
        f"server {server >> 20} MiB, page's process {renderer >> 20} MiB, of which script {script / (1 << 20):.0f} MiB"
    )
    exercised.add("live page, soaked", f"{points} points, {points / scale(HOUR):.0f} a second; {sizes}")
    assert points > scale(HOUR) * 10
