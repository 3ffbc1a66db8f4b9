"""Whose fault a failure is: the evidence of how calls of one model and path ended at one server. Pure.

A failure is the server's if nearly all calls fail there, and the call's if the server serves the others. Only the
first attempt of each call votes: what failed once is asked again more often than what goes well, and would outvote it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from batcher.failures import FailureClass

if TYPE_CHECKING:
    from batcher.failures import Failure

WINDOW: Final = 16
"""First attempts that are remembered."""
LEAST: Final = 3
"""Votes below which nothing is concluded."""
NEARLY_ALL: Final = 0.8
"""The part of the votes that has to have failed for it to be the server's fault: where half fail by lot, one window in
a hundred is like that."""
HALF: Final = 0.5
"""The part that has to have been served for it to be the call's fault."""
SEVERAL: Final = 8
ALL: Final = 0.9
"""Calls that have to be refused for good, and their part of the votes, for that to be meant for all."""
ITS_OWN: Final = frozenset({"tool_call_unreadable", "timeout_total", "too_slow"})
"""Transient failures that are about what the model wrote: the server is well."""
DOUBT: Final = 0b1101_1101_0101_0101
"""Ten of sixteen failed: no call is blamed for that nor for one more that goes well, and several more have to fail to
blame the server again."""
_MASK: Final = (1 << WINDOW) - 1


class Fault(Enum):
    """Whose fault a failure is."""

    SERVER = auto()
    CALL = auto()
    OPEN = auto()
    """There is too little evidence, or it speaks for neither."""


class Ending(Enum):
    """How an attempt ended, as evidence."""

    SERVED = auto()
    FAILED = auto()
    REFUSED = auto()
    """With an answer that, meant for all, ends the run: the key, the model, the quota."""
    NOTHING = auto()
    """It tells nothing about this model and path."""


ENDINGS: Final = {
    FailureClass.PERMANENT: Ending.SERVED,  # the server read what it was asked
    FailureClass.SUSPECT: Ending.SERVED,
    FailureClass.THROTTLE: Ending.FAILED,
    FailureClass.TRANSIENT: Ending.FAILED,
    FailureClass.FATAL: Ending.REFUSED,
    FailureClass.CONNECTION: Ending.NOTHING,  # nobody answered: the breaker's business
    FailureClass.LOCAL: Ending.NOTHING,
}


def ending_of(failure: Failure) -> Ending:
    """What a failure is evidence of."""
    return Ending.SERVED if failure.code in ITS_OWN else ENDINGS[failure.kind]


@dataclass(slots=True)
class Evidence:
    """How the last first attempts ended, the newest in the lowest bit."""

    votes: int = 0
    failed: int = 0
    refused: int = 0
    """Those of the failed ones that were refused for good."""

    def served(self) -> None:
        if self.failed:
            self.failed = (self.failed << 1) & _MASK
            self.refused = (self.refused << 1) & _MASK
        if self.votes < WINDOW:
            self.votes += 1

    def fails(self, ending: Ending) -> None:
        self.failed = (self.failed << 1 | 1) & _MASK
        self.refused = (self.refused << 1 | (ending is Ending.REFUSED)) & _MASK
        if self.votes < WINDOW:
            self.votes += 1

    def take_back(self, votes: int) -> None:
        """The last so many were no evidence."""
        self.failed >>= votes
        self.refused >>= votes
        self.votes -= votes

    def fault(self, unheard: int = 0) -> Fault:
        """Whose fault it is when a call fails now.

        So many who are `unheard` yet may speak for the server.
        """
        if self.votes < LEAST:
            return Fault.OPEN
        failed = self.failed.bit_count()
        if failed >= NEARLY_ALL * (self.votes + unheard):
            return Fault.SERVER
        return Fault.CALL if failed <= (1 - HALF) * self.votes else Fault.OPEN

    @property
    def is_open(self) -> bool:
        """Whether one that is served changes anything: nearly always all of them were."""
        return self.failed > 0 or self.votes < WINDOW

    @property
    def is_little(self) -> bool:
        return self.votes < LEAST

    @property
    def is_young(self) -> bool:
        """Whether more may still be remembered than are."""
        return self.votes < WINDOW

    def is_refusal_of_all(self, unheard: int = 0) -> bool:
        """Whether all but one or two of them were refused for good, and several: that ends the run.

        So many may still vote for the opposite, as who refuses is quick and answers take their time; one alone would
        change nothing.
        """
        refused = self.refused.bit_count()
        return refused >= SEVERAL and refused >= ALL * (self.votes + max(0, unheard - 1))

    def doubt(self) -> None:
        """A call went well after nearly all had failed: as much speaks for either, but that it may go on so."""
        self.votes, self.failed, self.refused = WINDOW, DOUBT, 0
