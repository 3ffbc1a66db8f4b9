"""Results as they finish, of a program's own rows, on a simulated server."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import anyio
import orjson
import pytest
from support.commandline import names, prompts
from support.echoserver import echoing
from support.programs import agen, all_of, until

import batcher
from batcher.failures import BatcherError, UnavailableError, UsageError
from batcher.simulator import simulator_thread, text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from batcher.simulator import BackgroundSimulator

pytestmark = pytest.mark.usefixtures("sim")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.anyio
@pytest.mark.parametrize("source", [list, iter, lambda jobs: (job for job in jobs), agen])
async def test_stream_takes_any_source(source: Any) -> None:
    """A list, an iterator, a generator, an async generator: each job comes back once, with its meta and its text."""
    wanted = names(30)
    jobs = [job | {"meta": {"of": job["id"]}} for job in prompts(wanted)]
    found = {result.id: result for result in await all_of(source(jobs))}
    assert sorted(found) == wanted
    for name, result in found.items():
        assert result.ok
        assert (result.text, result.meta) == (text(name), {"of": name})


@pytest.mark.anyio
async def test_bad_jobs_come_as_failed_results(sim: BackgroundSimulator) -> None:
    """What could not be sent, or was refused, is among the results with its cause; nothing is raised for it."""
    jobs = [
        *prompts(["good"]),
        {"id": "empty", "prompt": " "},
        {"id": "typo", "promt": "Hi"},
        {"id": 1.5, "prompt": "x"},
    ]
    jobs += prompts(["bad"], "do=bad")
    found = {result.seq: result for result in await all_of(jobs, retries=0)}
    codes = {seq: result.failure.code if result.failure else None for seq, result in found.items()}
    assert codes == {0: None, 1: "empty_prompt", 2: "input_invalid", 3: "input_invalid", 4: "bad_request"}
    assert found[1].id == "empty"
    assert sim.counts == {"good": 1, "bad": 1}
    assert [result.ok for result in await all_of([{"prompt": ""}])] == [False]
    assert await all_of([]) == []


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_a_source_is_not_drained_ahead_of_need(sim: BackgroundSimulator, kind: str) -> None:
    """Whoever takes results slowly is not overtaken: what is read ahead does not depend on how much there is."""
    made = 0

    def generator() -> Iterator[dict[str, Any]]:
        nonlocal made
        for number in range(100_000):
            made += 1
            yield {"id": str(number), "prompt": f"[[sim id={number} tokens=1]]"}

    async def async_generator() -> AsyncIterator[dict[str, Any]]:
        for job in generator():
            yield job

    taken = 0
    source = generator() if kind == "generator" else async_generator()
    async with batcher.stream(source, concurrency=2) as results:
        async for _ in results:
            taken += 1
            if taken == 20:
                break
        await until(lambda: sim.tally.in_flight == 0)
        await anyio.sleep(0.2)  # time enough to run ahead
        assert made <= taken + 100
        assert sim.counts.total() <= taken + 8


@pytest.mark.anyio
async def test_leaving_early_cancels_what_is_in_flight(sim: BackgroundSimulator) -> None:
    """The server sees the requests broken off at once, and nothing more is sent."""
    jobs = [*prompts(["first"]), *prompts(names(20), "ttft=30")]
    with anyio.fail_after(10):
        async with batcher.stream(jobs, concurrency=3) as results:
            async for result in results:
                assert result.id == "first"
                await until(lambda: sim.tally.in_flight == 3)
                break
        await until(lambda: sim.tally.aborted == 3)
    assert sim.counts.total() == 4


@pytest.mark.anyio
async def test_the_callers_own_exception_leaves_as_it_came(sim: BackgroundSimulator) -> None:
    """An error in the caller's block is not wrapped, and cancels what is in flight."""

    async def fail() -> None:
        async with batcher.stream(prompts(names(5), "ttft=30")):
            await until(lambda: sim.tally.in_flight > 0)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await fail()
    await until(lambda: sim.tally.in_flight == 0)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_an_error_of_the_source_comes_after_the_results(kind: str) -> None:
    """What was made before it is answered, then the error comes out of the iteration as it is."""

    def generator() -> Iterator[dict[str, Any]]:
        yield {"id": "q", "prompt": "Hi"}
        raise TypeError("the source's own")

    async def async_generator() -> AsyncIterator[dict[str, Any]]:
        for job in generator():
            yield job

    found = []

    async def take() -> None:
        async with batcher.stream(async_generator() if kind == "async generator" else generator()) as results:
            async for result in results:
                found.append(result.id)  # noqa: PERF401 - what came before the error is to be kept

    with pytest.raises(TypeError, match="the source's own"):
        await take()
    assert found == ["q"]


