"""The shell's parts: lines, what sticks, completion, heaps that stay open, Python, history, and what a watch counts."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import stat
from pathlib import Path

import numpy as np
import pytest

from poireau import diff, shell_growth, shell_line, shell_page, shell_state
from poireau.errors import Failure
from poireau.selection import Selection
from poireau.shell_completion import World, candidates
from poireau.shell_growth import Watched
from poireau.shell_line import Line
from poireau.shell_prompt import MOST_HISTORY, history_of
from poireau.shell_python import is_python
from poireau.shell_session import Quit, Session
from poireau.shell_state import State
from tests.poireau.histories import BEGIN, SECOND, History


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("top --by line", Line(("top", "--by", "line"))),
        ("top --focus a|b", Line(("top", "--focus", "a|b"))),
        ("top --focus 'a |b' | head -1", Line(("top", "--focus", "a |b"), pipe="head -1")),
        ("top |head", Line(("top",), pipe="head")),
        ("ps|head -2", Line(("ps",), pipe="head -2")),
        ("top > 'a b'", Line(("top",), file="a b")),
        ("top >>x", Line(("top",), file="x", append=True)),
        (r"top --focus a\|b", Line(("top", "--focus", "a|b"))),
        ("top # who has most | head", Line(("top",))),
        ("run -- ./server --port 1 &", Line(("run", "--", "./server", "--port", "1"), background=True)),
        ("run -- ./server > log &", Line(("run", "--", "./server"), file="log", background=True)),
    ],
)
def test_a_line_is_words_and_where_they_print_to(text: str, line: Line) -> None:
    assert shell_line.parse(text) == line


@pytest.mark.parametrize("text", ["top 'a", "top |", "top > ", "top > a b", 'top "', "top \\"])
def test_a_line_that_is_not_finished_is_refused(text: str) -> None:
    with pytest.raises(Failure) as refused:
        shell_line.parse(text)
    assert len(str(refused.value).splitlines()) == 1


def test_any_line_is_parsed_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(3000):
        text = "".join(rng.choices("ab '\"\\|>#&-=\u00e9\x1b", k=rng.randrange(12)))
        with contextlib.suppress(Failure):
            shell_line.parse(text)


def namespace(**more: object) -> argparse.Namespace:
    nothing = {"targets": [], "trace": None, "focus": "", "ignore": "", "process": [], "since": None, "until": None}
    return argparse.Namespace(**{**nothing, **more})


def test_what_sticks_goes_where_the_line_says_nothing() -> None:
    state = State(targets=("/a",)).with_("focus", "x|y").with_("process", "7, 8").with_("since", "5m")
    plain = namespace(thread=[])
    shell_state.apply(state, plain, set())
    assert (plain.targets, plain.focus, plain.process, plain.since, plain.until, plain.thread) == (
        ["/a"], "x|y", ["7", "8"], "5m", None, [],
    )  # fmt: skip
    said = namespace(targets=["/b"], focus="", process=["9"])
    shell_state.apply(state, said, {"focus", "process", "until"})
    assert (said.targets, said.focus, said.process, said.since) == (["/b"], "", ["9"], None)
    without = argparse.Namespace(pid=3)
    shell_state.apply(state, without, set())
    assert vars(without) == {"pid": 3}


def test_a_moment_and_a_window_exclude_each_other() -> None:
    state = State().with_("since", "5m").with_("until", "1m").with_("at", "13:05")
    assert state.said() == ["at 13:05"]
    assert state.with_("since", "5m").said() == ["since 5m"]
    in_use, peak = namespace(at=None, what="in-use"), namespace(at=None, what="peak")
    for each in (in_use, peak):
        shell_state.apply(state, each, set())
    assert (in_use.at, in_use.until, peak.at, peak.until) == ("13:05", None, None, "13:05")
    for name, text in (("since", "soon"), ("focus", "("), ("at", "25:99")):
        with pytest.raises(Failure):
            state.with_(name, text)


WORLD = World(
    targets=lambda: [("/runs/one", "server[12]")],
    pids=lambda: [("12", "server"), ("13", "a\x1b[31m")],
    options=lambda: [("sample_period", "Mean bytes"), ("stack_depth", "Most frames")],
    functions=lambda: ["store::keep", "main"],
    columns=lambda: ["bytes", "bytes_low", "count"],
)


@pytest.mark.parametrize(
    ("line", "word", "has", "lacks"),
    [
        ("le", "le", "leaks", "top"),
        ("", "", "focus", "--by"),
        ("top --b", "--b", "--by", "--what"),
        ("top --by l", "l", "line", "function"),
        ("top --what=res", "--what=res", "--what=resident", "--what=peak"),
        ("top /ru", "/ru", "/runs/one", "top"),
        ("use ne", "ne", "newest", "12"),
        ("focus kee", "kee", "store::keep", "main"),
        ("top --focus sto", "sto", "store::keep", "main"),
        ("set sam", "sam", "sample_period", "stack_depth"),
        ("ctl 1", "1", "12", "set"),
        ("ctl 12 se", "se", "set", "get"),
        ("ctl 12 set st", "st", "stack_depth", "sample_period"),
        ("help wa", "wa", "watch", "leaks"),
        ("watch leaks --ol", "--ol", "--older", "--by"),
        ("watch lea", "lea", "leaks", "top"),
        ("clear fo", "fo", "focus", "since"),
        ("df.by", "by", "bytes_low", "count"),
        ("df.query('bytes > 1').sort_values('co", "'co", "", "count"),
        ("top > /et", "/et", "/etc/", "/usr/"),
    ],
)
def test_a_line_is_completed_by_what_may_come(line: str, word: str, has: str, lacks: str) -> None:
    got, found = candidates(line, WORLD)
    texts = {each.text for each in found}
    assert lacks not in texts
    if has:
        assert got == word and has in texts, texts
    assert all("\x1b" not in each.told for each in found)


def test_completion_never_fails(seed: int) -> None:
    rng = random.Random(seed)
    words = "top ctl set 12 --by --focus -o = | > ' df. use watch -- ! ps".split()
    for _ in range(60):
        candidates(" ".join(rng.choices(words, k=rng.randrange(6))), WORLD)


def said(session: Session, *lines: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        for line in lines:
            session.obey(line)
    return out.getvalue(), err.getvalue()


def test_python_is_told_from_commands_and_goes_on() -> None:
    lines = "df", "df.head()", "df['a']", "heap.live()", "=1", "= x + 1", "pd.DataFrame()", "df = 3", "df > 3"
    assert all(map(is_python, lines))
    assert not any(map(is_python, ("diff a b", "dfx", "top", "heaps", "focus df", "py x")))
    session = Session()
    lines = "py x = 41", "=x + 1", "=_ + 1", "py None", "=sum(i for i in range(x))", "=pd.Series([1]).sum()"
    out, err = said(session, *lines)
    assert (out.split(), err) == (["42", "43", "820", "1"], "")
    for wrong in ("=1/0", "=", "=(", "py exit()", "=nobody", "py import no_such", "py"):
        out, err = said(session, wrong)
        assert session.status and (out, len(err.splitlines())) == ("", 1) and err.startswith("poireau: "), (wrong, err)
    out, err = said(session, "='\\x1b[31m'")
    assert out == "\\x1b[31m\n"


def test_what_goes_wrong_is_a_line_and_a_status() -> None:
    session = Session()
    wrong = "nonsense", "use /no/such", "focus (", "clear nothing", "top /no/such", "top > /no/such/file", "help no"
    for line in (*wrong, "set sample_period 1 /no", "top &", "use 999999999"):
        out, err = said(session, line)
        assert session.status and (out, len(err.splitlines())) == ("", 1), (line, out, err)
    assert said(session, "", "# top", "!exit 3") == ("", "") and session.status == 3
    with pytest.raises(Quit):
        session.obey("quit")


def test_every_command_has_help_and_an_example() -> None:
    session = Session()
    out, err = said(session, "help")
    assert not err
    from poireau import commands, shell_help

    for name in commands.NAMES:
        assert f"\n  {name} " in out
    assert set(shell_help.EXAMPLES) >= set(commands.EVERYDAY)
    assert "for example: focus parse_" in said(session, "help focus")[0]


def test_history_is_private_bounded_and_may_be_impossible(tmp_path: Path) -> None:
    class Environment(dict[str, str]):
        pass

    place = tmp_path / "poireau" / "history"
    history = history_of(Environment(XDG_STATE_HOME=str(tmp_path)))  # type: ignore[arg-type]
    history.append_string("top")
    history.append_string(" secret")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600 and stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert "top" in place.read_text() and "secret" not in place.read_text()
    with place.open("ab") as file:
        file.write(b"\n# 2026-01-01\n+older\n\xff" * (MOST_HISTORY // 16))
        file.write(b"\n# 2026-01-02\n+newest\n")
    history = history_of(Environment(XDG_STATE_HOME=str(tmp_path)))  # type: ignore[arg-type]
    assert place.stat().st_size <= MOST_HISTORY and stat.S_IMODE(place.stat().st_mode) == 0o600
    assert next(iter(history.load_history_strings())) == "newest"
    os.remove(place)
    place.mkdir()
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        history_of(Environment(XDG_STATE_HOME=str(tmp_path))).append_string("x")  # type: ignore[arg-type]
    assert said.getvalue().startswith("poireau: what is typed is not kept: ")


def following(seed: int) -> tuple[History, random.Random]:
    history = History()
    history.following = True
    history.process(pid=12)
    return history, random.Random(seed)


def some_events(
    history: History, rng: random.Random, alive: dict[int, str], since: int, until: int, first: int
) -> None:
    for number, time in enumerate(np.linspace(since, until - 1, 400).astype(int).tolist()):
        if alive and rng.random() < 0.4:
            history.free(_some(rng, alive), time=time)
        else:
            stack = rng.choice(["a;main", "b;main", "c;main"])
            alive[first + number] = stack
            history.alloc(first + number, size=rng.randrange(1, 5000), period=1000, time=time, stack=stack)


def _some(rng: random.Random, alive: dict[int, str]) -> int:
    chosen = rng.choice(list(alive))
    del alive[chosen]
    return chosen


def test_growth_is_the_difference_of_the_moments(seed: int) -> None:
    """What is counted look by look is what `diff` counts of the whole trace."""
    history, rng = following(seed)
    alive: dict[int, str] = {}
    some_events(history, rng, alive, 1, SECOND, 1)
    heap = history.heap()
    heap.extend()
    heap.running = {0: True}
    watched = Watched(heap, lambda: heap.end)
    first = heap.end
    for look in range(1, 4):
        some_events(history, rng, alive, look * SECOND, (look + 1) * SECOND, look * 10_000)
        _look(watched)
    growth = watched.growth("function", Selection())
    wanted = diff.of_moments(heap, first + 1, heap.end + 1, "function").table.set_index("function")
    got = growth.table.set_index("function")
    for name in ("a", "b", "c"):
        for mine, theirs in (("growth", "change"), ("bytes", "after")):
            for end in ("", "_low", "_high"):
                assert got[mine + end][name] == pytest.approx(wanted[theirs + end][name], rel=1e-9, abs=1e-6)
    # Since everything was born in the last ten seconds of it, the rate is of all that came.
    lives = [each for each in heap.lives() if len(each)]
    came = sum(int((each["born"] > first).sum()) for each in lives)
    assert growth.rate.samples == came
    assert growth.total.samples == len(alive)


def _look(watched: Watched) -> None:
    """As it is, but for a process that is not there to be asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shell_growth.resident, "pids", lambda processes: {0: 12})
        watched.look()


