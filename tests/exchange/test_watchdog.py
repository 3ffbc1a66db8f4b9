"""The watchdog: a deadline ends a call and nothing else, and a cancellation from outside is never taken for its own."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import anyio
import pytest

from batcher.exchange.watchdog import Watch, Watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


async def work(watch: Watch, *, others: int = 0, expires: bool = True) -> bool:
    """Whether a call that is cancelled by its watch, and so often from outside, takes it for the watch's own."""
    watch.begin(math.inf, math.inf, "idle")
    if expires:
        watch.expire()
    for _ in range(others):
        watch.task.cancel()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        return watch.took_the_cancel()
    raise AssertionError("it was not cancelled")


def current() -> Watch:
    task = asyncio.current_task()
    assert task is not None
    return Watch(task)


async def in_a_task(**how: int | bool) -> tuple[bool, int]:
    """How `work` judged, and how many cancellations its task has left."""

    async def main() -> tuple[bool, int]:
        watch = current()
        return await work(watch, **how), watch.task.cancelling()  # type: ignore[arg-type]  # two keywords of two types

    return await asyncio.create_task(main())


async def test_its_own_cancellation_is_over_when_it_was_taken() -> None:
    """Whoever asks the task later, as `asyncio.timeout` and task groups do, finds it not cancelled."""
    assert await in_a_task() == (True, 0)


async def test_one_from_outside_at_the_same_moment_goes_on() -> None:
    """A run that is stopped just as a call expires is stopped: the call is not tried again."""
    assert await in_a_task(others=1) == (False, 1)


async def test_one_from_outside_alone_is_not_touched() -> None:
    """Not the watch's: neither taken nor counted down."""
    assert await in_a_task(others=1, expires=False) == (False, 1)


async def test_what_was_cancelled_before_does_not_count() -> None:
    """A task that has come through an earlier cancellation tells its watch's own from it."""

    async def main() -> tuple[bool, int]:
        watch = current()
        watch.task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return await work(watch), watch.task.cancelling()
        raise AssertionError("it was not cancelled")

    assert await asyncio.create_task(main()) == (True, 1)


async def test_one_call_after_another_in_one_task() -> None:
    """A worker has one watch for all its calls: each expiry is told from what follows it."""

    async def main() -> list[bool]:
        watch = current()
        return [await work(watch), await work(watch), await work(watch, others=1)]

    assert await asyncio.create_task(main()) == [True, True, False]


@pytest.fixture
async def dog() -> AsyncIterator[Watchdog]:
    dog = Watchdog(0.001)
    async with anyio.create_task_group() as group:
        group.start_soon(dog.run)
        yield dog
        group.cancel_scope.cancel()


@pytest.mark.parametrize(("deadline", "last"), [(0.0, math.inf), (math.inf, 0.0)])
async def test_either_deadline_ends_a_call_once(dog: Watchdog, deadline: float, last: float) -> None:
    """It is cancelled once, however long it takes to go; what was ended or released is let be."""

    async def main(*, ends: bool = False, releases: bool = False) -> int:
        task = asyncio.current_task()
        assert task is not None
        watch = dog.watch(task)
        watch.begin(deadline, last, "idle")
        if ends:
            watch.end()
        if releases:
            dog.release(watch)
        cancels = 0
        for _ in range(5):
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                cancels += 1
        return cancels

    assert await asyncio.create_task(main()) == 1
    assert await asyncio.create_task(main(ends=True)) == 0
    assert await asyncio.create_task(main(releases=True)) == 0
