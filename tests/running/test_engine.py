"""Holds the engine, over real sockets, to whole answers, full slots and a clean end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest
from support.enginerun import PATHS, engine_for, job, results_of, until

from batcher.model import Api, Kind
from batcher.simulator import text, vector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.model import Job
    from batcher.simulator import Simulator

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("api", "kind"), PATHS)
async def test_answers_arrive_whole(simulator: Simulator, api: Api, kind: Kind, *, stream: bool) -> None:
    """Each job gets the answer to its own prompt, sent once, with its times and proof."""
    async with engine_for([job(n, kind=kind) for n in range(20)], simulator.url, api=api, stream=stream) as engine:
        results = await results_of(engine)
    assert {name: result.text for name, result in results.items()} == {f"j{n}": text(f"j{n}") for n in range(20)}
    for result in results.values():
        assert (result.ok, result.attempts, simulator.counts[result.id]) == (True, 1, 1)
        assert result.completion is not None
        assert result.completion.proof
        assert result.timing is not None
        assert (result.timing.ttft is not None) is stream


@pytest.mark.usefixtures("_no_trial")
async def test_exactly_as_many_in_flight_as_allowed(simulator: Simulator) -> None:
    """With five slots the server sees five requests at once: never six, and all five are used."""
    async with engine_for([job(n, "tokens=3 delay=0.004") for n in range(40)], simulator.url, limit=5) as engine:
        results = await results_of(engine)
    assert len(results) == 40
    assert simulator.peak_in_flight == 5
    assert simulator.tally.connections == 5


async def test_a_slow_reader_holds_the_workers_back(simulator: Simulator) -> None:
    """Each worker is ahead by one result that was not taken and no more, and nothing is lost for it."""
    limit, seen = 4, 0
    async with engine_for([job(n, "tokens=1") for n in range(200)], simulator.url, limit=limit) as engine:
        async for batch in engine.batches():
            if not seen:
                await anyio.sleep(0.5)  # time enough for all of them
                assert sum(simulator.counts.values()) <= len(batch) + limit
            seen += len(batch)
    assert seen == 200


async def test_nobody_sends_after_an_error(simulator: Simulator) -> None:
    """When whoever takes the results cannot keep them, no request is made beyond those in flight."""
    limit = 4

    async def take_and_fail() -> None:
        async with engine_for([job(n, "tokens=1") for n in range(40)], simulator.url, limit=limit) as engine:
            async for _ in engine.batches():
                raise OSError

    with pytest.raises(ExceptionGroup) as caught:
        await take_and_fail()
    assert caught.group_contains(OSError)
    await until(lambda: simulator.tally.in_flight == 0)
    assert sum(simulator.counts.values()) <= limit


async def test_packs_give_each_job_its_own_vector(simulator: Simulator) -> None:
    """Thirty inputs in packs of eight come back as thirty results, each with the vector of its text."""
    work = [job(n, kind=Kind.EMBED) for n in range(30)]
    for api in (Api.NATIVE, Api.OPENAI):
        async with engine_for(work, simulator.url, api=api, pack=8) as engine:
            results = await results_of(engine)
        for one in work:
            completion = results[one.id].completion
            assert completion is not None
            assert completion.vectors == [pytest.approx(vector(one.content))]
            assert results[one.id].pack is not None
    assert simulator.tally.paths == {"/api/embed": 4, "/v1/embeddings": 4}


@pytest.mark.parametrize("fault", ["bad", "missing_vector", "embed_crash", "nan_vector"])
async def test_one_bad_input_costs_only_its_own_job(simulator: Simulator, fault: str) -> None:
    """A pack that fails is halved until the job at fault stands alone; the other seven get their vectors."""
    work = [job(n, f"do={fault}" if n == 3 else "", kind=Kind.EMBED) for n in range(8)]
    async with engine_for(work, simulator.url, pack=8) as engine:
        results = await results_of(engine)
    assert [name for name, result in results.items() if not result.ok] == ["j3"]
    assert len(results) == 8


@pytest.mark.parametrize(
    "directive", ["do=silent", "do=stall after=2", "tokens=500 delay=0.01", "do=throttled retry_after=30"]
)
async def test_leaving_early_leaves_nothing_behind(simulator: Simulator, directive: str) -> None:
    """Whatever the calls are doing when the engine is left, no task and no connection outlives it."""
    before = asyncio.all_tasks()
    async with engine_for([job(n, directive) for n in range(9)], simulator.url, limit=3):
        await until(lambda: sum(simulator.counts.values()) >= 1)
    servers = ("batcher/simulator", "_accept_connection")
    assert {task for task in asyncio.all_tasks() - before if not any(name in repr(task) for name in servers)} == set()
    await until(lambda: simulator.tally.in_flight == 0)


async def test_a_stop_lets_what_is_in_flight_finish(simulator: Simulator) -> None:
    """After `stop` nothing is sent, and what was under way still brings its results."""
    async with engine_for([job(n, "tokens=5 delay=0.01") for n in range(50)], simulator.url, limit=3) as engine:
        await until(lambda: simulator.tally.in_flight == 3)
        engine.stop()
        results = await results_of(engine)
    assert len(results) == 3
    assert all(result.ok for result in results.values())
    assert sum(simulator.counts.values()) == 3


async def test_jobs_that_arrive_late_are_sent(simulator: Simulator) -> None:
    """An input that has nothing yet does not end the run; waking the engine is enough to be asked again."""
    arrived: list[Job | None] = [job(1)]

    def trickle() -> Iterator[Job | None]:
        while True:
            one = arrived.pop(0) if arrived else None
            if one is not None and one.id == "j3":
                return
            yield one

    results = {}
    async with engine_for(trickle(), simulator.url) as engine:
        wake = engine.waker()
        async for batch in engine.batches():
            results.update({result.id: result for result in batch})
            arrived.extend([job(len(results) + 1)])
            wake()
    assert sorted(results) == ["j1", "j2"]


async def test_whoever_wakes_it_again_and_again_has_it_look_once(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that reads ahead calls for each line, and a turn takes thousands: were each a turn, no other had one."""
    turns: list[int] = []
    async with engine_for([job(0)], simulator.url) as engine:
        assert len(await results_of(engine)) == 1
        monkeypatch.setattr(type(engine), "_fill", lambda _engine: turns.append(1))
        wake = engine.waker()
        for _ in range(2):
            turns.clear()
            for _ in range(1000):
                wake()
            await anyio.sleep(0.01)
            assert 0 < len(turns) < 10  # one, and a timer of the engine's own
        monkeypatch.undo()
