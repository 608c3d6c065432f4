"""Which Python runs us: reading traces needs numpy and pandas, which the checkout's own environment has."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys

from poireau import layout
from poireau.errors import Failure

NEEDED = ("numpy", "pandas")
_AGAIN = "POIREAUPY_AGAIN"  # set once we have started anew


def ensure() -> None:
    """Starts anew under the checkout's Python where this one lacks what is needed. Raises Failure: there is none."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if not missing:
        if os.environ.pop(_AGAIN, None) is not None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return
    python = able()
    if _AGAIN in os.environ or python is None:
        remedy = "run `make setup`" if layout.in_checkout() else f"{sys.executable} -m pip install {' '.join(missing)}"
        raise Failure(f"reading traces needs {' and '.join(missing)}: {remedy}")
    os.environ[_AGAIN] = "1"
    script = (
        [sys.argv[0]] if os.path.isfile(sys.argv[0]) and not sys.argv[0].endswith("__main__.py") else ["-m", "poireau"]
    )
    if script[0] == "-m":
        os.environ["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(layout.PACKAGE.parent), os.environ.get("PYTHONPATH")))
        )
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a Python that is only starting answers it at length
    os.execv(python, [python, *script, *sys.argv[1:]])


def able() -> str | None:
    """One that can read traces."""
    if all(importlib.util.find_spec(name) is not None for name in NEEDED):
        return sys.executable
    python = layout.PACKAGE.parent / ".venv" / "bin" / "python"
    return str(python) if os.access(python, os.X_OK) else None
