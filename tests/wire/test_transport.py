"""Holds the transport to its word over real sockets: what breaks gets its class, and nothing is followed or leaked."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import gzip
import random
import socket
import weakref
from typing import TYPE_CHECKING

import pytest
from support.rawserver import answer, playing

from batcher.failures import AttemptError, Failure, FailureClass
from batcher.model import Api, Endpoint
from batcher.wire.connections import SLICE
from batcher.wire.inflate import DECODED_LIMIT
from batcher.wire.transport import Transport, _before_answer

if TYPE_CHECKING:
    from batcher.simulator import Simulator

pytestmark = pytest.mark.anyio
HELLO = b'{"model":"simulator","prompt":"hello"}'


def at(url: str, **headers: str) -> Endpoint:
    return Endpoint(root=url, api=Api.NATIVE, headers=headers)


async def fails(transport: Transport, url: str) -> Failure:
    """The failure that one exchange ends in, whether before or in the answer."""
    with pytest.raises(AttemptError) as caught:
        await body_of(transport, url)
    return caught.value.failure


async def body_of(transport: Transport, url: str) -> bytes:
    exchange = await transport.post(at(url), "/api/generate", HELLO)
    try:
        return await exchange.body()
    except BaseException:
        exchange.close()
        raise


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_nobody_listens(transport: Transport) -> None:
    """A closed port is a connection failure: it uses no attempt."""
    failure = await fails(transport, f"http://127.0.0.1:{free_port()}")
    assert (failure.kind, failure.code) == (FailureClass.CONNECTION, "refused")


async def test_no_such_host(transport: Transport) -> None:
    """A name that cannot be resolved is a connection failure with a code of its own."""
    failure = await fails(transport, "http://nobody.invalid")
    assert (failure.kind, failure.code) == (FailureClass.CONNECTION, "unknown_host")


async def test_a_connection_that_is_never_accepted() -> None:
    """A full backlog answers no SYN: the connect timeout ends it."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        full = [socket.socket() for _ in range(3)]
        for one in full:
            one.setblocking(False)  # noqa: FBT003 - the standard library's signature
            one.connect_ex(deaf.getsockname())
        async with Transport(connect_timeout=0.2) as transport:
            failure = await fails(transport, url)
        for one in full:
            one.close()
    assert (failure.kind, failure.code) == (FailureClass.CONNECTION, "connect_timeout")


