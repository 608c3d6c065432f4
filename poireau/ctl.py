"""What `ctl` and `attach` do: a request carried out by a running program, and its answer in plain words."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poireau import figures, processes, roots, snapshot
from poireau.control import Answer, Exchange, Request, talk
from poireau.errors import NO_ANSWER, REFUSED, USAGE, Failure
from poireau.processes import Process
from poireau.reach import Reached, called, has_ended, reach, silence
from poireau.text import as_size, duration, plain, table

SCHEMA_VERSION = 1
SECONDS = 1.0  # in which a program that allocates answers
SECONDS_AT_WORK = 10.0  # that some verbs take, once it has begun
_SECTIONS = {  # of stats
    "sampling": tuple("armed period sample_period by_calls samples sampled_bytes counted_bytes early age_ns".split()),
    "live": ("live", "live_bytes", "guarded", "placed", "errors"),
    "cost": ("cycles", "cycles_per_second"),
    "trace": ("trace", "trace_bytes", "trace_dropped", "trace_lost"),
}


@dataclass(frozen=True)
class Outcome:
    process: Process
    requests: Sequence[Request]
    answers: Sequence[Answer]
    waiting: str | None  # why there is no answer yet to the rest of them
    failure: str | None = None  # why there won't be

    @property
    def refusals(self) -> list[str]:
        refused = [str(answer.get("error")) for answer in self.answers if answer["ok"] is not True]
        return refused if self.failure is None else [*refused, f"{called(self.process)}: {self.failure}"]


def requests_of(verb: str, words: Sequence[str]) -> list[Request]:
    form = VERBS[verb].form
    several = verb == "set" and len(words) >= 2 and len(words) % 2 == 0
    if not several and (verb == "set" or len(words) != len(form.split())):
        raise Failure(f"it should read: ctl PID {verb} {form}" if form else f"{verb} takes nothing more", USAGE)
    if several:
        return [Request("set", name, value) for name, value in zip(words[::2], words[1::2])]
    return [Request(verb, *words)]


def ask(pid: int, requests: Sequence[Request], wait: float | None, must_answer: bool = False) -> Outcome:
    """`wait` None: as long as a program takes that allocates; what it has not answered then is left to it, unless
    nothing came of that."""
    began = time.monotonic()
    reached = reach(pid, patience=wait or 0)
    with reached.connection:
        exchange = Exchange(reached.connection, requests)
        talk([exchange], SECONDS if wait is None else max(0.0, wait - (time.monotonic() - began)))
        if wait is None and exchange.greeting is not None and not exchange.finished:
            talk([exchange], SECONDS_AT_WORK)
    return _outcome(reached, exchange, wait, must_answer)


def _outcome(reached: Reached, exchange: Exchange, wait: float | None, must_answer: bool) -> Outcome:
    greeting, process = exchange.greeting, reached.process
    if greeting is not None and greeting["pid"] != process.inner_pid:
        raise Failure(f"{reached}: it says that it is {greeting['pid']}", REFUSED)
    if exchange.failure is not None and not exchange.answers:
        if has_ended(process):
            raise Failure(f"{reached} has ended", USAGE)
        raise Failure(f"{reached}: {exchange.failure}", exchange.failure.status)
    failure = None if exchange.failure is None else str(exchange.failure)
    why = None
    if not exchange.finished:
        why = silence(process) if greeting is None else "it has begun, and is not done"
    outcome = Outcome(process, exchange.requests, exchange.answers, why, failure)
    pointless = must_answer or all(VERBS[request.verb].reads for request in exchange.requests)
    if outcome.waiting is not None and (wait is not None or pointless or not exchange.sent):
        spent = "" if wait is None else f"no answer in {duration(wait)}: "
        remedy = "; --wait SECONDS waits for it" if wait is None else "" if pointless else "; still queued"
        raise Failure(f"{reached}: {spent}{outcome.waiting}{remedy}", NO_ANSWER)
    return outcome


def queued(outcome: Outcome) -> str:
    return f"{called(outcome.process)}: {outcome.waiting}; queued"


def as_json(schema: str, outcome: Outcome) -> dict[str, Any]:
    """`answers`: as they came, in the order of the requests; `waiting`: why there is none yet to the rest of them."""
    process = outcome.process
    return {
        "schema": schema,
        "version": SCHEMA_VERSION,
        "pid": process.pid,
        "program": process.program,
        "answers": list(outcome.answers),
        "waiting": outcome.waiting,
        "refusals": outcome.refusals,
    }


def keep_snapshot(outcome: Outcome, directory: Path) -> str:
    """Copies what a snapshot's answer names."""
    answer = outcome.answers[0]
    told, first = answer.get("trace"), answer.get("file")
    if not isinstance(told, str) or not told.startswith("/") or ".." in told.split("/") or type(first) is not int:
        raise Failure(f"{called(outcome.process)}: it names no trace that could be copied", REFUSED)
    trace = processes.trace_of(outcome.process.pid)
    if trace is None or trace.name != Path(told).name:  # not mapped, where files can't be
        try:
            trace = roots.without_links(roots.root_of(outcome.process.pid), told)
        except OSError as error:
            raise Failure(f"{called(outcome.process)}: {told} can't be found: {error.strerror}", REFUSED) from error
    names = snapshot.copy(trace, first, directory)
    return f"{directory}: {len(names)} files; {shlex.join(['babeltrace2', str(directory)])} reads them"


