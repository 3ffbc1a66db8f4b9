"""Holds what passes for a server that is there to what servers and the proxies before them say."""

from __future__ import annotations

import pytest
from support.rawserver import answer, playing

from batcher.exchange.presence import is_there
from batcher.model import Api, Endpoint
from batcher.wire.transport import Transport

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("api", Api)
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("200 OK", True),
        ("401 Unauthorized", True),
        ("404 Not Found", True),
        ("429 Too Many Requests", True),
        ("500 Internal Server Error", True),
        ("502 Bad Gateway", False),
        ("503 Service Unavailable", False),
        ("504 Gateway Timeout", False),
        ("521 Web Server Is Down", False),
        ("", False),
    ],
)
async def test_whoever_answers_is_there_but_for_a_proxy_that_says_otherwise(
    api: Api,
    status: str,
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Without a status it hangs up."""
    said = [answer(b"{}", status=status)] if status else []
    async with playing(*said) as url, Transport(connect_timeout=2.0) as transport:
        assert await is_there(transport, Endpoint(root=url, api=api)) is expected


async def test_where_nobody_listens_nobody_is_there() -> None:
    async with Transport(connect_timeout=2.0) as transport:
        assert not await is_there(transport, Endpoint(root="http://127.0.0.1:9", api=Api.OPENAI))


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 40\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n",
    ],
)
async def test_an_answer_that_cannot_be_read_is_one(said: bytes) -> None:
    async with playing(said) as url, Transport(connect_timeout=2.0) as transport:
        assert await is_there(transport, Endpoint(root=url, api=Api.OPENAI))
