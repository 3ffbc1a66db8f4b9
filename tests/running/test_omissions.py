"""A server that refuses what batcher asks for of itself is asked without it, once for all its jobs."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from support.enginerun import engine_for, job, results_of
from support.rawserver import answer, take_request

from batcher.exchange import packing
from batcher.failures import Failure, FailureClass
from batcher.model import Api, Call, Endpoint, Kind
from batcher.running.omissions import ENDS, Omissions
from batcher.wire.dialects import call_for

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable

CHAT = "/v1/chat/completions"
ENDPOINT = Endpoint(root="http://127.0.0.1:9", api=Api.OPENAI)
NAMED: list[tuple[int | None, str]] = [
    # https://github.com/NousResearch/hermes-agent/pull/109143
    (400, "stream_options: Extra inputs are not permitted"),
    # pydantic 2 behind FastAPI
    (422, '[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]'),
    # Mistral's API before 2025
    (422, '{"detail":[{"loc":["body","stream_options"],"msg":"extra fields not permitted"}]}'),
    # Go, encoding/json with DisallowUnknownFields
    (400, 'json: unknown field "stream_options"'),
    # serde, with deny_unknown_fields
    (422, "Failed to deserialize the JSON body: stream_options: unknown field `include_usage`, expected one of …"),
    # OpenAI's own words for a field that it does not know
    (400, "Unrecognized request argument supplied: stream_options"),
    (400, "Unsupported parameter: 'stream_options' is not supported with this model."),
    (400, "Stream options can only be defined when stream is True"),
    # a Python server that passes on whatever comes
    (500, "TypeError: create() got an unexpected keyword argument 'stream_options'"),
    # the same, said inside a stream
    (None, "stream_options is not supported"),
]
VAGUE: list[tuple[int | None, str]] = [
    (400, "Extra inputs are not permitted"),
    (422, "extra fields not permitted"),
    (400, "Additional properties are not allowed"),
    (400, "unknown field"),
    (400, "Unrecognized request arguments supplied"),
    (400, "unexpected keyword in the request"),
    (501, "Unsupported parameter"),
]
OTHERS = [
    (400, "max_tokens is too large"),
    (400, "unknown model"),
    (401, "stream_options"),
    (429, "stream_options: too many"),
    (404, "unknown parameter"),
    (503, "stream_options"),
]


def refused(status: int | None, words: str) -> Failure:
    return Failure(FailureClass.PERMANENT, "bad_request", words, status)


def streamed(number: int = 0, **params: Any) -> Call:
    return call_for((job(number, kind=Kind.CHAT, params=params),), Api.OPENAI, stream=True)


@pytest.mark.parametrize(("status", "words"), NAMED + VAGUE)
def test_what_is_about_our_own_field(status: int | None, words: str) -> None:
    """The call is sent again without it, once; what else it says is untouched. When it is served, all others go so."""
    omissions, call, later = Omissions(), streamed(1, temperature=0.5), streamed(2)
    whole = json.loads(call.body)
    assert omissions.takes_back(call, ENDPOINT, refused(status, words))
    whole.pop("stream_options")
    assert json.loads(call.body) == whole
    assert not omissions.takes_back(call, ENDPOINT, refused(status, words))

    again = streamed(1)
    assert omissions.takes_back(again, ENDPOINT, refused(status, words))
    omissions.served(again)
    omissions.heed(later, ENDPOINT)
    assert b"stream_options" not in later.body
    elsewhere = streamed(3)
    omissions.heed(elsewhere, Endpoint(root="http://127.0.0.2:9", api=Api.OPENAI))
    assert elsewhere.body.endswith(ENDS)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "encoding_format: Extra inputs are not permitted"),
        (400, "Invalid value for 'encoding_format': only 'float' is supported"),
        (422, '{"detail":[{"loc":["body","encoding_format"],"msg":"extra fields not permitted"}]}'),
        (400, "base64 is not supported by this model"),
        (400, "unknown field"),
    ],
)
def test_vectors_come_in_numbers_where_bytes_are_refused(status: int, words: str) -> None:
    """The whole pack is sent again as it was, and from then on all, halves too, ask for nothing."""
    omissions = Omissions()
    jobs = [job(n, kind=Kind.EMBED) for n in range(4)]
    call, plain = (call_for(jobs, Api.OPENAI, stream=False, base64=asks) for asks in (True, False))
    assert json.loads(call.body)["encoding_format"] == "base64"
    assert omissions.takes_back(call, ENDPOINT, refused(status, words))
    assert call.body == plain.body
    omissions.served(call)
    later = call_for(jobs, Api.OPENAI, stream=False, base64=True)
    omissions.heed(later, ENDPOINT)
    assert later.body == plain.body
    assert all(b"encoding_format" not in half.body for half in packing.halves(later, Api.OPENAI))


def test_a_job_that_says_its_encoding_keeps_it() -> None:
    one = job(0, kind=Kind.EMBED, params={"encoding_format": "float"})
    body = json.loads(call_for((one,), Api.OPENAI, stream=False, base64=True).body)
    assert body["encoding_format"] == "float"


@pytest.mark.parametrize(("status", "words"), OTHERS)
def test_what_is_about_something_else(status: int | None, words: str) -> None:
    """A refusal that has nothing to do with it costs no second request."""
    assert not Omissions().takes_back(streamed(), ENDPOINT, refused(status, words))


def test_nothing_is_left_out_that_is_not_ours() -> None:
    """Nor where there is nothing of ours: a prompt may speak of it, and a line may ask for something else."""
    omissions = Omissions()
    mine = call_for((job(0, kind=Kind.CHAT),), Api.OPENAI, stream=False)
    mine.body = mine.body.replace(b'"model"', b'"stream_options":{"include_usage":true},"model"', 1)
    before = mine.body
    assert not omissions.takes_back(mine, ENDPOINT, refused(*NAMED[0]))
    assert mine.body == before


def test_words_that_name_no_field_are_doubted_in_time() -> None:
    """Where a server says so of another field each time, only the first few jobs are asked twice."""
    omissions, twice = Omissions(), 0
    for number in range(20):
        call = streamed(number)
        while omissions.takes_back(call, ENDPOINT, refused(400, "Extra inputs are not permitted")):
            twice += 1
    assert twice == 3
    assert omissions.takes_back(streamed(), ENDPOINT, refused(*NAMED[0]))


@asynccontextmanager
async def choosy(refuse: Callable[[dict[str, Any]], bytes | None]) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A server that answers a chat unless `refuse` has an answer to its body; with what it was sent."""
    import asyncio

    seen: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                seen.append(body := json.loads(await take_request(reader)))
                writer.write(refuse(body) or GOOD)
        except EOFError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()


EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"yes"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
GOOD = answer(EVENT, "Content-Type: text/event-stream")


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "words"), NAMED + VAGUE)
async def test_thirty_jobs_cost_one_request_more(transport: object, status: int | None, words: str) -> None:
    """No attempt is used for it, with no retries allowed; and each later job is asked as the server wants."""
    body = json.dumps({"error": {"message": words}})
    if status is None:
        refusal = answer(f"data: {body}\n\n".encode(), "Content-Type: text/event-stream")
    else:
        refusal = answer(body.encode(), "Content-Type: application/json", status=f"{status} No")
    work = [job(number, kind=Kind.CHAT) for number in range(30)]
    async with (
        choosy(lambda asked: refusal if "stream_options" in asked else None) as (url, seen),
        engine_for(work, url, api=Api.OPENAI, limit=1, retries=0) as engine,
    ):
        with anyio.fail_after(10):
            results = await results_of(engine)
        assert engine.scheduler.lanes[0].requests == 31
    assert {result.text for result in results.values()} == {"yes"}
    assert {result.attempts for result in results.values()} == {1}
    assert len(seen) == 31
