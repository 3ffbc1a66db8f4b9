"""The seam between a run and what makes its exchanges: calls go down, attempts come up.

Above it stand policy and the results file, one of each, and what is learnt of a server. Below it are sockets, streams
and decoding, which could as well be on other machines: nothing but these calls and reports passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from batcher.model import Call, Endpoint
    from batcher.outcome import Attempt


LOST: Final = "worker_lost"
"""Code of the failure of an exchange whose maker is gone: nobody knows how it ended, and no server has failed."""


class Flow(NamedTuple):
    """What comes of the calls in flight, for whoever shows it: asked for now and then, told by nobody."""

    pieces: int = 0
    """Pieces of content that answers in the making have so far; a piece is about a token."""
    heard: float | None = None
    """When content came last, or the first of those in flight was sent if that was later (monotonic); None: idle."""


class Reports(Protocol):
    """What is told of calls, on the event loop on which they were sent."""

    def begun(self, call: Call) -> None:
        """The first content of an answer has come: its model is loaded."""

    def ended(self, call: Call, endpoint: Endpoint, attempt: Attempt) -> None:
        """The exchange is over, well or not. The call may be sent again from within."""

    def told(self, endpoint: Endpoint, *, is_there: bool) -> None:
        """Whether a server answered that was asked for something small."""


class Exchanges(Protocol):
    """Takes calls and gives back an attempt for each."""

    def open(self, reports: Reports) -> AbstractAsyncContextManager[None]:
        """Be ready to send while the block runs; at its end what is in flight is broken off, and nothing is told."""

    def send(self, call: Call, endpoint: Endpoint) -> None:
        """Make one exchange. Returns at once; how many may be made at a time is the caller's to say."""

    def ask(self, endpoint: Endpoint) -> None:
        """Ask a server for something small, to learn whether anybody is there. Returns at once."""

    def flow(self) -> Flow:
        """What comes just now."""
