"""Which model a server has loaded, where another one costs a load: for which calls, and how long it stays. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from batcher.policy import history

if TYPE_CHECKING:
    from batcher.model import Call
    from batcher.outcome import Attempt

REST: Final = 5.0
"""Seconds with nothing in flight after which a model may have gone, or been told by another client to go soon."""


@dataclass(slots=True, eq=False)
class Loading:
    """The first call of a group goes alone until it has an answer: the model is loaded once and not under a crowd.

    It says how long the model is to stay (`keep_alive`), and so does the first call after a rest; said with any other,
    that would keep the model from making way for one that another client waits for.
    """

    group: str | None = None
    """What the server has loaded, or is loading."""
    is_draining: bool = False
    """Another group is to be loaded: nothing more of this one goes until what is in flight has ended."""
    loader: Call | None = None
    """The call that loads it."""
    is_loaded: bool = False
    """It has answered for this group; then nobody loads it."""
    _is_told: bool = False
    """The server knows how long what it loads for us is to stay."""
    _rests_since: float = math.inf
    """Since when nothing has been in flight, if nothing is."""

    def sends(self, call: Call, now: float, *, is_idle: bool) -> None:
        """A call is sent; `is_idle`: nothing else is in flight."""
        self.is_draining = False
        if self.group != call.group:
            self.group, self.is_loaded, self._is_told = call.group, False, False
        if not self.is_loaded:
            self.loader = call
        if is_idle or call.loads:
            is_rested = not self._is_told or now - self._rests_since >= REST
            history.loads(call, may_load=is_rested and is_idle)
            self._is_told |= call.loads

    def answers(self, call: Call) -> None:
        """What was asked is loaded."""
        if self.group == call.group:
            self.is_loaded = True
            self.loader = None

    def lands(self, attempt: Attempt) -> None:
        """The attempt has ended of the call that loads it."""
        self.loader = None
        if attempt.failure is not None and attempt.failure.status is not None:
            self._is_told = False  # an answer that refuses: nothing may have been loaded

    def rests(self, now: float) -> None:
        """Nothing is in flight any more."""
        self._rests_since = now

    def forgets(self) -> None:
        """The server may have to start anew."""
        self.is_loaded = self._is_told = False
