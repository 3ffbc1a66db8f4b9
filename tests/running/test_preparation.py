"""When the local server is started: not before there is a job for it, nor only when a pipe has said its first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from batcher.model import Job, Kind
from batcher.running.preparation import begun

if TYPE_CHECKING:
    from collections.abc import Iterator

JOB = Job(seq=0, id="a", kind=Kind.GENERATE, content="Hi")


class Start:
    """What is passed to it, and whether it has started the server."""

    def __init__(self) -> None:
        self.is_started = False
        self.looked = 0

    async def begin(self) -> None:
        self.is_started = True

    def jobs(self, *jobs: Job | None) -> Iterator[Job | None]:
        for job in jobs:
            self.looked += 1
            yield job

    async def of(self, *jobs: Job | None, is_regular: bool) -> list[Job | None]:
        server: Any = SimpleNamespace(begin=self.begin)
        intake: Any = SimpleNamespace(rest=None)
        source: Any = SimpleNamespace(is_regular=is_regular)
        given = await begun(server, self.jobs(*jobs), intake, source)
        self.looked_before = self.looked
        return list(given)


@pytest.mark.anyio
async def test_a_pipe_is_not_waited_for() -> None:
    """Its first line may take an hour: the server is started meanwhile, and no job was looked for."""
    start = Start()
    assert await start.of(None, JOB, is_regular=False) == [None, JOB]
    assert (start.is_started, start.looked_before) == (True, 0)


@pytest.mark.anyio
async def test_a_file_is_looked_into() -> None:
    """As far as its first job, which is given back with the rest; without one nothing is started."""
    start = Start()
    assert await start.of(None, JOB, None, is_regular=True) == [JOB, None]
    assert (start.is_started, start.looked_before) == (True, 2)
    idle = Start()
    assert await idle.of(None, is_regular=True) == []
    assert not idle.is_started
