"""Holds what passes between a run and its workers: nothing that is written or decided by is lost on the way."""

from __future__ import annotations

import pickle
import re
from dataclasses import fields, replace
from pathlib import Path

from hypothesis import given, strategies as st

from batcher import exchange
from batcher.exchange.cluster.parcels import (
    heard_attempt,
    heard_call,
    heard_endpoint,
    said_attempt,
    said_call,
    said_endpoint,
)
from batcher.failures import Exit, Failure, FailureClass, Scope
from batcher.model import Api, Call, Endpoint, Job, Kind
from batcher.outcome import NO_HINTS, Allowance, Attempt, Choice, Completion, Hints, ServerTimes, Timing, Usage
from batcher.wire.dialects.endings import choices_asked
from batcher.wire.dialects.vectors import inputs_of

counts = st.none() | st.integers(0, 10**6)
seconds = st.floats(0, 10**4)
texts = st.lists(st.text(max_size=5), max_size=4)
calls = st.lists(st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), max_size=2)
choices = st.builds(Choice, texts, texts, calls, calls, texts, st.none() | st.sampled_from(["stop", "length"]))
completions = st.builds(
    Completion,
    choices=st.dictionaries(st.integers(0, 3), choices, max_size=2),
    usage=st.none() | st.builds(Usage, counts, counts, counts, counts),
    server=st.none() | st.builds(ServerTimes, seconds, seconds, seconds, seconds),
    served_model=st.none() | st.text(max_size=4),
    vectors=st.none() | st.lists(st.lists(st.floats(-1, 1), max_size=3) | st.binary(max_size=8), max_size=2),
    images=st.none() | texts,
    proof=st.none() | st.just("[DONE]"),
    flags=texts,
    head=st.none() | st.just({"id": "a"}),
    tail=st.just({"done": True}),
    whole=st.none() | st.just({"id": "b"}),
)
failures = st.builds(
    Failure,
    st.sampled_from(FailureClass),
    st.just("http_500"),
    st.text(max_size=9),
    st.none() | st.just(500),
    st.none() | seconds,
    st.sampled_from(Scope),
    st.sampled_from(Exit),
)
hints = st.just(NO_HINTS) | st.builds(Hints, seconds, st.builds(Allowance, seconds, seconds, seconds))
CALL = Call((Job(id="a", seq=0, kind=Kind.CHAT),), "/api/chat", b"{}", stream=True, waited=2.5)


@given(st.none() | completions, st.none() | failures, hints, st.lists(seconds, max_size=5), st.booleans())
def test_an_attempt_arrives_as_it_was(
    completion: Completion | None,
    failure: Failure | None,
    told: Hints,
    gaps: list[float],
    whole: bool,  # noqa: FBT001 - it is drawn
) -> None:
    """By the clock of the run: a worker's may have begun at any time."""
    timing = Timing(1.7e9, 5000.0, 5000.0 + sum(gaps) + 1, 0.0)
    for gap in gaps:
        timing.arrivals.append((timing.arrivals or [5000.0])[-1] + gap)
    attempt = Attempt(timing, completion, failure, told)
    parcel = pickle.loads(pickle.dumps(said_attempt(attempt, overran=False, whole=whole)))
    heard = heard_attempt(parcel, CALL, 1.8e9, 20.0)
    assert (heard.failure, heard.hints, CALL.overran) == (failure, told, False)
    assert (heard.hints is NO_HINTS) is (told is NO_HINTS)
    assert (heard.timing.started_at, heard.timing.started, heard.timing.waited) == (1.8e9, 20.0, 2.5)
    assert abs(heard.timing.total - timing.total) < 1e-6
    assert all(
        abs((a - 20.0) - (b - 5000.0)) < 1e-6 for a, b in zip(heard.timing.arrivals, timing.arrivals, strict=True)
    )
    if completion is None:
        assert heard.completion is None
        return
    got = heard.completion
    assert got is not None
    for index, choice in completion.choices.items():
        other = got.choices[index]
        assert (other.text, other.thinking, other.finish_reason) == (choice.text, choice.thinking, choice.finish_reason)
        assert (other.tool_calls, other.logprobs, other.refusals) == (
            choice.tool_calls,
            choice.logprobs,
            choice.refusals,
        )
    for name in ("usage", "server", "served_model", "vectors", "images", "proof", "flags"):
        assert getattr(got, name) == getattr(completion, name)
    around = (completion.head, completion.tail, completion.whole) if whole else (None, {}, None)
    assert (got.head, got.tail, got.whole) == around


