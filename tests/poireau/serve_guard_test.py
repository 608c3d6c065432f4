"""Who may ask."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from poireau import serve_guard
from poireau.errors import Failure

GOOD = "abcdefghijklmnopqrst-_01"


def test_a_token_is_new_each_time_and_long() -> None:
    made = {serve_guard.token(None) for _ in range(100)}
    assert len(made) == 100 and min(map(len, made)) >= 32


@pytest.mark.parametrize(
    ("mode", "text"), [(0o644, GOOD), (0o660, GOOD), (0o600, "short"), (0o600, GOOD + " x"), (0o600, "")]
)
def test_a_file_that_others_may_read_or_without_a_token_is_refused(tmp_path: Path, mode: int, text: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(Failure):
        serve_guard.token(file)
    with pytest.raises(Failure):
        serve_guard.token(tmp_path / "nothing")
    with pytest.raises(Failure):
        serve_guard.token(tmp_path)


def test_the_token_of_a_file_of_one_s_own_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{GOOD}\n")
    file.chmod(0o600)
    assert serve_guard.token(file) == GOOD
    assert serve_guard.is_right(GOOD, serve_guard.given({"X-Poireau-Token": GOOD}, ""))
    assert serve_guard.is_right(GOOD, serve_guard.given({"Authorization": f"Bearer {GOOD}"}, ""))
    assert serve_guard.is_right(GOOD, serve_guard.given({}, GOOD))
    for wrong in ("", GOOD[:-1], GOOD + "x", "\udcff"):
        assert not serve_guard.is_right(GOOD, wrong)


@pytest.mark.parametrize(
    ("host", "private", "ours"),
    [
        ("localhost:80", True, True), ("127.0.0.1", True, True), ("127.9.9.9:1", True, True),
        ("[::1]:6070", True, True),
        ("LOCALHOST.", True, True), ("192.168.1.2:6070", True, False), ("evil.example", True, False), ("", True, False),
        ("192.168.1.2:6070", False, True), ("[fe80::1]:6070", False, True), ("evil.example", False, False),
        (socket.gethostname(), False, True), (socket.gethostname(), True, socket.gethostname() == "localhost"),
        ("", False, False), ("127.0.0.1.evil.example", False, False),
    ],
)  # fmt: skip
def test_only_names_that_no_page_of_others_can_have_are_ours(host: str, private: bool, ours: bool) -> None:
    assert serve_guard.is_ours(host, private) is ours


@pytest.mark.parametrize(
    ("headers", "reads", "changes"),
    [
        ({}, True, False),
        ({"X-Poireau-Token": "t"}, True, True),
        ({"Origin": "http://localhost:6070"}, True, True),
        ({"Origin": "http://localhost:6071"}, False, False),
        ({"Origin": "https://localhost:6070"}, False, False),
        ({"Origin": "null", "X-Poireau-Token": "t"}, False, False),
        ({"Origin": "http://evil.example", "X-Poireau-Token": "t"}, False, False),
        ({"Sec-Fetch-Site": "cross-site"}, False, False),
        ({"Sec-Fetch-Site": "same-site", "X-Poireau-Token": "t"}, False, False),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:6070"}, True, True),
    ],
)
def test_what_changes_something_comes_from_our_page_or_from_no_page(
    headers: dict[str, str], reads: bool, changes: bool
) -> None:
    headers = {"Host": "localhost:6070", **headers}
    assert serve_guard.comes_from_us(headers, changes=False) is reads
    assert serve_guard.comes_from_us(headers, changes=True) is changes
