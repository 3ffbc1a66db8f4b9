"""An engine over real sockets: jobs in, results out, with the scheduler in sight."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from batcher.exchange import packing
from batcher.exchange.timeouts import Timeouts
from batcher.exchange.workers import Workers
from batcher.model import Api, Endpoint, Job, Kind
from batcher.policy.backlog import Backlog
from batcher.policy.breaker import Breaker
from batcher.policy.lane import Lane
from batcher.policy.limit.fixed import FixedLimit
from batcher.policy.packs import FixedPacks
from batcher.policy.quota import RetryQuota
from batcher.policy.retry import RetryPolicy
from batcher.policy.scheduler import Scheduler
from batcher.running.engine import Engine
from batcher.wire.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from batcher.exchange.seam import Exchanges
    from batcher.model import Json
    from batcher.outcome import Result

PATHS = [
    pytest.param(Api.NATIVE, Kind.GENERATE, id="/api/generate"),
    pytest.param(Api.NATIVE, Kind.CHAT, id="/api/chat"),
    pytest.param(Api.OPENAI, Kind.CHAT, id="/v1/chat/completions"),
]
"""Each way of asking: the two streams of Ollama's own API, and an event stream."""

QUICK = Timeouts(first_token=20.0, idle=20.0, total=20.0)


def job(
    number: int,
    directive: str = "",
    *,
    kind: Kind = Kind.GENERATE,
    path: str | None = None,
    params: Mapping[str, Json] | None = None,
) -> Job:
    """A job whose id in the simulator's counts is `jN`."""
    prompt = f"[[sim id=j{number} {directive}]]"
    content = [{"role": "user", "content": prompt}] if kind is Kind.CHAT else prompt
    return Job(
        id=f"j{number}", seq=number, kind=kind, path=path, model="simulator", content=content, params=params or {}
    )


@asynccontextmanager
async def engine_for(
    jobs: Iterable[Job | None],
    *urls: str,
    api: Api = Api.NATIVE,
    limit: int = 2,
    retries: int = 2,
    timeouts: Timeouts = QUICK,
    pack: int = 1,
    stream: bool = True,
    patience: float = 5.0,
    fail_on: frozenset[str] = frozenset(),
    exchanges: Exchanges | None = None,
) -> AsyncIterator[Engine]:
    """A running engine; backoff is short, and a server that stays away ends the run after `patience` seconds."""

    def reject(one: Job, error: Exception) -> None:
        raise AssertionError(f"{one.id} was rejected: {error}")

    breaker = partial(Breaker, patience=patience, first_patience=patience)
    scheduler = Scheduler(
        Backlog(packing.calls(jobs, api, reject, stream=stream, packs=FixedPacks(pack))),
        [Lane(Endpoint(root=url, api=api), FixedLimit(limit), breaker()) for url in urls],
        RetryPolicy(retries=retries, base=0.002, throttle_base=0.002, failing_base=0.05),
        RetryQuota(),
        random.Random(7),
    )
    async with (
        Transport(connect_timeout=2.0) as transport,
        Engine(scheduler, exchanges or Workers(transport, timeouts, fail_on)) as engine,
    ):
        yield engine


async def results_of(engine: Engine) -> dict[str, Result]:
    """All results by id; an id that comes twice is an error."""
    results: dict[str, Result] = {}
    async for batch in engine.batches():
        for result in batch:
            assert result.id not in results
            results[result.id] = result
    return results


async def until(condition: Callable[[], bool], limit: float = 5.0) -> None:
    """Wait, at most `limit` seconds, for what another task or the simulator is about to do."""
    with anyio.fail_after(limit):
        while not condition():  # noqa: ASYNC110 - the simulator's counts have no event to wait for
            await anyio.sleep(0.002)
