from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from poireau import leak_lives, leaks
from poireau.errors import Failure
from poireau.leaks import Leaks, Verdict, find
from poireau.model import Heap
from poireau.preamble import Preamble
from poireau.reached import INDIRECT, LOST, ONCE, REACHED, Reached
from poireau.report.leaks import lines
from poireau.report.leaks_document import document
from poireau.selection import Selection
from poireau.suppressions import Rule, Suppressions
from tests.poireau.histories import BEGIN, SECOND, History, heap_of
from tests.poireau.leak_shapes import HONEST, HOUR, LEAKS, Blocks, Columns, heap_of_shapes

SITE = "malloc;f@f.c:1;main@m.c:9"


def grown(count: int = 100, every: float = 1.0, **more: Any) -> list[dict[str, Any]]:
    return [
        {"size": 1000, "period": 65536, "stack": SITE, "born": int(number * every * SECOND), **more}
        for number in range(count)
    ]


def text(heap: Heap, answer: Leaks, **how: Any) -> str:
    preamble = Preamble.of(heap, answer.selection, answer.periods, answer.stacks)
    return "\n".join(lines(document(heap, answer, preamble), preamble.lines(), **how))


def verdicts(answer: Leaks) -> dict[str, str]:
    return dict(zip(answer.table["function"], answer.table["verdict"]))


@pytest.mark.parametrize("name", [name for name in LEAKS if name != "bursty"])
def test_each_shape_of_leak_is_called_one_at_its_rate(seed: int, name: str) -> None:
    heap, truth = heap_of_shapes([LEAKS[name]], seed, each=20, period=8192)
    table = find(heap).table
    table = table[table["function"].isin(truth)]
    right = table["function"].map(truth)
    assert (table["verdict"] == Verdict.LEAK.value).mean() >= 0.8
    # 95 %: at 6 sigma, of 20, all but six.
    assert ((table["rate_low"] <= right) & (right <= table["rate_high"])).sum() >= len(table) - 6


@pytest.mark.parametrize("name", HONEST)
def test_no_look_alike_is_called_a_leak(seed: int, name: str) -> None:
    heap, _ = heap_of_shapes([HONEST[name]], seed, each=10, period=8192, seconds=200)
    assert not set(find(heap).table["verdict"]) & set(leaks.FOUND)


def test_the_worst_comes_first_whatever_else_grows() -> None:
    slow = [{**life, "size": 10, "stack": "slow@s.c:1;main"} for life in grown()]
    fast = [{**life, "stack": "fast@s.c:2;main"} for life in grown(400, 0.25)]
    table = find(heap_of([*slow, *fast, *grown()])).table
    assert table["function"].tolist()[:2] == ["fast", "f"] or table["function"].tolist()[0] == "fast"
    assert (np.diff(table["rate"]) <= 0).all()


def test_workers_add_up_by_site() -> None:
    lives = [{**life, "process": number % 20} for number, life in enumerate(grown(400, 0.25))]
    one, many = find(heap_of(grown(400, 0.25))), find(heap_of(lives, processes=[{}] * 20))
    assert many.table["verdict"].tolist() == ["leak"]
    assert many.table["rate"][0] == pytest.approx(one.table["rate"][0], rel=0.05)


def test_time_in_which_nothing_ran_does_not_count() -> None:
    pause = 100_000
    lives = grown(100) + [{**life, "process": 1, "born": life["born"] + pause * SECOND} for life in grown(100)]
    both = find(heap_of(lives, processes=[{}, {"time": pause * SECOND}]))
    assert both.seconds == pytest.approx(198, abs=1)
    assert both.table["rate"][0] == pytest.approx(find(heap_of(grown(100))).table["rate"][0], rel=0.05)


def test_a_window_is_all_that_is_looked_at() -> None:
    heap = heap_of([*grown(100), *({**life, "born": life["born"] + 300 * SECOND} for life in grown(100))])
    quiet = find(heap, Selection(since=BEGIN + 110 * SECOND, until=BEGIN + 290 * SECOND))
    assert verdicts(quiet) == {"f": "steady"}
    assert verdicts(find(heap, Selection(until=BEGIN + 100 * SECOND))) == {"f": "leak"}
    assert verdicts(find(heap, Selection(focus="nothing"))) == {}


def test_what_is_freed_young_does_not_hide_what_stays() -> None:
    busy = [
        {
            "size": 2000,
            "period": 65536,
            "stack": SITE,
            "born": int(n * 0.05 * SECOND),
            "died": int((n + 1) * 0.05 * SECOND),
        }
        for n in range(2000)
    ]
    alone, hidden = find(heap_of(grown())), find(heap_of([*grown(), *busy]))
    assert verdicts(hidden) == {"f": "leak"}
    assert hidden.table["rate"][0] == pytest.approx(alone.table["rate"][0], rel=0.1)
    assert hidden.older == 0.1 and "longer than 100 ms is never freed" in hidden.why_older


def test_a_fixed_age_is_taken_as_it_is() -> None:
    answer = find(heap_of(grown()), older=50 * SECOND)
    assert answer.older == 50 and answer.table["old"][0] == pytest.approx(answer.table["bytes"][0] / 2, rel=0.05)