def arm(pid: int, wait: float | None) -> tuple[Outcome, str]:
    """For `attach`: what was done, in words."""
    outcome = ask(pid, [Request("hello"), Request("arm")], wait)
    name = called(outcome.process)
    if outcome.waiting is not None:
        return outcome, ""
    if outcome.refusals:
        return outcome, ""
    before, after = outcome.answers
    done = "was armed already" if before.get("armed") is True else "is armed now"
    return outcome, f"{name} {done}: it samples every {plain(str(after.get('period')))} on the average"


def text_of(request: Request, answer: Answer, process: Process) -> str:
    if answer["ok"] is not True:
        return ""
    return "".join(f"{line}\n" for line in VERBS[request.verb].text(answer, process))


def _hello(answer: Answer, process: Process) -> Iterator[str]:
    armed = f"armed, period {_word(answer, 'period')}" if answer.get("armed") is True else "dormant"
    yield f"{called(process)}: Poireau {_word(answer, 'poireau')}, {armed}, control {_word(answer, 'control')}"
    yield f"run {_word(answer, 'run_id')}, for {duration(figures.number(answer, 'age_ns') / 1e9)}"


def _list(answer: Answer, process: Process) -> Iterator[str]:
    columns = ("name", "value", "default", "origin", "changes", "range")
    options = answer.get("options")
    rows = [[_word(option, column) for column in columns] for option in options or () if isinstance(option, dict)]
    yield from table([column.upper() for column in columns], rows)


def _get(answer: Answer, process: Process) -> Iterator[str]:
    default, origin = _word(answer, "default"), _word(answer, "origin")
    now = f"now {_word(answer, 'period')}; " if answer.get("value") == "auto" and "period" in answer else ""
    yield f"{_word(answer, 'name')} = {_word(answer, 'value')} ({now}from: {origin}; default: {default})"
    yield f"it takes {_word(answer, 'range')}, and changes {_word(answer, 'changes')}"


def _set(answer: Answer, process: Process) -> Iterator[str]:
    yield f"{_word(answer, 'name')}: {_word(answer, 'before')} -> {_word(answer, 'value')}"


def _arm(answer: Answer, process: Process) -> Iterator[str]:
    armed = answer.get("armed") is True
    period = f"armed: it samples every {_word(answer, 'period')} on the average"
    yield period if armed else "dormant: it samples nothing"


def _flush(answer: Answer, process: Process) -> Iterator[str]:
    live = f"{figures.number(answer, 'live')} live samples ({as_size(figures.number(answer, 'live_bytes'))})"
    yield f"{live} are in {_word(answer, 'trace')}, from samples_{figures.number(answer, 'file')} on"


def _snapshot(answer: Answer, process: Process) -> Iterator[str]:
    yield from _flush(answer, process)
    stats = answer.get("stats")
    yield from _stats(stats if isinstance(stats, dict) else {}, process)


def _stats(answer: Answer, process: Process) -> Iterator[str]:
    said = {name: value for name, value in answer.items() if name not in ("ok", "do", "live_by_class")}
    for heading, names in _SECTIONS.items():
        values = {name: said.pop(name) for name in names if name in said}
        yield f"{heading}:"
        if heading == "live":
            yield f"  in all, with 95 % certainty: {figures.live_text(answer)}"
        yield from _values(values)
        if heading == "cost":
            yield from _values(figures.group(said, "governor"), "governor's ")
            yield from _mappings(process)
    if protection := figures.group(said, "protection"):
        yield from _protection(protection, process)
    drops = {cause: count for cause, count in figures.group(said, "drops").items() if count != 0}
    yield "drops:" if drops else "drops: none"
    yield from _values(drops)
    yield "control:"
    yield from _values(figures.group(said, "control"))
    rest = {name: value for name, value in said.items() if name not in ("drops", "control", "governor", "protection")}
    if rest:
        yield "other:"
        yield from _values(rest)


