"""HTTP/1.1 as the simulator needs it: request bytes in, whole requests out; response heads as bytes. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD = 64 * 1024
MAX_BODY = 256 * 1024 * 1024
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class BadRequestError(Exception):
    """The bytes are not an HTTP/1.1 request."""


@dataclass(slots=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    keep_alive: bool = True


class RequestParser:
    """Puts requests together from whatever pieces the socket gives; bytes of a next request wait their turn."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._request: Request | None = None
        self._missing = 0
        self._chunked = False
        self._body = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Request | None:
        """The next whole request, or `None` if bytes are still missing. Raises `BadRequestError`."""
        if self._request is None and not self._read_head():
            return None
        request = self._request
        if request is None or not (self._read_chunks() if self._chunked else self._read_length()):
            return None
        request.body = bytes(self._body)
        self._request, self._body = None, bytearray()
        return request

    def take_expectation(self) -> bool:
        """True, once a request, if the client holds its body back until it is told to go on."""
        request = self._request
        return request is not None and request.headers.pop("expect", "").lower() == "100-continue"

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                raise BadRequestError("the request head is larger than 64 KiB")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        try:
            method, target, version = lines[0].split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            self._missing = int(headers.get("content-length", "0"))
        except ValueError:
            raise BadRequestError(f"not a request line or header: {lines[0][:80]!r}") from None
        if not 0 <= self._missing <= MAX_BODY:
            raise BadRequestError("the body is larger than 256 MiB")
        self._chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        connection = headers.get("connection", "").lower()
        keep_alive = connection != "close" if version == "HTTP/1.1" else connection == "keep-alive"
        self._request = Request(method, target.partition("?")[0], headers, keep_alive=keep_alive)
        return True

    def _read_length(self) -> bool:
        if len(self._buffer) < self._missing:
            return False
        self._body = self._buffer[: self._missing]
        del self._buffer[: self._missing]
        return True

    def _read_chunks(self) -> bool:
        while (end := self._buffer.find(b"\r\n")) >= 0:
            try:
                size = int(self._buffer[:end].partition(b";")[0], 16)
            except ValueError:
                raise BadRequestError("a chunk of the body has no size") from None
            stop = end + 2 + size + 2
            if len(self._buffer) < stop:
                return False
            self._body += self._buffer[end + 2 : stop - 2]
            del self._buffer[:stop]
            if not size:
                return True
            if len(self._body) > MAX_BODY:
                raise BadRequestError("the body is larger than 256 MiB")
        return False


def response_head(
    status: int, content_type: str, length: int | None, date: str, headers: tuple[tuple[str, str], ...] = ()
) -> bytes:
    """The bytes up to the body. `length` `None` means chunked; a negative one, a body that ends with the connection."""
    reason = _PHRASES.get(status, "Unassigned")
    if length is None:
        framing = "Transfer-Encoding: chunked\r\n"
    else:
        framing = f"Content-Length: {length}\r\n" if length >= 0 else "Connection: close\r\n"
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {reason}\r\n{kind}Date: {date}\r\n{framing}{extra}\r\n".encode("latin-1", "replace")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
