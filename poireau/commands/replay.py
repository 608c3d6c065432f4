"""`replay`: a recorded program's calls again, on any allocator."""

from __future__ import annotations

import argparse
import json
import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B?)", re.IGNORECASE)


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "replay",
        help="make a recorded program's calls again, on any allocator",
        description="Makes the calls that `run --every-call` recorded (or `export calls` wrote) again: each thread's "
        "in their order, each when the call that its block waits for is done. Tells the time of a call, the most "
        "memory in use, page faults, and whatever could not be done as it was recorded.",
    )
    verb.add_argument("target", metavar="TRACE", nargs="+", help="a trace, or a file of calls")
    verb.add_argument("--process", metavar="PID", type=int, help="of several; otherwise the one with most calls")
    verb.add_argument("--lib", metavar="LIB", action="append", default=[], help="libjemalloc.so.2, ...; several times")
    verb.add_argument("--threads", metavar="N", type=_threads, default=0, help="as-recorded (the default), or so many")
    verb.add_argument("--repeat", metavar="N", type=_positive, default=3, help="runs of each allocator (3)")
    verb.add_argument("--touch", choices=("none", "byte", "page", "all"), default="page", help="write to blocks (page)")
    verb.add_argument("--pace", metavar="N", type=float, default=0, help="N times as fast as recorded; 1: as recorded")
    verb.add_argument("--ahead", metavar="N", type=_positive, default=1000, help="calls a thread may be ahead (1000)")
    verb.add_argument("--max-memory", metavar="SIZE", type=_size, help="most it may take; half of what is available")
    verb.add_argument("--json", action="store_true", help="everything, for a program to read")
    verb.set_defaults(act=_act, reads_traces=True)


def _threads(text: str) -> int:
    return 0 if text == "as-recorded" else _positive(text)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 to 1000000")
    return int(text)


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is no size")
    return int(float(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " "))


def _act(parsed: argparse.Namespace) -> int:
    from poireau import replay, replay_text

    with replay.file_of_calls(parsed.target, parsed.process) as path:
        facts = replay.look(path)
        allocators = [replay.recorded_allocator(facts), *map(replay.allocator, parsed.lib)]
        most = replay.memory(facts, parsed.max_memory)
        options = ["--touch", parsed.touch, "--max-memory", str(most), "--ahead", str(parsed.ahead)]
        options += ["--threads", str(parsed.threads)] if parsed.threads else []
        options += ["--pace", str(parsed.pace)] if parsed.pace else []
        runs: dict[replay.Allocator, list[replay.Result]] = {each: [] for each in allocators}
        for _ in range(parsed.repeat):  # interleaved: what else the machine does befalls all of them
            for each in runs:
                runs[each].append(replay.perform(path, each, options))
    if parsed.json:
        print(json.dumps(replay_text.as_json(facts, runs), indent=2))
    else:
        print("\n".join(replay_text.as_text(facts, runs)))
    return 0
