"""What the library's files of options say, as far as the front end has to know it too: text, not whether it is right.

`config show` asks the library's own reader instead (config/load.cc), which knows what every option takes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

SYSTEM_FILE = "/etc/poireau.toml"
_SECTION = re.compile(r"\[\s*poireau\s*\]\s*(#.*)?")


def files(environment: Mapping[str, str]) -> Iterator[str]:
    """Where they may be; a later one wins."""
    yield SYSTEM_FILE
    home = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(home):
        home = os.path.join(environment.get("HOME", ""), ".config")
    yield f"{home}/poireau/config.toml"
    yield environment.get("POIREAU_CONFIG", "")


def value(name: str, environment: Mapping[str, str]) -> str:
    """Of an option whose value is text: the environment's, else the last file's; empty: none has it."""
    variable = "POIREAU_" + name.upper()
    if variable in environment:
        return environment[variable]
    setting = re.compile(
        name + r"""\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([^#"'\[\]]*))\s*(?:#.*)?""", re.IGNORECASE | re.DOTALL
    )
    found = ""
    for path in files(environment):
        if not os.path.isabs(path) or not os.path.isfile(path):
            continue
        ours = True
        with suppress(OSError), open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            for line in map(str.strip, file):
                if line.startswith("["):
                    ours = _SECTION.fullmatch(line) is not None
                elif ours and (said := setting.fullmatch(line)):
                    found = re.sub(r"\\(.)", r"\1", said[1]) if said[1] else (said[2] or said[3] or "").strip()
    return found
