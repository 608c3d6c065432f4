"""The options of the library as poireau.toml, generated from the one table in C++, describes them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from poireau import layout
from poireau.errors import USAGE, Failure

_ASSIGNMENT = re.compile(r"#?([a-z][a-z0-9_]*)\s*=\s*(.+)")  # comments have a space after the #


@dataclass(frozen=True)
class Option:
    name: str
    default: str | int | list[str]
    help: str
    values: str  # which ones it takes, when it is read, its variable

    @property
    def variable(self) -> str:
        return "POIREAU_" + self.name.upper()


@dataclass(frozen=True)
class Setting:
    """An option of one process. `origin`: "built-in", a file's path, "environment", "control socket"."""

    name: str
    value: str
    default: str
    origin: str
    range: str
    changes: str


def in_force(environment: Mapping[str, str]) -> tuple[list[Setting], list[str]]:
    """What a program that is started with these variables has; and what is wrong in what it was told, a line each. Both
    come from the library's own reader (config/in_force.cc)."""
    import subprocess

    done = subprocess.run([layout.native("poireau-config")], env=dict(environment), capture_output=True)
    if done.returncode != 0:
        raise Failure(f"poireau-config ended with {done.returncode}: run `make build`")
    settings, wrong = [], []
    for line in done.stdout.split(b"\0\n"):
        kind, *fields = os.fsdecode(line).split("\0")
        if kind == "option":
            settings.append(Setting(*fields))
        elif kind == "wrong":
            wrong.append(fields[0].removeprefix("poireau: "))
    return settings, wrong


def parse(toml: str) -> list[Option]:
    """Every option: an assignment, commented out or not, below the comment that explains it."""
    options: list[Option] = []
    explanation: list[str] = []
    for line in map(str.strip, toml.splitlines()):
        assignment = _ASSIGNMENT.fullmatch(line)
        if assignment:
            # What the generator writes as values is JSON as well as TOML; Python 3.9 reads only the former.
            default = json.loads(assignment[2])
            options.append(Option(assignment[1], default, " ".join(explanation[:1]), " ".join(explanation[1:])))
        if assignment or not line:
            explanation = []
        else:
            explanation.append(line.lstrip("# "))
    return options


def environment(settings: Iterable[tuple[str, str]], known: Iterable[Option]) -> dict[str, str]:
    """The variables that make these settings; a name no option has is a usage error."""
    by_name = {option.name: option for option in known}
    variables = {}
    for name, value in settings:
        if name not in by_name:
            import difflib

            near = difflib.get_close_matches(name, by_name, n=1)
            hint = f"did you mean {near[0]}?" if near else "`poireau config` lists them"
            raise Failure(f"there is no option {name}: {hint}", USAGE)
        variables[by_name[name].variable] = value
    return variables
