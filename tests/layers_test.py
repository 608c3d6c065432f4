"""Who may include whom. Each file belongs to one layer, and a layer sees its own files and those of the layers named
beside it, nothing else. A new file has to be given its place here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.conftest import ROOT

Layers = dict[str, tuple[str, str]]

CXX: Layers = {
    # layer: (its files, the layers they may include)
    "base": ("preload/base/*", ""),
    "config": ("config/*", "base"),
    "tracked_alloc": ("tracked_alloc/*", "base"),
    "tables": (
        "preload/hooks.def preload/syscalls.def preload/event.def preload/rows.h preload/kinds.* preload/poireau.h",
        "base",
    ),
    "facts": (
        "preload/process.* preload/module.* preload/symbols.* preload/sandbox.* preload/stats.* preload/exponential.h "
        "preload/pools.* preload/thread.* preload/clock.* preload/voice.* preload/descriptors.h preload/build_id.*",
        "base config tables",
    ),
    "callers": ("preload/callers.*", "base config facts"),
    "sampler": ("preload/sampler.*", "base config facts callers"),
    "bootstrap": ("preload/bootstrap.*", "base config tracked_alloc"),
    "real": ("preload/real.* preload/calls*", "base config tables facts bootstrap"),
    "stack": ("preload/stack* preload/depot.*", "base config facts tracked_alloc"),
    "events": (
        "preload/event.h preload/ctf* preload/trace* preload/sink* preload/lttng/* preload/describe_events.cc",
        "base config tables facts",
    ),
    "journal": (
        "preload/journal.* preload/rounds.* preload/counters.* preload/block_events.* preload/audience.* "
        "preload/introduction.*",
        "base config tables facts sampler stack events tracked_alloc",
    ),
    "governor": ("preload/governor.* preload/auto_period.*", "base config tables facts"),
    "report": (
        "preload/report.* preload/report_text.* preload/notes.*",
        "base config tables facts stack events journal governor tracked_alloc",
    ),
    "sweep": (
        "preload/stop.* preload/repeat* preload/sweep* preload/disposition.h preload/fork_copy.*",
        "base config tables facts real events tracked_alloc",
    ),
    "faults": ("preload/faults.*", "base config tables facts real stack report sweep tracked_alloc"),
    "sampled": (
        "preload/sampled* preload/protect.* preload/protect_* preload/control.h",
        "base config tables facts callers sampler bootstrap real stack events journal report faults governor sweep "
        "tracked_alloc",
    ),
    "hooks": (
        "preload/hooks.h preload/hooks.cc preload/operators.* preload/wraps* preload/pieces.* preload/loads.* "
        "preload/extension.* preload/extensions.* preload/shapes.h preload/protected.h preload/reentry.h "
        "preload/real_direct.*",
        "base config tables facts sampler real stack report faults sampled sweep tracked_alloc",
    ),
    "wire": ("preload/control_request.* preload/control_answer.*", "base"),
    "native": ("poireau/native/*", "base tables events tracked_alloc"),
    "above": (
        "preload/lifecycle.* preload/own.cc preload/protection.* preload/control.cc preload/control_socket.* "
        "preload/control_options.* preload/control_stats.* preload/control_sweep.* preload/control_verbs.*",
        "base config tables facts callers sampler bootstrap real stack events journal report faults governor sampled "
        "sweep hooks wire tracked_alloc",
    ),
}

PYTHON: Layers = {
    "errors": ("poireau/errors.py poireau/version.py", ""),
    "ours": ("poireau/layout.py poireau/options.py poireau/configured.py", "errors"),
    "text": ("poireau/text.py", ""),
    "events": ("poireau/events.py poireau/tables.py", "errors"),
    "reader": ("poireau/reader/* poireau/native/*", "errors ours events"),
    "roots": ("poireau/roots.py", ""),
    "symbols": ("poireau/symbols.py poireau/symbol_*.py poireau/perf_map.py", "errors ours events reader roots"),
    "estimate": ("poireau/estimate.py poireau/estimates.py poireau/requested.py poireau/binomial.py", ""),
    "model": ("poireau/model.py poireau/model_*.py poireau/resident.py", "errors events estimate"),
    "opening": ("poireau/opening.py poireau/told.py", "errors text ours events reader symbols estimate model"),
    "analysis": (
        "poireau/selection.py poireau/views.py poireau/stacks.py poireau/diff.py poireau/grouping.py poireau/naming.py "
        "poireau/windows.py poireau/preamble.py poireau/leaks.py poireau/leak_*.py poireau/reached.py "
        "poireau/suppress*.py poireau/misuse.py poireau/series.py poireau/phases.py",
        "errors text events estimate model",
    ),
    "report": ("poireau/report/*", "errors ours text events estimate model analysis"),
    "control": (
        "poireau/control.py poireau/processes.py poireau/sockets.py poireau/glimpse.py "
        "poireau/reach.py poireau/snapshot.py poireau/traces.py",
        "errors ours text events roots",
    ),
    "live": ("poireau/ctl.py poireau/ps.py poireau/figures.py", "errors text events estimate roots control"),
    "scan": (
        "poireau/scan.py poireau/scan_*.py poireau/core_file.py",
        "errors text ours events reader symbols estimate model analysis control",
    ),
    "autopsy": ("poireau/autopsy.py poireau/autopsy_*.py", "errors text events estimate model analysis report control"),
    "elf": ("poireau/elf.py poireau/loader.py", "errors"),
    "target": ("poireau/target.py", "errors elf ours"),
    "running": (
        "poireau/launch.py poireau/following.py poireau/lttng.py poireau/doctor.py poireau/doctor_*.py "
        "poireau/guards.py poireau/finding.py",
        "errors ours text estimate roots control live elf target",
    ),
    "front": (
        "poireau/__init__.py poireau/cli.py poireau/shell.py poireau/__main__.py poireau/asking.py "
        "poireau/giving.py poireau/picturing.py poireau/notebook.py poireau/parsing.py poireau/grammar.py "
        "poireau/schemas.py poireau/serve*.py poireau/replay*.py "
        "poireau/recording.py poireau/news.py poireau/interpreter.py "
        "poireau/commands/* poireau/shell_*.py poireau/ci.py poireau/ci_*.py poireau/pytest_plugin.py",
        "errors ours text events reader symbols estimate model opening analysis report control live scan autopsy "
        "elf target running",
    ),
}

PRELOADED = ("preload", "tracked_alloc", "config")
# Programs of the build, never inside anybody's process.
TOOLS = {"config/describe.cc", "config/documents.h", "config/in_force.cc", "preload/describe_events.cc"}
# What allocates, throws, locks, or runs code before main: nothing to have inside somebody else's malloc.
BANNED = set(
    "condition_variable deque filesystem format forward_list fstream functional future iomanip iostream istream list "
    "locale map memory memory_resource mutex ostream queue regex set shared_mutex sstream stack stdexcept streambuf "
    "string thread unordered_map unordered_set valarray vector cstdio stdio.h clocale locale.h".split()
)
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def cxx_files() -> list[str]:
    suffixes = {".h", ".cc", ".c", ".def"}
    return sorted(
        relative(p) for top in (*PRELOADED, "poireau") for p in (ROOT / top).rglob("*") if p.suffix in suffixes
    )


def python_files() -> list[str]:
    return sorted(relative(path) for path in (ROOT / "poireau").rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def layers_of(file: str, table: Layers) -> list[str]:
    return [layer for layer, (files, _) in table.items() if any(fnmatch(file, pattern) for pattern in files.split())]


def includes(file: str, quote: str) -> list[str]:
    return [name for opening, name in INCLUDE.findall((ROOT / file).read_text()) if opening == quote]


def imports(file: str) -> Iterator[str]:
    """The files of our own package that `file` imports, wherever in it."""
    package = file.split("/")[:-1]
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            yield from (module_file(alias.name) for alias in node.names if alias.name.split(".")[0] == "poireau")
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            if base.split(".")[0] == "poireau":
                yield from (module_file(f"{base}.{alias.name}", base) for alias in node.names)


def module_file(name: str, holder: str | None = None) -> str:
    """`holder` is the module that `name` is a mere attribute of, should there be no module of that name."""
    for module in filter(None, (name, holder)):
        path = module.replace(".", "/")
        for file in (f"{path}/__init__.py", f"{path}.py"):
            if (ROOT / file).is_file():
                return file
    return name.replace(".", "/") + ".py"


def violations(table: Layers, file: str, seen: list[str]) -> list[str]:
    (own,) = layers_of(file, table)
    allowed = {own, *table[own][1].split()}
    return [
        f"{file} ({own}) may not see {other} ({', '.join(layers_of(other, table)) or 'not in the table'})"
        for other in seen
        if not allowed.intersection(layers_of(other, table))
    ]


@pytest.mark.parametrize("table", [CXX, PYTHON], ids=["C++", "Python"])
def test_the_table_names_only_its_own_layers_and_has_no_cycle(table: Layers) -> None:
    done: set[str] = set()
    for layer, (_, below) in table.items():
        assert set(below.split()) <= done, f"{layer} may only see layers that stand above it in the table"
        done.add(layer)


@pytest.mark.parametrize(("table", "files"), [(CXX, cxx_files()), (PYTHON, python_files())], ids=["C++", "Python"])
def test_every_file_has_one_place(table: Layers, files: list[str]) -> None:
    assert files
    assert [file for file in files if not layers_of(file, table)] == [], "not in the table"
    assert [file for file in files if len(layers_of(file, table)) > 1] == [], "in more than one layer"


def test_cxx_includes_follow_the_table() -> None:
    placed = [file for file in cxx_files() if layers_of(file, CXX)]
    assert [line for file in placed for line in violations(CXX, file, includes(file, '"'))] == []


def test_python_imports_follow_the_table() -> None:
    placed = [file for file in python_files() if layers_of(file, PYTHON)]
    assert [line for file in placed for line in violations(PYTHON, file, list(imports(file)))] == []


def test_hooks_and_sinks_never_see_each_other() -> None:
    assert "events" not in CXX["hooks"][1].split()
    assert "hooks" not in CXX["events"][1].split()


def test_includes_are_spelled_from_the_root() -> None:
    wrong = [(file, name) for file in cxx_files() for name in includes(file, '"') if not (ROOT / name).is_file()]
    assert wrong == []


def test_nothing_that_is_preloaded_includes_what_allocates_or_locks() -> None:
    inside = [file for file in cxx_files() if file not in TOOLS and not file.startswith("poireau/")]
    assert [(file, name) for file in inside for name in includes(file, "<") if name in BANNED] == []


def test_nothing_is_left_to_do() -> None:
    word = re.compile("TO" + "DO|FIX" + "ME|X" + "XX")
    assert [file for file in cxx_files() + python_files() if word.search((ROOT / file).read_text())] == []
