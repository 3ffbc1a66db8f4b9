"""Results between one who brings them and those who take them: none is lost, and each taker hears of the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from batcher.api.outlet import Outlet
from batcher.api.result import Result
from batcher.outcome import Result as Finished

pytestmark = pytest.mark.anyio


def result(number: int) -> Result[Any, Any]:
    return Result(Finished(id=str(number), seq=number), None, None)


async def test_a_turn_that_comes_with_a_cancellation_is_anothers() -> None:
    """A taker who is woken and cancelled in the same moment leaves the result to the next."""
    outlet = Outlet()
    first, second = (asyncio.ensure_future(outlet.take()) for _ in range(2))
    await asyncio.sleep(0)
    outlet.put(result(1))
    first.cancel()
    found = await asyncio.wait_for(second, 10)
    assert found is not None
    assert found.id == "1"
    assert first.cancelled()


async def test_whoever_brings_waits_until_all_is_taken() -> None:
    """And hears of it once, however it was taken."""
    emptied = []
    outlet = Outlet(emptied=lambda: emptied.append(True))
    for take in (outlet.take, None):
        outlet.put(result(1))
        outlet.put(result(2))
        bringer = asyncio.ensure_future(outlet.until_empty())
        await asyncio.sleep(0)
        if take is None:
            assert len(outlet.take_all()) == 2
        else:
            await take()
            await asyncio.sleep(0)
            assert not bringer.done()
            await take()
        await asyncio.wait_for(bringer, 10)
    assert len(emptied) == 2


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["put", "take", "cancel", "turn", "all"]), max_size=40))
async def test_each_result_is_taken_once(steps: list[str]) -> None:
    """In the order in which they came, whatever happens to those who wait; and nobody is left waiting at the end."""
    outlet = Outlet()
    takers: list[asyncio.Future[Result[Any, Any] | None]] = []
    brought = 0
    taken: list[Result[Any, Any]] = []
    for step in steps:
        if step == "put":
            outlet.put(result(brought))
            brought += 1
        elif step == "take":
            takers.append(asyncio.ensure_future(outlet.take()))
        elif step == "cancel" and takers:
            takers[len(takers) // 2].cancel()
        elif step == "all":
            taken += outlet.take_all()
        await asyncio.sleep(0) if step == "turn" else None
    outlet.end()
    done = await asyncio.wait_for(asyncio.gather(*takers, return_exceptions=True), 10)
    taken += [one for one in done if isinstance(one, Result)]
    taken += outlet.take_all()
    assert sorted(one.seq for one in taken) == list(range(brought))
