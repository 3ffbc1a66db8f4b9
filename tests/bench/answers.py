"""Every answer of the load server, made in advance and as bytes, so that what it costs to give one is a write."""

from __future__ import annotations

import json
import random
import re
from functools import cache
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

V1, NATIVE, EMBEDDINGS, MODELS = "/v1/chat/completions", "/api/chat", "/v1/embeddings", "/v1/models"
WORDS = ("The", " quick", " brown", ' "fox"', " jumps", " über", " the", " lazy", " dog", ".\n")
DIMENSIONS = 768
VECTORS = 64
"""Different vectors; a text is given one by the number of its job."""


def prompt(number: int) -> str:
    """What a job asks; the server finds the number in it."""
    return f"Job {number}: say in plain words what the quick brown fox did, and why the dog was lazy about it."


NUMBERS = re.compile(rb"Job (\d+):")


def text(words: int) -> str:
    """The text of every answer that has this many words."""
    return "".join(_words(words))


def _words(count: int) -> Iterator[str]:
    return islice(cycle(WORDS), count)


@cache
def vector(number: int) -> list[float]:
    """The embedding of a job's text, with as many digits as a float32 has."""
    if number >= VECTORS:
        return vector(number % VECTORS)
    rng = random.Random(number)
    return [round(rng.uniform(-0.1, 0.1), 9) for _ in range(DIMENSIONS)]


def _v1_whole(words: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": text(words)}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _v1_envelope("chat.completion", [choice]) | {"usage": _v1_usage(words)}


def _v1_records(words: int) -> list[bytes]:
    """A record a word; the last has the end of the stream with it."""
    deltas = [_v1_choice({"content": word}) for word in _words(words)]
    deltas[0]["delta"]["role"] = "assistant"
    usage = _v1_envelope("chat.completion.chunk", []) | {"usage": _v1_usage(words)}
    records = [_event(_v1_envelope("chat.completion.chunk", [choice])) for choice in [*deltas, _v1_choice({}, "stop")]]
    return [*records[: words - 1], b"".join([*records[words - 1 :], _event(usage), b"data: [DONE]\n\n"])]


def _event(record: dict[str, Any]) -> bytes:
    return b"data: %b\n\n" % _json(record)


def _v1_envelope(kind: str, choices: list[Any]) -> dict[str, Any]:
    fixed = {"id": "chatcmpl-8f3a61c2", "object": kind, "created": 1767225600, "model": "m"}
    return fixed | {"system_fingerprint": "fp_bench", "choices": choices}


def _v1_choice(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason}


def _v1_usage(words: int) -> dict[str, int]:
    return {"prompt_tokens": 31, "completion_tokens": words, "total_tokens": 31 + words}


def _native_record(content: str, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    return {"model": "m", "created_at": "2026-01-01T00:00:00.123456789Z", "message": message, "done": False} | more


def _native_end(content: str, words: int) -> dict[str, Any]:
    durations = {"total_duration": 3_000_000, "load_duration": 1_000, "eval_duration": 2_000_000}
    counts = {"prompt_eval_count": 31, "prompt_eval_duration": 500_000, "eval_count": words}
    return _native_record(content, done=True, done_reason="stop", **durations, **counts)


def _native_records(words: int) -> list[bytes]:
    """As `_v1_records`."""
    *records, last, end = (_json(record) + b"\n" for record in _native_all(words))
    return [*records, last + end]


def _native_all(words: int) -> list[dict[str, Any]]:
    return [*map(_native_record, _words(words)), _native_end("", words)]


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _head(content_type: str, framing: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n".encode()


def _whole(body: bytes) -> bytes:
    return _head("application/json", f"Content-Length: {len(body)}") + body


def _streamed(content_type: str, records: list[bytes], *, each: bool) -> bytes | list[bytes]:
    """The head with the first HTTP chunk, the others, the end with the last: all at once, or what to write in turn."""
    bodies = records if each else [b"".join(records)]
    writes = [b"%x\r\n%b\r\n" % (len(body), body) for body in bodies]
    writes[0] = _head(content_type, "Transfer-Encoding: chunked") + writes[0]
    writes[-1] += b"0\r\n\r\n"
    return writes if each else writes[0]


class Answers:
    """Every response there is, as the bytes to write; where `each` record is a write of its own, a list of them."""

    def __init__(self, words: int, *, each: bool) -> None:
        self._whole = {
            V1: _whole(_json(_v1_whole(words))),
            NATIVE: _whole(_json(_native_end(text(words), words))),
            MODELS: _whole(_json({"object": "list", "data": [{"id": "m", "object": "model", "created": 0}]})),
        }
        self._streamed = {
            V1: _streamed("text/event-stream", _v1_records(words), each=each),
            NATIVE: _streamed("application/x-ndjson", _native_records(words), each=each),
        }
        self._absent = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        self._vectors = [_json(vector(number)) for number in range(VECTORS)]

    def to(self, path: str, body: bytes) -> bytes | Sequence[bytes]:
        """What answers a request; Ollama streams unless told not to, the others when told to."""
        if path == EMBEDDINGS:
            return self._embeddings(body)
        compact = body.replace(b'"stream": ', b'"stream":')
        streams = b'"stream":false' not in compact if path == NATIVE else b'"stream":true' in compact
        return (self._streamed if streams else self._whole).get(path, self._absent)

    def _embeddings(self, body: bytes) -> bytes:
        """The one answer that is put together: its vectors are those of the texts that were asked for."""
        data = b",".join(
            b'{"object":"embedding","index":%d,"embedding":%b}' % (index, self._vectors[int(number) % VECTORS])
            for index, number in enumerate(NUMBERS.findall(body))
        )
        usage = b'"usage":{"prompt_tokens":512,"total_tokens":512}'
        return _whole(b'{"object":"list","data":[%b],"model":"m",%b}' % (data, usage))
