"""Python at the shell's prompt: `df`, the table of the last view; `heap`; pandas, numpy and poireau. What is printed is
fit for a terminal, and an error is one line."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

from poireau.errors import REFUSED, USAGE, Failure
from poireau.text import plain

LAZY = ("df", "heap", "pd", "np", "poireau")
_LINE = re.compile(r"(?:=|(?:df|heap|pd|np)(?:\s*[.\[(=]|\s*$|\s+[-+*/<>=!&|]))")
_ROWS = 40


def is_python(text: str) -> bool:
    return _LINE.match(text) is not None


class Python:
    """`lazy`: what makes each name of LAZY, when it is used first after `refresh`."""

    def __init__(self, lazy: Mapping[str, Callable[[], Any]]) -> None:
        self._lazy = lazy
        self.names: dict[str, Any] = {"__name__": "__poireau__"}

    def refresh(self) -> None:
        """There is a new view."""
        for name in ("df", "heap"):
            self.names.pop(name, None)

    def run(self, text: str) -> None:
        """Prints what it is, unless it is None. Raises Failure."""
        text = text.strip()
        try:
            tree = ast.parse(text.removeprefix("=").strip(), "<shell>")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise Failure(f"{text}: {getattr(error, 'msg', None) or error}", USAGE) from None
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id in self._lazy and node.id not in self.names:
                self.names[node.id] = self._lazy[node.id]()
        if not tree.body:
            raise Failure("= what? For example: = df.bytes.sum()", USAGE)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        try:
            exec(compile(tree, "<shell>", "exec"), self.names)
            if isinstance(last, ast.Expr):
                self._show(eval(compile(ast.Expression(last.value), "<shell>", "eval"), self.names))
        except Failure:
            raise
        except (Exception, SystemExit) as error:
            said = str(error).strip().splitlines()
            raise Failure(f"{type(error).__name__}{f': {said[0]}' if said else ''}", REFUSED) from None

    def _show(self, value: Any) -> None:
        if value is None:
            return
        self.names["_"] = value
        import numpy as np
        import pandas as pd

        wide = sys.stdout.isatty()
        with pd.option_context(
            "display.width", shutil.get_terminal_size().columns if wide else 1000,
            "display.max_columns", 0 if wide else None, "display.max_rows", _ROWS, "display.min_rows", _ROWS,
            "display.float_format", _number,
        ):  # fmt: skip
            text = str(value) if isinstance(value, (str, np.generic)) else repr(value)
        for line in text.splitlines():
            print(plain(line))


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
