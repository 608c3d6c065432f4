"""`flame`, `stream` and `autopsy` of programs that ran under the library, and were killed."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment
from tests.e2e.top_test import asked, poireau
from tests.poireau.report.picture_data_test import data_of

Started = contextlib.AbstractContextManager[subprocess.Popen[str]]


@pytest.fixture(scope="module")
def hungry(compile_c: Callable[..., Path]) -> Path:
    return compile_c((ROOT / "tests/programs/hungry.cc").read_text(), ["-O1", "-fno-builtin"], "c++", "c++")


@pytest.fixture
def started(library: Path, hungry: Path, tmp_path: Path) -> Callable[..., Started]:
    """It has kept 9 MB twice, remembered some, and waits."""

    @contextlib.contextmanager
    def start(*steps: str) -> Iterator[subprocess.Popen[str]]:
        settings = {"POIREAU_TRACE": str(tmp_path / "traces"), "POIREAU_SAMPLE_PERIOD": "8KiB"}
        environment = clean_environment(LD_PRELOAD=str(library), POIREAU_OVERHEAD_BUDGET="off", **settings)
        pipe = subprocess.PIPE
        with subprocess.Popen([hungry], env=environment, stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
            assert process.stdin and process.stdout
            for step in steps or ("keep", "remember", "keep"):
                process.stdin.write(f"{step}\n")
                assert process.stdout.readline() == "done\n"
                time.sleep(0.05)
            try:
                yield process
            finally:
                process.kill()

    return start


@pytest.fixture
def killed(started: Callable[..., Started], tmp_path: Path) -> Path:
    with started() as process:
        process.kill()
    return tmp_path / "traces"


def test_pictures_have_the_form_that_their_name_says(killed: Path, tmp_path: Path) -> None:
    begins = {"html": b"<!doctype html>", "png": b"\x89PNG", "pdf": b"%PDF"}
    others = {"flame": {"folded": b"", "svg": b"<svg"}, "stream": {"csv": b"time,band,bytes", "svg": b"<?xml"}}
    for verb, own in others.items():
        for form, begin in {**begins, **own}.items():
            picture = tmp_path / f"{verb}.{form}"
            done = poireau(verb, killed, "-o", picture)
            assert picture.read_bytes().startswith(begin)
            assert re.fullmatch(rf"{picture}: [\d.]+\w+\n", done.stderr)
    assert b"store::keep" in (tmp_path / "flame.folded").read_bytes()
    for verb in ("flame", "stream"):
        assert "store::keep" in (tmp_path / f"{verb}.svg").read_text()
        about = data_of((tmp_path / f"{verb}.html").read_bytes())
        assert "store::keep(unsigned long)" in about.get("picture", about)["names"]


def test_a_picture_without_a_name_is_called_after_its_program_and_one_that_is_there_stays(
    killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for verb in ("flame", "stream"):
        said = poireau(verb, killed).stderr
        name = re.fullmatch(rf"({verb}-program\d+-\d+\.html): \S+\n", said)
        assert name is not None and (tmp_path / name[1]).is_file(), said
        assert "is there already; -f replaces it" in poireau(verb, killed, status=2).stderr
        poireau(verb, killed, "-f")


def test_json_has_the_figures_of_the_picture(killed: Path) -> None:
    flame = asked("flame", killed)
    assert flame["schema"] == "poireau.flame"
    keep = next(node for node in flame["nodes"] if node["function"].startswith("store::keep"))
    assert keep["bytes"]["value"] == pytest.approx(18e6, rel=0.2)
    stream = asked("stream", killed, "--by", "function")
    band = next(band for band in stream["bands"] if band["name"].startswith("store::keep"))
    for name in ("value", "ci95", "n"):
        assert band["bytes"][-1][name] == pytest.approx(keep["bytes"][name], rel=1e-6)
    assert len(band["bytes"]) == len(stream["times"]) == len(stream["total"])


def test_folded_stacks_are_drawn_and_what_makes_no_sense_is_told_in_a_line(killed: Path, tmp_path: Path) -> None:
    poireau("flame", killed, "-o", tmp_path / "a.folded")
    poireau("flame", "--from-folded", tmp_path / "a.folded", "-o", tmp_path / "a.svg")
    assert "store::keep(unsigned long)" in (tmp_path / "a.svg").read_text()
    poireau("flame", "--from-folded", tmp_path / "a.folded", "--inverted", "-o", tmp_path / "a.html")
    assert data_of((tmp_path / "a.html").read_bytes())["inverted"]
    for wrong in (
        ("flame", killed, "-o", tmp_path / "a.jpeg"),
        ("flame", killed, "--what", "leaked", "-o", tmp_path / "a.png"),
        ("flame", killed, "--diff", killed, "-o", tmp_path / "a.png"),
        ("flame", killed, "--from", "1s", "--since", "2s"),
        ("stream", killed, "-o", tmp_path / "a.folded"),
        ("flame", killed, "--at", "1s", "--since", "2s"),
        ("flame", "--from-folded", tmp_path / "nowhere", "-o", tmp_path / "b.svg"),
        ("flame", killed, "--from-folded", tmp_path / "a.folded"),
        ("flame", killed, "--focus", "("),
        ("stream", killed, "--bands", "many"),
    ):
        done = poireau(*wrong, status=2)
        assert len(done.stderr.splitlines()) == 1 or "usage:" in done.stderr
        assert done.stdout == ""


def test_a_page_of_what_has_changed(killed: Path, tmp_path: Path) -> None:
    poireau("flame", killed, "--diff", killed, "-o", tmp_path / "same.html")
    change = data_of((tmp_path / "same.html").read_bytes())["change"]
    assert set(change["value"]) == {0} and not any(change["significant"])
    poireau("flame", killed, "--from", "+40ms", "-o", tmp_path / "grown.html")
    change = data_of((tmp_path / "grown.html").read_bytes())["change"]
    assert change["value"][0] > 5e6 and change["significant"][0]


def test_a_redacted_picture_names_nobody(killed: Path, tmp_path: Path) -> None:
    def names(text: str) -> bool:
        return "store" in text or "hungry" in text or "program" in text.replace("in memory", "")

    for verb, more in (("flame", []), ("stream", []), ("flame", ["--diff", str(killed)])):
        poireau(verb, killed, *more, "--redact", "-f", "-o", tmp_path / f"{verb}.html")
        page = (tmp_path / f"{verb}.html").read_bytes()
        assert not names(json.dumps(data_of(page)))
        assert not names(page.split(b"<title>")[1].split(b"</title>")[0].decode())
        if more:
            assert not any(data_of(page)["change"]["significant"])  # both have the same pseudonyms
            continue
        poireau(verb, killed, "--redact", "-o", tmp_path / f"{verb}.svg")
        assert not names((tmp_path / f"{verb}.svg").read_text())


def test_autopsy_tells_what_the_killed_had(killed: Path) -> None:
    found = asked("autopsy", killed)
    assert (found["schema"], found["version"]) == ("poireau.autopsy", 1)
    assert found["end"]["how"] == "cut short"
    assert found["end"]["evidence"]
    first = found["in_use"]["rows"][0]
    assert first["function"] == "store::keep(unsigned long)"
    low, high = first["bytes"]["ci95"]
    assert low * 0.9 < 18e6 < high * 1.1
    assert found["rss"]["total"] is None
    assert found["rss"]["parts"][0]["bytes"]["value"] == pytest.approx(found["in_use"]["bytes"]["value"])
    assert found["grown"][0]["rows"][0]["function"].startswith("store::keep")
    text = poireau("autopsy", killed).stdout
    for said in ("it was cut short", "in use at the end", "store::keep", "memory errors: none"):
        assert said in text


def test_autopsy_of_one_that_runs_shows_where_its_rss_went(started: Callable[..., Started], tmp_path: Path) -> None:
    with started("keep", "keep") as process:
        found = asked("autopsy", process.pid, POIREAU_TRACE=str(tmp_path / "traces"))
        text = poireau("autopsy", process.pid, POIREAU_TRACE=str(tmp_path / "traces")).stdout
    assert found["end"]["how"] == "runs"
    parts = {part["kind"]: part["bytes"]["value"] for part in found["rss"]["parts"]}
    assert set(parts) == {"heap", "slack", "files", "shared", "stacks", "ours"}
    assert sum(parts.values()) == pytest.approx(found["rss"]["total"], rel=0.3)
    # Of each block of 9000 bytes the page that malloc writes its sizes to is in memory.
    assert parts["heap"] <= 19e6
    assert parts["ours"] > 0
    assert "█" in text and "it still runs" in text


def test_how_it_ended_is_told_as_far_as_it_can_be(started: Callable[..., Started], tmp_path: Path) -> None:
    with started() as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0
    assert asked("autopsy", tmp_path / "traces")["end"]["how"] == "exit"
    with started() as process:
        process.send_signal(signal.SIGABRT)
        assert process.wait() == -signal.SIGABRT
    end = asked("autopsy", process.pid, "--trace", tmp_path / "traces")["end"]
    assert end["how"] == "cut short"


def test_autopsy_is_about_the_largest_of_several(started: Callable[..., Started], tmp_path: Path) -> None:
    pids = []
    for steps in (("churn",), ("keep", "keep"), ("remember",)):
        with started(*steps) as process:
            pids.append(process.pid)
    found = asked("autopsy", tmp_path / "traces")
    assert found["others"] == 2
    assert found["of"][0]["processes"][0].endswith(f"[{pids[1]}]")
    other = asked("autopsy", tmp_path / "traces", "--process", pids[2])
    assert (other["others"], other["of"][0]["processes"][0].endswith(f"[{pids[2]}]")) == (0, True)


def test_an_autopsy_of_nothing_is_one_line(tmp_path: Path) -> None:
    done = poireau("autopsy", "--trace", tmp_path, status=2)
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