@pytest.mark.anyio
async def test_stream_leaves_signals_alone() -> None:
    """A program's own handlers stay in place while it streams."""
    before = [signal.getsignal(number) for number in SIGNALS]
    async with batcher.stream(prompts(["q"])) as results:
        async for _ in results:
            assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.anyio
async def test_a_stream_can_be_nobody(sim: BackgroundSimulator) -> None:
    """A server that is not there raises, and does not hang."""
    sim.kill()
    with pytest.raises(UnavailableError):
        await all_of(prompts(["q"]), base_url=sim.url, max_wait=0.0)
    with pytest.raises(UnavailableError):
        await all_of(prompts(["q"]), base_url=f"{sim.url}/v1", max_wait=0.0)


@pytest.mark.anyio
async def test_a_stopped_stream_raises_why(sim: BackgroundSimulator) -> None:
    """Jobs that no try can do are not the end of the jobs, and do not look like it; keys are not in what is raised."""
    with (
        simulator_thread(look="openai", key="right") as locked,
        pytest.raises(batcher.BatcherError, match="API key") as caught,
    ):
        await all_of(prompts(names(9)), base_url=f"{locked.url}/v1")
    assert caught.value.exit == 77
    with pytest.raises(batcher.BatcherError, match="the model other") as caught:
        await all_of([*prompts(["q"]), {"id": "r", "prompt": "Hi", "model": "other"}])
    assert caught.value.exit == 78
    assert sim.counts["q"] == 1


@pytest.mark.anyio
async def test_a_stream_with_too_many_failures_ends() -> None:
    """`max_errors` holds for streams as well: what has ended comes, and then the reason."""
    found: list[batcher.Result] = []

    async def take() -> None:
        async with batcher.stream(prompts(names(50), "do=bad"), concurrency=1, max_errors=2) as results:
            async for result in results:
                found.append(result)  # noqa: PERF401 - it raises in the end, and what came before counts

    with pytest.raises(BatcherError, match=r"^max_errors=2: 3 of") as caught:
        await take()
    assert caught.value.exit == 4
    assert len(found) == 3


@pytest.mark.anyio
async def test_a_stream_may_have_several_servers(sim: BackgroundSimulator) -> None:
    """`base_url` may be a list."""
    wanted = names(40)
    with simulator_thread() as other:
        found = await all_of(prompts(wanted, "ttft=0.02"), base_url=[sim.url, other.url])
    assert sorted(result.id for result in found if result.ok) == wanted
    assert {result.server for result in found} == {sim.url, other.url}


