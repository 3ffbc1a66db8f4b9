"""Holds the buckets, the estimates and the server's word to numbers on a clock that is an argument."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from batcher.failures import Failure, FailureClass
from batcher.model import Call, Job, Kind
from batcher.outcome import Allowance, Attempt, Completion, Hints, Timing, Usage
from batcher.policy.pace.bucket import EPISODE, MARGIN
from batcher.policy.pace.estimate import BYTES_PER_TOKEN, FIRST_OUTPUT, Estimator, counts_in_full
from batcher.policy.pace.pacing import Pacing

REFUSED = Failure(FailureClass.THROTTLE, "rate_limited", "slow down", 429)
BUSY = Failure(FailureClass.THROTTLE, "busy", "server busy", 503)
AWAY = Failure(FailureClass.CONNECTION, "refused", "nobody there")
SHORT = Failure(FailureClass.LOCAL, "out_of_sockets", "too many open files")
SICK = Failure(FailureClass.TRANSIENT, "http_500", "oops", 500)
CUT = Failure(FailureClass.TRANSIENT, "cut", "broken in the middle")


def call(size: int = 350, model: str = "m", kind: Kind = Kind.CHAT, jobs: int = 1, **params: Any) -> Call:
    many = tuple(Job(id=str(number), seq=number, kind=kind, params=params) for number in range(jobs))
    return Call(many, "/v1/chat/completions", b"x" * size, stream=True, model=model)


def ended(failure: Failure | None = None, usage: Usage | None = None, hints: Hints | None = None) -> Attempt:
    completion = Completion(usage=usage) if failure is None or usage is not None else None
    return Attempt(Timing(), completion, failure, hints or Hints())


def said(left: float, limit: float | None = None, reset: float | None = None) -> Attempt:
    return ended(hints=Hints(requests=Allowance(limit, left, reset)))


def sends(pacing: Pacing, until: float, *, now: float = 0.0, size: int = 350) -> list[float]:
    """The times at which calls go that have nothing else to wait for."""
    times: list[float] = []
    while True:
        one = call(size)
        now = max(now, pacing.opens(one, now))
        if now > until:
            return times
        pacing.take(one, now)
        times.append(now)


def test_requests_leave_evenly() -> None:
    """A minute's limit is a distance between calls, a little larger than the limit asks for."""
    times = sends(Pacing(rpm=60), 59.9)
    gaps = [later - sooner for sooner, later in pairwise(times)]
    assert gaps[1:] == [pytest.approx(1 / MARGIN)] * len(gaps[1:])
    assert len(times) == 59


@pytest.mark.parametrize(("rpm", "at_once"), [(3, 1), (60, 1), (300, 4), (6000, 97)])
def test_a_burst_is_a_seconds_worth(rpm: float, at_once: int) -> None:
    """After any pause, so many go at once and no more, but one always."""
    pacing = Pacing(rpm=rpm)
    sends(pacing, 10.0)
    assert sends(pacing, 1000.0, now=1000.0).count(1000.0) == at_once


def test_tokens_are_a_debt() -> None:
    """A job larger than a minute's allowance goes when the others do, and those after it wait until it is paid."""
    pacing = Pacing(tpm=600)
    large = call(max_tokens=1200)
    pacing.settle(large, ended(), 0.0)  # never sent: nothing to settle
    small, cost = call(), 350 / BYTES_PER_TOKEN + FIRST_OUTPUT
    pacing.take(small, 0.0)
    opens = pacing.opens(large, 0.0)
    assert opens == pytest.approx((cost - 10 * MARGIN) / (10 * MARGIN))
    assert pacing.opens(large, opens) == opens
    pacing.take(large, opens)
    assert pacing.opens(small, opens) == pytest.approx(opens + cost / (10 * MARGIN))


