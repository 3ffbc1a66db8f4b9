"""An answer that has no end is given up before it fills the memory; any that a model writes is taken in."""

from __future__ import annotations

import pytest
from support.enginerun import engine_for, job, results_of
from support.rawserver import answer, playing

from batcher.exchange import budget
from batcher.exchange.budget import ALL, LARGE, STEP, WHOLE, Budget, Flight
from batcher.failures import AttemptError
from batcher.model import Api, Kind
from batcher.outcome import Choice, Completion


def grown(*choices: Choice) -> Completion:
    return Completion(choices=dict(enumerate(choices)))


TEXT, PIECES = 64_000, 4000
"""Small bounds in the place of the real ones."""
CALL = {"index": 0, "function": {"arguments": "x" * (TEXT + 1)}}


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "TEXT", TEXT)
    monkeypatch.setattr(budget, "PIECES", PIECES)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(
    ("completion", "fits"),
    [
        (grown(), True),
        (grown(Choice(["x" * 1000] * 64)), True),
        (grown(Choice(["xxxx"] * PIECES)), True),
        (grown(Choice(["x" * 1000] * 65)), False),
        (grown(Choice(thoughts=["x" * 1000] * 65)), False),
        (grown(Choice(refusals=["x" * 1000] * 65)), False),
        (grown(*[Choice(["x" * 1000] * 33)] * 2), False),
        (grown(Choice([""] * (PIECES + 1))), False),
        (grown(Choice(logprobs=[{}] * (PIECES // 16 + 1))), False),
        (grown(Choice(tool_calls=[CALL])), False),
        (grown(Choice(tool_calls=[{"function": "f"}, {"function": {"arguments": 5}}, {"custom": {}}])), True),
        (grown(*[Choice(["x"])] * (PIECES + 1)), False),
    ],
)
def test_what_a_stream_may_hold(completion: Completion, fits: bool) -> None:  # noqa: FBT001 - a column of the table
    """Characters and pieces of all its choices, however they are spread."""
    one = Budget("/api/chat")
    if fits:
        assert one.look(STEP, completion, streamed=True) == 2 * STEP
    else:
        with pytest.raises(AttemptError, match="larger than any"):
            one.look(STEP, completion, streamed=True)


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", *LARGE])
def test_what_may_come_in_one_piece(path: str) -> None:
    """Vectors and pictures have more room than text."""
    most = LARGE.get(path, WHOLE)
    Budget(path).look(most, Completion(), streamed=False)
    with pytest.raises(AttemptError, match="in one piece"):
        Budget(path).look(most + 1, Completion(), streamed=False)


RECORD = b'{"model":"m","created_at":"2026-01-01T00:00:00Z","response":"' + b"x" * 1000 + b'","done":false}\n'
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"
LONG = answer(b'{"response":"' + b"x" * 1_000_000 + b'","done":true}', "Content-Type: application/json")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("stream", "parts", "bound"),
    [(True, (ENDLESS, *[RECORD * 50] * 40), "TEXT"), (False, (LONG,), "WHOLE")],
    ids=["streamed", "whole"],
)
async def test_an_answer_without_an_end_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
    parts: tuple[bytes, ...],
    bound: str,
    *,
    stream: bool,
) -> None:
    """It is asked for once, its connection is closed, and nothing of it is kept."""
    monkeypatch.setattr(budget, "FIRST", 50_000)
    monkeypatch.setattr(budget, bound, 100_000)
    work = [job(0, kind=Kind.GENERATE)]
    async with playing(*parts) as url, engine_for(work, url, api=Api.NATIVE, stream=stream) as engine:
        [result] = (await results_of(engine)).values()
    assert result.failure is not None
    assert (result.failure.code, result.attempts, result.completion) == ("answer_too_large", 1, None)


def test_all_in_flight_share_one_budget() -> None:
    """Each is far from its own bound when there is no more room; what is over makes room."""
    flight = Flight()
    size = WHOLE // 2
    budgets = [Budget("/api/chat", flight) for _ in range(ALL // size)]
    for one in budgets:
        one.look(size // 2, Completion(), streamed=False)
        one.look(size, Completion(), streamed=False)
    assert flight.held == ALL
    late = Budget("/v1/chat/completions", flight)
    for streamed, completion in ((False, Completion()), (True, grown(Choice(["x"])))):
        with pytest.raises(AttemptError, match="together"):
            late.look(1, completion, streamed=streamed)
    late.release()
    budgets[0].release()
    late.look(size, Completion(), streamed=False)
    for one in (late, *budgets):
        one.release()
    assert flight.held == 0


def test_long_records_count() -> None:
    """What a stream brings in long records may be held as it is."""
    Budget("/v1/responses").look(STEP, Completion(), WHOLE // 8, streamed=True)
    with pytest.raises(AttemptError, match="larger than any"):
        Budget("/v1/responses").look(STEP, Completion(), WHOLE + 1, streamed=True)


@pytest.mark.anyio
async def test_answers_that_fill_the_memory_together_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the server's doing, and for another time: tried again, and then told."""
    monkeypatch.setattr(budget, "FIRST", 50_000)
    monkeypatch.setattr(budget, "ALL", 100_000)
    work = [job(0, kind=Kind.GENERATE)]
    async with playing(LONG) as url, engine_for(work, url, api=Api.NATIVE, stream=False) as engine:
        [result] = (await results_of(engine)).values()
    assert result.failure is not None
    assert (result.failure.code, result.attempts > 1) == ("answers_too_large", True)


@pytest.mark.anyio
async def test_an_answer_that_is_over_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many that fill half of the room, one after the other."""
    monkeypatch.setattr(budget, "FIRST", 50_000)
    monkeypatch.setattr(budget, "ALL", 2 * len(LONG))
    work = [job(number, kind=Kind.GENERATE) for number in range(5)]
    async with playing(LONG) as url, engine_for(work, url, api=Api.NATIVE, stream=False, limit=1) as engine:
        results = await results_of(engine)
    assert [(result.failure, result.attempts) for result in results.values()] == [(None, 1)] * 5
