"""Holds the engine to what it does with answers that crawl, run away or do not fit the others, over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.enginerun import PATHS, engine_for, job, results_of, until

from batcher.exchange.timeouts import Timeouts
from batcher.failures import FailureClass
from batcher.model import Api, Kind
from batcher.options import Options
from batcher.running.exchanges import timeouts_for

if TYPE_CHECKING:
    from batcher.simulator import Simulator

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("fault", ["loop", "spaces"])
@pytest.mark.parametrize(("api", "kind"), PATHS)
async def test_a_runaway_answer_is_cut_off(
    simulator: Simulator, api: Api, kind: Kind, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked once; the connection is closed, so that the server stops; what had arrived is kept with the failure."""
    monkeypatch.setattr("batcher.exchange.guard.LOOK_EVERY", 0.0)
    work = [job(1, f"do={fault} tokens=20000", kind=kind), job(2, kind=kind)]
    async with engine_for(work, simulator.url, api=api) as engine:
        results = await results_of(engine)
    failure = results["j1"].failure
    assert failure is not None
    assert (failure.kind, failure.code) == (FailureClass.SUSPECT, "runaway")
    assert len(results["j1"].text) >= 2048
    assert (results["j1"].attempts, simulator.counts["j1"]) == (1, 1)
    assert results["j2"].ok
    await until(lambda: simulator.tally.aborted == 1)


async def test_the_guard_can_be_sent_home(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who wants a word ten thousand times gets it, with a flag."""
    monkeypatch.setattr("batcher.exchange.guard.LOOK_EVERY", 0.0)
    timeouts = timeouts_for(Options.of({"runaway": "keep"}))
    async with engine_for([job(1, "do=loop tokens=10000")], simulator.url, timeouts=timeouts) as engine:
        result = (await results_of(engine))["j1"]
    assert result.completion is not None
    assert (result.failure, result.completion.flags) == (None, ["repeats"])


async def test_an_answer_that_crawls_is_tried_again(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the least speed the connection is closed, and the job asked again: the server may be better by then."""
    monkeypatch.setattr("batcher.exchange.guard.LOOK_EVERY", 0.0)
    monkeypatch.setattr("batcher.exchange.guard.WINDOW", 0.1)
    timeouts = Timeouts(min_speed=1000.0)
    async with engine_for([job(1, "tokens=300 delay=0.02")], simulator.url, retries=1, timeouts=timeouts) as engine:
        result = (await results_of(engine))["j1"]
    assert result.failure is not None
    assert (result.failure.kind, result.failure.code) == (FailureClass.TRANSIENT, "too_slow")
    assert simulator.counts["j1"] == 2
    await until(lambda: simulator.tally.aborted == 2)


async def test_an_answer_that_takes_too_long_is_asked_for_twice(simulator: Simulator) -> None:
    """However many retries there are: a third time would take as long."""
    timeouts = Timeouts(first_token=9.0, idle=9.0, total=0.1)
    async with engine_for([job(1, "tokens=500 delay=0.01")], simulator.url, retries=9, timeouts=timeouts) as engine:
        result = (await results_of(engine))["j1"]
    assert result.failure is not None
    assert (result.failure.kind, result.failure.code) == (FailureClass.PERMANENT, "timeout_total")
    assert simulator.counts["j1"] == 2


@pytest.mark.parametrize("fault", ["zero_vector", "wrong_dims", "nan_vector", "missing_vector"])
@pytest.mark.parametrize("api", Api)
async def test_a_vector_unlike_the_others_is_no_result(simulator: Simulator, api: Api, fault: str) -> None:
    """Each call is right in itself, and yet its vector cannot be used with those of the others."""
    work = [job(n, f"do={fault}" if n == 2 else "", kind=Kind.EMBED) for n in range(4)]
    async with engine_for(work, simulator.url, api=api, limit=1, retries=1) as engine:
        results = await results_of(engine)
    assert [n for n in range(4) if not results[f"j{n}"].ok] == [2]
    failure = results["j2"].failure
    assert failure is not None
    assert (failure.kind, simulator.counts["j2"]) == (FailureClass.TRANSIENT, 2)
