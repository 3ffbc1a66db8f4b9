"""A server of embeddings whose answers a function spoils: what no real server sends on demand."""

from __future__ import annotations

import threading
from base64 import b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from batcher.simulator import vector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Spoil = Callable[[list[Any], list[str]], "list[Any] | tuple[int, bytes] | bytes"]


def base64_of(text: str, kind: str = "<f4") -> str:
    """A text's vector as the servers give it."""
    return b64encode(np.array(vector(text), kind).tobytes()).decode()


class EmbedServer(ThreadingHTTPServer):
    """Answers `/v1/embeddings`, or `/api/embed` where `native`. `spoil` gets the items and the texts of each request,
    and gives the items, or a body, or a status with one. `pages` are what GET finds. `asked` has the texts."""

    def __init__(self, spoil: Spoil, pages: Mapping[str, Any], *, native: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spoil, self.pages, self.native = spoil, pages, native
        self.asked: list[list[str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{'' if self.native else '/v1'}"


class Handler(BaseHTTPRequestHandler):
    server: EmbedServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path)
        if self.server.native and self.path == "/api/version":
            page = {"version": "0.33.0"}
        self._send(200 if page is not None else 404, orjson.dumps(page))

    def do_POST(self) -> None:
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        self.server.asked.append(texts)
        is_base64 = body.get("encoding_format") == "base64"
        items: list[Any] = [
            {"object": "embedding", "index": place, "embedding": base64_of(text) if is_base64 else vector(text)}
            for place, text in enumerate(texts)
        ]
        if self.server.native:
            items = [item["embedding"] for item in items]
        found = self.server.spoil(items, texts)
        if isinstance(found, tuple):
            self._send(*found)
        elif isinstance(found, bytes):
            self._send(200, found)
        else:
            kind = "embeddings" if self.server.native else "data"
            self._send(200, orjson.dumps({"model": "m", kind: found}))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name that the library gives it
        """Say nothing on stderr."""

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def embedding(
    spoil: Spoil = lambda items, _: items, *, native: bool = False, pages: Mapping[str, Any] | None = None
) -> Iterator[EmbedServer]:
    with EmbedServer(spoil, pages or {}, native=native) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
