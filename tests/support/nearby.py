"""Workers of a cluster as tasks of this process, over real connections: started, and killed, as Ray does it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.exchange.cluster.cluster import Cluster
from batcher.exchange.cluster.errand import Setup
from batcher.exchange.cluster.remote import work
from batcher.exchange.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from batcher.exchange.cluster.errand import Errand

QUICK = Timeouts(first_token=20.0, idle=20.0, total=20.0)


@dataclass
class Nearby:
    """The placement. `errands` are those of all workers that were ever placed, by number."""

    errands: dict[int, Errand] = field(default_factory=dict)
    tasks: dict[int, asyncio.Task[str]] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    places: bool = True
    """Workers are started; else Ray has no room for them."""
    lacks: str = ""
    room: int | None = None
    """How many have room at a time; one has it until it is dismissed, however it ended. Others wait, as Ray has it."""
    _holding: set[int] = field(default_factory=set)

    @asynccontextmanager
    async def open(
        self,
        gone: Callable[[int, str], None],
        broken: Callable[[Exception], None],  # noqa: ARG002 - of `Placement`
    ) -> AsyncIterator[str]:
        self._gone = gone
        try:
            yield "127.0.0.1"
        finally:
            for task in self.tasks.values():
                task.cancel()
            if self.tasks:
                await asyncio.wait(self.tasks.values())

    def place(self, errand: Errand) -> None:
        self.errands[errand.number] = errand
        self._start_those_who_wait()

    def _start_those_who_wait(self) -> None:
        for number in self.errands.keys() - self.tasks.keys():
            if self.places and (self.room is None or len(self._holding) < self.room):
                self._holding.add(number)
                self._start(self.errands[number])

    def _start(self, errand: Errand) -> None:
        task = self.tasks[errand.number] = asyncio.create_task(work(errand))
        task.add_done_callback(lambda _: self._over(errand.number, task))

    def dismiss(self, number: int) -> None:
        if number in self.tasks:
            self.tasks[number].cancel()
        self._holding.discard(number)
        self._start_those_who_wait()

    def kill(self, number: int) -> None:
        self.tasks[number].cancel()

    def _over(self, number: int, task: asyncio.Task[str]) -> None:
        words = "killed" if task.cancelled() else str(task.exception() or task.result())
        self.ended.append(words)
        self._gone(number, words)


def cluster(placement: Nearby, size: int = 2, *, notes: list[str] | None = None, **fields: object) -> Cluster:
    """A cluster of so many workers nearby. `fields` are those of `Setup`."""
    setup = Setup(timeouts=QUICK, connect_timeout=2.0, **fields)  # type: ignore[arg-type]  # as the test says
    return Cluster(placement, setup, size, note=(notes if notes is not None else []).append)
