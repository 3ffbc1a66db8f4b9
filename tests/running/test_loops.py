"""What blocks while a loop runs in its thread: it ends when whoever waits is cancelled, whenever that comes."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from batcher.running.loops import blocking


@pytest.mark.anyio
@pytest.mark.parametrize("when", ["as the thread is made", "while it works"])
async def test_a_task_that_is_cancelled_ends_what_it_waits_for(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As asyncio's own handler of Ctrl-C does it: from within the thread that waits, which meets no `await`."""
    task, start = asyncio.current_task(), threading.Thread.start
    assert task is not None

    def started(thread: threading.Thread) -> None:
        start(thread)
        if when == "as the thread is made":
            task.cancel()

    async def work() -> None:
        if when == "while it works":
            task.cancel()
        await anyio.sleep(20)
        ended.append("by itself")

    ended: list[str] = []
    monkeypatch.setattr(threading.Thread, "start", started)
    with pytest.raises(asyncio.CancelledError):
        blocking(work)
    task.uncancel()
    assert ended == []
