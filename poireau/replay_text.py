"""What is told of replays: the time of a call, what an allocator cost, and all that was not as it was recorded."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from poireau.text import as_size, table

if TYPE_CHECKING:
    from poireau.replay import Allocator, Result


def as_json(facts: Result, runs: Mapping[Allocator, Sequence[Result]]) -> dict[str, Any]:
    told = [{"name": each.name, "recorded": each.recorded, "runs": results} for each, results in runs.items()]
    return {"schema": "poireau.replay", "version": 1, "calls": facts, "allocators": told}


def as_text(facts: Result, runs: Mapping[Allocator, Sequence[Result]]) -> Iterator[str]:
    first = next(iter(runs.values()))
    yield f"{facts['calls']} calls of {facts['threads']} thread{'s' * (facts['threads'] != 1)}, recorded in " + (
        f"{facts['nanoseconds'] / 1e9:.3g} s; at most {as_size(facts['peak_bytes'])} in {facts['peak_blocks']} "
        f"blocks alive; {len(first)} run{'s' * (len(first) != 1)} each"
    )
    yield ""
    yield from table(*_by_function(runs), right=("calls", "median", "p99", "mean"))
    yield ""
    yield from table(*_times(runs), right=_TIMES)
    yield ""
    yield from table(*_costs(facts, runs), right=_COSTS)
    yield ""
    # Lines break between classes, not in them.
    sizes = ", ".join(each.replace(" ", "\xa0") for each in _sizes(first[0]["sizes"]))
    yield from (line.replace("\xa0", " ") for line in textwrap.wrap(f"sizes asked for: {sizes}", 79))
    yield from deviations(facts, runs)


def _by_function(runs: Mapping[Allocator, Sequence[Result]]) -> tuple[list[str], list[list[str]]]:
    rows = []
    first = next(iter(runs.values()))[0]
    for index, function in enumerate(first["functions"]):
        kind = " (resize)" if function["form"] == "resize" else ""
        for number, (each, results) in enumerate(runs.items()):
            seen = [result["functions"][index] for result in results]
            times = [median(one[what] for one in seen) for what in ("median_ns", "p99_ns", "usual_mean_ns")]
            called = [(function["name"] or "not recorded") + kind, str(function["calls"])] if number == 0 else ["", ""]
            rows.append([*called, each.name, *(f"{time:.1f}" for time in times)])
    return ["function", "calls", "ns a call on", "median", "p99", "mean"], rows


_TIMES = ("ns a call", "ratio", "its range", "with slowest")
_COSTS = ("peak RSS", "of live", "faults", "CPU")


def _times(runs: Mapping[Allocator, Sequence[Result]]) -> tuple[list[str], list[list[str]]]:
    base = [_nanoseconds(result) for result in next(iter(runs.values()))]
    rows = []
    for each, results in runs.items():
        times = [_nanoseconds(result) for result in results]
        ratios = [time / before if before else 1.0 for time, before in zip(times, base)]
        rows.append(
            [
                each.name + (" (recorded)" if each.recorded else ""),
                f"{median(times):.1f}",
                f"{median(ratios):.2f}",
                f"{min(ratios):.2f}..{max(ratios):.2f}",
                f"{median(_nanoseconds(result, 'mean_ns') for result in results):.1f}",
            ]
        )
    return ["allocator", *_TIMES], rows


def _costs(facts: Result, runs: Mapping[Allocator, Sequence[Result]]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for each, results in runs.items():
        peak = median(result["peak_rss"] for result in results)
        faults = median(result["minor_faults"] + result["major_faults"] for result in results)
        cpu = median(result["user_seconds"] + result["system_seconds"] for result in results)
        told = [as_size(peak), f"{peak / max(1, facts['peak_bytes']):.2f}", f"{faults:.0f}", f"{cpu:.2f} s"]
        rows.append([each.name, *told])
    return ["allocator", *_COSTS], rows


def _nanoseconds(result: Result, which: str = "usual_mean_ns") -> float:
    """Of a call; without the slowest one in a thousand, which mostly had to wait for the processor."""
    calls = sum(each["calls"] for each in result["functions"])
    return float(sum(each["calls"] * each[which] for each in result["functions"]) / max(1, calls))


def _sizes(classes: Sequence[int]) -> Iterator[str]:
    for bits, count in enumerate(classes):
        if count:
            yield f"{count} of {as_size(bits) if bits < 2 else f'{as_size(1 << (bits - 1))}..'}"


def deviations(facts: Result, runs: Mapping[Allocator, Sequence[Result]]) -> Iterator[str]:
    """What is not as it was recorded, or was not recorded."""
    told = facts["facts"]
    if int(told.get("of_a_sample", 0)):
        yield f"not all calls were recorded: {told['of_a_sample']} of {told['births']} births are a sample of more"
    counted = {
        int(told.get("missing", 0)): "births are missing from the recording",
        facts["homeless"]: "releases of blocks whose birth was not recorded are left out",
        facts["unseen"]: "releases that were not recorded are made where their address was given out again",
        facts["late"]: "births before what is left of the recording are made where they are first told of",
        facts["misordered"]: "calls were recorded more than a millisecond late: they come where they were recorded",
    }
    yield from (f"{count} {what}" for count, what in counted.items() if count)
    said: dict[str, list[str]] = {}  # of which allocators
    for each, results in runs.items():
        for line in _deviations_on(results):
            said.setdefault(line, []).append(each.name)
    yield from (f"{', '.join(names) if len(names) < len(runs) else 'all'}: {line}" for line, names in said.items())


def _deviations_on(results: Sequence[Result]) -> Iterator[str]:
    instead: dict[tuple[str, str], int] = {}
    for function in results[0]["functions"]:
        if "performed_as" in function:
            key = function["name"], function["performed_as"]
            instead[key] = instead.get(key, 0) + function["calls"]
    for (name, other), count in instead.items():
        yield f"{count} calls of {name} are made as {other}"
    for what, said in (("failed", "requests are refused"), ("misaligned", "blocks are not aligned as asked for")):
        if count := median(result[what] for result in results):
            yield f"{count:.0f} {said}"
    waits, holds = (median(result[what] for result in results) for what in ("waits", "holds"))
    if waits or holds:
        seconds = median(result["waited_seconds"] for result in results)
        yield f"{waits:.0f} calls waited for another thread's ({seconds:.2g} s), {holds:.0f} for threads far behind"
    if not all(result["peak_rss_is_its_own"] for result in results):
        yield "the peak is that of the whole process: /proc/self/clear_refs can't be written"
