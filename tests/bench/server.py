"""A loopback server whose answers are made in advance, so that a benchmark waits for its client alone.

It answers POST /v1/chat/completions and POST /api/chat, whole or streamed as the body asks, always with the same text.
It prints its port; then each line on stdin is answered with its CPU seconds so far, and the end of stdin ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

V1, NATIVE = "/v1/chat/completions", "/api/chat"
WORDS = ("The", " quick", " brown", ' "fox"', " jumps", " über", " the", " lazy", " dog", ".\n")


def text(words: int) -> str:
    """The text of every answer that has this many words."""
    return "".join(_words(words))


def _words(count: int) -> Iterator[str]:
    return islice(cycle(WORDS), count)


def _v1_whole(words: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": text(words)}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _v1_envelope("chat.completion", [choice]) | {"usage": _v1_usage(words)}


def _v1_records(words: int) -> Iterator[bytes]:
    deltas = [_v1_choice({"content": word}) for word in _words(words)]
    deltas[0]["delta"]["role"] = "assistant"
    for choice in [*deltas, _v1_choice({}, "stop")]:
        yield b"data: %b\n\n" % _json(_v1_envelope("chat.completion.chunk", [choice]))
    yield b"data: %b\n\n" % _json(_v1_envelope("chat.completion.chunk", []) | {"usage": _v1_usage(words)})
    yield b"data: [DONE]\n\n"


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


def _native_records(words: int) -> Iterator[bytes]:
    for record in [*map(_native_record, _words(words)), _native_end("", words)]:
        yield _json(record) + b"\n"


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _head(content_type: str, framing: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{framing}\r\n\r\n".encode()


def _whole_response(body: bytes) -> bytes:
    return _head("application/json", f"Content-Length: {len(body)}") + body


def _stream_response(content_type: str, records: list[bytes], *, each: bool) -> list[bytes]:
    """What to write, one after the other: the head with the first HTTP chunk, the others, the end with the last."""
    bodies = records if each else [b"".join(records)]
    writes = [b"%x\r\n%b\r\n" % (len(body), body) for body in bodies]
    writes[0] = _head(content_type, "Transfer-Encoding: chunked") + writes[0]
    writes[-1] += b"0\r\n\r\n"
    return writes


class Answers:
    """Every response there is, as lists of writes."""

    def __init__(self, words: int, *, each: bool) -> None:
        self._whole = {
            V1: [_whole_response(_json(_v1_whole(words)))],
            NATIVE: [_whole_response(_json(_native_end(text(words), words)))],
        }
        self._streamed = {
            V1: _stream_response("text/event-stream", list(_v1_records(words)), each=each),
            NATIVE: _stream_response("application/x-ndjson", list(_native_records(words)), each=each),
        }
        self._absent = [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"]

    def to(self, path: str, body: bytes) -> Sequence[bytes]:
        """The writes that answer a request; Ollama streams unless told not to, the others when told to."""
        streams = b'"stream":false' not in body if path == NATIVE else b'"stream":true' in body
        return (self._streamed if streams else self._whole).get(path, self._absent)


class Pulse:
    """Gives each open stream one write a step, as a server does that decodes all its slots together."""

    def __init__(self, step: float) -> None:
        self._step = step
        self._streams: list[tuple[asyncio.WriteTransport, Iterator[bytes]]] = []

    def add(self, transport: asyncio.WriteTransport, writes: Sequence[bytes]) -> None:
        if not self._streams:
            asyncio.get_running_loop().call_later(self._step, self._beat)
        self._streams.append((transport, iter(writes)))

    def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._step
        self._streams = [stream for stream in self._streams if self._advance(*stream)]
        if self._streams:
            loop.call_at(due, self._beat)

    def _advance(self, transport: asyncio.WriteTransport, writes: Iterator[bytes]) -> bool:
        write = next(writes, None)
        if write is None or transport.is_closing():
            return False
        transport.write(write)
        return True


class Connection(asyncio.Protocol):
    """One client's connection: requests in, prepared writes out."""

    def __init__(self, answers: Answers, pulse: Pulse) -> None:
        self._answers = answers
        self._pulse = pulse
        self._held = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, rest = self._held.partition(b"\r\n\r\n")
        size = _content_length(head) if found else 0
        if not found or len(rest) < size:
            return
        self._held = rest[size:]
        path = head.split(b" ", 2)[1].decode()
        writes = self._answers.to(path, rest[:size])
        if len(writes) == 1:
            self._transport.write(writes[0])
        else:
            self._pulse.add(self._transport, writes)


def _content_length(head: bytes) -> int:
    _, _, after = head.lower().partition(b"\r\ncontent-length:")
    return int(after.split(b"\r\n", 1)[0] or 0)


async def _serve(answers: Answers, step: float) -> None:
    loop = asyncio.get_running_loop()
    pulse = Pulse(step)
    server = await loop.create_server(lambda: Connection(answers, pulse), "127.0.0.1", 0)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), _report, ended)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


def _report(ended: asyncio.Event) -> None:
    if sys.stdin.readline():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        print(usage.ru_utime + usage.ru_stime, flush=True)
    else:
        ended.set()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, required=True, help="words of every answer; a streamed record has one")
    parser.add_argument("--step", type=float, help="one write a record, one record every so many seconds")
    arguments = parser.parse_args()
    answers = Answers(arguments.words, each=arguments.step is not None)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(answers, arguments.step or 0.0))


if __name__ == "__main__":
    main()
