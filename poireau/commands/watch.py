"""`watch`: a running program's heap, looked at again and again."""

from __future__ import annotations

import argparse
import shlex

from poireau import asking, commands


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "watch",
        help="what grows in a running program, drawn again and again",
        usage="poireau watch [options] [TRACE]... | poireau watch COMMAND [SECONDS]",
        description="A page of the terminal that shows who has most, and what has come since it began and in the last "
        "minute, with errors as they happen; ? lists its keys, + and - retune it. Elsewhere than in a terminal: "
        "a report each interval. With a command, as leaks or 'top --by line', that command is repeated instead.",
    )
    asking.add_targets(verb)
    add_options(verb)
    verb.add_argument("--what", choices=asking.WHATS, default="in-use", help="what is counted (in-use)")
    verb.add_argument("--by", choices=_BYS, default="line", help="a row for each (line)")
    verb.add_argument("--limit", metavar="N", type=int, default=20, help="rows, where there is no terminal (20)")
    asking.add_selection(verb)
    asking.add_wrappers(verb)
    asking.add_symbols(verb)
    verb.add_argument("--json", action="store_true", help="an object a line, each interval")
    verb.set_defaults(act=act, reads_traces=True)


_BYS = tuple(by for by in asking.BYS if by not in ("threads", "call"))


def add_options(verb: argparse.ArgumentParser) -> None:
    """What `top -f` has, too."""
    verb.add_argument(
        "--interval", metavar="SECONDS", type=_interval, default=2.0, help="from one look to the next (2)"
    )
    verb.add_argument("--count", metavar="N", type=int, default=0, help="so many looks, as text; 0: until it is left")


def act(parsed: argparse.Namespace) -> int:
    words = shlex.split(parsed.targets[0]) if parsed.targets else []
    if words and words[0] in commands.NAMES and words[0] != "watch":
        return _repeat(parsed, [*words, *parsed.targets[1:]])
    from poireau import shell_watch

    return shell_watch.watch(parsed)


def _repeat(parsed: argparse.Namespace, words: list[str]) -> int:
    from poireau import parsing, shell_repeat
    from poireau.shell_keep import Kept

    def once(words: list[str]) -> int:
        inner = parsing.parse(words)
        return int(inner.act(inner))

    asking.keeper = Kept()
    return shell_repeat.repeat(words, once, parsed.count)


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0.05 <= seconds <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return seconds
