"""What stands beside batcher in the benchmark of embeddings: a server whose answers are made in advance, and a loop.

The server answers after so many seconds a request and a text, one request after the other, and counts requests. The
loop reads and hashes the texts, sends 64 at a time, copies what comes into an array and writes a line for each; it
makes nothing safe to trust.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from base64 import b64encode
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

DIM: Final = 768
BAD: Final = "a text that is refused"
BARE: Final = (sys.executable, __file__, "--bare")
"""The loop, to which a URL, a file of texts and whether it asks for base64 (1, or 0) are given."""


async def serve(listening: int, each: float, text: float, dim: int) -> None:
    """Answer embeddings, each after `each` seconds and `text` for each text, with `dim` numbers; count requests.

    `listening` is the descriptor of a bound socket.
    """
    numbers = np.random.default_rng(1).standard_normal(dim).astype("<f4")
    encoded = {
        True: b'"%b"' % b64encode(numbers.tobytes()),
        False: orjson.dumps(numbers.tolist()),
    }
    turn, requests = asyncio.Lock(), 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"GET /count"):
                    _put(writer, b"200 OK", b"%d" % requests)
                    continue
                if head.startswith(b"GET"):
                    _put(writer, b"404 Not Found", b"{}")
                    continue
                size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = orjson.loads(await reader.readexactly(size))
                texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
                requests += 1
                if each or text:
                    async with turn:
                        await asyncio.sleep(each + text * len(texts))
                if any(one.startswith(BAD) for one in texts):
                    _put(writer, b"400 Bad Request", b'{"error":{"message":"a bad text"}}')
                    continue
                vector = encoded[body.get("encoding_format") == "base64"]
                data = b",".join(
                    b'{"object":"embedding","index":%d,"embedding":%b}' % (n, vector) for n in range(len(texts))
                )
                usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (size // 4, size // 4)
                _put(writer, b"200 OK", b'{"object":"list","model":"m","usage":%b,"data":[%b]}' % (usage, data))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, sock=socket.socket(fileno=listening), limit=1 << 24)
    await server.serve_forever()


def _put(writer: asyncio.StreamWriter, status: bytes, body: bytes) -> None:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    writer.write(head + body)


async def bare(url: str, path: str, *, base64: bool) -> None:
    """The loop that batcher is held against."""
    from binascii import a2b_base64

    import aiohttp

    texts = Path(path)
    count = texts.read_bytes().count(b"\n")  # noqa: ASYNC240 - a loop as users write it
    array = np.lib.format.open_memmap(f"{path}.npy", "w+", "<f4", (count, DIM))
    place, extra = 0, {"encoding_format": "base64"} if base64 else {}
    with texts.open("rb") as lines, Path(f"{path}.out").open("wb") as out:  # noqa: ASYNC230 - as above
        async with aiohttp.ClientSession() as session:
            while jobs := [orjson.loads(line) for line in islice(lines, 64)]:
                digests = [blake2b(job["input"].encode(), digest_size=8).hexdigest() for job in jobs]
                body = orjson.dumps({"model": "m", "input": [job["input"] for job in jobs], **extra})
                async with session.post(f"{url}/v1/embeddings", data=body) as response:
                    data = orjson.loads(await response.read())["data"]
                for job, item, digest in zip(jobs, data, digests, strict=True):
                    vector = item["embedding"]
                    array[place] = np.frombuffer(a2b_base64(vector), "<f4") if base64 else vector
                    out.write(orjson.dumps({"id": job["id"], "hash": digest, "row": place}) + b"\n")
                    place += 1


@contextmanager
def server(each: float = 0.0, text: float = 0.0, dim: int = DIM) -> Iterator[str]:
    """Its URL, once it answers. The socket is bound here, so that there is nothing to be told by whoever starts."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url, fd = f"http://127.0.0.1:{listening.getsockname()[1]}", listening.fileno()
        command = [sys.executable, __file__, "--serve", *map(str, (fd, each, text, dim))]
        process = subprocess.Popen(command, pass_fds=[fd])
    with process:
        try:
            asked(url)
            yield url
        finally:
            process.kill()


def asked(url: str) -> int:
    """Requests that a server was sent."""
    from urllib.request import urlopen

    with urlopen(f"{url}/count", timeout=60) as answer:
        return int(answer.read())


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        fd, each, text, dim = sys.argv[2:]
        asyncio.run(serve(int(fd), float(each), float(text), int(dim)))
    else:
        asyncio.run(bare(sys.argv[2], sys.argv[3], base64=sys.argv[4] == "1"))