def test_the_clock_of_a_resized_block_starts_anew() -> None:
    history = History()
    history.process()
    history.alloc(1, size=100_000, period=1, stack="realloc;f;main", time=0)
    history.resize(1, size=200_000, period=1, stack="realloc;f;main", time=90 * SECOND)
    history.alloc(2, size=1, period=1, stack="g;main", time=100 * SECOND)
    answer = find(history.heap(), older=50 * SECOND)
    assert answer.table.set_index("function")["old"]["f"] == 0


def test_a_block_that_is_resized_for_ever_leaks_as_fast_as_it_grows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    born = np.arange(0.0, 300, 0.5)
    source = Columns()
    source.process()
    blocks = Blocks(born, np.append(born[1:], np.inf), 65536.0 * np.arange(1, 601), chained=True)
    source.site("realloc;f@f.c:1;main", blocks, rng, 524288)
    row = find(source.heap()).table.iloc[0]
    assert row["verdict"] == "leak" and row["rate"] == pytest.approx(2 * 65536 * HOUR, rel=0.05)


@pytest.mark.parametrize("number", range(5))
def test_a_few_samples_at_the_start_accuse_nobody(number: int) -> None:
    lives = [{**life, "born": int(at * SECOND)} for life, at in zip(grown(9), (0.17, 0.62, 1.3, 4.2, 9.0))][:number]
    end = {"size": 1, "period": 1, "stack": "g;main", "born": 14 * SECOND}
    assert not len(find(heap_of([*lives, end])).found)


def test_in_a_start_there_is_no_leak_yet() -> None:
    for every, early in ((3e-5, True), (0.045, True), (0.2, False), (3.0, False)):
        heap = heap_of(grown(100, every))
        answer = find(heap)
        said = text(heap, answer, why=False)
        assert bool(answer.too_early) == early and verdicts(answer) == {"f": "growing" if early else "leak"}
        assert ("/h" in said) != early and ("that takes 5 s and more" in said) == early


def test_what_grows_and_is_reachable_is_said_to_be() -> None:
    heap = heap_of(grown())
    live = heap.live()
    scan = Reached.of(live["process"], live["id"], [REACHED] * len(live))
    row = find(heap, reached=scan).table.iloc[0]
    assert row["verdict"] == "leak" and "an unbounded cache or data, not lost memory" in row["reason"]


def test_what_was_seen_exactly_at_first_may_have_grown_unseen_since() -> None:
    """As with sample_period = auto."""
    early = [{"size": 1000, "period": 1, "stack": SITE, "born": n} for n in range(100)]
    for period, unseen in ((1 << 19, True), (1, False)):
        late = [{**life, "period": period, "stack": "g;main"} for life in grown()]
        answer = find(heap_of([*early, *late]), Selection(since=BEGIN + SECOND))
        row = answer.table.set_index("function").loc["f"]
        assert row["rate"] == 0 and (row["rate_high"] * answer.seconds / HOUR > 1 << 19) == unseen


