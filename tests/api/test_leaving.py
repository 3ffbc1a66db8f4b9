"""A stream of results, left and waited for in every way in which programs do that."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from support.commandline import names, prompts
from support.programs import agen, all_of, is_alone, others, until

import batcher
from batcher.api.work import READY
from batcher.failures import BatcherError, UnavailableError, UsageError
from batcher.servers import described
from batcher.servers.contact import Contact, contact

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from batcher.simulator import BackgroundSimulator

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("sim")]


async def answers(rows: Any, **options: Any) -> AsyncGenerator[str]:
    """As a web framework's streaming response has it: a generator that yields inside the block."""
    async with batcher.stream(rows, **options) as results:
        async for result in results:
            yield result.id


async def test_waiting_with_a_timeout_costs_no_result() -> None:
    """`wait_for` cancels the wait; the next one gets what came meanwhile, and nothing is lost."""
    wanted, tries = names(20), 0
    found: list[str] = []
    async with batcher.stream(prompts(wanted, "ttft=0.05"), concurrency=2) as results:
        while len(found) < len(wanted):
            try:
                found.append((await asyncio.wait_for(anext(results), 0.002)).id)
            except TimeoutError:
                tries += 1
        with pytest.raises(StopAsyncIteration):
            await anext(results)
    assert sorted(found) == wanted
    assert tries


async def test_waiting_in_a_scope_costs_no_result() -> None:
    """The same by anyio's scopes, which cancel again and again until they are left."""
    wanted = names(10)
    found: list[str] = []
    async with batcher.stream(prompts(wanted, "ttft=0.03"), concurrency=2) as results:
        while len(found) < len(wanted):
            with anyio.move_on_after(0.002):
                found.append((await anext(results)).id)
    assert sorted(found) == wanted
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # there is one


async def test_a_cancelled_wait_passes_its_turn_on() -> None:
    """A result that was meant for a task which is cancelled at that moment goes to the next that waits."""
    async with batcher.stream(prompts(names(2), "ttft=0.05"), concurrency=2) as results:
        takers = [asyncio.create_task(anext(results)) for _ in range(3)]
        await asyncio.sleep(0)
        takers[0].cancel()
        done = await asyncio.gather(*takers, return_exceptions=True)
    kinds = sorted(type(one).__name__ for one in done)
    assert kinds == ["CancelledError", "Result", "Result"]


async def test_several_tasks_take_from_one_stream() -> None:
    """Each result goes to one of them, and all of them hear of the end."""
    wanted = names(60)
    found: list[str] = []

    async def take(results: batcher.Stream) -> None:
        async for result in results:
            found.append(result.id)
            await asyncio.sleep(0)

    async with batcher.stream(prompts(wanted), concurrency=4) as results, asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(take(results))
    assert sorted(found) == wanted


@pytest.mark.parametrize("how", ["close", "break", "drop", "never begun"])
async def test_a_generator_may_yield_inside_the_block(sim: BackgroundSimulator, how: str) -> None:
    """Closed, broken off or dropped: the host task stays well, and nothing is left."""
    generator = answers(prompts(names(50), "ttft=0.02"), concurrency=2)
    if how == "close":
        assert await anext(generator)
        await generator.aclose()
    elif how == "break":
        async for _ in generator:
            break
        await generator.aclose()
    elif how == "drop":
        assert await anext(generator)
        del generator
    await is_alone()
    await asyncio.sleep(0.01)  # a poisoned task is cancelled at its next await
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]  # there is one
    await until(lambda: sim.tally.in_flight == 0)
    assert sim.counts.total() < 50


async def test_a_stream_that_nobody_holds_any_more_ends(sim: BackgroundSimulator) -> None:
    """Entered or not, its collection breaks off what is in flight and closes the source; nobody is warned."""
    closed: list[str] = []

    def rows(name: str) -> Iterator[dict[str, Any]]:
        try:
            yield from prompts(names(50), "ttft=0.2")
        finally:
            closed.append(name)

    entered = batcher.stream(rows("entered"), concurrency=2)
    await entered.__aenter__()
    bare = batcher.stream(rows("bare"), concurrency=2)
    waiting = asyncio.ensure_future(anext(bare))
    await until(lambda: sim.tally.in_flight == 4)
    waiting.cancel()
    await asyncio.wait({waiting})
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        del entered, bare, waiting
        gc.collect()
        await is_alone()
    assert sorted(closed) == ["bare", "entered"]
    assert warned == []
    await until(lambda: sim.tally.in_flight == 0)