def test_a_watch_keeps_what_is_alive_not_what_was(seed: int) -> None:
    history, rng = following(seed)
    alive: dict[int, str] = {}
    some_events(history, rng, alive, 1, SECOND, 1)
    heap = history.heap()
    heap.extend()
    watched = Watched(heap, lambda: heap.end)
    for look in range(1, 25):
        time = 4 * look * SECOND
        history.alloc(1_000_000 + look, size=100, period=1, time=time, stack="brief;main")
        history.free(1_000_000 + look, time=time + 10)
        _look(watched)
    assert len(watched._past) <= shell_growth.MINUTE // shell_growth.APART + 2
    assert sum(len(lives) for _, _, lives in watched._born) <= 2 * shell_growth.RECENT // SECOND
    assert len(watched.points) <= shell_growth.MOST_POINTS
    assert watched.now.time == BEGIN + 96 * SECOND + 10


@pytest.mark.parametrize(
    ("points", "drawn"), [([], ""), ([0.0, 0.0], "__"), ([1.0, 2.0, 4.0, -1.0], "-+@_"), ([5.0], "@")]
)
def test_a_sparkline_goes_from_nothing_to_the_most(points: list[float], drawn: str) -> None:
    assert shell_page.sparkline(points, shell_page.PLAIN_BARS) == drawn
