"""The one watchdog: whose cancellation it was, and that nothing of it is left."""

from __future__ import annotations

import asyncio

import pytest

from batcher.exchange.watchdog import Watchdog

pytestmark = pytest.mark.anyio


async def test_its_own_cancellation_is_taken_back() -> None:
    """After a deadline the task goes on as if nobody had cancelled it; another's cancellation is left standing."""
    task = asyncio.current_task()
    assert task is not None
    watch = Watchdog(0.01).watch(task)
    for _ in range(2):
        watch.begin(0.0, 0.0, "first_token")
        watch.expire()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(1.0)
        assert watch.took_the_cancel()
        assert task.cancelling() == 0
    watch.begin(0.0, 0.0, "first_token")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(1.0)
    assert not watch.took_the_cancel()
    assert task.cancelling() == 1
    task.uncancel()
