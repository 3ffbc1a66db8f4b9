"""Several calls on the same servers, at once and one after the other: one limit, one set of connections and keys."""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import Desk, names, prompts
from support.programs import is_alone, others, until

import batcher
from batcher.failures import BatcherError, UnavailableError, UsageError
from batcher.simulator import simulator_thread, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from batcher.simulator import BackgroundSimulator

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("sim")]


@pytest.mark.parametrize(("calls", "limit"), [(2, 4), (3, 4), (5, 2), (7, 1)])
async def test_calls_at_once_share_one_limit(sim: BackgroundSimulator, calls: int, limit: int) -> None:
    """No more are in flight than one call would have, and all of them come to their end."""
    async with batcher.Client(concurrency=limit) as client:
        rows = [prompts([f"{call}-{name}" for name in names(8)], "ttft=0.01") for call in range(calls)]
        found = await asyncio.gather(*(client.amap(some) for some in rows))
    assert [[result.ok for result in results] for results in found] == [[True] * 8] * calls
    assert sim.peak_in_flight <= limit
    assert sim.counts.total() == 8 * calls


async def test_none_is_starved_by_another(sim: BackgroundSimulator) -> None:
    """One that comes later has its part at once, and does not wait for the end of one that has much to do."""
    async with batcher.Client(concurrency=4) as client:
        large = asyncio.create_task(client.amap(prompts([f"a{name}" for name in names(200)], "ttft=0.02")))
        await until(lambda: sim.tally.in_flight == 4)
        small = await client.amap(prompts(names(4), "ttft=0.02"))
        assert not large.done()
        assert all(result.ok for result in small)
        assert len(sim.tally.answered) < 150
        large.cancel()
        await asyncio.wait({large})
    assert sim.peak_in_flight <= 4


async def test_a_call_that_waits_for_its_rows_holds_nothing(sim: BackgroundSimulator) -> None:
    """The whole limit is there for the others; when its rows come it has its part again."""
    gate = asyncio.Event()

    async def rows() -> AsyncIterator[dict[str, Any]]:
        await gate.wait()
        for row in prompts([f"late-{name}" for name in names(4)]):
            yield row

    async with batcher.Client(concurrency=4) as client:
        idle = asyncio.create_task(client.amap(rows()))
        await asyncio.sleep(0.01)
        results = await client.amap(prompts(names(12), "ttft=0.05"))
        assert len(results) == 12
        assert sim.peak_in_flight == 4
        gate.set()
        assert len(await idle) == 4


async def test_a_stream_whose_results_nobody_takes_holds_up_no_other() -> None:
    """What it has answered and not handed on keeps no other call from its end."""
    async with batcher.Client(concurrency=2) as client, client.stream(prompts(names(50))) as slow:
        await anext(slow)
        async with asyncio.timeout(20):
            assert len(await client.amap(prompts([f"b{name}" for name in names(20)]))) == 20
        assert len([result async for result in slow]) == 49


async def test_what_breaks_off_gives_its_part_back(sim: BackgroundSimulator) -> None:
    """The calls that one had in flight are room for the others when it is left."""
    async with batcher.Client(concurrency=2) as client:
        async with client.stream([*prompts(["load"]), *prompts(names(2), "ttft=30")]) as results:
            await anext(results)
            await until(lambda: sim.tally.in_flight == 2)
            waiting = asyncio.create_task(client.amap(prompts(["next"])))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        assert [result.text for result in await waiting] == [text("next")]


async def test_the_learnt_limit_is_kept(sim: BackgroundSimulator) -> None:
    """A second call begins where the first one has come to, and not anew."""
    async with batcher.Client(concurrency="1-64") as client:
        async with client.stream(prompts(names(150), "ttft=0.01")) as first:
            assert len([result async for result in first]) == 150
        [learnt] = [server.in_flight for server in first.summary.servers.values()]
        assert learnt > 4
        async with client.stream(prompts([f"again-{name}" for name in names(30)], "ttft=0.01")) as second:
            await anext(second)
            await until(lambda: sim.tally.in_flight > 2 or second.summary.ok == 30)
            assert len([result async for result in second]) == 29
        [kept] = [server.in_flight for server in second.summary.servers.values()]
    assert kept >= learnt // 2


async def test_connections_and_servers_are_found_once(sim: BackgroundSimulator) -> None:
    """Who the server is, is asked once; and calls after one another use the connections that are open."""
    async with batcher.Client() as client:
        before = sum(count for path, count in sim.tally.paths.items() if path not in {"/api/generate", "/api/chat"})
        for number in range(4):
            assert (await client.amap(prompts([f"{number}"])))[0].ok
        after = sum(count for path, count in sim.tally.paths.items() if path not in {"/api/generate", "/api/chat"})
    assert before == after


