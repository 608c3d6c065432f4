"""A turn of live control is taken in a request that was hit, or that only came to look: what it changes there must not
cost the sample of that request, or every change would lose one."""

from __future__ import annotations

import pytest

from tests import traces
from tests.conftest import SOAK
from tests.traces import bytes_asked_for

PERIOD, SIZE = 4 << 20, 1000
STOPS = {
    "disarm": ('{"do":"arm"}', '{"do":"disarm"}'),
    "period": (
        f'{{"do":"set","option":"sample_period","value":"{PERIOD}"}}',
        '{"do":"set","option":"sample_period","value":"0"}',
    ),
    "callers": (
        '{"do":"set","option":"callers","value":""}',
        '{"do":"set","option":"callers","value":"PROGRAM=0"}',
    ),
}


@pytest.mark.parametrize("how", STOPS)
def test_every_period_counts_however_often_sampling_is_stopped(how, program, run_preloaded, tmp_path, seed, exercised):
    env = {
        "POIREAU_TRACE": str(tmp_path),
        "POIREAU_TRACE_LIMIT": "64MiB",
        "POIREAU_SEED": str(seed),
        "POIREAU_SAMPLE_PERIOD": str(PERIOD),
        "POIREAU_OVERHEAD_BUDGET": "off",
        "POIREAU_STACK_DEPTH": "1",
    }
    rearmed = program("rearmed.c", "-O1")
    first, last = (request.replace("PROGRAM", rearmed.name) for request in STOPS[how])
    # What comes before the first cycle is none of it: sampling begins stopped.
    env |= {"disarm": {"POIREAU_ARMED": "off"}, "period": {"POIREAU_SAMPLE_PERIOD": "0"}}.get(
        how, {"POIREAU_CALLERS": f"{rearmed.name}=0"}
    )
    done = run_preloaded([rearmed, str(1200 if SOAK else 60), first, last], env)
    assert (done.returncode, done.stderr) == (0, "")
    births = [event for event in traces.read_one(tmp_path).of("alloc") if event["size"] == SIZE]
    estimate, error = bytes_asked_for(births)
    truth = int(done.stdout)
    exercised.add("sampling stopped", f"by {how}: {estimate / truth:.3f} of the truth, {error / truth:.3f} expected")
    assert abs(estimate - truth) <= 6 * error, (estimate, truth, error)