async def test_a_request_that_is_never_read(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen server accepts the connection and takes what its buffers hold; the rest is not waited for."""
    monkeypatch.setattr("batcher.wire.connections.SEND_TIMEOUT", 0.1)
    with socket.socket() as frozen:
        frozen.bind(("127.0.0.1", 0))
        frozen.listen()
        with pytest.raises(AttemptError) as caught:
            await transport.post(at(f"http://127.0.0.1:{frozen.getsockname()[1]}"), "/api/generate", bytes(32 << 20))
    assert (caught.value.failure.kind, caught.value.failure.code) == (FailureClass.CONNECTION, "send_timeout")


async def test_a_large_request_arrives_whole(transport: Transport) -> None:
    """What is sent in slices is one request of the length it announces, byte for byte."""
    sent = random.Random(7).randbytes(3 * SLICE + 1)
    taken = bytearray()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        taken.extend(head + await reader.readexactly(len(sent)))
        writer.write(answer(b"{}"))
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        exchange = await transport.post(at(url), "/api/generate", sent)
        assert await exchange.body() == b"{}"
    head, _, body = bytes(taken).partition(b"\r\n\r\n")
    assert body == sent
    assert f"content-length: {len(sent)}".encode() in head.lower()
    assert head.lower().count(b"content-type: application/json") == 1
    assert b"chunked" not in head.lower()


@pytest.mark.parametrize("reset", [False, True])
async def test_the_server_hangs_up_without_a_byte(transport: Transport, *, reset: bool) -> None:
    """FIN or RST instead of an answer is the same thing, and may be a stale connection's fault."""
    async with playing(reset=reset) as url:
        failure = await fails(transport, url)
    assert (failure.kind, failure.code) == (FailureClass.TRANSIENT, "disconnected")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
CUT_SHORT = HEAD + b"Content-Length: 100\r\n\r\n{}"


async def test_an_answer_that_broke_off_is_let_go_at_once(transport: Transport) -> None:
    """The garbage collector comes by seldom: until then each would hold its response and all that it had read."""
    async with playing(CUT_SHORT) as url:
        exchange = await transport.post(at(url), "/api/generate", HELLO)
        response = weakref.ref(exchange._response)
        gc.disable()
        try:
            with contextlib.suppress(AttemptError):
                await exchange.body()
            exchange.close()
            del exchange
            await asyncio.sleep(0.05)  # the connection's own callbacks
            assert response() is None
        finally:
            gc.enable()


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    "part",
    [
        pytest.param(CUT_SHORT, id="content-length too long"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n", id="no last chunk"),
        pytest.param(HEAD + b"Transfer-Encoding: chunked\r\n\r\nff\r\n{}", id="half a chunk"),
    ],
)
async def test_the_answer_breaks_off(transport: Transport, part: bytes, *, reset: bool) -> None:
    """A body that ends before the end it announced is no end."""
    async with playing(part, reset=reset) as url:
        failure = await fails(transport, url)
    assert (failure.kind, failure.code) == (FailureClass.TRANSIENT, "cut")


@pytest.mark.parametrize(
    "part",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", HEAD + b"Content-Length: x\r\n\r\n"],
)
async def test_what_is_no_http(transport: Transport, part: bytes) -> None:
    """A port that speaks something else is told as such, and not as a bug."""
    async with playing(part) as url:
        failure = await fails(transport, url)
    assert (failure.kind, failure.code) == (FailureClass.TRANSIENT, "bad_http")


async def test_chunks_that_are_no_http(transport: Transport) -> None:
    """A body whose framing is broken breaks the answer, whatever library error it is."""
    async with playing(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n") as url:
        assert (await fails(transport, url)).kind is FailureClass.TRANSIENT


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(transport: Transport, simulator: Simulator, status: int) -> None:
    """The answer is the redirect itself; the place it names hears nothing, least of all the key."""
    target = f"Location: {simulator.url}/api/generate"
    async with playing(answer(b"", target, status=f"{status} Elsewhere")) as url:
        exchange = await transport.post(at(url, Authorization="Bearer secret"), "/api/generate", HELLO)
        assert exchange.status == status
        await exchange.body()
    assert simulator.tally.connections == 0


async def test_what_is_sent(transport: Transport, simulator: Simulator) -> None:
    """The body goes as it is with the endpoint's headers, and no compression is asked for."""
    exchange = await transport.post(at(simulator.url, Authorization="Bearer k"), "/api/generate", HELLO)
    await exchange.body()
    (seen,) = simulator.requests("hello")
    headers = {name.lower(): value for name, value in seen.headers.items()}
    assert seen.body == {"model": "simulator", "prompt": "hello"}
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer k"
    assert headers["accept-encoding"] == "identity"
    assert "cookie" not in headers


async def test_cookies_are_not_kept(transport: Transport, simulator: Simulator) -> None:
    """A load balancer's cookie would tie all jobs to one server."""
    body = HELLO.replace(b"hello", b"[[sim id=q header.Set-Cookie=a%3Db]]")
    for _ in range(2):
        exchange = await transport.post(at(simulator.url), "/api/generate", body)
        await exchange.body()
        assert exchange.headers["set-cookie"] == "a=b"
    assert [seen for seen in simulator.requests("q") if "cookie" in seen.headers] == []


async def test_a_server_behind_a_proxy_is_spoken_to_by_it() -> None:
    """Jobs and questions alike, with the proxy's own password in a header of its own; no other server is."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError):
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                await reader.readexactly(len(HELLO) if heads[-1].startswith(b"POST") else 0)
                writer.write(answer(b"{}"))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Transport(proxies={"http://llm.invalid": f"http://me:pw@127.0.0.1:{port}"}) as transport:
            assert await body_of(transport, "http://llm.invalid") == b"{}"
            assert (await transport.request("GET", "http://llm.invalid/api/tags", headers={})).body == b"{}"
            assert (await fails(transport, "http://llm.invalid.invalid")).code == "unknown_host"
    assert [head.split(b" HTTP")[0] for head in heads] == [
        b"POST http://llm.invalid/api/generate",
        b"GET http://llm.invalid/api/tags",
    ]
    assert all(b"proxy-authorization: basic" in head.lower() for head in heads)


async def test_proxies_from_the_environment_are_ignored(
    transport: Transport, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY catches the loopback address in many setups; it holds only when asked for."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert b'"done":true' in await body_of(transport, simulator.url)


@pytest.mark.usefixtures("_no_trial")
async def test_connections_are_used_again(transport: Transport, simulator: Simulator) -> None:
    """Answers and refusals read to their end leave the connection for the next call."""
    for prompt in (b"a", b"[[sim id=b status=500]]", b"c"):
        exchange = await transport.post(at(simulator.url), "/api/generate", HELLO.replace(b"hello", prompt))
        await exchange.body()
    assert simulator.tally.connections == 1


async def test_closing_an_exchange_closes_the_connection(transport: Transport, simulator: Simulator) -> None:
    """An answer that is given up must stop the server's work."""
    body = HELLO.replace(b"hello", b"[[sim id=q do=stall after=2]]")
    exchange = await transport.post(at(simulator.url), "/api/generate", body)
    assert await exchange.read()
    exchange.close()
    assert await body_of(transport, simulator.url)
    assert (simulator.tally.connections, simulator.tally.aborted) == (2, 1)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate"])
async def test_unasked_compression_is_read(transport: Transport, encoding: str) -> None:
    """A proxy that compresses all the same is understood, byte by byte if need be."""
    packed = gzip.compress(b'{"x":1}' * 50)
    parts = [packed[i : i + 1] for i in range(len(packed))]
    head = answer(packed, f"Content-Encoding: {encoding}").removesuffix(packed)
    async with playing(head, *parts) as url:
        assert await body_of(transport, url) == b'{"x":1}' * 50


@pytest.mark.parametrize("padding", [b"", b"\0\0\0"], ids=["plain", "padded"])
async def test_gzip_in_several_members_is_read(transport: Transport, padding: bytes) -> None:
    """A server that flushes by ending a member sends one after the other (RFC 1952, 2.2)."""
    packed = padding.join(gzip.compress(b'{"x":%d}' % n) for n in range(3)) + padding
    head = answer(packed, "Content-Encoding: gzip").removesuffix(packed)
    for parts in ([packed], [packed[i : i + 1] for i in range(len(packed))]):
        async with playing(head, *parts) as url:
            assert await body_of(transport, url) == b'{"x":0}{"x":1}{"x":2}'


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, br", "x" * 2000])
async def test_an_encoding_that_was_not_asked_for_is_named(transport: Transport, encoding: str) -> None:
    """It is not read as if it were the answer."""
    async with playing(answer(b"\x8b\x00", f"Content-Encoding: {encoding}")) as url:
        failure = await fails(transport, url)
    assert failure.code == "malformed"
    assert encoding[:30] in failure.message
    assert len(failure.message) < 200


@pytest.mark.parametrize("body", [b'{"x":1}', b"data: {}\n\n", b"  [1]", b"<html>"])
async def test_what_is_only_said_to_be_encoded_is_read(transport: Transport, body: bytes) -> None:
    """Some gateways name an encoding that they did not apply."""
    async with playing(answer(body, "Content-Encoding: br")) as url:
        assert await body_of(transport, url) == body


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
async def test_no_encoding_by_name_is_none(transport: Transport, encoding: str) -> None:
    """Some say that they did nothing."""
    async with playing(answer(b"{}", f"Content-Encoding: {encoding}")) as url:
        assert await body_of(transport, url) == b"{}"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([f"x-debug: {'a' * 9000}"], id="one of 9,000 bytes"),
        pytest.param([f"x-debug: {'a' * 60_000}"], id="one of 60,000 bytes"),
        pytest.param([f"x-{number}: {'a' * 300}" for number in range(200)], id="200 of 300 bytes"),
        pytest.param([f"x-{number}: {'a' * 9000}" for number in range(7)], id="7 of 9,000 bytes"),
    ],
)
async def test_gateways_say_much_in_headers(transport: Transport, headers: list[str]) -> None:
    """Policies, traces and costs: what other clients take is taken (https://github.com/bentoml/BentoML/issues/4346)."""
    async with playing(answer(b"{}", *headers)) as url:
        assert await body_of(transport, url) == b"{}"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([f"x-debug: {'a' * 200_000}"], id="one of 200 kB"),
        pytest.param([f"x-{number}: a" for number in range(2000)], id="2,000 of them"),
    ],
)
async def test_headers_have_an_end(transport: Transport, headers: list[str]) -> None:
    """What goes on for ever is refused before it fills the memory."""
    async with playing(answer(b"{}", *headers)) as url:
        assert (await fails(transport, url)).code == "bad_http"


