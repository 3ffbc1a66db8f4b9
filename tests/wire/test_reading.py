"""One answer being read: which framing, what counts as an error, and what proves it complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from batcher.failures import AttemptError
from batcher.model import Call, Job, Kind
from batcher.wire.dialects import DIALECTS, reading as reading_module
from batcher.wire.dialects.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.outcome import Completion

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
JSON = "application/json; charset=utf-8"
NATIVE = "/api/generate"
V1 = "/v1/chat/completions"

LINES = b'{"model":"m","created_at":"t","response":"Hel","done":false}\n{"model":"m","response":"lo","done":true}\n'
LINE = b'{"model":"m","created_at":"t","response":"Hello","done":true}'
FIRST = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"},"finish_reason":null}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{"content":"lo"},"finish_reason":"stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"
EVENTS = FIRST + LAST + DONE
OBJECT = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}'
ERROR = b'data: {"error":{"message":"out of memory","code":500}}\n\n'
LONG = b'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}]}\n\n' % (b"x" * 5000)


def _reading(path: str, kind: str, *, stream: bool = True) -> Reading:
    return Reading(Call((), path, b"{}", stream=stream), DIALECTS[path], kind)


def _read(path: str, kind: str, chunks: Sequence[bytes], *, stream: bool = True) -> Completion:
    reading = _reading(path, kind, stream=stream)
    for chunk in chunks:
        reading.feed(chunk)
    return reading.close()


def _feed_forever(reading: Reading, chunk: bytes) -> None:
    for _ in range(1000):
        reading.feed(chunk)


def _failure(path: str, kind: str, body: bytes, *, stream: bool = True) -> str:
    with pytest.raises(AttemptError) as caught:
        _read(path, kind, [body], stream=stream)
    return caught.value.failure.code


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        (NATIVE, NDJSON, LINES),
        (NATIVE, NDJSON, LINES.rstrip()),
        (NATIVE, NDJSON, b"\xef\xbb\xbf" + LINES),
        (NATIVE, NDJSON, LINES.replace(b"\n", b"\r\n")),
        (NATIVE, JSON, LINES),
        (NATIVE, "", LINES),
        (NATIVE, JSON, LINE),
        (NATIVE, NDJSON, LINE),
        (V1, SSE, EVENTS),
        (V1, "text/event-stream; charset=utf-8", b"\xef\xbb\xbf" + EVENTS),
        (V1, "", EVENTS),
        (V1, "text/plain", EVENTS),
        (V1, JSON, EVENTS),
        (V1, "", b": ping\n\n" + EVENTS),
        (V1, SSE, EVENTS.replace(b"\n", b"\r\n")),
        (V1, SSE, EVENTS.replace(b"\n", b"\r")),
        (V1, SSE, EVENTS.replace(b"data: ", b"data:")),
        (V1, SSE, b"data: : OPENROUTER PROCESSING\n\n" * 9 + EVENTS),
        (V1, SSE, b"\n\n" + EVENTS),
        (V1, SSE, EVENTS.replace(b"data: {", b'data: {"x":\ndata: 1,')),
        (V1, SSE, FIRST + LAST),
        (V1, SSE, OBJECT),
        (V1, JSON, OBJECT),
        (V1, "", OBJECT),
        (V1, JSON, b"\xef\xbb\xbf \n" + OBJECT),
    ],
)
def test_framing_is_found_by_type_and_first_byte(path: str, kind: str, body: bytes) -> None:
    """What was asked for does not decide how an answer is read, and the chunks do not either."""
    assert _read(path, kind, [body]).first.text == "Hello"
    assert _read(path, kind, [bytes([byte]) for byte in body]).first.text == "Hello"


@pytest.mark.parametrize(("path", "kind", "body"), [(NATIVE, NDJSON, LINES), (V1, SSE, EVENTS)])
def test_streams_that_nobody_asked_for_are_read(path: str, kind: str, body: bytes) -> None:
    """Some servers stream whatever the request says."""
    assert _read(path, kind, [body], stream=False).first.text == "Hello"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_chunking_means_the_same(data: st.DataObject) -> None:
    """Text, flags and proof do not depend on where chunks end."""
    path, kind, body = data.draw(st.sampled_from([(NATIVE, NDJSON, LINES), (V1, SSE, EVENTS), (V1, "", EVENTS)]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(body) - 1))))
    chunks = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    cut, whole = _read(path, kind, chunks), _read(path, kind, [body])
    assert (cut.first.text, cut.flags, cut.proof) == (whole.first.text, whole.flags, whole.proof)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (SSE, b"\xef\xbb\xbf" + LONG + EVENTS),
        ("", LONG + EVENTS),
        (SSE, b"\n" + LONG + EVENTS),
        ("", b": \n\n" + LONG + EVENTS),
    ],
)
def test_a_large_second_chunk_does_not_decide_the_framing(kind: str, body: bytes) -> None:
    """A first chunk too short to tell leaves the question open, however much comes next."""
    for place in range(1, 8):
        assert _read(V1, kind, [body[:place], body[place:]]).first.text.endswith("xHello"), f"cut at byte {place}"


@pytest.mark.parametrize(
    ("path", "kind", "body", "code"),
    [
        (V1, SSE, FIRST + ERROR, "out_of_memory"),
        (V1, SSE, FIRST + ERROR + DONE, "out_of_memory"),
        (V1, SSE, FIRST + LAST + ERROR, "out_of_memory"),
        (V1, SSE, FIRST + b'error: {"code":500,"message":"out of memory"}\n\n', "out_of_memory"),
        (V1, SSE, FIRST + b"event: error\ndata: out of memory\n\n" + DONE, "out_of_memory"),
        (V1, SSE, FIRST + b'data: {"type":"error","message":"out of memory"}\n\n', "out_of_memory"),
        (V1, SSE, FIRST, "truncated"),
        (V1, SSE, b"", "truncated"),
        (V1, JSON, b'{"error":{"message":"out of memory"}}', "out_of_memory"),
        (V1, JSON, OBJECT[:-1], "truncated"),
        (NATIVE, NDJSON, b'{"error":"out of memory"}', "out_of_memory"),
        (NATIVE, NDJSON, LINES[:61], "truncated"),
        (NATIVE, NDJSON, b"", "truncated"),
        (NATIVE, NDJSON, b"\n \n", "truncated"),
        (NATIVE, JSON, LINE.replace(b"true", b"false"), "truncated"),
        (NATIVE, JSON, b"[1]", "not_an_llm"),
        (V1, "text/html", b"<html><title>Sign in</title></html>", "not_an_llm"),
        (V1, SSE, b"<!doctype html><p>no", "not_an_llm"),
        (V1, "text/plain", b"Ollama is running", "not_an_llm"),
    ],
)
def test_what_is_no_complete_answer_fails(path: str, kind: str, body: bytes, code: str) -> None:
    """An error wins over any terminal mark, an answer without proof is cut, and a page is no answer."""
    assert _failure(path, kind, body) == code


@pytest.mark.parametrize(("path", "kind"), [(V1, JSON), (NATIVE, JSON), ("/v1/embeddings", ""), ("/api/embed", JSON)])
@pytest.mark.parametrize("stream", [True, False])
def test_an_object_that_stops_is_cut(path: str, kind: str, *, stream: bool) -> None:
    """Also where it was asked for in one piece: a server of models has begun to answer, and no page has."""
    assert _failure(path, kind, OBJECT[:-20], stream=stream) == "truncated"


@pytest.mark.parametrize("rows", [1, 2, 3, 9])
def test_pages_of_several_lines_are_no_answer(rows: int) -> None:
    """A login page is named as one, however many lines it has."""
    body = b"<html>\n" + b"<p>Sign in</p>\n" * rows
    assert _failure(V1, "text/html", body) == "not_an_llm"


def test_an_empty_answer_to_a_plain_request_is_malformed() -> None:
    """Where one object was due, nothing is no answer."""
    assert _failure(V1, JSON, b"", stream=False) == "malformed"


def test_what_follows_the_terminal_mark_does_not_matter() -> None:
    """After `[DONE]` or `done: true` nothing is read any more, not even rubbish."""
    assert _read(V1, SSE, [EVENTS, b"data: rubbish\n\n" * 9, ERROR]).first.text == "Hello"
    assert _read(NATIVE, NDJSON, [LINES, b'{"error":"late"}\n']).first.text == "Hello"
    reading = _reading(NATIVE, NDJSON)
    reading.feed(LINES)
    assert reading.done


def test_feed_tells_content_from_noise() -> None:
    """Pings, empty records and marks are no content; text is."""
    reading = _reading(V1, SSE)
    steps = [b": ping\n\n", FIRST[:20], FIRST[20:], b": ping\n\n", b'data: {"choices":[]}\n\n', LAST, DONE]
    assert [reading.feed(step) for step in steps] == [False, False, True, False, False, True, False]


CUT = FIRST[6:60]
GLUED = FIRST[6:-2] + FIRST[6:-2]


@pytest.mark.parametrize("before", [b"", FIRST, FIRST + LAST], ids=["first", "within", "behind"])
@pytest.mark.parametrize(
    ("record", "code", "words"),
    [
        (CUT, "malformed", "chatcmpl" if b"chatcmpl" in CUT else "choices"),
        (GLUED, "malformed", "choices"),
        (b"\0" * 40, "malformed", "cannot be read"),
        (b"7", "malformed", "7"),
        (b"[1,2]", "malformed", "[1, 2]"),
        (b'"upstream timed out"', "stream_error", "upstream timed out"),
        (b"[ERROR] upstream timed out", "stream_error", "upstream timed out"),
        (b"<html><head><title>502 Bad Gateway</title></head></html>", "stream_error", "502 Bad Gateway"),
        (b"{'error': {'message': 'CUDA out of memory', 'code': 500}}", "out_of_memory", "CUDA"),
        (b"Error code: 429 - {'error': 'slow down'}", "rate_limited", "slow down"),
        (b"Error code: 401 - {'error': 'no'}", "unauthorized", "no"),
        (b"insufficient_quota", "quota", "insufficient_quota"),
        (b'{"choices": [{"delta": {"content": "what is insufficient_quota?', "malformed", "quota"),
    ],
)
def test_an_unread_record_is_not_passed_over(before: bytes, record: bytes, code: str, words: str) -> None:
    """One that cannot be read fails the attempt, wherever it stands; words of a server are classified."""
    with pytest.raises(AttemptError) as caught:
        _read(V1, SSE, [before + b"data: " + record + b"\n\n" + FIRST + LAST + DONE])
    assert caught.value.failure.code == code
    assert words in caught.value.failure.message


@pytest.mark.parametrize(
    "record",
    [
        *(b"data: ping", b"data: [PING]", b'data: "keep-alive"', b"data: heartbeat", b"data: null", b"data: {}"),
        *(
            b'data: {"type":"ping"}',
            b"event: ping\ndata: 2026-01-01",
            b"event: keepalive\ndata: x",
            b": wait",
            b"data:",
        ),
        *(b'data: {"code":0,"message":"success"}', b'data: {"code":"200","msg":"ok"}', b'data: {"success":true}'),
        *(b'data: {"usage":{"prompt_tokens":1}}', b'data: {"choices":[],"usage":null}', b'data: {"error":null}'),
        b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0,"content_filter_results":{}}]}',
        b'data: {"choices":[{"index":0,"finish_reason":null,"content_filter_offsets":{},"content_filter_results":{}}]}',
        *(b'data: {"base_resp":{"status_code":0,"status_msg":""}}', b'data: {"error_code":0}', b'data: {"errors":[]}'),
        *(
            b'data: {"status":"processing","message":"in the queue"}',
            b'data: {"citations":["a"]}',
            b"id: 7",
            b"retry: 9",
        ),
    ],
)
@pytest.mark.parametrize("before", [b"", FIRST, FIRST + LAST], ids=["first", "within", "behind"])
def test_what_says_nothing_is_harmless(before: bytes, record: bytes) -> None:
    """Keep-alives, notes, counts and codes that say that all is well cost nothing, wherever they stand."""
    rest = {b"": FIRST + LAST, FIRST: LAST}.get(before, b"")
    completion = _read(V1, SSE, [before + record + b"\n\n" + rest + DONE])
    assert (completion.first.text, completion.flags) == ("Hello", ())


def test_empty_data_is_a_ping() -> None:
    """Empty events keep a connection open and are no stray records, however many come."""
    completion = _read(V1, SSE, [FIRST, b"data:\n\n" * 9, LAST, DONE])
    assert (completion.first.text, completion.flags) == ("Hello", ())


@pytest.mark.parametrize("stream", [True, False])
def test_invalid_utf8_is_replaced_and_flagged(stream: bool) -> None:  # noqa: FBT001 - the parameter of the table
    """Bytes that are no UTF-8 cost the character, not the answer."""
    body = LINES.replace(b"Hel", b"H\xffl") if stream else LINE.replace(b"Hel", b"H\xffl")
    completion = _read(NATIVE, NDJSON if stream else JSON, [body], stream=stream)
    assert completion.first.text == "H\ufffdllo"
    assert completion.flags == ["utf8_replaced"]


@pytest.mark.parametrize("body", [LINES, LINE])
def test_lone_surrogates_are_replaced_and_flagged(body: bytes) -> None:
    """Half a surrogate pair, which JSON can carry and UTF-8 cannot, costs the character."""
    completion = _read(NATIVE, NDJSON, [body.replace(b"Hel", b"H\\ud83dl")])
    assert completion.first.text == "H\ufffdllo"
    assert completion.flags == ["utf8_replaced"]


TWO = FIRST.replace(b'"index":0', b'"index":1') + LAST.replace(b'"index":0', b'"index":1')


@pytest.mark.parametrize(("asked", "fine"), [(None, False), (1, False), (2, True), (3, True)])
@pytest.mark.parametrize("body", [FIRST + LAST + TWO + DONE, FIRST + TWO + LAST])
def test_choices_that_nobody_asked_for(body: bytes, asked: int | None, fine: bool) -> None:  # noqa: FBT001 - a column
    """The number of one was damaged, and its text is missing where it belongs."""
    params = {} if asked is None else {"n": asked}
    job = Job(id="a", seq=0, kind=Kind.CHAT, content="x", params=params)
    reading = Reading(Call((job,), V1, b"{}", stream=True), DIALECTS[V1], SSE)
    try:
        reading.feed(body)
        assert len(reading.close().choices) == 2
        assert fine
        assert reading.complete is (asked == 2 or DONE in body)
    except AttemptError as error:
        assert not fine
        assert error.failure.code == "malformed"  # noqa: PT017 - what is fine does not raise


def test_halves_of_a_character_in_two_records() -> None:
    """They are the character that they were cut from."""
    completion = _read(NATIVE, NDJSON, [LINES.replace(b"Hel", b"H\\ud83d").replace(b'"lo', b'"\\ude00lo')])
    assert completion.first.text == "H😀lo"
    assert not completion.flags


@pytest.mark.parametrize("piece", [b"x" * 100, b"x"])
@pytest.mark.parametrize(
    ("path", "kind", "head"), [(NATIVE, NDJSON, b'{"model":"'), (V1, SSE, b"data: "), (V1, JSON, b"{")]
)
def test_answers_without_end_are_refused(
    path: str, kind: str, head: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held in memory is bounded in each framing, and in how many pieces."""
    monkeypatch.setattr("batcher.wire.framing.Lines.__init__.__defaults__", (2000,))
    monkeypatch.setattr("batcher.wire.framing.EventStream.__init__.__defaults__", (2000,))
    monkeypatch.setattr(reading_module, "BODY_LIMIT", 2000)
    reading = _reading(path, kind)
    reading.feed(head)
    with pytest.raises(AttemptError) as caught:
        _feed_forever(reading, piece)
    assert caught.value.failure.code == "malformed"


