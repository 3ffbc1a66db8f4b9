"""What goes wrong between a client and a simulated server: refusals by lot, storms of them, freezes. Virtual clock."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.virtualserver import Request

from batcher.failures import Failure, FailureClass

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.virtualserver import Clock, Server

Spans = tuple[tuple[float, float], ...]
REFUSAL_S = 0.01
"""How long it takes to be refused, beside the way there."""


def every(period: float, lasting: float, times: int) -> Spans:
    """Spans at the end of each period."""
    return tuple((period * (n + 1) - lasting, period * (n + 1)) for n in range(times))


@dataclass
class Door:
    """Lets requests in to a server, or says wait: to a `share` of them by lot, to all while a storm lasts, and to those
    that find `full` inside.

    While it is `frozen` nothing passes in either direction; what should have, does so at the thaw.
    """

    clock: Clock
    server: Server
    share: float = 0.0
    storms: Spans = ()
    frozen: Spans = ()
    code: str = "busy"
    hint: float | None = None
    full: int | None = None
    inside: int = 0
    rng: random.Random = field(default_factory=lambda: random.Random(11))
    seen: int = 0
    refused: int = 0

    def accept(self, request: Request) -> None:
        if (thaw := self._thaw()) is not None:
            self.clock.at(thaw, lambda: self.accept(request))
            return
        self.seen += 1
        is_full = self.full is not None and self.inside >= self.full
        if is_full or self._is_in(self.storms) is not None or self.rng.random() < self.share:
            self.refused += 1
            refusal = Failure(FailureClass.THROTTLE, self.code, "wait", 503, retry_after=self.hint)
            self.clock.at(self.clock.now + REFUSAL_S, lambda: request.ended(refusal))
        elif self.full is not None:
            self.inside += 1
            self.server.accept(self._counted(request))
        elif self.frozen:
            self.server.accept(self._behind_ice(request))
        else:
            self.server.accept(request)

    def _counted(self, request: Request) -> Request:
        """The same request, which counts as inside until it ends."""

        def ended(failure: Failure | None) -> None:
            self.inside -= 1
            request.prompt_s, request.eval_s = inner.prompt_s, inner.eval_s
            request.ended(failure)

        inner = Request(request.prompt, request.tokens, request.first, ended)
        return inner

    def _behind_ice(self, request: Request) -> Request:
        """The same request, as the server sees it, whose news wait for the thaw."""

        def later(news: Callable[[], None]) -> None:
            thaw = self._thaw()
            if thaw is None:
                news()
            else:
                self.clock.at(thaw, news)

        def ended(failure: Failure | None) -> None:
            request.prompt_s, request.eval_s = inner.prompt_s, inner.eval_s
            later(lambda: request.ended(failure))

        inner = Request(request.prompt, request.tokens, lambda: later(request.first), ended)
        return inner

    def _thaw(self) -> float | None:
        return self._is_in(self.frozen)

    def _is_in(self, spans: Spans) -> float | None:
        """The end of the span in which it is now."""
        return next((end for begin, end in spans if begin <= self.clock.now < end), None)
