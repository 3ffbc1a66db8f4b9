"""Holds what deaths of workers cost to a table: when the next one starts, and what a call failed of."""

from __future__ import annotations

from batcher.exchange.cluster.losses import PAUSES, UNDER_ONE, Losses
from batcher.exchange.seam import LOST
from batcher.failures import FailureClass
from batcher.model import Call


def test_those_that_serve_nothing_are_followed_later_and_later() -> None:
    """One that has served something is followed at once; other places have pauses of their own."""
    losses = Losses()
    pauses = [losses.died(0, "worker 1: killed", has_served=False) for _ in PAUSES]
    assert pauses == [*PAUSES[1:], PAUSES[-1]]
    assert losses.died(1, "worker 2: killed", has_served=False) == PAUSES[1]
    assert losses.died(0, "worker 1: gone", has_served=True) == PAUSES[0]
    assert losses.died(0, "worker 1: gone", has_served=False) == PAUSES[1]
    assert losses.of_nobody().message == "worker 1: gone"


def test_a_call_under_which_many_die_may_be_the_reason() -> None:
    """Until then it is as if nobody had been there; an answer shows that it was not."""
    losses, calls = Losses(), [Call((), "/v1/chat/completions", b"", stream=True) for _ in range(2)]
    lost = [losses.under(calls[0], "killed").code for _ in range(UNDER_ONE)]
    assert lost == [LOST] * UNDER_ONE
    crash = losses.under(calls[0], "killed")
    assert (crash.code, crash.kind) == ("server_crash", FailureClass.TRANSIENT)
    losses.outlived(calls[0])
    assert [losses.under(call, "killed").code for call in calls] == [LOST] * 2
