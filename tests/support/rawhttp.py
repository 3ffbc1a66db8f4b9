"""A client on plain sockets: hears what a server says byte by byte, and how it ended."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.simulator import BackgroundSimulator

GENERATE, CHAT, EMBED = "/api/generate", "/api/chat", "/api/embed"
V1_CHAT, V1_TEXT, V1_EMBED = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
RESPONSES = "/v1/responses"


@dataclass
class Heard:
    """A response as it came: how it ended is "clean", "cut" (FIN too early), "reset" or "nothing"."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    end: str = "clean"

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def data(self) -> list[Any]:
        """The payloads of an event stream."""
        found = [part.partition(b"data: ")[2] for part in self.body.split(b"\n\n") if b"data: " in part]
        return [d.decode() if d == b"[DONE]" else json.loads(d) for d in found]


class Reader:
    """Reads one socket, and knows how it ended."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""
        self.end = ""

    def until(self, mark: bytes) -> bytes | None:
        while mark not in self._buffer:
            if not self._more():
                return None
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size and self._more():
            pass
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _more(self) -> bool:
        try:
            data = self._sock.recv(65536)
        except ConnectionResetError:
            self.end = "reset"
            return False
        self.end = "" if data else "cut"
        self._buffer += data
        return bool(data)


def connect(sim: BackgroundSimulator) -> socket.socket:
    return socket.create_connection(("127.0.0.1", sim.port), timeout=10)


def send(sock: socket.socket, method: str, path: str, body: bytes = b"", headers: str = "") -> None:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    sock.sendall(head.encode() + body)


def hear(sock: socket.socket) -> Heard:
    reader = Reader(sock)
    head = reader.until(b"\r\n\r\n")
    if head is None:
        return Heard(end="reset" if reader.end == "reset" else "nothing")
    first, *rest = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest)}
    heard = Heard(int(first.split()[1]), headers)
    if headers.get("transfer-encoding") == "chunked":
        while (size := reader.until(b"\r\n")) is not None and int(size, 16):
            heard.chunks.append(reader.exactly(int(size, 16)))
            reader.exactly(2)
        heard.body = b"".join(heard.chunks)
        heard.end = "clean" if size is not None and reader.exactly(2) == b"\r\n" else reader.end
    elif "content-length" in headers:
        heard.body = reader.exactly(int(headers["content-length"]))
        heard.end = "clean" if len(heard.body) == int(headers["content-length"]) else reader.end
    else:
        while reader.until(b"\0\0no such bytes\0") is not None:
            pass
        heard.body = reader.exactly(1 << 40)
        heard.end = "clean" if reader.end == "cut" else reader.end
    return heard


def ask(sim: BackgroundSimulator, path: str, prompt: Any = "hi", method: str = "POST", **more: Any) -> Heard:
    """One request on a connection of its own."""
    with closing(connect(sim)) as sock:
        send(sock, method, path, json.dumps(body_for(path, prompt) | more).encode() if method == "POST" else b"")
        return hear(sock)


def body_for(path: str, prompt: Any) -> dict[str, Any]:
    if path.endswith(("/chat", "/chat/completions")):
        return {"model": "simulator", "messages": [{"role": "user", "content": prompt}]}
    return {"model": "simulator", "input" if path in (EMBED, V1_EMBED, RESPONSES) else "prompt": prompt}


def eventually(holds: Callable[[], bool]) -> None:
    """What another thread is about to do must come true within 10 s."""
    limit = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < limit, "it did not come true"
        time.sleep(0.001)
