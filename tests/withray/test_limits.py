"""Holds limits, breakers and groups over all workers together: a server that counts says what they sent it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from withray.conftest import PATIENCE, until
from withray.test_run import results

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from withray.conftest import RayDesk

pytestmark = pytest.mark.timeout(180)
MODELS: Final = ("alpha", "beta")
EACH: Final = 60
"""Jobs of a model."""
IN_FLIGHT: Final = 4
A_SECOND: Final = 10


def test_what_holds_for_one_process_holds_for_three_workers(desk: RayDesk) -> None:
    """Each of two models is loaded once, asked at the pace of one run, and no more at once than is allowed; a server
    that goes away costs what was in flight there, and is gone on with when it is back.
    """
    names = [(model, f"{model}-{n}") for n in range(EACH) for model in MODELS]
    desk.write(
        "jobs.jsonl", *({"id": name, "model": model, "prompt": f"[[sim id={name} tokens=2]]"} for model, name in names)
    )
    with simulator_thread(models=MODELS, max_loaded=1, load=0.5, token_delay=0.02) as sim:
        run = desk.start_aloud(
            *("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-c", str(IN_FLIGHT)),
            *("--rpm", str(60 * A_SECOND), "--engine", "ray", "--workers", "3", "--no-progress"),
        )
        until(lambda: len(desk.lines()) > EACH // 4 and len(desk.workers()) == 3, "answers by three")
        sim.kill()
        until(lambda: "waiting for" in desk.said(), "the server is missed")
        sim.revive()
        run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, desk.said()
    assert "going on after" in desk.said()
    assert set(results(desk)) == {name for _, name in names}
    assert sim.counts.total() <= len(names) + IN_FLIGHT
    assert sim.peak_in_flight <= IN_FLIGHT
    first, second = (f"{model}:latest" for model in MODELS)
    assert sim.tally.loads[first] <= 2, "once more where it was away"
    assert sim.tally.loads[second] == 1
    times = [seen.time for seen in sim.tally.log if seen.id.startswith(MODELS[1])]
    assert times[-1] - times[0] > 0.6 * (EACH / A_SECOND - 1), "a burst of a second, then evenly: a third by three runs"
