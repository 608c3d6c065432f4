"""`serve`: a heap at /debug/pprof/heap."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from poireau import asking, giving

if TYPE_CHECKING:
    import pandas as pd

    from poireau.selection import Selection

PORT = 6070


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "serve",
        help="serve a heap at /debug/pprof/heap, as Go's programs do",
        description="Serves /debug/pprof/heap and /debug/pprof/allocs over HTTP, for go tool pprof, Parca and Alloy; "
        "?seconds=N says what changes within them, ?debug=1 gives a text. What is written to the traces meanwhile is "
        "read as it comes. There is no password: whoever reaches the port may read.",
        epilog=giving.REDACTION,
    )
    asking.add_targets(verb)
    giving.add_redaction(verb)
    verb.add_argument("--port", metavar="N", type=_port, default=PORT, help=f"0: any that is free ({PORT})")
    verb.add_argument("--bind", metavar="ADDRESS", default="127.0.0.1", help="who may reach it (127.0.0.1)")
    asking.add_selection(verb)
    asking.add_symbols(verb)
    verb.set_defaults(act=_act, reads_traces=True)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import resident
    from poireau.serve import Served, serve

    original = asking.opened(parsed, follow=True)
    heap, pseudonyms = giving.redacted(parsed, original)

    def processes() -> pd.DataFrame:
        return heap.processes if pseudonyms is None else pseudonyms.undone(heap.processes)

    def selection() -> Selection:
        asked = asking.selection(parsed, heap, processes=processes())
        return asked if pseudonyms is None else pseudonyms.selection(asked, original)

    served = Served(heap, selection, lambda: dict.fromkeys(resident.pids(processes()), True))
    serve(served, parsed.bind, parsed.port, lambda url: print(f"serving {url}", file=sys.stderr, flush=True))
    return 0