async def test_a_stream_need_not_be_entered() -> None:
    """Then it begins with its first result, and closes all by itself after its last."""
    wanted = names(10)
    assert sorted([result.id async for result in batcher.stream(prompts(wanted))]) == wanted
    await is_alone()


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_whatever_leaves_the_block_leaves_as_it_came(
    sim: BackgroundSimulator, error: type[BaseException]
) -> None:
    """Errors, Ctrl-C and cancellation pass through; tasks, connections and sources are closed then."""
    closed = False

    async def rows() -> AsyncIterator[dict[str, Any]]:
        nonlocal closed
        try:
            for row in prompts(names(50), "ttft=0.02"):
                yield row
        finally:
            await asyncio.sleep(0)  # a source may take its time to close
            closed = True

    async def leave() -> None:
        async with batcher.stream(rows(), concurrency=2) as results:
            await anext(results)
            raise error

    with pytest.raises(error):
        await leave()
    assert closed
    assert others() == set()
    await until(lambda: sim.tally.in_flight == 0)


async def test_cancellation_from_outside(sim: BackgroundSimulator) -> None:
    """A task that is cancelled, or whose time is over, closes its stream before it ends."""

    async def take() -> None:
        async with batcher.stream(prompts(names(9), "ttft=30"), concurrency=2) as results:
            await anext(results)

    task = asyncio.create_task(take())
    await until(lambda: sim.tally.in_flight == 1)  # the first call goes alone, until the model has answered
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert others() == set()
    with anyio.move_on_after(0.2) as scope:
        await take()
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await take()
    assert others() == set()


async def test_ctrl_c_in_a_source_is_ctrl_c() -> None:
    """What a source raises is raised where the results are taken, whatever it is."""

    def rows() -> Iterator[str]:
        yield "Hello"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await all_of(rows())
    with pytest.raises(KeyboardInterrupt):
        await all_of(agen_of(KeyboardInterrupt))
    with pytest.raises(asyncio.CancelledError):
        await all_of(agen_of(asyncio.CancelledError))


