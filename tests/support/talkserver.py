"""A server whose answers follow what is said to it: a function makes them, on every path that brings text."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Said(NamedTuple):
    """A request: its path, its body, and what was said in it, last of all the newest."""

    path: str
    body: dict[str, Any]
    words: list[str]


class TalkServer(ThreadingHTTPServer):
    """`answer` gives the text for a request, or a message as the path has it. `said` has all requests."""

    def __init__(self, answer: Callable[[Said], str | dict[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.said: list[Said] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def words_of(body: dict[str, Any]) -> list[str]:
    asked = body.get("messages", body.get("input", body.get("prompt", "")))
    return [asked] if isinstance(asked, str) else [_text(message.get("content") or "") for message in asked]


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class Handler(BaseHTTPRequestHandler):
    server: TalkServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(404, "application/json", b'{"error": "not here"}')

    def do_POST(self) -> None:
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = Said(self.path, body, words_of(body))
        self.server.said.append(said)
        answer = self.server.answer(said)
        message = answer if isinstance(answer, dict) else {"role": "assistant", "content": answer}
        is_native = self.path.startswith("/api/")
        if body.get("stream", is_native):
            kind = "application/x-ndjson" if is_native else "text/event-stream"
            self._send(200, kind, _streamed(self.path, message))
        else:
            self._send(200, "application/json", orjson.dumps(_whole(self.path, message)))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the library gives it
        """Say nothing on stderr."""

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def _whole(path: str, message: dict[str, Any]) -> dict[str, Any]:
    text = message.get("content") or ""
    if path in ("/api/chat", "/api/generate"):
        said = {"message": message} if path == "/api/chat" else {"response": text}
        counts = {"prompt_eval_count": 5, "eval_count": 3}
        return {
            "model": "m",
            "created_at": "2026-11-29T00:00:00Z",
            "done": True,
            "done_reason": "stop",
            **said,
            **counts,
        }
    if path == "/v1/responses":
        part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
        usage = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
        output = [{"type": "message", "id": "m1", "role": "assistant", "status": "completed", "content": [part]}]
        return {"id": "r1", "object": "response", "status": "completed", "output": output, "usage": usage}
    reason = "tool_calls" if message.get("tool_calls") else "stop"
    said = {"text": text} if path == "/v1/completions" else {"message": message}
    return {"id": "c", "object": "x", "choices": [{"index": 0, **said, "finish_reason": reason}], "usage": USAGE}


def _streamed(path: str, message: dict[str, Any]) -> bytes:
    """The answer in two pieces."""
    whole = _whole(path, message)
    text = message.get("content") or ""
    parts: list[str] = [text[: len(text) // 2], text[len(text) // 2 :]]
    if path.startswith("/api/"):
        head = {"model": "m", "created_at": "2026-11-29T00:00:00Z", "done": False}
        key = "message" if path == "/api/chat" else "response"
        pieces = [{**head, key: {**message, "content": part} if key == "message" else part} for part in parts]
        if key == "message":
            pieces[0][key] = {"role": "assistant", "content": parts[0]}
        end = {**whole, key: {"role": "assistant", "content": ""} if key == "message" else ""}
        return b"".join(orjson.dumps(record) + b"\n" for record in (*pieces, end))
    if path == "/v1/responses":
        deltas = [{"type": "response.output_text.delta", "delta": part} for part in parts]
        return _events([*deltas, {"type": "response.completed", "response": whole}])
    records = []
    said: dict[str, Any]
    for part in parts:
        said = {"text": part} if path == "/v1/completions" else {"delta": {"role": "assistant", "content": part}}
        records.append({"id": "c", "choices": [{"index": 0, **said, "finish_reason": None}]})
    last: dict[str, Any] = {"text": ""} if path == "/v1/completions" else {"delta": {}}
    if message.get("tool_calls"):
        last = {"delta": {"tool_calls": [{"index": n, **call} for n, call in enumerate(message["tool_calls"])]}}
    end = {"index": 0, **last, "finish_reason": whole["choices"][0]["finish_reason"]}
    return _events([*records, {"id": "c", "choices": [end]}, {"id": "c", "choices": [], "usage": USAGE}])


def _events(records: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(record) + b"\n\n" for record in records) + b"data: [DONE]\n\n"


@contextmanager
def talking(answer: Callable[[Said], str | dict[str, Any]]) -> Iterator[TalkServer]:
    with TalkServer(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
