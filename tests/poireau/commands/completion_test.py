"""What a shell completes is what the parsers take; bash itself is asked."""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Sequence
from functools import cache

import pytest

from poireau import cli, commands, grammar
from tests.conftest import ROOT

_ASK = """
t() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
  _poireau 2>/dev/null
  ((${#COMPREPLY[@]})) && printf '%s\\0' "${COMPREPLY[@]}"
  true
}
"""


@cache
def script(shell: str) -> str:
    command = ["python3", str(ROOT / "poireau.py"), "completion", shell]
    said: str = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return said


def completed(*words: str) -> list[str]:
    ask = f"{script('bash')}{_ASK}t {shlex.join(words)}"
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout.split("\0")[:-1]


def test_bash_takes_it_for_our_words() -> None:
    command = f"set -u; {script('bash')}complete -p poireau poireau.py"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "complete -F _poireau poireau\ncomplete -F _poireau poireau.py\n" and done.stderr == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["poireau", "fl"], ["flame"]),
        (["./poireau.py", "help", "to"], ["top"]),
        (["poireau", "top", "--what", "al"], ["allocated"]),
        (["poireau", "top", "--what", "=", "al"], ["allocated"]),
        (["poireau", "top", "A", "--cum"], ["--cumulative"]),
        (["poireau", "ctl", "12", "sn"], ["snapshot"]),
        (["poireau", "ctl", "--wait", "3", "12", "sn"], ["snapshot"]),
        (["poireau", "ctl", "12", "set", "sample_p"], ["sample_period"]),
        (["poireau", "run", "--set", "sample_p"], ["sample_period="]),
        (["poireau", "config", "s"], ["show"]),
        (["poireau", "top", "READ"], ["README.md"]),
        (["poireau", "top", "--trace", "tests/poi"], ["tests/poireau"]),
        (["poireau", "run", "--", "ls", "CMakeL"], ["CMakeLists.txt"]),
        (["poireau", "completion", "z"], ["zsh"]),
        (["poireau", "nothing", ""], []),
    ],
    ids=lambda each: " ".join(each),
)
def test_words_are_completed_by_what_the_parser_takes(words: Sequence[str], expected: list[str]) -> None:
    assert completed(*words) == expected


def test_every_verb_and_every_option_of_it_is_offered() -> None:
    assert set(commands.NAMES) <= set(completed("poireau", ""))
    for verb in grammar.verbs():
        for each in verb.below or (verb,):
            assert completed("poireau", *each.name.split(), "-") == [flag for w in each.options for flag in w.flags]


def test_a_pid_is_one_of_those_that_listen() -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0poireau/0/1234567/89")
        listener.listen()
        for words in (["ctl"], ["attach"], ["top"], ["config", "show"]):
            assert "1234567" in completed("poireau", *words, "123")


def test_programs_are_completed_behind_two_dashes() -> None:
    assert "bash" in completed("poireau", "run", "--", "bas")


def test_the_other_shells_get_every_verb_and_option() -> None:
    for shell in ("zsh", "fish"):
        text = script(shell)
        for verb in grammar.verbs():
            for flag in (flag for each in verb.below or (verb,) for word in each.options for flag in word.flags):
                assert (flag if shell == "zsh" else f"-l {flag[2:]}" if flag[1] == "-" else f"-s {flag[1:]}") in text
            assert verb.name in text


def test_a_shell_that_we_do_not_know_is_wrong_use() -> None:
    assert cli.main(["completion", "csh"]) == 2
