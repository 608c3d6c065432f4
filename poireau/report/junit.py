"""Results as JUnit XML, as CI servers read it: a test case for each, failed or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from poireau.text import plain


@dataclass(frozen=True)
class Case:
    group: str  # poireau.errors
    name: str
    failure: str = ""  # one line; empty: it passed
    details: str = ""  # lines
    seconds: float = 0.0


def document(suite: str, cases: Sequence[Case], seconds: float) -> str:
    failed = sum(1 for case in cases if case.failure)
    counts = f'tests="{len(cases)}" failures="{failed}" errors="0" time="{seconds:.3f}"'
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="poireau" {counts}>',
        f"  <testsuite name={_quoted(suite)} {counts}>",
    ]
    for case in cases:
        head = f'    <testcase classname={_quoted(case.group)} name={_quoted(case.name)} time="{case.seconds:.3f}"'
        details = "\n".join(_text(line) for line in case.details.split("\n"))
        if case.failure:
            lines += [
                f"{head}>",
                f"      <failure message={_quoted(case.failure)}>{details}</failure>",
                "    </testcase>",
            ]
        elif details:
            lines += [f"{head}>", f"      <system-out>{details}</system-out>", "    </testcase>"]
        else:
            lines.append(f"{head}/>")
    return "\n".join([*lines, "  </testsuite>", "</testsuites>", ""])


def _text(text: str) -> str:
    """What XML has no words for is escaped."""
    return escape(plain(text))


def _quoted(text: str) -> str:
    return quoteattr(plain(text))