@pytest.mark.parametrize(
    ("attempt", "requests", "tokens"),
    [
        (ended(usage=Usage(80, 400)), 1, 480),
        (ended(usage=Usage(80, None)), 1, 80),
        (ended(usage=Usage(None, 400)), 1, 500),
        (ended(usage=Usage()), 1, 356),
        (ended(), 1, 356),
        (ended(AWAY), 0, 0),
        (ended(SHORT), 0, 0),
        (ended(REFUSED), 1, 356),
        (ended(BUSY), 1, 0),
        (ended(SICK), 1, 0),
        (ended(CUT), 1, 356),
        (ended(CUT, usage=Usage(80, 10)), 1, 90),
    ],
)
def test_what_a_call_is_charged_in_the_end(attempt: Attempt, requests: float, tokens: float) -> None:
    """Usage where there is one, nothing for what never left, a request for what was refused, else the estimate.

    What the rate refused is charged as estimated: it was asked for, and was not there.
    """
    pacing = Pacing(rpm=600, tpm=6000)
    one = call()
    pacing.take(one, 0.0)
    pacing.settle(one, attempt, 0.0)
    account = pacing._accounts["m"]
    assert account.requests.taken == requests
    assert account.tokens.taken == pytest.approx(tokens)
    pacing.settle(one, attempt, 0.0)
    assert account.requests.taken == requests


def test_each_model_has_its_own() -> None:
    """Providers count each model apart."""
    pacing = Pacing(rpm=1)
    pacing.take(call(), 0.0)
    assert pacing.opens(call(), 0.0) > 0
    assert pacing.opens(call(model="other"), 0.0) == 0