def test_a_call_that_overran_is_known_for_it() -> None:
    call = Call(CALL.jobs, CALL.path, CALL.body, stream=True)
    parcel = said_attempt(Attempt(Timing()), overran=True, whole=False)
    heard_attempt(parcel, call, 0.0, 0.0)
    assert call.overran
    assert heard_call(said_call(call, 1, 1))[2].overran


def test_a_call_asks_for_as_many_there_as_here() -> None:
    """Readers ask a call how many choices or vectors it wants, and nothing else."""
    asked = [
        Job(id="a", seq=0, kind=Kind.CHAT),
        Job(id="a", seq=0, kind=Kind.CHAT, params={"n": 3}),
        Job(id="a", seq=0, kind=Kind.CHAT, extra={"n": 2}),
        Job(id="a", seq=0, kind=Kind.CHAT, body={"messages": [], "n": 4}),
        Job(id="a", seq=0, kind=Kind.GENERATE, body={"prompt": ["a", "b"]}),
    ]
    for job in asked:
        call = Call((job,), "/v1/chat/completions", b"{}", stream=True)
        number, place, heard = heard_call(pickle.loads(pickle.dumps(said_call(call, 5, 6))))
        assert (number, place, heard.path, heard.body, heard.stream) == (5, 6, call.path, call.body, True)
        assert choices_asked(heard) == choices_asked(call)
    texts = [Job(id="a", seq=0, kind=Kind.EMBED, content=what) for what in ("a", ["b", "c"], [1, 2, 3])]
    call = Call(tuple(texts), "/api/embed", b"{}", stream=False)
    heard = heard_call(said_call(call, 1, 1))[2]
    assert sum(len(inputs_of(job)) for job in heard.jobs) == sum(len(inputs_of(job)) for job in texts) == 4


HERE = {
    "jobs": "as many answers are asked for, as above",
    "keep_alive": "it is in the body, as below",
    "loads": "the same",
    "model": "of errors' texts and sizes of vectors, which are looked at by the run",
    "waited": "of times, which the run adds up",
}
"""Fields of a call that are not said as they are, and why."""


def test_whatever_is_read_of_a_call_is_said() -> None:
    """A field that readers ask a call for, and that a worker's has not, is an answer that is read otherwise there."""
    batcher = Path(exchange.__file__).parents[1]
    files = [
        *(batcher / "wire").rglob("*.py"),
        batcher / "exchange" / "workers.py",
        batcher / "exchange" / "timeouts.py",
    ]
    read = {name for file in files for name in re.findall(r"\bcall\.(\w+)", file.read_text())}
    asked = read & {one.name for one in fields(Call)}
    assert {"binary", "overran", "stream"} <= asked
    call = Call(CALL.jobs, "/api/chat", b"{}", stream=True)
    for name in asked - HERE.keys():
        given = {bool: True, str: "/api/embed", bytes: b"[]"}[type(getattr(call, name))]
        other = replace(call)
        setattr(other, name, given)
        heard = heard_call(pickle.loads(pickle.dumps(said_call(other, 1, 1))))[2]
        assert getattr(heard, name) == given, name
    assert not heard_call(said_call(call, 1, 1))[2].binary


def test_what_is_said_of_loading_is_in_the_body() -> None:
    call = Call(CALL.jobs, CALL.path, b'{"model":"m"}', stream=True, keep_alive="5m", loads=True)
    assert heard_call(said_call(call, 1, 1))[2].body == b'{"keep_alive":"5m","model":"m"}'


def test_an_endpoint_arrives_with_its_headers() -> None:
    endpoint = Endpoint(root="http://a", api=Api.OPENAI, v1="/x", headers={"Authorization": "Bearer k"}, query="?a=b")
    assert heard_endpoint(pickle.loads(pickle.dumps(said_endpoint(endpoint, 3)))) == (3, endpoint)