class Odd:
    """An iterator that ends as an asynchronous one does."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error

    def __iter__(self) -> Odd:
        return self

    def __next__(self) -> str:
        raise self._error


@pytest.mark.parametrize("error", [StopAsyncIteration, GeneratorExit])
async def test_what_would_end_a_loop_in_silence_is_told(error: type[BaseException]) -> None:
    """As Python has it for generators: who iterates over the results must not take it for their end."""
    with pytest.raises(RuntimeError, match=error.__name__):
        await all_of(Odd(error))
    with pytest.raises(BatcherError, match=error.__name__):
        await batcher.amap(Odd(error))


async def test_a_group_of_the_sources_own_stays_one() -> None:
    """What the library wraps it unwraps, and nothing else."""

    def rows() -> Iterator[str]:
        yield "Hello"
        raise ExceptionGroup("mine", [KeyError("x")])

    with pytest.raises(ExceptionGroup, match="mine"):
        await all_of(rows())


def agen_of(error: type[BaseException]) -> AsyncIterator[str]:
    async def rows() -> AsyncIterator[str]:
        yield "Hello"
        raise error

    return rows()


async def test_answers_that_were_not_taken_can_be_had(sim: BackgroundSimulator) -> None:
    """Leaving early loses nothing that was paid for: `finished` has it, during the stream and after it."""
    rows = [*prompts(names(33)), *prompts(["slow"], "ttft=30")]
    found: list[str] = []
    async with batcher.stream(rows, concurrency=34) as results:
        async for result in results:
            found.append(result.id)
            if len(found) == 5:
                break
        await until(lambda: len(sim.tally.answered) == 33)
        await asyncio.sleep(0.1)  # the last answers are on their way
        found += [result.id for result in results.finished()]
    found += [result.id for result in results.finished()]
    assert sorted(found) == names(33)
    assert results.finished() == []
    assert (results.summary.ok, results.summary.failed) == (33, 0)
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_refused_rows_are_among_the_finished() -> None:
    """What failed without being sent is a result too."""
    async with batcher.stream([{"prompt": ""}, *prompts(["slow"], "ttft=30")]) as results:
        pass
    assert [result.ok for result in results.finished()] == [False]


async def test_stop_drains(sim: BackgroundSimulator) -> None:
    """Nothing more is sent, what is in flight comes, and the end is no error."""
    found = []
    async with batcher.stream(prompts(names(50), "ttft=0.05"), concurrency=4) as results:
        async for result in results:
            found.append(result.id)
            results.stop()
    assert 1 <= len(found) <= 8
    assert sorted(found) == sorted(sim.counts)
    assert results.summary.pending + results.summary.ok >= len(found)
    async with batcher.stream(prompts(names(5)), concurrency=1) as results:
        results.stop()
        results.stop()
        assert [result async for result in results if not result.ok] == []


async def test_the_sums_are_live() -> None:
    """What has come is counted while the stream goes on, and the end is told when it is over."""
    seen = []
    async with batcher.stream([*prompts(names(5)), {"prompt": ""}], concurrency=1) as results:
        async for _ in results:
            seen.append(results.summary.ok + results.summary.failed)
            assert results.summary.finished is None or len(seen) == 6
    assert seen == sorted(seen)
    assert (results.summary.ok, results.summary.failed, results.summary.invalid) == (5, 1, 1)
    assert results.summary.finished is not None
    assert results.summary.completion_tokens > 0


def generator(closed: threading.Event) -> Iterator[dict[str, Any]]:
    try:
        yield from prompts(names(100))
    finally:
        closed.set()


async def async_generator(closed: threading.Event) -> AsyncIterator[dict[str, Any]]:
    try:
        for row in prompts(names(100)):
            yield row
    finally:
        await asyncio.sleep(0)
        closed.set()


class Rows:
    """An iterator that can be closed, as cursors can."""

    def __init__(self, closed: threading.Event) -> None:
        self._rows = iter(prompts(names(100)))
        self.close = closed.set

    def __iter__(self) -> Rows:
        return self

    def __next__(self) -> dict[str, Any]:
        return next(self._rows)


@pytest.mark.parametrize("source", [generator, async_generator, Rows])
@pytest.mark.parametrize("how", ["left", "stopped", "ended"])
async def test_sources_are_closed(source: Any, how: str) -> None:
    """However the stream ends: a generator's `finally` has run, and an iterator that can be closed is."""
    closed = threading.Event()
    async with batcher.stream(source(closed), concurrency=2) as results:
        async for _ in results:
            if how == "left":
                break
            if how == "stopped":
                results.stop()
    assert closed.is_set()
    await is_alone()


async def test_a_source_that_waits_holds_up_nobody() -> None:
    """A sync source is read in a thread: while it waits the loop turns, and what was made before is answered."""
    gate = threading.Event()

    def rows() -> Iterator[str]:
        yield "first"
        gate.wait(20)
        yield "second"

    async with batcher.stream(rows()) as results:
        first = await anext(results)
        turns = 0
        for _ in range(50):
            await asyncio.sleep(0.001)
            turns += 1
        gate.set()
        second = await anext(results)
    assert (first.row, second.row, turns) == ("first", "second", 50)


async def test_an_endless_source_that_waits_can_be_left() -> None:
    """A thread that waits in a source holds up neither the end of the stream nor that of the program."""
    gate = threading.Event()

    def rows() -> Iterator[str]:
        yield "first"
        gate.wait(60)
        yield "never sent"

    async with batcher.stream(rows()) as results:
        await anext(results)
    gate.set()
    await is_alone()


