"""What every report opens with: whose heap it is, when, what the answer has cost, and how much it can have missed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from poireau.estimate import unseen_bytes
from poireau.model import Heap
from poireau.selection import Selection, clock
from poireau.stacks import Stacks
from poireau.text import as_size, plain

_SHOWN = 3  # programs, periods, causes
Periods = Mapping[tuple[int, bool], int]  # (period, whether it counts calls) -> samples


@dataclass(frozen=True)
class Preamble:
    programs: tuple[str, ...]  # redis-server[123], each
    hosts: tuple[str, ...]
    begin: int
    end: int
    periods: Periods
    lost: Mapping[str, int]  # why -> how much
    seconds: float  # of processor time that sampling took
    share: float  # of one processor, that is
    asked_for: int  # bytes, to the byte, as far as they were counted
    forgotten: int  # all before this time, of some process, to keep its trace small; 0: nothing
    unnamed: Mapping[str, int]  # why frames of the view have no names -> how many modules
    protected: bool = False  # every block, sampled or not, in all of them

    @classmethod
    def of(
        cls, heap: Heap, selection: Selection, periods: Periods | None = None, stacks: Stacks | None = None
    ) -> Preamble:
        """`periods` of the samples that it speaks of; `stacks` whose names it has."""
        table = heap.processes
        if selection.processes:
            table = table.loc[[number for number in selection.processes if number in table.index]]
        numbers = set(table.index.tolist())
        programs = [f"{os.path.basename(path) or '?'}[{pid}]" for path, pid in zip(table["executable"], table["pid"])]
        lost: dict[str, int] = {}
        for loss in heap.losses:
            if loss.process in numbers or loss.process not in heap.processes.index:
                lost[loss.cause] = lost.get(loss.cause, 0) + loss.count
        seconds, share = _cost(heap, numbers)
        counted = heap.counted()
        unnamed: dict[str, int] = {}
        for loss in stacks.names.missing if stacks is not None else ():
            unnamed[loss.cause] = unnamed.get(loss.cause, 0) + 1
        times = [int(time) for name in ("begin", "end") for time in table[name] if time]
        return cls(
            tuple(programs),
            tuple(dict.fromkeys(host for host in table["host"] if host)),
            max([min(times, default=0), *([selection.since] if selection.since is not None else [])]),
            min([max(times, default=0), *([selection.until] if selection.until is not None else [])]),
            dict(periods or {}),
            lost,
            seconds,
            share,
            int(counted.loc[counted["process"].isin(numbers), "bytes"].sum()),
            _forgotten(heap, numbers),
            unnamed,
            bool(len(table)) and all(options.get("protect") == "all" for options in table["options"]),
        )

    @property
    def samples(self) -> int:
        return sum(self.periods.values())

    @property
    def unseen(self) -> float:
        """Bytes; of what has less there may be no sample at all, with 5 % chance or more."""
        return max((unseen_bytes(period) for period, by_calls in self.periods if not by_calls), default=0.0)

    def lines(self) -> list[str]:
        said = [
            "; ".join([f"{self._whose()}, {_span(self.begin, self.end)}", *self._sampling()]),
        ]
        if self.lost:
            causes = sorted(self.lost.items(), key=lambda each: -each[1])
            more = f" and {len(causes) - _SHOWN} more causes" if len(causes) > _SHOWN else ""
            said.append("lost: " + ", ".join(f"{plain(cause)} {count:,}" for cause, count in causes[:_SHOWN]) + more)
        if self.unnamed:
            said.append(f"without names: {'; '.join(_by_reason(self.unnamed))}")
        return said

    def _whose(self) -> str:
        count = len(self.programs)
        if count <= _SHOWN:
            return (", ".join(map(plain, self.programs)) or "no process") + (
                f", {count} processes" if count > 1 else ""
            )
        several = Counter(program.rpartition("[")[0] for program in self.programs).most_common()
        names = ", ".join(f"{n} {plain(program)}" if n > 1 else plain(program) for program, n in several[:_SHOWN])
        return f"{names}{', ...' if len(several) > _SHOWN else ''}: {count} processes"

    def _sampling(self) -> list[str]:
        often = sorted(self.periods, key=lambda period: -self.periods[period])
        how = ", ".join(dict.fromkeys(_period(*period) for period in often[:_SHOWN]))
        if len(often) > _SHOWN:  # as sample_period = auto makes them
            how = f"{_period(*min(often))} to every {_period(*max(often))}"
        exact = bool(often) and all(period <= 1 for period, _ in often)
        said = [
            ("every call" if exact else f"a sample every {how}") if often else "",
            f"{self.samples:,} sample{'s' * (self.samples != 1)}",
            "nothing lost" if not self.lost else "incomplete",
            "every block protected" if self.protected else "",
            f"what ended before {clock(self.forgotten)} is forgotten (trace_limit)" if self.forgotten else "",
            f"sampling took {100 * self.share:.{3 if self.share >= 0.995 else 2}g} % of CPU" if self.seconds else "",
            f"a stack under {as_size(self.unseen)} can be missed" if self.unseen else "",
        ]
        return [each for each in said if each]

    def as_json(self) -> dict[str, Any]:
        return {
            "processes": list(self.programs),
            "hosts": list(self.hosts),
            "begin": self.begin,
            "end": self.end,
            "periods": [
                {"period": period, "by": "calls" if by_calls else "bytes", "samples": samples}
                for (period, by_calls), samples in self.periods.items()
            ],
            "samples": self.samples,
            "lost": dict(self.lost),
            "complete": not self.lost,
            "sampling_seconds": self.seconds,
            "sampling_share": self.share,
            "requested_bytes": self.asked_for,
            "unseen_bytes": self.unseen,
            "forgotten_before": self.forgotten,
            "unnamed": dict(self.unnamed),
        }


def _by_reason(causes: Iterable[str]) -> Iterator[str]:
    """/bin/a: it is gone -> a, b and 2 more (it is gone)."""
    modules: dict[str, list[str]] = {}
    for cause in causes:
        module, colon, why = cause.rpartition(": ")
        modules.setdefault(why, []).append(os.path.basename(module) if colon else "")
    for why, names in modules.items():
        several = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        yield plain(f"{several} ({why})" if several else why)


def _forgotten(heap: Heap, numbers: set[int]) -> int:
    marks = heap.checkpoints
    shortened = set(marks.loc[marks["oldest"] > 1, "process"].tolist()) & numbers if len(marks) else set()
    counted = heap.counted()
    first = counted[counted["process"].isin(shortened)].groupby("process")["first"].min()
    return int(first.max()) if len(first) else 0


def _cost(heap: Heap, numbers: set[int]) -> tuple[float, float]:
    costs = heap.costs
    if not {"cycles", "cycles_per_second"} <= set(costs.columns):
        return 0.0, 0.0
    costs = costs[costs["process"].isin(numbers) & (costs["cycles_per_second"] > 0)]
    seconds = (costs["cycles"] / costs["cycles_per_second"]).to_numpy(np.float64)
    lasted = heap.processes.loc[costs["process"], ["begin", "end"]].to_numpy(np.float64)
    whole = float((lasted[:, 1] - lasted[:, 0]).sum() / 1e9)
    return float(seconds.sum()), float(seconds.sum()) / whole if whole > 0 else 0.0


def _period(period: int, by_calls: bool) -> str:
    return "call" if period <= 1 else f"{period:,} calls" if by_calls else as_size(period)


def _span(begin: int, end: int) -> str:
    """With dates where it began on another day than it ended, or ended on another day than today."""
    long = clock(begin, True)[:10] != clock(end, True)[:10]
    return f"{clock(begin, True)} to {clock(end, long)}"
