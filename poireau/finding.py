"""What `doctor` finds: one thing, in plain words."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class Finding:
    level: str  # OK, NOTE or PROBLEM
    about: str
    text: str