@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_refused_rows_alone_leave_the_loop_its_turns(sim: BackgroundSimulator, kind: str) -> None:
    """An endless source of what is no job is bounded in memory, and can be cancelled."""
    made = 0

    def generator() -> Iterator[dict[str, Any]]:
        nonlocal made
        while True:
            made += 1
            yield {"id": str(made), "prompt": ""}

    async def async_generator() -> AsyncIterator[dict[str, Any]]:
        for row in generator():
            yield row

    taken = 0
    with anyio.move_on_after(0.3) as scope:
        async with batcher.stream(generator() if kind == "generator" else async_generator()) as results:
            async for result in results:
                assert not result.ok
                taken += 1
    assert scope.cancelled_caught
    assert taken
    assert made <= taken + 1000
    assert sim.counts.total() == 0


async def test_nothing_is_read_ahead_of_refused_rows_that_nobody_takes() -> None:
    """Whoever does not take failures is not overrun by them."""
    made = 0

    def rows() -> Iterator[None]:
        nonlocal made
        while True:
            made += 1
            yield None

    async with batcher.stream(rows()) as results:
        await until(lambda: made > 32)
        for _ in range(200):
            await asyncio.sleep(0)
        assert made <= 1000
    assert len(results.finished()) <= 300


@pytest.mark.parametrize("kind", ["generator", "async generator"])
async def test_memory_does_not_grow_with_the_rows(kind: str) -> None:
    """However many there are, those alive are those in flight, those read ahead, and what waits to be taken."""
    alive = most = 0

    class Row(dict[str, Any]):
        def __init__(self, number: int) -> None:
            nonlocal alive, most
            super().__init__(id=number, prompt="" if number % 2 else f"[[sim id={number} tokens=1]]")
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    rows = (Row(number) for number in range(1000))
    count = 0
    async with batcher.stream(rows if kind == "generator" else agen(rows), concurrency=4) as results:
        async for result in results:
            count += 1
            del result
    assert count == 1000
    assert most < 450
    await is_alone()
    assert alive <= 3  # what the stream that was left still names


async def test_rows_beyond_a_limit_are_not_waited_for() -> None:
    """A source that has brought as many as are wanted may go on waiting for more."""

    async def rows() -> AsyncIterator[str]:
        yield "one"
        yield "two"
        await asyncio.Event().wait()

    async with asyncio.timeout(10):
        assert [result.row for result in await all_of(rows(), limit=2, concurrency=1)] == ["one", "two"]


async def test_a_stream_is_entered_once() -> None:
    """One that was left says so; and the error at its end is raised once."""
    results = batcher.stream(["Hi"])
    await results.aclose()
    with pytest.raises(batcher.BatcherError, match="make another"):
        await results.__aenter__()
    failing = batcher.stream(["Hi"], base_url="http://127.0.0.1:9", max_wait=0)
    with pytest.raises(batcher.BatcherError):
        await anext(failing)
    with pytest.raises(StopAsyncIteration):
        await anext(failing)


async def test_a_source_may_bring_a_row_at_a_time() -> None:
    """Each row is asked as it comes: nothing waits for a handful to be together."""
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def rows() -> AsyncIterator[str]:
        while word := await asked.get():
            yield word

    async with batcher.stream(rows()) as results:
        for word in ("one", "two", "three"):
            await asked.put(word)
            assert (await anext(results)).row == word
        await asked.put("")
        assert [result async for result in results] == []


async def test_context_variables_reach_a_source() -> None:
    """A source sees the context of whoever made the stream, as if it were read there."""
    from contextvars import ContextVar

    who: ContextVar[str] = ContextVar("who", default="nobody")
    who.set("me")

    def rows() -> Iterator[str]:
        yield who.get()

    async def arows() -> AsyncIterator[str]:
        yield who.get()

    assert [result.row for result in await all_of(rows())] == ["me"]
    assert [result.row for result in await all_of(arows())] == ["me"]


async def test_a_stream_left_by_another_task_than_entered_it() -> None:
    """No scope of a stream lives in its caller's task, so that any task may end it."""
    results = batcher.stream(agen(prompts(names(20), "ttft=0.02")), concurrency=2)
    await asyncio.create_task(results.__aenter__())
    await anext(results)
    await asyncio.create_task(results.aclose())
    await results.aclose()
    await is_alone()


