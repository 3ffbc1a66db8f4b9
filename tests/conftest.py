"""Fixtures for tests that await: the event loop, a guard against blocking it, a simulator and a transport."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import settings
from support.commandline import THREADS, Desk
from support.spread import Spread, part_of

from batcher.simulator import Simulator
from batcher.wire.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

settings.register_profile("same", deadline=None, derandomize=True)  # a loaded machine makes no rule wrong
settings.register_profile("new", deadline=None)  # other examples each time: `make properties` looks for what is unknown
settings.load_profile("same")
os.environ.update(THREADS)


@pytest.fixture(scope="session", autouse=True)
def _signals_count() -> Iterator[None]:
    """The processes that tests start heed SIGHUP and SIGINT, also where the tests run under nohup or behind `&`."""
    before = {signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL)}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


SOCKETS = frozenset({"simulator", "transport"})
"""Fixtures of tests that talk over sockets."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Asynchronous tests run on asyncio, and those with sockets on uvloop too: batcher runs on it where it is there."""
    if "anyio_backend" in metafunc.fixturenames and not SOCKETS.isdisjoint(metafunc.fixturenames):
        loops = [("asyncio", {"use_uvloop": is_used}) for is_used in (False, True)]
        metafunc.parametrize("anyio_backend", loops, ids=["asyncio", "uvloop"])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers have the tests in the order of the queue."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: part_of(item.path))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spread | None:
    """What stands in `support.spread`; any other way of spreading is xdist's own."""
    return Spread(config, log) if config.option.dist == "loadgroup" else None


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Where nothing else is said: asyncio, the only backend that aiohttp knows."""
    return "asyncio", {}


@pytest.fixture
def _no_blocking() -> Iterator[None]:
    """A call in batcher that blocks the loop, such as reading a file, is an error."""
    with blockbuster_ctx("batcher"):
        yield


@pytest.fixture
async def simulator(_no_blocking: None) -> AsyncIterator[Simulator]:
    """A simulated Ollama on a free port."""
    async with Simulator() as server:
        yield server


@pytest.fixture
def _no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are used again from the start, as of a server that is known to keep quiet."""
    monkeypatch.setattr("batcher.wire.connections.TRIALS", 0)
    monkeypatch.setattr("batcher.wire.connections.QUIET", 0.0)


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    async with Transport(connect_timeout=2.0) as opened:
        yield opened


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A directory for the command line, whose results are held against the schema at the end."""
    made = Desk(tmp_path)
    yield made
    made.check_files()