@pytest.mark.anyio
async def test_failures_hold_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that quotes the key in its refusal does not get it into what a program may log."""
    monkeypatch.setenv("OPENAI_API_KEY", "canary-7f3Qz9wLm2xTt8")
    with echoing(400) as server:
        async with batcher.stream(prompts(["q"]), base_url=f"{server.url}/v1") as results:
            [result] = [result async for result in results]
    assert result.failure is not None
    assert "***" in result.failure.message
    assert "canary" not in result.failure.message
    assert "canary" not in repr((results.summary.samples, results.summary.to_dict()))


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [True, False])
async def test_results_hold_no_key(monkeypatch: pytest.MonkeyPatch, *, stream: bool) -> None:
    """Nor does one that repeats it in its answer, in whatever field; what the caller said of it stays."""
    key = "canary-7f3Qz9wLm2xTt8"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    job = {"id": "q", "prompt": "Say it.", "meta": key}
    said = f"It is {key}."
    call = {"index": 0, "id": key, "type": "function", "function": {"name": "f", "arguments": f'{{"a":"{key}"}}'}}
    part = {"role": "assistant", "content": said, "reasoning": key, "tool_calls": [call]}
    logprobs = {"content": [{"token": key, "logprob": -1.0}]}
    choice = {"index": 0, "finish_reason": "stop", "logprobs": logprobs, "delta" if stream else "message": part}
    body = orjson.dumps({"id": key, "model": key, "choices": [choice]})
    with echoing(200, body=b"data: %b\n\ndata: [DONE]\n\n" % body if stream else body) as server:
        [result] = await all_of([job], base_url=f"{server.url}/v1", raw=True, stream=stream)
    assert result.ok, result.failure
    assert result.text == "It is ***."
    assert result.meta == key
    told = result.to_dict()
    assert told.pop("meta") == key
    assert key not in repr((told, result.completion, result.parsed))


@pytest.mark.anyio
async def test_a_stream_ends_when_its_answers_have_cost_enough() -> None:
    """`max_cost` holds for streams as well, which say what they cost."""
    async with batcher.stream(prompts(names(50)), concurrency=1, price_in=1e6, price_out=1e6, max_cost=40) as results:
        with pytest.raises(BatcherError, match=r"^max_cost=40: the answers of this run have cost "):
            async for _ in results:
                pass
    assert results.summary.cost is not None
    assert results.summary.cost >= 40
    assert results.summary.ok < 50


@pytest.mark.anyio
async def test_a_stream_ends_when_its_time_is_over(sim: BackgroundSimulator) -> None:
    """What is in flight is finished, nothing more is sent, and the reason is raised after the results."""
    found: list[str] = []

    async def take() -> None:
        async with batcher.stream(prompts(names(99), "ttft=0.1"), max_duration=0.5, concurrency=2) as results:
            async for result in results:
                found.append(result.id)  # noqa: PERF401 - what came before the error is to be kept

    with pytest.raises(batcher.BatcherError, match="is over") as caught:
        await take()
    assert caught.value.exit == 4
    assert 2 <= len(found) < 99
    assert sorted(found) == sorted(sim.tally.answered) == sorted(sim.counts)


@pytest.mark.anyio
@pytest.mark.parametrize("why", ["an answer", "a server", "a job"])
async def test_a_stream_waits_no_longer_than_its_time(sim: BackgroundSimulator, why: str) -> None:
    """Whatever it waits for."""

    async def none() -> AsyncIterator[dict[str, Any]]:
        await anyio.sleep_forever()
        yield {}

    if why == "a server":
        sim.kill()
    jobs = none() if why == "a job" else prompts(["q"], "do=silent")
    with anyio.fail_after(10), pytest.raises(batcher.BatcherError, match="is over") as caught:
        await all_of(jobs, base_url=sim.url, max_wait=3600.0, max_duration=0.2, grace=0.1)
    assert caught.value.exit == 4


@pytest.mark.anyio
async def test_a_stream_that_is_done_in_time_raises_nothing() -> None:
    """Its last answer may come in the grace."""
    assert len(await all_of(prompts(["q"], "ttft=0.6"), max_duration=0.3, concurrency=2)) == 1


@pytest.mark.parametrize("option", [{"sample": 2}, {"estimate": 2}, {"dedupe": True}])
def test_a_stream_cannot_be_read_twice(option: dict[str, Any]) -> None:
    """What needs a file says so."""

    async def main() -> None:
        async with batcher.stream([], **option):
            pass

    with pytest.raises(UsageError, match="use run"):
        anyio.run(main)