def test_the_debug_mode_and_warnings_have_nothing_to_say(recwarn: pytest.WarningsRecorder) -> None:
    """Also where a loop ends with a stream still open."""

    async def left_open() -> None:
        results = batcher.stream(prompts(names(9), "ttft=30"), concurrency=2)
        await results.__aenter__()

    async def whole() -> None:
        assert len(await all_of(prompts(names(9)))) == 9

    asyncio.run(whole(), debug=True)
    asyncio.run(left_open(), debug=True)
    gc.collect()
    time.sleep(0)
    assert [str(warned.message) for warned in recwarn] == []


async def test_a_local_server_that_dies_ends_a_stream_as_it_ends_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its last words, and with what was answered before; waiting for it would be in vain."""
    found = contact

    @asynccontextmanager
    async def ours(*args: Any, **settings: Any) -> AsyncIterator[Contact]:
        async with found(*args, **settings) as server:
            server.gone = died
            yield server

    async def died() -> str:
        await died_now.wait()
        return "out of memory"

    died_now = asyncio.Event()
    monkeypatch.setattr(described, "contact", ours)
    results = batcher.stream(prompts(names(200), "ttft=0.02"), concurrency=2)
    taken = [(await anext(results)).id]
    died_now.set()
    with pytest.raises(UnavailableError, match=r"the embedded server died; its last words: out of memory"):
        taken += [result.id async for result in results]
    assert len(taken) < 200
    await is_alone()


class Cursor:
    """A source that holds something from the moment it is made."""

    def __init__(self) -> None:
        self.is_closed = False

    def __iter__(self) -> Cursor:
        return self

    def __next__(self) -> str:
        return "row"

    def close(self) -> None:
        self.is_closed = True


class AsyncCursor(Cursor):
    __iter__ = None  # type: ignore[assignment]  # it is asynchronous alone

    def __aiter__(self) -> AsyncCursor:
        return self

    async def __anext__(self) -> str:
        return "row"

    async def aclose(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("kind", [Cursor, AsyncCursor])
async def test_a_source_is_closed_where_no_server_is_found(kind: type[Cursor]) -> None:
    """And a list, which is the caller's, is left alone."""
    source = kind()
    with pytest.raises(UnavailableError):
        await batcher.amap(source, base_url="http://127.0.0.1:9", max_wait=0)
    assert source.is_closed
    with pytest.raises(UnavailableError):
        await batcher.amap(["row"], base_url="http://127.0.0.1:9", max_wait=0)


@pytest.mark.parametrize("kind", [Cursor, AsyncCursor])
async def test_a_source_is_closed_where_nothing_has_begun(kind: type[Cursor]) -> None:
    """By a stream that is closed before it was asked for anything, or before what it was asked for had its turn."""
    source = kind()
    await batcher.stream(source).aclose()
    assert source.is_closed

    source = kind()
    results = batcher.stream(source)
    waiting, closing = asyncio.ensure_future(anext(results)), asyncio.ensure_future(results.aclose())
    await closing
    assert source.is_closed
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 10)
    await is_alone()


def test_a_stream_tells_that_its_loop_has_ended() -> None:
    """What had come can be had; what had not is not passed over in silence, nor waited for on another loop."""

    async def some() -> None:
        taken.append(await anext(results))

    async def rest() -> None:
        taken.extend([result async for result in results])

    taken: list[batcher.Result] = []
    results = batcher.stream(prompts(names(50)), concurrency=1)
    asyncio.run(some())
    with pytest.raises(BatcherError, match=r"its loop ended before all rows were answered"):
        asyncio.run(rest())
    assert len(taken) < 50
    assert results.finished() == []


def test_what_has_come_can_be_had_without_a_loop() -> None:
    """Also where so much had come that no more rows were looked at."""

    async def left() -> None:
        await anext(results)
        await until(lambda: len(results._work.outlet) >= READY - 1)

    results = batcher.stream([None] * 2000)
    asyncio.run(left())
    assert len(results.finished()) >= READY - 1


async def test_results_are_taken_on_the_loop_that_brings_them() -> None:
    """In another thread nobody would be woken."""
    results = batcher.stream(prompts(names(3), "ttft=60"))
    waiting = asyncio.ensure_future(anext(results))
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="on another loop"):
        await asyncio.to_thread(lambda: asyncio.run(anext(results)))
    waiting.cancel()
    await results.aclose()
    await is_alone()
