"""The options of the library as poireau.toml, generated from the one table in C++, describes them."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

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
            near = difflib.get_close_matches(name, by_name, n=1)
            hint = f"did you mean {near[0]}?" if near else "`poireau config` lists them"
            raise Failure(f"there is no option {name}: {hint}", USAGE)
        variables[by_name[name].variable] = value
    return variables
