"""Help inside the shell: what there is, and of each command an example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from poireau import parsing
from poireau.shell_state import STICKY
from poireau.shell_targets import SHORT

EXAMPLES = {
    "run": "run -- ./server --port 8080",
    "leaks": "leaks --older 5m",
    "top": "top --by line --what allocated",
    "live": "live --by line",
    "freed": "freed --since 60s",
    "peak": "peak --by function",
    "flame": "flame -o heap.html",
    "stream": "stream -o growth.html",
    "diff": "diff --from 13:05 --to 13:10",
    "errors": "errors",
    "ctl": "ctl set sample_period 64K",
    "ps": "ps",
    "watch": "watch --by line",
    "whatis": "whatis 0x7f0012345678",
    "attach": "attach",
    "check": "check -n 3 -- ./tests",
    "export": "export pprof -o heap.pb.gz",
    "pack": "pack -o heap.poireau",
    "serve": "serve --port 8080",
    "replay": "replay calls.poireau",
    "autopsy": "autopsy",
    "lttng": "lttng start",
    "config": "config --origin",
    "doctor": "doctor ./server",
}
_MORE = (
    ("watch leaks 10", "a command again every 10 s, in place, until a key is pressed"),
    ("set sample_period 64K", f"ctl on the current process; so do {', '.join(SHORT[1:6])}, ..."),
    ("top | head", "what is printed goes to a command, with > to a file; !ls runs one"),
    ("df.query('bytes > 1e6')", "the last view's table in pandas; heap, pd, np; = 1 << 20; py x = df.head()"),
)


def all_of(own: Mapping[str, Any]) -> str:
    helps = {each.dest: each.help or "" for each in parsing.verbs_of(parsing.parser())._choices_actions}
    lines = ["commands, as on the command line:", *_rows({name: (name, text) for name, text in helps.items()})]
    lines += ["", "of the shell:", *_rows({name: (f"{name} {each.form}", each.help) for name, each in own.items()})]
    lines += ["", "besides:", *_rows({text: (text, said) for text, said in _MORE})]
    lines += ["", "help COMMAND has its options, and an example. Tab completes; Ctrl-C interrupts a command."]
    return "\n".join(lines) + "\n"


def of(verb: str, own: Mapping[str, Any]) -> str:
    each = own.get(verb)
    if each is not None:
        sticks = "\nwithout it: shows what is set; `clear` instead of it takes that away" if verb in STICKY else ""
        return f"{verb} {each.form}\n{each.help}{sticks}\n\nfor example: {each.example}\n"
    parser = parsing.verbs_of(parsing.parser([verb])).choices[verb]
    example = EXAMPLES.get(verb)
    return parser.format_help() + (f"\nfor example: {example}\n" if example else "")


def _rows(rows: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    wide = max(len(form) for form, _ in rows.values())
    yield from (f"  {form:<{wide}}  {said}" for form, said in rows.values())
