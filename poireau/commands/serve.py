"""`serve`: a live page of all that runs, and heaps at /debug/pprof/heap."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from poireau import asking, giving

if TYPE_CHECKING:
    import pandas as pd

    from poireau.selection import Selection
    from poireau.serve import Server
    from poireau.serve_live import Live
    from poireau.serve_pprof import Served

PORT = 6070


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "serve",
        help="a live page of what runs; /debug/pprof",
        usage="poireau serve [options] [TRACE]...",
        description="Serves a page to this machine: what runs, who has how much of each heap as it goes on, leaks, "
        "errors, drops and cost; and retunes it. Its address, with a token in it, is said at the start. Without a "
        "TRACE it is of all processes of this user (of root: of the machine), as they come and go. Leaks and errors "
        "are told on standard error. With a TRACE it is of that, and there are /debug/pprof/heap and "
        "/debug/pprof/allocs for go tool pprof, Parca and Alloy (?seconds=N says what changes within them, ?debug=1 "
        "gives a text), without a token: whoever reaches the port may read these.",
        epilog=f"SIGHUP looks again for everything. {giving.REDACTION}",
    )
    asking.add_targets(verb)
    giving.add_redaction(verb)
    verb.add_argument("--port", metavar="N", type=_port, default=PORT, help=f"0: any that is free ({PORT})")
    verb.add_argument("--bind", metavar="ADDRESS", default="127.0.0.1", help="who may reach it (127.0.0.1)")
    verb.add_argument("--token-file", metavar="FILE", type=Path, help="the token is in there, rather than a new one")
    verb.add_argument("--json", action="store_true", help="alerts as lines of JSON")
    asking.add_selection(verb)
    asking.add_symbols(verb)
    verb.set_defaults(act=_act, reads_traces=True)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import serve, serve_guard
    from poireau.serve_daemon import Daemon
    from poireau.serve_live import Live
    from poireau.serve_pprof import PREFIX
    from poireau.serve_processes import Census
    from poireau.serve_traces import Traces

    token = serve_guard.token(parsed.token_file)
    _open_as_many_as_may_be()
    served = _served(parsed) if parsed.targets or parsed.trace else None
    live = None
    if not (parsed.redact or parsed.redact_key):  # the page shows every name
        daemon = Daemon(Census() if served is None else Traces(served), _say, parsed.json)
        live = Live(daemon, f"poireau on {os.uname().nodename}")
    with serve.made(served, parsed.bind, parsed.port, live, token) as server:
        where = serve.address_of(server, parsed.bind)
        if live is not None:
            live.daemon.start()
            whose = f"?token={token}" if parsed.token_file is None else f" (with the token of {parsed.token_file})"
            _say(f"serving {where}/{whose}")
            if not server.private:
                _say(
                    "poireau: others can reach this, and whoever is on the way to them can read the token and all else"
                )
        if served is not None:
            _say(f"serving {where}{PREFIX}heap")
        _until_told(server, live)
    return 0


def _served(parsed: argparse.Namespace) -> Served:
    from poireau import resident
    from poireau.serve_pprof import Served

    original = asking.opened(parsed, follow=True)
    heap, pseudonyms = giving.redacted(parsed, original)

    def processes() -> pd.DataFrame:
        return heap.processes if pseudonyms is None else pseudonyms.undone(heap.processes)

    def selection() -> Selection:
        asked = asking.selection(parsed, heap, processes=processes())
        return asked if pseudonyms is None else pseudonyms.selection(asked, original)

    return Served(heap, selection, lambda: dict.fromkeys(resident.pids(processes()), True))


def _open_as_many_as_may_be() -> None:
    """Files: each process that is asked how it is takes one, and there may be thousands."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _until_told(server: Server, live: Live | None) -> None:
    """SIGINT and SIGTERM end it, SIGHUP has it look again."""
    from poireau import serve_notify

    end = threading.Thread(target=server.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: None if end.ident else end.start())
    signal.signal(signal.SIGHUP, lambda *_: None if live is None else live.daemon.reload())
    serve_notify.tell("READY=1")
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    serve_notify.tell("STOPPING=1")
    if live is not None:
        live.daemon.stop()


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # who listened may have gone
        print(line, file=sys.stderr, flush=True)
