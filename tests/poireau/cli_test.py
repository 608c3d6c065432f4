"""The frame of the command line: what is listed, what is meant, what is said of what is wrong, with which status."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from poireau import cli, commands, grammar, parsing
from poireau.errors import NOT_EXECUTABLE, USAGE, Failure
from poireau.schemas import SCHEMAS
from poireau.text import plain
from tests.conftest import ROOT, clean_environment


def own_environment(**more: str) -> dict[str, str]:
    """Without options of the library."""
    chosen = clean_environment(XDG_CONFIG_HOME="/not/there")
    ours = [name for name in chosen if name.startswith("POIREAU_")]
    return {**{name: value for name, value in chosen.items() if name not in ours}, **more}


def poireau(*words: object, status: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, ROOT / "poireau.py", *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=own_environment(**environment),
        timeout=120,
    )
    assert done.returncode == status, done
    assert "Traceback" not in done.stderr
    return done


# What there is


def test_everything_that_is_listed_has_a_parser_with_a_line_of_help() -> None:
    verbs = {verb.name: verb for verb in grammar.verbs()}
    assert list(verbs) == list(commands.NAMES)
    assert [name for name, verb in verbs.items() if not verb.help or "\n" in verb.help] == []
    assert len(commands.EVERYDAY) == 8


def test_the_eight_of_every_day_come_first_and_are_explained() -> None:
    said = poireau("--help").stdout
    every_day, more = said.split("every day:\n")[1].split("\nmore:\n")
    assert re.findall(r"^  (\w+) ", every_day, re.MULTILINE) == commands.EVERYDAY
    assert re.findall(r"^  (\w+) +\S", more, re.MULTILINE) == list(commands.MORE)
    assert said == poireau("help").stdout == poireau(status=USAGE).stdout


@pytest.mark.parametrize("verb", ["ctl", "top"])
def test_help_of_a_verb_is_its_own_help(verb: str) -> None:
    assert poireau("help", verb).stdout == poireau(verb, "--help").stdout != ""


def test_a_command_imports_what_it_needs_and_no_other() -> None:
    code = "import sys; from poireau import cli; cli.main(['lib']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert {each for each in modules if each.startswith("poireau.commands.")} == {"poireau.commands.lib"}
    assert not {"numpy", "pandas", "subprocess", "socket", "json"} & modules


# What is wrong


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flam"], "there is no command flam: did you mean flame?"),
        (["leak"], "there is no command leak: did you mean leaks?"),
        (["xyzzy"], "there is no command xyzzy: poireau help lists them"),
        (["/not/there"], "there is no command or file /not/there: poireau help lists them"),
        (["help", "tob"], "there is no command tob: did you mean top?"),
        (["--verson"], "there is no option --verson: did you mean --version?"),
        (["top", "--focsu", "x"], "top: there is no option --focsu: did you mean --focus?"),
        (["top", "-x"], "top: there is no option -x: see poireau help top"),
        (["top", "--by", "functoin"], "top: --by takes no functoin: did you mean function?"),
        (["top", "--limit", "x"], "top: --limit: x is no number of rows (see poireau help top)"),
        (["ctl", "1", "stat"], "ctl: VERB takes no stat: did you mean stats?"),
        (["ctl", "1"], "ctl: the following arguments are required: VERB (see poireau help ctl)"),
        (["ctl", "x", "stats"], "ctl: PID: x is no pid: `poireau ps` lists them (see poireau help ctl)"),
        (["export"], "export: the following arguments are required: FORMAT (see poireau help export)"),
        (["lib", "twice"], "lib: twice is a word too many (see poireau help lib)"),
        (["run"], "run: which program? For example: run -- ls -l"),
        (["ps", "--", "ls"], "ps takes nothing after --"),
        (["config", "--origin"], "--origin and --changed go with `config show`"),
        (["man", "flam"], "there is no command flam: did you mean flame?"),
        (["live", "--at", "60s", "--tree", "--by", "line"], "a tree is by function"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_one_line_that_says_what_was_meant(
    words: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(list(words)) == USAGE
    assert capsys.readouterr().err == f"poireau: {said}\n"


def test_whatever_is_typed_is_understood_or_refused_in_one_line(
    seed: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(seed)
    verbs = {verb.name: verb for verb in grammar.verbs()}
    odd = [
        "",
        "-",
        "--",
        "=",
        "-1",
        "--json",
        "--json=1",
        "help",
        "\udcff",
        "a\nb",
        "0x12",
        "x" * 5000,
        "--wait",
        "é",
        ".",
    ]
    for _ in range(300):
        verb = verbs[draw.choice(commands.NAMES)]
        known = [part for word in verb.words for part in (*word.flags, *word.choices[:2], word.metavar)]
        words = [draw.choice([verb.name, draw.choice(odd)]), *draw.choices([*known, *odd], k=draw.randrange(5))]
        try:
            parsing.parse(words)
        except Failure as failure:
            assert plain(str(failure)) and failure.status in (USAGE, NOT_EXECUTABLE), words
        except SystemExit as ended:
            assert ended.code == 0, words
        capsys.readouterr()


def test_a_program_is_not_taken_for_a_trace() -> None:
    with pytest.raises(Failure, match="run it with `poireau run -- /bin/sh`") as failure:
        parsing.parse(["/bin/sh"])
    assert failure.value.status == NOT_EXECUTABLE


def test_what_can_be_opened_is_a_trace_of_top(tmp_path: Path) -> None:
    for word in (str(tmp_path), "123", "net://host/host/a/b"):
        parsed = parsing.parse([word, "--limit", "3"])
        assert (parsed.verb, parsed.targets, parsed.limit) == ("top", [word], 3)


# Which trace


def told(*words: object, status: int = USAGE, **environment: str) -> str:
    done = poireau(*words, status=status, **environment)
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("poireau: "), done
    return done.stderr[len("poireau: ") : -1]


def test_processes_that_left_no_trace_are_told_apart(tmp_path: Path) -> None:
    where = str(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            restart = f"sleep ({sleeper.pid}) is not preloaded; restart with: poireau run -- sleep 60"
            for verb in ("top", "peak"):
                assert told(verb, sleeper.pid, POIREAU_TRACE=where) == restart
            assert told("ctl", sleeper.pid, "stats") == told("attach", sleeper.pid) == restart
            assert told("config", "show", sleeper.pid) == restart
        finally:
            sleeper.kill()
    gone = sleeper.pid
    assert told("top", gone, POIREAU_TRACE=where) == f"there is no process {gone}, and no trace of one in {tmp_path}"
    assert told("ctl", gone, "stats") == f"{gone}: no such process"


def test_another_users_process_is_left_alone() -> None:
    assert os.geteuid() == 0, "this is to be run by root"
    change = "import os; os.setgid(65534); os.setuid(65534); import sys; from poireau import cli; "
    own = str(os.getpid())
    for words in (["top", own], ["ctl", own, "stats"], ["doctor", own]):
        code = f"{change}sys.exit(cli.main({words!r}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 1, done
        assert "is root's: it speaks to that user and root only" in done.stderr + done.stdout


def test_the_directory_that_a_file_of_options_names_is_looked_in(tmp_path: Path) -> None:
    named = tmp_path / "named"
    config = tmp_path / "config.toml"
    config.write_text(f'[poireau]\nTrace = "{named}" # here\n')
    assert f"there is no trace in {named}:" in told("top", POIREAU_CONFIG=str(config))
    assert f"there is no trace in {tmp_path}:" in told("top", POIREAU_CONFIG=str(config), POIREAU_TRACE=str(tmp_path))
    (tmp_path / "poireau").mkdir()
    config.rename(tmp_path / "poireau" / "config.toml")
    assert f"there is no trace in {named}:" in told("top", XDG_CONFIG_HOME=str(tmp_path))


# JSON


def test_no_schema_is_named_that_is_not_listed() -> None:
    named = set()
    for path in (ROOT / "poireau").rglob("*.py"):
        named |= set(
            re.findall(r'''(?:schema"?: |SCHEMA = |as_json\(|_head\()"(poireau\.[a-z_.-]+)"''', path.read_text())
        )
    assert named <= set(SCHEMAS), named - set(SCHEMAS)


# config show


def test_each_value_is_shown_with_where_it_comes_from(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text('sample_period = "64K"\nguards = "on"\nstack_depth = 9999\n')
    done = poireau("config", "show", "--origin", "--changed", status=1, POIREAU_CONFIG=str(config), POIREAU_ARMED="off")
    rows = [re.split(r"  +", line) for line in done.stdout.splitlines()]
    assert rows == [
        ["OPTION", "VALUE", "DEFAULT", "FROM"],
        ["sample_period", "64KiB", "512KiB", str(config)],
        ["armed", "off", "on", "POIREAU_ARMED"],
    ]
    assert done.stderr.splitlines() == [
        f'poireau: {config}:2: no option is called "guards"; did you mean guard?',
        f'poireau: {config}:3: stack_depth = "9999": out of range (0..128); keeping 64',
    ]
    assert poireau("config", "show").stderr == ""


def test_what_there_is_fits_into_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, parsing.parser().format_help().splitlines())) <= 80
