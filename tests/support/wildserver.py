"""A server that plays written answers over raw sockets, request by request, and keeps what it was asked.

An answer is a list of parts, each an object with one key: `bytes` (Latin-1 text, sent as it is), `pause_s`, or
`then`, which ends the connection: `close` (FIN) or `reset` (RST). Without it the connection stays open for the next
request.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODEL: Final = "m"
RESET: Final = struct.pack("ii", 1, 0)
LISTINGS: Final[dict[tuple[str, str], Any]] = {
    ("v1", "/v1/models"): {"object": "list", "data": [{"id": MODEL, "object": "model"}]},
    ("native", "/api/version"): {"version": "0.33.0"},
    ("native", "/api/tags"): {"models": [{"name": MODEL, "model": MODEL}]},
}
"""What a GET is answered with, by API and path; anything else is 404."""


class WildServer:
    """Answers the n-th POST with `answers[n]`, and the last one again and again. `posts` holds the bodies that came."""

    def __init__(self, answers: Sequence[Sequence[dict[str, Any]]], api: str = "v1") -> None:
        self._answers = answers
        self._api = api
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.posts: list[bytes] = []
        self.paths: list[str] = []

    @property
    def url(self) -> str:
        """The base URL: what `--base-url` wants, by the API that is spoken."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}{'/v1' if self._api == 'v1' else ''}"

    def serve(self) -> None:
        """Accept connections until the listener is shut."""
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def shut(self) -> None:
        """End all that is open."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _talk(self, connection: socket.socket) -> None:
        with closing(connection), suppress(OSError, ValueError), connection.makefile("rb") as stream:
            while line := stream.readline():
                method, path, _ = line.decode("latin-1").split(" ", 2)
                length = 0
                while (header := stream.readline()) not in (b"\r\n", b""):
                    if header.lower().startswith(b"content-length:"):
                        length = int(header[15:])
                body = stream.read(length)
                if method != "POST":
                    connection.sendall(self._listing(path))
                elif not self._play(connection, self._next(path, body)):
                    return

    def _next(self, path: str, body: bytes) -> Sequence[dict[str, Any]]:
        with self._lock:
            self.posts.append(body)
            self.paths.append(path)
            return self._answers[min(len(self.posts), len(self._answers)) - 1]

    def _play(self, connection: socket.socket, parts: Sequence[dict[str, Any]]) -> bool:
        """Send the parts; whether the connection goes on."""
        for part in parts:
            [(key, value)] = part.items()
            if key == "bytes":
                connection.sendall(value.encode("latin-1"))
            elif key == "pause_s":
                time.sleep(value)
            elif key == "then":
                if value == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return False
            else:
                raise AssertionError(f"no such part of an answer: {key}")
        return True

    def _listing(self, path: str) -> bytes:
        found = LISTINGS.get((self._api, path.partition("?")[0]))
        body = json.dumps(found).encode() if found else b"404 page not found"
        head = f"HTTP/1.1 {'200 OK' if found else '404 Not Found'}\r\nContent-Length: {len(body)}\r\n"
        return f"{head}Content-Type: {'application/json' if found else 'text/plain'}\r\n\r\n".encode() + body


@contextmanager
def wild_server(answers: Sequence[Sequence[dict[str, Any]]], api: str = "v1") -> Iterator[WildServer]:
    """A server on a free port of this machine, for the time of the block."""
    server = WildServer(answers, api)
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shut()
        thread.join()
