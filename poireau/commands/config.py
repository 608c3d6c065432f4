"""`config`: every option, explained; `config show`: as it is here or in a running program, and why."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from poireau import asking
from poireau.errors import REFUSED, USAGE, Failure
from poireau.text import plain, table

if TYPE_CHECKING:
    from poireau.options import Setting

_FINDING = 1  # something is wrong in what the library was told


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser(
        "config",
        help="every option, explained; config show --origin: what is in force",
        usage="poireau config [--json] | poireau config show [--origin] [--changed] [--json] [PID]",
        description="Prints a poireau.toml with every option explained. `config show`: the value of each in a program "
        "that is started here and now, or in the running process PID, live changes included. What is wrong in a file "
        "or a variable is told as the library tells it, and makes the exit status 1.",
    )
    verb.add_argument("show", nargs="?", metavar="show", choices=("show",), help="what is in force")
    verb.add_argument("pid", nargs="?", metavar="PID", type=asking.pid, help="in that process")
    verb.add_argument("--origin", action="store_true", help="and where it comes from")
    verb.add_argument("--changed", action="store_true", help="only what is not as it was built in")
    verb.add_argument("--wait", metavar="SECONDS", type=asking.seconds, help="for the process, however idle it is")
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--toml", action="store_true", help="as TOML (the default)")
    form.add_argument("--json", action="store_true", help="as JSON")
    verb.set_defaults(act=_act)


def _act(parsed: argparse.Namespace) -> int:
    if parsed.show is not None:
        return _show(parsed)
    if parsed.origin or parsed.changed:
        raise Failure("--origin and --changed go with `config show`", USAGE)
    from poireau import layout, options

    toml = layout.options_file().read_text()
    if parsed.json:
        described = [asdict(option) for option in options.parse(toml)]
        asking.write_json({"schema": "poireau.options", "version": 1, "options": described})
    else:
        sys.stdout.write(toml)
    return 0


def _show(parsed: argparse.Namespace) -> int:
    if parsed.pid is not None:
        settings, environment = _of_process(parsed.pid, parsed.wait), {}
        wrong: list[str] = []
    else:
        from poireau import launch, options

        environment = launch.inherited_environment()
        settings, wrong = options.in_force(environment)
    shown = [each for each in settings if not parsed.changed or each.origin != "built-in"]
    if parsed.json:
        rows = [asdict(each) for each in shown]
        document = {"schema": "poireau.settings", "version": 1, "pid": parsed.pid, "settings": rows, "wrong": wrong}
        asking.write_json(document)
    else:
        asking.write_lines(_lines(shown, parsed.origin, environment))
    for line in wrong:
        asking.complain(line)
    return _FINDING if wrong else 0


def _of_process(pid: int, wait: float | None) -> list[Setting]:
    from poireau import ctl
    from poireau.options import Setting

    outcome = ctl.ask(pid, ctl.requests_of("list", []), wait, must_answer=True)
    options = outcome.answers[0].get("options") if outcome.answers and not outcome.refusals else None
    if not isinstance(options, list):
        raise Failure("; ".join(outcome.refusals) or f"{pid}: it lists no options", REFUSED)
    names = ("name", "value", "default", "origin", "range", "changes")
    return [Setting(*(str(each.get(name, "")) for name in names)) for each in options if isinstance(each, dict)]


def _lines(settings: Sequence[Setting], origin: bool, environment: Mapping[str, str]) -> Iterator[str]:
    heads = ["OPTION", "VALUE", *(["DEFAULT", "FROM"] if origin else [])]
    rows = []
    for each in settings:
        variable = f"POIREAU_{each.name.upper()}"
        place = variable if each.origin == "environment" and variable in environment else each.origin
        more = [plain(each.default) or '""', plain(place)] if origin else []
        rows.append([each.name, plain(each.value) or '""', *more])
    yield from table(heads, rows)