async def test_broken_compression_is_a_failure(transport: Transport) -> None:
    """Bytes that are not what they say are no answer."""
    async with playing(answer(b"no gzip at all", "Content-Encoding: gzip")) as url:
        failure = await fails(transport, url)
    assert (failure.kind, failure.code) == (FailureClass.TRANSIENT, "malformed")


async def test_a_bomb_is_not_unpacked(transport: Transport, simulator: Simulator) -> None:
    """A small body that grows without bound is refused long before it fills the memory."""
    body = HELLO.replace(b"hello", b"[[sim id=q do=bomb]]")
    exchange = await transport.post(at(simulator.url), "/api/generate", body)
    with pytest.raises(AttemptError, match="grows beyond"):
        await exchange.body(DECODED_LIMIT // 2)
    exchange.close()


async def test_a_refusal_is_read_only_so_far(transport: Transport) -> None:
    """An error page of many megabytes is cut, and its connection not used again."""
    async with playing(answer(b"x" * 3_000_000, status="500 No")) as url:
        exchange = await transport.post(at(url), "/api/generate", HELLO)
        assert 10_000 <= len(await exchange.body(10_000)) < 3_000_000


async def test_a_small_request(transport: Transport, simulator: Simulator) -> None:
    """Status, headers in lower case and the whole body come back at once."""
    reply = await transport.request("GET", f"{simulator.url}/api/version", headers={})
    assert (reply.status, "version" in reply.body.decode()) == (200, True)
    assert reply.headers["content-type"].startswith("application/json")


async def test_a_small_request_that_gets_no_answer(transport: Transport) -> None:
    """`timeout` covers everything, and what it ends is a failure as any other."""
    async with playing(hold=True) as url:
        with pytest.raises(AttemptError):
            await transport.request("GET", url, headers={}, timeout=0.1)


async def test_a_small_request_whose_answer_breaks_off(transport: Transport) -> None:
    """Half an answer is none, and its connection is not left open."""
    async with playing(answer(b"{}", "X: y")[:-1]) as url:
        with pytest.raises(AttemptError, match="broke"):
            await transport.request("GET", url, headers={})


async def test_a_url_that_is_none(transport: Transport) -> None:
    """A base URL that no request can go to is fatal for the run."""
    failure = await fails(transport, "http://")
    assert failure.kind is FailureClass.FATAL


async def test_plain_http_where_tls_is_expected(transport: Transport) -> None:
    """https to a port without it is a mistake in the settings, not an outage to wait for."""
    async with playing(answer(b"", status="400 Bad Request"), greet=True) as url:
        failure = await fails(transport, url.replace("http:", "https:"))
    assert (failure.kind, failure.code) == (FailureClass.FATAL, "tls")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_want_of_sockets_is_this_machines_fault(number: int) -> None:
    """A shortage here must not look as if the server were down."""
    assert _before_answer(OSError(number, "short")).kind is FailureClass.LOCAL