def test_partial_text_is_there_after_a_failure() -> None:
    """What had arrived before an error or a cut can be shown to the user."""
    reading = _reading(V1, SSE)
    with pytest.raises(AttemptError):
        reading.feed(FIRST + ERROR)
    assert reading.completion.first.text == "Hel"


@pytest.mark.parametrize("error", [None, "", {}])
def test_an_empty_error_field_is_no_error(error: Any) -> None:
    """Some servers send `error: null` with every record."""
    record = orjson.dumps({"model": "m", "response": "x", "done": True, "error": error})
    assert _read(NATIVE, NDJSON, [record + b"\n"]).first.text == "x"


COUNTED = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":0}}\n\n'
"""As of gateways that say a usage with their first record, and none with the last."""
SILENT = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}]}\n\n'
THOUGHT = b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"hm"},"finish_reason":"length"}]}\n\n'
USAGE = b'"usage":{"prompt_tokens":3,"completion_tokens":0}'
OUTPUT = b'"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"%s"}]}],'


@pytest.mark.parametrize(
    ("path", "kind", "body", "made"),
    [
        (V1, SSE, COUNTED + EVENTS, None),
        (V1, SSE, COUNTED + THOUGHT + DONE, None),
        (V1, SSE, COUNTED + SILENT + DONE, 0),  # nothing was made
        (V1, SSE, COUNTED + FIRST + LAST + COUNTED.replace(b":0", b":7") + DONE, 7),
        (V1, JSON, OBJECT.replace(b'"choices"', USAGE + b',"choices"'), None),
        (V1, JSON, OBJECT.replace(b'"choices"', USAGE + b',"choices"').replace(b"Hello", b""), 0),
        ("/v1/completions", JSON, b'{"choices":[{"index":0,"text":"Hi","finish_reason":"stop"}],' + USAGE + b"}", None),
        ("/v1/responses", JSON, b'{"status":"completed",' + OUTPUT % b"Hi" + USAGE + b"}", None),
        (NATIVE, JSON, LINE[:-1] + b',"prompt_eval_count":3,"eval_count":0}', None),
        (NATIVE, JSON, LINE[:-1] + b',"prompt_eval_count":3,"eval_count":1}', 1),
        (NATIVE, JSON, LINE.replace(b"Hello", b"")[:-1] + b',"prompt_eval_count":3,"eval_count":0}', 0),
    ],
)
def test_a_count_of_nothing_beside_a_text_is_none(path: str, kind: str, body: bytes, made: int | None) -> None:
    usage = _read(path, kind, [body], stream=kind != JSON).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, made)
