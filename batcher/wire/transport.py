"""One HTTP exchange at a time: the place where aiohttp's exceptions become failures. Only `connections` knows it too.

aiohttp's conveniences that would betray a batch run are off: total timeouts (300 s by default, waiting included),
redirects (they forward keys), cookies, proxies and netrc from the environment, transparent decompression (a bomb), and
the line iterator (it fails on lines over 512 KiB).
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from dataclasses import dataclass
from functools import lru_cache
from http.cookies import SimpleCookie
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import aiohttp
from aiohttp import hdrs
from aiohttp.http_exceptions import BadStatusLine, HttpProcessingError
from yarl import URL

from batcher.failures import AttemptError, Exit, Failure, FailureClass
from batcher.wire.connections import SEND_TIMEOUT, Body, Connector
from batcher.wire.inflate import inflater
from batcher.wire.trust import trusting, untrusted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from batcher.model import Endpoint
    from batcher.wire.inflate import Inflate, Unknown

NO_PROXIES: Final[Mapping[str, str]] = MappingProxyType({})
HEADERS: Final = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "batcher"}
KEEPALIVE: Final = 4.0
"""Seconds an idle connection is kept: less than the 5 s after which uvicorn and llama.cpp close theirs."""
HEADER_SIZE: Final = 64 * 1024
"""Bytes of one response header: gateways tell costs, policies and traces in them, beyond the usual 8 KiB."""
HEADER_COUNT: Final = 256
NOTHING: Final = memoryview(b"")
REPLY_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of what a server says of itself; the longest lists of models take two million."""
READ_BUFFER: Final = 256 * 1024
"""Bytes that are read at a time; what was compressed is given out in such pieces, with a turn for others between."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A small answer, read whole. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoCookies(aiohttp.DummyCookieJar):
    """Keeps none and gives none, the same to each request."""

    _none: SimpleCookie = SimpleCookie()

    def filter_cookies(self, request_url: URL) -> SimpleCookie:  # noqa: ARG002 - the base's signature
        return self._none


class Settings(NamedTuple):
    """How servers are reached, as `Transport` takes it."""

    connect_timeout: float
    secure: bool
    ca_file: str | None
    proxies: Mapping[str, str]


class Transport:
    """Connections to the servers of one run. Use as an async context manager."""

    def __init__(
        self,
        *,
        connect_timeout: float = 10.0,
        secure: bool = True,
        ca_file: str | None = None,
        proxies: Mapping[str, str] = NO_PROXIES,
    ) -> None:
        """`secure`: some of it goes over TLS, which trusts the certificates of `ca_file`, or whom the system trusts.

        `proxies`: the root of a server → the URL of the proxy that it is spoken to by.
        """
        self.settings = Settings(connect_timeout, secure, ca_file, proxies)
        self._proxies = {root: URL(proxy) for root, proxy in proxies.items()}
        self._session: aiohttp.ClientSession
        self._ways: dict[tuple[str, str], tuple[URL, URL | None]] = {}
        """To which URL, and by which proxy, a path of a server is spoken to."""

    async def __aenter__(self) -> Self:
        context = trusting(self.settings.ca_file) if self.settings.secure else True
        self._session = aiohttp.ClientSession(
            connector=Connector(limit=0, keepalive_timeout=KEEPALIVE, ttl_dns_cache=30, ssl=context),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.settings.connect_timeout),
            cookie_jar=NoCookies(),
            headers=HEADERS,
            auto_decompress=False,
            read_bufsize=READ_BUFFER,
            max_line_size=HEADER_SIZE,
            max_field_size=HEADER_SIZE,
            max_headers=HEADER_COUNT,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> Exchange:
        """Send a request and wait for the head of its answer. Raises AttemptError."""
        way = self._ways.get((endpoint.root, path))
        if way is None:
            way = URL(endpoint.url(path), encoded=True), self._proxies.get(endpoint.root)
            self._ways[endpoint.root, path] = way
        (url, proxy), headers = way, endpoint.headers or None
        while True:
            data = Body(body)
            try:
                response = await self._session.post(url, data=data, headers=headers, allow_redirects=False, proxy=proxy)
            except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
                if data.was_held_back:
                    continue
                raise AttemptError(_unsent(data, error) or _before_answer(error)) from error
            if not data.was_held_back:
                return Exchange(response)
            response.close()  # what it answers was read before anything was asked

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes = b"", timeout: float = 10.0
    ) -> Reply:
        """Make a small request, such as asking a server for its version. Raises AttemptError.

        `timeout` covers everything, in seconds.
        """
        proxy = next((proxy for root, proxy in self._proxies.items() if f"{url}/".startswith(f"{root}/")), None)
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(self.settings.connect_timeout, timeout))
        try:
            async with self._session.request(
                method, url, data=body or None, headers=headers, timeout=limits, allow_redirects=False, proxy=proxy
            ) as response:
                exchange = Exchange(response)
                return Reply(exchange.status, exchange.headers, await exchange.body(REPLY_LIMIT))
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise AttemptError(_before_answer(error)) from error


class Exchange:
    """The answer to one request, read in whatever chunks arrive."""

    __slots__ = ("_content", "_inflate", "_inflated", "_response", "content_type", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content
        self.status = response.status
        headers = response.headers
        self.content_type = headers.get(hdrs.CONTENT_TYPE, "").lower()
        encoding = headers.get(hdrs.CONTENT_ENCODING)
        self._inflate = None if encoding is None else inflater(encoding)
        self._inflated = NOTHING

    @property
    def tells_limits(self) -> bool:
        """Whether there are headers about how much is left of an allowance. Cheap: every answer is asked."""
        return _tell_limits(tuple(self._response.headers))

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case."""
        return {name.lower(): value for name, value in self._response.headers.items()}

    @property
    def is_over(self) -> bool:
        """Whether the whole body was read, and ended as it should: the next read would return b"" at once."""
        return self._content.at_eof() and not self._inflated

    async def read(self) -> bytes:
        """Return the next bytes, b"" at a clean end. Raises AttemptError when the connection breaks."""
        try:
            if self._inflate is not None:
                return await self._read_inflated(self._inflate)
            chunk = await self._content.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            # the response keeps the error, whose traceback keeps the response: a circle for each broken answer
            raise AttemptError(_in_answer(error)) from error.with_traceback(None)
        return chunk

    async def _read_inflated(self, inflate: Inflate | Unknown) -> bytes:
        if self._inflated:
            await asyncio.sleep(0)
        while not self._inflated:
            chunk = await self._content.readany()
            if not chunk:
                return b""
            self._inflated = memoryview(inflate.feed(chunk))
        piece, self._inflated = self._inflated[:READ_BUFFER], self._inflated[READ_BUFFER:]
        return bytes(piece)

    async def body(self, limit: int = 1024 * 1024) -> bytes:
        """Return the rest of the body, up to about `limit` bytes."""
        pieces = []
        size = 0
        while size < limit and (chunk := await self.read()):
            pieces.append(chunk)
            size += len(chunk)
        if size >= limit:
            self.close()
        return b"".join(pieces)

    def close(self) -> None:
        """Break the connection, so that the server stops generating and the socket is not used again."""
        self._response.close()


