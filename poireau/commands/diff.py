"""`diff`: what has changed between two moments, or from a trace to another."""

from __future__ import annotations

import argparse
import sys

from poireau import asking
from poireau.errors import USAGE, Failure


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "diff",
        help="what has changed between two moments, or from a trace to another",
        usage="poireau diff [options] A B | poireau diff [options] --from TIME [--to TIME] [TRACE]",
        description="What grew and what shrank. What is alive at both moments cancels exactly. Two traces, of other "
        "builds or hosts maybe, are joined by the names of functions. What may be noise is grey, and marked with ~.",
        epilog=f"TIME: {asking.TIMES}. {asking.STATUS}",
    )
    asking.add_common(verb)
    verb.add_argument("--what", choices=asking.WHATS, default="in-use", help="what is counted, of two traces (in-use)")
    asking.add_grouping(verb)
    verb.add_argument("--from", dest="before", metavar="TIME", help="the first moment of one trace")
    verb.add_argument("--to", dest="after", metavar="TIME", help="and the second (its end)")
    asking.add_symbols(verb)
    verb.set_defaults(act=_act, reads_traces=True)


def _act(parsed: argparse.Namespace) -> int:
    from poireau import diff
    from poireau.preamble import Preamble
    from poireau.report import changes, objects, text
    from poireau.views import view

    if parsed.before or parsed.after:
        if not parsed.before or parsed.what != "in-use":
            raise Failure("between two moments of a trace, --from TIME [--to TIME], what is in use is compared", USAGE)
        heap = asking.opened(parsed)
        selection = asking.selection(parsed, heap)
        before, after = asking.when(parsed.before, heap), asking.when(parsed.after or "end", heap)
        answer = diff.of_moments(heap, before, after, parsed.by, selection)
        preambles: tuple[Preamble, ...] = (Preamble.of(heap, selection, answer.periods, answer.stacks[0]),)
    else:
        if len(parsed.targets) != 2:
            raise Failure("which two? diff A B compares two traces, diff --from TIME two moments of one", USAGE)
        heaps = [asking.opened(parsed, [target]) for target in parsed.targets]
        selections = [asking.selection(parsed, heap) for heap in heaps]
        views = [view(heap, parsed.what, parsed.by, selection) for heap, selection in zip(heaps, selections)]
        answer = diff.of_views(views[0], views[1])
        preambles = tuple(
            Preamble.of(heap, selection, each.periods, each.stacks)
            for heap, selection, each in zip(heaps, selections, views)
        )
    limit = text.LIMIT if parsed.limit is None else parsed.limit
    if parsed.json:
        sys.stdout.write(objects.text_of(objects.of_diff(answer, preambles, limit)))
    else:
        asking.write_lines(changes.lines(answer, preambles, text.Style.of(sys.stdout), limit, parsed.frames))
    return asking.status(parsed, any(preamble.lost for preamble in preambles))