def test_bursts_make_less_sure_than_a_steady_flow_of_as_much(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steady = np.arange(0.0, 320, 0.2)
    bursts = np.repeat(np.sort(rng.uniform(0, 320, 16)), 100)
    widths = []
    for times in (steady, bursts):
        heap = heap_of([{"size": 4096, "period": 65536, "stack": SITE, "born": int(t * SECOND)} for t in times])
        row = find(heap).table.iloc[0]
        widths.append(row["rate_high"] - row["rate_low"])
    assert widths[1] > 3 * widths[0]


def test_of_many_sites_that_only_come_and_go_none_leaks(seed: int) -> None:
    heap, _ = heap_of_shapes([HONEST["busy"]], seed, each=150, period=32768, seconds=60)
    assert not set(find(heap).table["verdict"]) & set(leaks.FOUND)


@pytest.mark.parametrize(
    ("state", "verdict"), [(LOST, "lost"), (INDIRECT, "lost"), (ONCE, "likely"), (REACHED, "steady")]
)
def test_what_nothing_points_at_is_lost_though_it_does_not_grow(state: int, verdict: str) -> None:
    heap = heap_of(
        [{"size": 5000, "period": 1, "stack": SITE, "born": 3}, {**grown(1)[0], "stack": "g;main", "born": 60 * SECOND}]
    )
    live = heap.live()
    scan = Reached.of(live["process"], live["id"], [state if born == BEGIN + 3 else REACHED for born in live["born"]])
    answer = find(heap, reached=scan)
    row = answer.table[answer.table["function"] == "f"].iloc[0]
    assert (row["looked_at"], row["unreachable"]) == (1, int(state != REACHED)) and row["verdict"] == verdict
    if verdict == "lost":
        said = text(heap, answer)
        assert "0 of 1 objects reachable" in said and "nothing points" not in said  # once is enough


def test_what_is_known_is_told_by_number_only() -> None:
    heap = heap_of(grown())
    rules = Suppressions((Rule("leak", "f", "file:1"), Rule("leak", "other", "file:2")))
    answer = find(heap, known=rules)
    assert answer.table["known"].tolist() == ["leak:f"] and not len(answer.found)
    said = text(heap, answer)
    assert "no leak found, 1 more known" in said and "f.c:1 grows" not in said


def test_a_report_tells_line_rate_verdict_and_who_frees_the_others() -> None:
    freed = [
        {
            "size": 1000, "period": 65536, "stack": SITE, "born": n * SECOND, "died": n * SECOND + SECOND * 6 // 5,
            "free_stack": "free;reap@session.cc:88;main", "free_thread": 7,
        }
        for n in range(100)
    ]  # fmt: skip
    heap = heap_of([*grown(), *freed], threads={1: "main", 7: "reaper"})
    answer = find(heap)
    said = text(heap, answer, why=True)
    assert "f.c:1 grows " in said and "MiB/h, holds " in said and "leak  " in said
    assert "freed by session.cc:88 (100 %) on thread reaper after 1.2 s (median of 100" in said
    assert "100 % on another thread" in said and "asked for by thread main" in said
    assert "main  m.c:9" in said


def test_names_reach_the_terminal_as_plain_text() -> None:
    heap = heap_of([{**life, "stack": "e\x1b[31mvil@x\x07.c:1;main\x9b"} for life in grown()])
    said = text(heap, find(heap), why=True)
    assert "\x1b" not in said and "\x07" not in said and "\x9b" not in said


@pytest.mark.parametrize("by", leaks.BYS)
def test_rows_are_lines_functions_or_stacks(by: str) -> None:
    lives = [{**life, "stack": f"f@f.c:{n % 2 + 1};main@m.c:{n % 4}"} for n, life in enumerate(grown(200))]
    assert len(find(heap_of(lives), by=by).table) == {"line": 2, "function": 1, "stack": 4}[by]


ODD = {
    "no events": [],
    "one sample": grown(1),
    "one instant": [{**life, "born": 5} for life in grown()],
    "no stack": [{**life, "stack": ""} for life in grown()],
    "by calls": [{**life, "by_calls": 1, "period": 10} for life in grown()],
    "of no bytes": [{**life, "size": 0} for life in grown()],
    "absurd sizes": [{**life, "size": 2**64 - 1} for life in grown()],
    "every call": [{**life, "period": 1} for life in grown()],
    "clock set back": [{**life, "died": max(0, life["born"] - 50 * SECOND)} for life in grown()],
    "from the future": [*grown(), {**grown(1)[0], "born": 10**8 * SECOND}],
    "known late": [{**life, "late": True} for life in grown()],
}


@pytest.mark.parametrize("what", ODD)
@pytest.mark.filterwarnings("error")
def test_whatever_comes_makes_a_report(what: str) -> None:
    heap = heap_of(ODD[what])
    for selection in (Selection(), Selection(since=BEGIN + 10, until=BEGIN + 11), Selection(since=1, until=2)):
        answer = find(heap, selection)
        assert text(heap, answer, why=True, limit=0)
        assert (answer.table["rate_low"] <= answer.table["rate_high"]).all()


def test_a_by_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(Failure, match="line, function, stack"):
        find(heap_of(grown()), by="thread")


def test_of_very_many_lives_some_stand_for_all(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    heap, _ = heap_of_shapes([HONEST["busy"], LEAKS["cache"]], seed, each=5, period=4096)
    whole = find(heap)
    monkeypatch.setattr(leak_lives, "MOST", 5000)
    some = find(heap)
    assert whole.lives is not None and some.lives is not None and len(some.lives) < len(whole.lives) / 4
    assert verdicts(some) == verdicts(whole)
    assert some.table["rate"].sum() == pytest.approx(whole.table["rate"].sum(), rel=0.02)
    assert some.lives.bytes.sum() == pytest.approx(whole.lives.bytes.sum(), rel=0.2)


def test_what_a_process_frees_as_it_ends_was_there_before(seed: int) -> None:
    rng = np.random.default_rng(seed)
    end = {"died": 100 * SECOND}
    tidy = [{**life, **end} for life in grown()]
    answer = find(heap_of([*tidy, *({**life, "born": life["born"] + int(rng.integers(9))} for life in tidy)]))
    assert verdicts(answer) == {"f": "leak"} and "as it ended" in answer.notes[0]
    # Half of it is not enough, nor is what comes and goes.
    half = find(heap_of([*tidy, *grown(150, 0.6)]))
    churn = find(heap_of([{**life, "died": life["born"] + SECOND} for life in grown()]))
    assert not half.notes and not churn.notes


def test_no_finding_has_an_interval_that_holds_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    lives = [
        {"size": 1000, "period": 1 << 19, "stack": f"f{n % 60};main", "born": int(rng.integers(3 * SECOND))}
        for n in range(400)
    ]
    table = find(heap_of(lives)).table
    found = table[table["verdict"].isin([*leaks.FOUND, Verdict.GROWING.value])]
    assert (found["rate_low"] > 0).all() and not (table["verdict"] == "leak").any()  # three seconds are too few