@lru_cache(maxsize=256)
def _tell_limits(names: tuple[str, ...]) -> bool:
    """A server sends the same few headers again and again."""
    return any("ratelimit" in name.lower() for name in names)


def _unsent(body: Body, error: Exception) -> Failure | None:
    """Name what went wrong with the sending, if it was that, or with a connection that was used before."""
    if body.stuck:
        return _unreachable("send_timeout", f"it took no byte of the request for {SEND_TIMEOUT:g} s")
    if body.was_kept and _begins_badly(error):
        words = f"no answer on a connection that was kept, but what may be the rest of an earlier one: {error}"
        return Failure(FailureClass.TRANSIENT, "disconnected", words)
    return None


def _begins_badly(error: BaseException | None) -> bool:
    """Whether what came does not begin as an answer does: it is the rest of something else."""
    while error is not None and not isinstance(error, BadStatusLine):
        error = error.__cause__
    return error is not None


def _before_answer(error: Exception) -> Failure:
    """Name what went wrong before the server answered."""
    number = getattr(error, "errno", None) or getattr(getattr(error, "os_error", None), "errno", None)
    words = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return _untrusted(error)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError) and "WRONG_VERSION" in words.replace(" ", "_").upper():
        return Failure(FailureClass.FATAL, "tls", f"https to a port that does not speak it: {words}")
    if number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
        return Failure(FailureClass.LOCAL, "out_of_sockets", words)
    if isinstance(error, aiohttp.InvalidURL):
        return Failure(FailureClass.FATAL, "bad_url", words)
    if isinstance(error, TimeoutError):
        return _unreachable("connect_timeout", "no connection within the time allowed")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return _unreachable("unknown_host", f"the host {error.host} is not known: {error.os_error.strerror}")
    if isinstance(error, aiohttp.ClientConnectorError):
        code = "refused" if number == errno.ECONNREFUSED else "unreachable"
        return _unreachable(code, os.strerror(number).lower() if number else words)
    if isinstance(error, aiohttp.ServerDisconnectedError | OSError):
        return Failure(FailureClass.TRANSIENT, "disconnected", "the server closed the connection without an answer")
    if isinstance(error, aiohttp.ClientResponseError | HttpProcessingError):
        return Failure(FailureClass.TRANSIENT, "bad_http", words)
    return _unreachable("unreachable", words)


def _untrusted(error: aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError) -> Failure:
    """Name a certificate that is not trusted: no matter of waiting."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):  # which is one of Python's by name alone
        return Failure(FailureClass.FATAL, "tls", untrusted(f"{error.host}:{error.port}", error.certificate_error))
    return Failure(FailureClass.FATAL, "tls", untrusted("the server", error))


def _in_answer(error: Exception) -> Failure:
    """Name what went wrong while the answer was arriving."""
    words = str(error) or type(error).__name__
    return Failure(FailureClass.TRANSIENT, "cut", f"the connection broke in the middle of the answer: {words}")


def _unreachable(code: str, words: str) -> Failure:
    return Failure(FailureClass.CONNECTION, code, words, exit=Exit.UNAVAILABLE)
