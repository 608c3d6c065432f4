"""One table of events: event.def, and all that is made from it or must agree with it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from poireau import events
from tests.conftest import ROOT

Fields = dict[str, dict[str, str]]  # event -> {field: kind}


@pytest.fixture(scope="module")
def described(build: Path) -> Fields:
    rows = json.loads(output(build, "--json"))
    return {row["name"]: {field["name"]: field["kind"] for field in row["fields"]} for row in rows}


def output(build: Path, flag: str) -> str:
    return subprocess.run([build / "poireau-events", flag], check=True, capture_output=True, text=True).stdout


def test_the_tool_says_what_event_def_does(described: Fields) -> None:
    text = re.sub(r"//.*", "", (ROOT / "preload" / "event.def").read_text())
    field = r"FIELD\((\w+), (\w+), \""
    macros: dict[str, list[tuple[str, str]]] = {}
    for name, body in re.findall(r"^#define (\w+)((?:.*\\\n)*.*\n)", text, re.MULTILINE):
        macros[name] = re.findall(field, body) + (macros["STACK"] if re.search(r"\bSTACK\b", body) else [])
    expected = {}
    for event, body in re.findall(r"^EVENT\((\w+), (.*(?:\n .*)*)", text, re.MULTILINE):
        rows = re.findall(field, body)
        for name, fields in macros.items():
            rows += fields if re.search(rf"\b{name}\b", body) else []
        expected[event] = {name: kind for kind, name in rows}
    assert list(expected) == list(described)
    assert {event: list(fields.items()) for event, fields in expected.items()} == {
        event: list(fields.items()) for event, fields in described.items()
    }


def test_pythons_columns_are_the_fields(described: Fields) -> None:
    assert {event: list(fields.items()) for event, fields in events.KINDS.items()} == {
        event: list(fields.items()) for event, fields in described.items()
    }
    assert list(events.KINDS) == list(described)
    for event, columns in events.COLUMNS.items():
        assert list(columns) == list(described[event])
        assert set(columns.values()) <= {"u1", "u2", "u4", "u8", "i8", "O"}


def test_the_metadata_of_a_trace_has_the_fields(build: Path, described: Fields) -> None:
    found: Fields = {}
    for name, body in re.findall(
        r'event \{\s*name = "poireau:(\w+)";(.*?)\};\s*\};', output(build, "--metadata"), re.DOTALL
    ):
        fields = re.findall(r"^ +(string|\w+) _(\w+?)(\[\w+\])?;$", body, re.MULTILINE)
        found[name] = {
            field: {"hex[]": "frames", "u8[]": "bytes", "string": "text"}.get(kind + ("[]" if many else ""), kind)
            for kind, field, many in fields
            if not re.fullmatch(r"_\w+_length", field)
        }
    assert list(found) == list(described)
    assert {event: list(fields.items()) for event, fields in found.items()} == {
        event: list(fields.items()) for event, fields in described.items()
    }


def test_the_readme_has_the_table(build: Path) -> None:
    table = output(build, "--markdown")
    assert f"<!-- events -->\n{table}<!-- /events -->\n" in (ROOT / "README.md").read_text()
