"""What holds a server, and until when: away, told to wait, failing, its allowance used up, given up; or nothing."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from batcher.failures import Failure, FailureClass
from batcher.model import Api, Call, Endpoint
from batcher.outcome import Allowance, Attempt, Completion, Hints, Timing, Usage
from batcher.policy.breaker import Breaker
from batcher.policy.evidence import LEAST
from batcher.policy.holding import Cause, Hold, hold_of
from batcher.policy.lane import Lane
from batcher.policy.limit.fixed import FixedLimit
from batcher.policy.pace.pacing import Pacing
from batcher.policy.retry import RetryPolicy
from batcher.policy.setback import Setback

WAIT = Failure(FailureClass.THROTTLE, "rate_limited", "slow down", 429, 30.0)
BROKEN = Failure(FailureClass.TRANSIENT, "server_error", "oops", 500)


def lane(pacing: Pacing | None = None) -> Lane:
    return Lane(Endpoint(root="http://a", api=Api.OPENAI), FixedLimit(4), Breaker(), pacing or Pacing())


def a_call() -> Call:
    return Call((), "/v1/chat/completions", b"x" * 4000, stream=True, model="m")


def fail(on: Lane, failure: Failure, times: int = LEAST) -> None:
    for _ in range(times):
        call = a_call()
        on.sends(call, 10.0)
        on.lands(call, Attempt(Timing(started=10.0, finished=11.0), failure=failure), 11.0)
        on.failed(Setback(call, failure, 10.0, 11.0), RetryPolicy(), random.Random(1))


def test_nothing_holds_a_server_that_serves() -> None:
    """Neither a new one, nor one with as many in flight as may be."""
    new = lane()
    assert hold_of(new, 0.0) is None
    for _ in range(4):
        new.sends(a_call(), 0.0)
    assert hold_of(new, 1.0) is None


def test_away() -> None:
    """Until the next probe; while that is out, until now."""
    gone = lane()
    gone.breaker.unreachable(a_call(), 10.0)
    assert hold_of(gone, 10.1) == Hold(Cause.AWAY, 10.5)


@pytest.mark.parametrize(("failure", "cause"), [(WAIT, Cause.TOLD), (BROKEN, Cause.FAILING)])
def test_told_to_wait_and_failing(failure: Failure, cause: Cause) -> None:
    """With what it says, until its gate opens."""
    held = lane()
    fail(held, failure)
    hold = hold_of(held, 12.0)
    assert hold is not None
    assert (hold.cause, hold.trouble) == (cause, failure)
    if failure.retry_after:
        assert 41.0 <= hold.until <= 45.0


@pytest.mark.parametrize(
    ("pacing", "cause", "limit"),
    [(Pacing(rpm=10.0), Cause.REQUESTS, 10.0), (Pacing(tpm=1000.0), Cause.TOKENS, 1000.0)],
)
def test_an_allowance_that_is_used_up(pacing: Pacing, cause: Cause, limit: float) -> None:
    """By requests or by tokens, whichever keeps calls back for longer."""
    paced, call = lane(pacing), a_call()
    paced.sends(call, 0.0)
    paced.paced_until = pacing.opens(a_call(), 0.1)
    hold = hold_of(paced, 0.1)
    assert hold is not None
    assert (hold.cause, hold.a_minute) == (cause, limit)
    assert hold.until > 0.1
    assert hold_of(paced, hold.until) is None


def test_what_a_server_says_is_left() -> None:
    """The limit that it names is that which is told, and caps how much goes in a second."""
    paced, call = lane(), a_call()
    hints = Hints(requests=Allowance(10.0, 0.0, 54.0))
    done = Attempt(Timing(started=0.0, finished=1.0), Completion(usage=Usage(3, 5)), hints=hints)
    paced.sends(call, 0.0)
    paced.lands(call, done, 1.0)
    paced.paced_until = paced.pacing.opens(a_call(), 1.0)
    assert hold_of(paced, 1.0) == Hold(Cause.REQUESTS, paced.paced_until, None, 10.0)
    assert paced.pacing.most() == (10 / 60, math.inf)
    assert replace(Pacing(rpm=60.0)).most() == (1.0, math.inf)


def test_given_up() -> None:
    """Nothing will be sent there any more."""
    out = lane()
    out.out = BROKEN
    assert hold_of(out, 0.0) == Hold(Cause.OUT, math.inf, BROKEN)