async def test_a_call_may_say_what_it_asks(desk: Desk, sim: BackgroundSimulator) -> None:
    """Options of the client hold for all its calls, and what is no matter of the servers may be said anew."""
    async with batcher.Client(retries=0, params={"temperature": 0.5}) as client:
        [bad] = await client.amap(prompts(["bad"], "do=bad"))
        assert not bad.ok
        [templated] = await client.amap(["x"], prompt="[[sim id={{ text }}]]", retries=2)
        assert templated.text == text("x")
        jobs = desk.write("jobs.jsonl", *prompts(names(3)))
        assert (await client.arun(jobs, desk.path / "results.jsonl")).ok == 3
        kept = await client.amap(prompts(names(3)), output=desk.path / "results.jsonl")
        assert [result.id for result in kept] == names(3)
        assert (await client.aembed(["a", "b"])).shape[0] == 2
        for wrong in ({"concurrency": 2}, {"base_url": sim.url}, {"api_key": "x"}, {"rpm": 5}):
            with pytest.raises(UsageError, match=f"{next(iter(wrong))}: said by the Client"):
                await client.amap(["x"], **wrong)
    assert sim.counts[names(1)[0]] == 1


async def test_it_is_used_inside_its_block(sim: BackgroundSimulator) -> None:
    """Before and after it says so; leaving it ends the streams that are open, and leaves no task."""
    client = batcher.Client()
    with pytest.raises(UsageError, match="inside its block"):
        await client.amap(["x"])
    async with client:
        results = client.stream(prompts(["q"], "ttft=30"))
        await results.__aenter__()
        await until(lambda: sim.tally.in_flight == 1)
    assert others() == set()
    with pytest.raises(StopAsyncIteration):
        await anext(results)
    with pytest.raises(UsageError, match="inside its block"):
        client.stream(["x"])
    with pytest.raises(UsageError, match="make another"):
        await client.__aenter__()
    await client.aclose()
    await is_alone()


async def test_calls_that_are_at_work_when_it_is_left_say_so(tmp_path: Path, sim: BackgroundSimulator) -> None:
    """With what they have; none of their rows fails for it, and a file is closed."""
    rows = [*prompts(["done"]), *prompts(["open"], "do=silent")]
    (tmp_path / "rows.jsonl").write_text('{"id": "file", "prompt": "[[sim id=file do=silent]]"}\n')
    async with batcher.Client(concurrency=4) as client:
        calls = [
            asyncio.ensure_future(client.amap(rows)),
            asyncio.ensure_future(client.amap(rows, output=tmp_path / "kept.jsonl")),
            asyncio.ensure_future(client.arun(tmp_path / "rows.jsonl", tmp_path / "out.jsonl")),
        ]
        await until(lambda: sim.counts["open"] == 2 and sim.counts["file"] == 1 and sim.tally.in_flight == 3)
    for call in calls:
        with pytest.raises(BatcherError, match="the Client was left"):
            await call
    first, second = (call.exception() for call in calls[:2])
    assert isinstance(first, BatcherError)
    assert isinstance(second, BatcherError)
    assert [result.id for result in first.results] == [result.id for result in second.results] == ["done"]
    await is_alone()


async def test_it_is_used_on_its_loop() -> None:
    """Its connections are of no use to another, where a call would wait for ever."""
    async with batcher.Client() as client:
        with pytest.raises(UsageError, match="the loop on which it was entered"):
            await asyncio.to_thread(lambda: asyncio.run(client.amap(["x"])))
        assert [result.ok for result in await client.amap(["x"])] == [True]
    await is_alone()


async def test_a_server_that_is_away_is_told_at_once() -> None:
    """Entering says so, and leaves nothing."""
    with pytest.raises(UnavailableError):
        async with batcher.Client(base_url="http://127.0.0.1:9", max_wait=0):
            pass
    await is_alone()
    with pytest.raises(UsageError, match="concurrency must be at least 1"):
        batcher.Client(concurrency=0)
    with pytest.raises(TypeError, match="did you mean 'model'"):
        batcher.Client(modle="m")  # type: ignore[call-arg]  # a mistake


async def test_a_client_that_nobody_holds_any_more_is_closed() -> None:
    """As a stream is."""
    client = batcher.Client()
    await client.__aenter__()
    assert others()
    del client
    await is_alone()


async def test_several_servers_and_their_limits(sim: BackgroundSimulator) -> None:
    """Each server has a limit of its own, which all calls share."""
    with simulator_thread() as other:
        async with batcher.Client(base_url=[sim.url, other.url], concurrency=2) as client:
            rows = [prompts([f"{call}-{name}" for name in names(20)], "ttft=0.01") for call in range(3)]
            found = await asyncio.gather(*(client.amap(some) for some in rows))
        assert {result.server for results in found for result in results} == {sim.url, other.url}
        assert max(sim.peak_in_flight, other.peak_in_flight) <= 2


async def test_the_limit_of_open_files_lasts_as_long_as_the_client() -> None:
    """Raised for its connections, and given back at its end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        async with batcher.Client(concurrency="1-400") as client:
            await client.amap(["Hi"])
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 400
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(soft, 256)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_client_shows_no_key() -> None:
    """Neither the one that it was given nor one in its URL."""
    url = "http://me:Canary7Secret9Qz5word@127.0.0.1:9/v1"
    shown = repr(batcher.Client(model="m", base_url=url, api_key="Canary7Secret9Qz5word"))
    assert "Canary" not in shown
    assert "127.0.0.1:9" in shown
