"""How fast the server is: reading prompts one after another, and generating the slower the more are in service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batcher.simulator.settings import Settings
    from batcher.simulator.tally import Tally

GRAIN = 0.004
"""Seconds: a whole answer sleeps in steps of at least this, and still takes its time to the token."""


class Pace:
    """A token of one of n streams takes `1/speed + (n-1)/total_speed` seconds, which for many streams is the total."""

    def __init__(self, settings: Settings, tally: Tally) -> None:
        self._tally = tally
        self._alone = 1 / settings.speed if settings.speed else settings.token_delay
        self._shared = 1 / settings.total_speed if settings.total_speed else 0.0
        self._alone = max(self._alone, self._shared)
        self._prompt_speed = settings.prompt_speed
        self._prompt_delay = settings.prompt_delay
        self._reading_until = 0.0

    def token(self, fixed: float | None = None) -> float:
        """Seconds to the next token, as things stand now; `fixed` is what a directive says."""
        if fixed is not None:
            return fixed
        return self._alone + (self._tally.in_service - 1) * self._shared

    async def prompt(self, tokens: int, fixed: float | None = None) -> None:
        """Read a prompt, when those before it have been read."""
        wait = self._prompt_delay
        if fixed is not None:
            wait = fixed
        elif self._prompt_speed:
            now = asyncio.get_running_loop().time()
            self._reading_until = max(now, self._reading_until) + tokens / self._prompt_speed
            wait += self._reading_until - now
        if wait:
            await asyncio.sleep(wait)

    async def tokens(self, count: int, fixed: float | None = None) -> AsyncIterator[int]:
        """Take the time that so many tokens take; each is told when it is made, give or take `GRAIN`."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        for number in range(count):
            due += self.token(fixed)
            ahead = due - loop.time()
            if ahead > GRAIN or (ahead > 0 and number == count - 1):
                await asyncio.sleep(ahead)
            yield number
