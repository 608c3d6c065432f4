"""What `run` says when its program has ended, if there is anything: memory errors, and leaks.

Errors are counted without reading the trace. Leaks are looked for by a Python that can, and only after a run that was
long enough to tell: a tenth of its time is what it may take.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from poireau import glimpse, interpreter, layout
from poireau.text import plain

LONG_ENOUGH = 10.0  # seconds
_SHARE, _LEAST, _MOST = 0.1, 2.0, 10.0  # of a run's time, and seconds, for leaks
_LEAKS = {"leak": "leak", "lost": "leak", "likely": "likely leak"}  # verdicts


def news(run: Path, seconds: float = 0.0) -> str | None:
    """Of a run that took so long; None: there is none."""
    return line(errors(run), leaks(run, seconds))


def line(errors: Mapping[str, int], leaks: Mapping[str, int], named: Path | None = None) -> str | None:
    """`named`: what has to be named to be found."""
    found = [f"{count} {kind.replace(' ', '-')}" for kind, count in errors.items()]
    found += [f"{count} {kind}{'s' * (count > 1)}" for kind, count in leaks.items()]
    if not found:
        return None
    verbs = "|".join([*["errors"] * bool(errors), *["leaks"] * bool(leaks)])
    where = f" {plain(shlex.quote(str(named)))}" if named else ""
    return f"{', '.join(found)}: see `{called()} {verbs}{where}`"


def errors(run: Path) -> Counter[str]:
    """Of all its processes, by kind."""
    kinds: Counter[str] = Counter()
    for trace in sorted(run.iterdir()) if run.is_dir() else ():
        kinds += glimpse.errors_of(trace)
    return kinds


def pack(run: Path, file: str) -> Path:
    """All that is in a run's traces, in one file. Returns where it is now."""
    python = interpreter.able()
    if python is None or not run.is_dir():
        return run
    environment = {**os.environ, "PYTHONPATH": str(layout.PACKAGE.parent)}
    command = [python, "-m", "poireau", "pack", str(run), "-o", file]
    return Path(file) if subprocess.run(command, env=environment, check=False).returncode == 0 else run


def leaks(run: Path, seconds: float) -> dict[str, int]:
    """How many there are, by how sure it is; nothing, if that takes too long to tell."""
    python = interpreter.able()
    if seconds < LONG_ENOUGH or python is None or not run.is_dir():
        return {}
    code = "import sys; from poireau import news; news.tell_leaks(sys.argv[1])"
    try:
        told = subprocess.run(
            [python, "-c", code, str(run)],
            cwd=layout.PACKAGE.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=min(max(_SHARE * seconds, _LEAST), _MOST),
            check=True,
        ).stdout.split(b"\n")
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(Counter(_LEAKS[verdict.decode()] for verdict in told if verdict.decode() in _LEAKS))


def tell_leaks(run: str) -> None:
    """The verdict of each, a line each."""
    from poireau import leaks, opening

    print("\n".join(leaks.find(opening.open(run, bar=False)).found["verdict"]))


def called() -> str:
    """What starts us, as whoever did it would type it again."""
    typed = sys.argv[0]
    name = os.path.basename(typed)
    if name == "__main__.py":
        return "python3 -m poireau"
    found = shutil.which(name)
    if found and os.path.samefile(found, typed):
        return name
    return typed if "/" in typed else f"./{typed}"
