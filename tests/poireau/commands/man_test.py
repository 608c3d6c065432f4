"""Manual pages are what groff takes without a warning, and have every option."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from poireau import cli, commands, grammar


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man") / "man1"
    assert cli.main(["man", "--all", str(directory)]) == 0
    return directory


def shown(page: Path) -> str:
    """As a terminal would have it, in one line."""
    command = ["groff", "-man", "-Tascii", "-P-cbou", "-ww", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == "", page
    return " ".join(done.stdout.split())


def test_there_is_a_page_of_everything_and_of_every_command(pages: Path) -> None:
    names = {"poireau", *(f"poireau-{name}" for name in commands.NAMES)}
    assert {page.stem for page in pages.iterdir()} == names


def test_groff_has_nothing_to_say_and_shows_every_option(pages: Path) -> None:
    whole = shown(pages / "poireau.1")
    for verb in grammar.verbs():
        assert f"poireau-{verb.name}(1)" in whole
        page = shown(pages / f"poireau-{verb.name}.1")
        for each in (verb, *verb.below):
            for word in each.options:
                assert ", ".join(word.flags) in page, (verb.name, word.flags)


def test_a_page_is_printed_alone(capsys: pytest.CaptureFixture[str], pages: Path) -> None:
    assert cli.main(["man", "top"]) == 0
    assert capsys.readouterr().out == (pages / "poireau-top.1").read_text()