def test_without_limits_nothing_waits_and_nothing_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local server is given what it takes, at no cost."""
    monkeypatch.setattr(Estimator, "expected", None)
    pacing = Pacing()
    for _ in range(50):
        one = call()
        assert pacing.opens(one, 1.0) == 1.0
        pacing.take(one, 1.0)
        pacing.settle(one, ended(REFUSED), 1.0)
    assert Pacing(rpm=0, tpm=0).opens(call(), 1.0) == 1.0


@pytest.mark.parametrize(
    ("attempt", "opens"),
    [
        (said(5, 100, 0.0), 10.0),
        (said(0, 100, 60.0), 10.6),  # a bucket by the minute: one is there soon
        (said(0, 100, 30.0), 40.3),  # a window that ends
        (said(0, None, 30.0), 40.3),
        (said(0, 14_400, 86_400.0), 16.0),  # a bucket by the day
        (said(0, 50, 54_000.0), 70.0),  # for longer than a minute nothing is believed: the server will say
        (said(0, 100, None), 20.0),  # until when, it did not say
        (said(0, None, None), 10.0),
        (said(0, 0, 30.0), 40.3),
        (ended(), 10.0),
    ],
)
def test_what_the_server_says_is_left(attempt: Attempt, opens: float) -> None:
    """Nothing left: when it grows again follows from limit and reset; what is no limit holds nobody."""
    pacing = Pacing()
    one = call()
    pacing.take(one, 10.0)
    pacing.settle(one, attempt, 10.0)
    assert pacing.opens(call(), 10.0) == pytest.approx(opens)
    assert pacing.opens(call(), opens) == pytest.approx(opens)


def test_what_is_left_is_not_given_twice() -> None:
    """What went after the call that was answered is not in what the server counted."""
    pacing = Pacing()
    first, *others = calls = [call() for _ in range(4)]
    for one in calls:
        pacing.take(one, 0.0)
    pacing.settle(first, said(4, 100, 30.0), 0.1)
    assert pacing.opens(call(), 0.1) == 0.1
    pacing.settle(others[0], said(3, 100, 30.0), 0.1)
    pacing.take(call(), 0.1)
    assert pacing.opens(call(), 0.1) > 20
    pacing.settle(others[1], said(90, 100, 30.0), 0.1)  # told later of an earlier state: less counts
    assert pacing.opens(call(), 0.1) > 20


def test_tokens_left_are_held_against_the_estimate() -> None:
    """A call goes when what it will use is there; one above the limit when all is."""
    pacing = Pacing()
    one = call()
    pacing.take(one, 0.0)
    pacing.settle(one, ended(hints=Hints(tokens=Allowance(6000.0, 300.0, 57.0))), 0.0)
    assert pacing.opens(call(max_tokens=100), 0.0) == 0.0
    assert pacing.opens(call(max_tokens=250), 0.0) == pytest.approx(0.5)
    assert pacing.opens(call(size=350_000), 0.0) == pytest.approx(57.0)


def test_refusals_slow_down_and_time_forgives() -> None:
    """An episode of refusals costs a little of the rate, which comes back."""
    pacing = Pacing(rpm=600)
    for number in range(8):
        one = call()
        pacing.take(one, float(number))
        pacing.settle(one, ended(REFUSED), float(number))
    slowed = len(sends(pacing, 19.99, now=10.0))
    assert 80 < slowed < 97 - 8 / EPISODE
    assert len(sends(pacing, 199.99, now=190.0)) == 98


def test_prompts_and_answers_are_learnt() -> None:
    """Bytes a token from all prompts, the 90th percentile of answers, at most what the job lets it have."""
    estimator = Estimator()
    for length in range(200):
        estimator.learn(call(4000), Usage(2000, length))
    assert estimator.expected(call(4000, kind=Kind.EMBED)) == pytest.approx(2000, rel=0.02)
    assert estimator.expected(call(0)) == 187
    assert estimator.expected(call(0, max_tokens=20)) == 20
    assert estimator.expected(call(0, jobs=2)) == 374
    estimator.learn(call(4000), Usage())
    assert estimator.expected(call(0)) == 187


@pytest.mark.parametrize(
    ("job", "output"),
    [
        ({"params": {"max_tokens": 900, "n": 2}}, 1800),
        ({"params": {"max_completion_tokens": 900}}, 900),
        ({"options": {"num_predict": 900}}, 900),
        ({"options": {"num_predict": -1}}, FIRST_OUTPUT),
        ({"body": {"max_tokens": 900, "n": "x"}}, 900),
        ({"body": {"max_tokens": "many"}}, FIRST_OUTPUT),
    ],
)
def test_the_largest_answer_counts_in_full_where_the_server_counts_so(job: dict[str, Any], output: float) -> None:
    """`max_tokens` by any of its names, and as often as the job asks for an answer; none of it is given back."""
    one = Call((Job(id="a", seq=0, kind=Kind.CHAT, **job),), "/v1/chat/completions", b"", stream=True)
    estimator = Estimator(in_full=True)
    assert estimator.expected(one) == output
    assert estimator.used(one, Usage(10, 300)) == 10 + max(300, output if output != FIRST_OUTPUT else 0)


@pytest.mark.parametrize(
    ("root", "in_full"),
    [
        ("https://api.openai.com", True),
        ("https://x.openai.azure.com/openai/deployments/y", True),
        ("https://api.groq.com/openai", False),
        ("http://api.openai.com.example.org", False),
        ("http://127.0.0.1:8000", False),
    ],
)
def test_who_counts_in_full(root: str, in_full: bool) -> None:  # noqa: FBT001 - a column of the table
    """OpenAI and Azure; who gives back what was not used is charged that."""
    assert counts_in_full(root) is in_full


ALLOWANCES = st.builds(
    Allowance,
    st.none() | st.sampled_from([0.0, 1.0, 60.0, 1e9]),
    st.none() | st.sampled_from([0.0, 0.5, 59.0, 1e9]),
    st.none() | st.sampled_from([0.0, 1e-9, 1.0, 59.0, 1e7]),
)
ENDS = st.builds(
    ended,
    st.sampled_from([None, REFUSED, AWAY, SICK]),
    st.none() | st.builds(Usage, st.none() | st.integers(0, 10**6), st.none() | st.integers(0, 10**6)),
    st.builds(Hints, st.none(), st.none() | ALLOWANCES, st.none() | ALLOWANCES),
)


@settings(max_examples=60, deadline=None)
@given(
    st.none() | st.sampled_from([0.5, 60, 1e6]),
    st.none() | st.sampled_from([10, 1e5, 1e9]),
    st.lists(st.tuples(ENDS, st.integers(0, 10**5), st.sampled_from([0.0, 1e-6, 1.0, 100.0])), max_size=20),
)
def test_whoever_waits_as_told_may_go(
    rpm: float | None, tpm: float | None, story: list[tuple[Attempt, int, float]]
) -> None:
    """Whatever was said and used before: the wait has an end, and at its end the call may go. Never a spin."""
    pacing, now = Pacing(rpm, tpm), 1000.0
    for attempt, size, took in story:
        one = call(size)
        opens = now
        for _ in range(4):
            now, opens = opens, pacing.opens(one, opens)
            assert now <= opens < math.inf
        assert opens == now
        pacing.take(one, now)
        now += took
        pacing.settle(one, attempt, now)