def _protection(said: Answer, process: Process) -> Iterator[str]:
    """Of every block. Each alias counts in RSS, so what the process takes is its PSS."""
    yield "protection:"
    yield from _values({name: value for name, value in said.items() if not isinstance(value, dict)})
    for name, what in (("refused", "refused for want of "), ("pointers", "pointers given to system calls, at ")):
        yield from _values({each: count for each, count in figures.group(said, name).items() if count != 0}, what)
    memory = processes.memory(process.pid)
    if memory is not None:
        yield f"  proportional: {as_size(memory.proportional)} of {as_size(process.resident)} resident"
        yield f"  huge_pages: {as_size(memory.huge)}"


def _mappings(process: Process) -> Iterator[str]:
    yield f"  page_tables: {as_size(process.page_tables)}"
    try:
        mapped = processes.mappings(process.pid)
    except OSError:
        return
    yield f"  mappings: {len(mapped)}, {sum(mapping.ours for mapping in mapped)} of them ours"


def _values(values: Mapping[str, Any], whose: str = "") -> Iterator[str]:
    for name, value in values.items():
        unit = next((unit for unit in ("_ppm", "_ns") if name.endswith(unit)), "")
        yield f"  {whose}{plain(name[: len(name) - len(unit)])}: {_shown(name, value)}"


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if name.endswith("_ppm"):
            return f"{value / 1e4:.2f}%"
        if name.endswith("_ns"):
            return duration(value / 1e9)
        if value >= 1024 and name.endswith(("bytes", "period")):
            return f"{value} ({as_size(value)})"
    return plain(str(value))


def _verify(answer: Answer, process: Process) -> Iterator[str]:
    yield f"{figures.number(answer, 'blocks')} blocks looked at, {figures.number(answer, 'errors')} errors found"


def _sweep(answer: Answer, process: Process) -> Iterator[str]:
    yield from (line.strip() for line in _values({n: v for n, v in answer.items() if n not in ("ok", "do")}))


def _holders(answer: Answer, process: Process) -> Iterator[str]:
    blocks = answer.get("blocks")
    for block in (each for each in blocks if isinstance(each, dict)) if isinstance(blocks, list) else ():
        address, size, count = (figures.number(block, name) for name in ("address", "size", "count"))
        yield f"{address:#x}: {size} bytes, {count} point at it"
    yield f"and {figures.number(answer, 'more')} more" if answer.get("more") else "no others"


def _quit(answer: Answer, process: Process) -> Iterator[str]:
    yield f"{called(process)} is let go: nothing more is sampled, and it can't be reached any more"


@dataclass(frozen=True)
class Verb:
    form: str  # of what follows it
    help: str
    text: Callable[[Answer, Process], Iterator[str]]
    reads: bool = False  # changes nothing: there is no point in it without the answer


VERBS = {
    "hello": Verb("", "who it is, and whether it samples", _hello, reads=True),
    "list": Verb("", "every option: value, default, origin, range", _list, reads=True),
    "get": Verb("NAME", "one option", _get, reads=True),
    "set": Verb("NAME VALUE [NAME VALUE]...", "change options, from the next samples on", _set),
    "arm": Verb("", "sample", _arm),
    "disarm": Verb("", "sample nothing more, until it is armed", _arm),
    "flush": Verb("", "have all that is alive in the newest files of its trace", _flush),
    "snapshot": Verb("", "the same, and stats; with --to, copy those files", _snapshot),
    "stats": Verb("", "samples, what is alive, cost, drops, protection", _stats, reads=True),
    "verify": Verb("", "look for overruns at all live samples", _verify),
    "sweep": Verb("", "search its memory for pointers at freed blocks, and use the others again", _sweep),
    "holders": Verb("", "the freed blocks that something points at (`dangling` says where)", _holders),
    "quit": Verb("", "let it go for good: it samples nothing more, and can't be asked", _quit),
}


def _word(answer: Answer, name: str) -> str:
    return plain(str(answer.get(name, "?"))) or '""'
