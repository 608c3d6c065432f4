"""The wire format of live control against Python's own JSON: each reads what the other wrote, and refuses the same."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Frames of a length (4 bytes) and that many bytes. answer: a line for each; parse: what it asks for, in hexadecimal.
PROGRAM = r"""
#include <cstdio>
#include <cstring>

#include "preload/control_answer.h"
#include "preload/control_request.h"

using namespace poireau::control;

static bool send(void*, std::string_view piece) noexcept { return fwrite(piece.data(), 1, piece.size(), stdout) != 0; }

static void show(bool given, std::string_view text) {
  putchar(given ? '=' : '-');
  for (const char c : text) printf("%02x", static_cast<unsigned char>(c));
}

int main(int, char** argv) {
  static char text[1 << 16], room[40];
  unsigned size;
  for (unsigned n = 0; fread(&size, sizeof size, 1, stdin) == 1 && size < sizeof text; ++n) {
    if (fread(text, 1, size, stdin) != size) return 1;
    const std::string_view given(text, size);
    if (strcmp(argv[1], "answer") == 0) {
      Answer answer({room, 1 + n % sizeof room}, send, nullptr);
      answer.start().text("text", given).number("size", size).begin("list", '[').text({}, given).begin({}, '{');
      answer.truth(given, true);
      if (!answer.finish()) return 1;
      continue;
    }
    const Request request = parse({text, size});
    if (!request.wrong.empty()) {
      printf("%.*s\n", static_cast<int>(request.wrong.size()), request.wrong.data());
      continue;
    }
    show(true, request.verb), show(request.has_option, request.option), show(request.has_value, request.value);
    putchar('\n');
  }
}
"""
SOURCES = ("control_answer.cc", "control_request.cc", "base/text.cc", "base/utf8.cc")
MOST_LINE = 4096
PIECES = [
    *'{}[]:,"\\/ \t\r0123456789-+.eEau\x7f\x00\x1b',
    *['"do"', '"option"', '"value"', '"set"', "true", "false", "null", '{"do":"get","option":"log"}', '"":', '"a":'],
    *[r"\u", r"\u00", r"\ud83d", r"\ude00", r"\udc80", r"\udcFF", r"\n", r"\"", "é", "\U0001f600", "1e5", "-0", "1.25"],
]


class Literal(str):
    """A number, as it was written."""


class Pairs(list):  # type: ignore[type-arg]
    """An object, with every key that it was given."""


@pytest.fixture(scope="module")
def wire(compile_c: Callable[..., Path]) -> Callable[[str, list[bytes]], list[bytes]]:
    flags = ["-std=c++20", f"-I{ROOT}", *(str(ROOT / "preload" / name) for name in SOURCES)]
    program = compile_c(PROGRAM, flags, compiler="c++", language="c++")

    def run(mode: str, given: list[bytes]) -> list[bytes]:
        frames = b"".join(len(each).to_bytes(4, "little") + each for each in given)
        done = subprocess.run([program, mode], input=frames, capture_output=True, timeout=300, check=True)
        lines = done.stdout.split(b"\n")
        assert lines.pop() == b"" and len(lines) == len(given)
        return lines

    return run


def request(line: bytes) -> bytes | None:
    """What `line` asks for, as the program shows it. None: nothing that is allowed."""
    try:
        if len(line) > MOST_LINE:
            return None
        pairs = json.loads(
            line.decode(), object_pairs_hook=Pairs, parse_int=Literal, parse_float=Literal, parse_constant=refuse
        )
        if not isinstance(pairs, Pairs) or len({key for key, _ in pairs}) != len(pairs):
            return None
        fields = {text_of(key): text_of(value) for key, value in pairs}
    except ValueError:
        return None
    if not fields.keys() <= {b"do", b"option", b"value"} or not fields.get(b"do"):
        return None
    shown = (fields.get(key) for key in (b"do", b"option", b"value"))
    return b"".join(b"-" if each is None else b"=" + each.hex().encode() for each in shown)


def refuse(constant: str) -> None:
    raise ValueError(constant)


def text_of(value: object) -> bytes:
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if not isinstance(value, str) or any(c < " " or c == "\x7f" for c in value):
        raise ValueError(value)
    return value.encode("utf-8", "surrogateescape")


def some_bytes(rng: random.Random) -> bytes:
    size = rng.choice((0, 1, 5, 40, 400))
    if rng.random() < 0.5:
        return rng.randbytes(size)
    return "".join(chr(rng.choice((0x41, 0x22, 0x5C, 0xE9, 0x20AC, 0x1F600))) for _ in range(size)).encode()


def some_text(rng: random.Random) -> str:
    text = some_bytes(rng).decode("utf-8", "surrogateescape")[:300]
    return text if rng.random() < 0.2 else "".join(c for c in text if c >= " " and c != "\x7f")


def some_lines(rng: random.Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        keys = rng.sample(["do", "option", "value"], rng.choice((1, 2, 3, 3, 3, 3))) + ["more"] * (rng.random() < 0.1)
        values = [rng.choice([some_text(rng), some_text(rng), "set", "", 12, -0.5, True, None]) for _ in keys]
        separators = rng.choice([(",", ":"), (", ", ": "), (" ,\t", "\r: ")])
        line = json.dumps(dict(zip(keys, values)), ensure_ascii=rng.random() < 0.5, separators=separators)
        text = line.encode("utf-8", "surrogateescape")
        for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 8))):
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(PIECES).encode() + text[at + rng.choice((0, 1, 1, 4)) :]
        if rng.random() < 0.1:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.randbytes(1) + text[at + 1 :]
        yield text.replace(b"\n", b"")  # the line's end, which never gets there


def test_requests_are_what_json_says(wire, scale, seed, exercised):
    lines = list(some_lines(random.Random(seed), scale(200_000)))
    taken = 0
    for line, answer in zip(lines, wire("parse", lines)):
        expected = request(line)
        taken += expected is not None
        assert answer.startswith(b"=") == (expected is not None), (line, answer)
        assert expected is None or answer == expected, line
    assert taken > len(lines) / 10 and taken < len(lines) * 9 / 10
    exercised.add("control requests compared with Python's JSON", f"{len(lines)}, {taken} of them well-formed")


def test_answers_are_json_of_any_bytes(wire, scale, seed, exercised):
    rng = random.Random(seed)
    texts = [some_bytes(rng) for _ in range(scale(50_000))]
    for text, line in zip(texts, wire("answer", texts)):
        decoded = text.decode("utf-8", "surrogateescape")
        expected = {"text": decoded, "size": len(text), "list": [decoded, {decoded: True}]}
        assert json.loads(line.decode()) == expected, text
    exercised.add("control answers read by Python's JSON", str(len(texts)))
