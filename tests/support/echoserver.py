"""A server that gives back, in an error or an answer, every header it was sent, as careless proxies do; or any body."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator


class EchoServer(ThreadingHTTPServer):
    """Answers every request with `status`; `seen` holds the headers that came, names in lower case."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.headers = headers
        self.body = body
        self.keyed: int | None = None
        """The status for who comes with a key, if that is another one."""
        self.seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: EchoServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the library gives it
        """Say nothing on stderr."""

    def _answer(self) -> None:
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        keys = [value for name, value in self.headers.items() if name.lower() in ("authorization", "api-key", "x-team")]
        words = f"you sent: {' '.join(keys)} {self.headers}"  # the keys first: what is shown may be cut
        message = {"role": "assistant", "content": words}
        answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        refusal = {"error": {"message": words}}
        status = self.server.keyed if keys and self.server.keyed else self.server.status
        body = self.server.body or orjson.dumps(answer if status == 200 else refusal)
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | self.server.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def echoing(status: int, *, body: bytes | None = None, **headers: str) -> Iterator[EchoServer]:
    with EchoServer(status, headers, body) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
