"""What tests of the library share: rows, waiting, and what a program leaves behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import anyio

import batcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable


async def until(condition: Callable[[], object]) -> None:
    """Wait for what a thread or a server is about to do."""
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - counts have no event to wait for
            await anyio.sleep(0.002)


async def all_of(source: Any, **options: Any) -> list[batcher.Result]:
    async with batcher.stream(source, **options) as results:
        return [result async for result in results]


async def agen(rows: Iterable[Any]) -> AsyncIterator[Any]:
    for row in rows:
        await anyio.lowlevel.checkpoint()
        yield row


def others() -> set[asyncio.Task[Any]]:
    """Tasks of this loop beside the one that asks and the one that runs the tests."""
    tasks = {task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not task.done()}
    return {task for task in tasks if not getattr(task.get_coro(), "__qualname__", "").startswith("TestRunner")}


async def is_alone() -> None:
    """Wait until no other task of this loop is left, nor a thread that reads rows."""
    gc.collect()
    await until(lambda: not others())
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name == "batcher rows"])
