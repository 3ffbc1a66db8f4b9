"""The least that does the job: an aiohttp and orjson worker loop, with nothing that makes a run safe to trust.

No retry, no proof that an answer is complete, no timing, no resuming: what batcher costs more than this is their price.
Plain, it is as users write it, on stock asyncio. At its best it has uvloop and every setting of aiohttp that saves
time, and copies vectors as bytes.
"""

from __future__ import annotations

import argparse
import asyncio
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import aiohttp
import orjson
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

HEADERS = {"Content-Type": "application/json"}


class Plain:
    """Workers over one iterator of lines; each writes its results as they come."""

    def __init__(self, session: aiohttp.ClientSession, url: str, results: IO[bytes], *, stream: bool) -> None:
        self._session = session
        self._url = url
        self._results = results
        self._stream = stream
        self._native = url.endswith("/api/chat")

    def post(self, body: dict[str, Any]) -> Any:
        return self._session.post(self._url, data=orjson.dumps(body), headers=HEADERS)

    async def chat(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            job = orjson.loads(line)
            async with self.post({"model": "m", "messages": job["messages"], "stream": self._stream}) as response:
                response.raise_for_status()
                answer = await (self._streamed(response) if self._stream else self._whole(response))
            self._results.write(orjson.dumps({"id": job["id"], "text": answer}) + b"\n")
            self._results.flush()

    async def embed(self, lines: Iterator[bytes], pack: int) -> None:
        while jobs := [orjson.loads(line) for line in islice(lines, pack)]:
            async with self.post({"model": "m", "input": [job["input"] for job in jobs]}) as response:
                response.raise_for_status()
                vectors = self._vectors(await response.read())
            for job, vector in zip(jobs, vectors, strict=True):
                self._results.write(orjson.dumps({"id": job["id"], "embedding": vector}) + b"\n")
            self._results.flush()

    def _vectors(self, answer: bytes) -> list[Any]:
        return [item["embedding"] for item in orjson.loads(answer)["data"]]

    async def _whole(self, response: aiohttp.ClientResponse) -> str:
        answer = orjson.loads(await response.read())
        message = answer["message"] if self._native else answer["choices"][0]["message"]
        content: str = message["content"]
        return content

    async def _streamed(self, response: aiohttp.ClientResponse) -> str:
        texts: list[str] = []
        rest = b""
        async for chunk in self._chunks(response.content):
            *records, rest = (rest + chunk).split(b"\n")
            for record in records:
                if self._native:
                    texts.append(orjson.loads(record)["message"]["content"])
                elif record.startswith(b"data: {"):
                    texts.extend(_contents(orjson.loads(record[6:])))
        return "".join(texts)

    def _chunks(self, content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        return content.iter_any()


class Best(Plain):
    """The same with what saves time."""

    def __init__(self, session: aiohttp.ClientSession, url: str, results: IO[bytes], *, stream: bool) -> None:
        super().__init__(session, url, results, stream=stream)
        self._parsed = URL(url)

    def post(self, body: dict[str, Any]) -> Any:
        return self._session.post(self._parsed, data=orjson.dumps(body), allow_redirects=False)

    def _vectors(self, answer: bytes) -> list[Any]:
        after = answer.split(b'"embedding":[')[1:]
        return [orjson.Fragment(b"[%b]" % piece[: piece.index(b"]")]) for piece in after]


def _contents(record: dict[str, Any]) -> list[str]:
    return [choice["delta"].get("content", "") for choice in record["choices"]]


def _plain_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


def _best_session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=HEADERS,
        auto_decompress=False,
    )


async def _run(arguments: argparse.Namespace) -> None:
    session_of, loop_of = (_best_session, Best) if arguments.best else (_plain_session, Plain)
    with arguments.input.open("rb") as lines, arguments.output.open("wb") as results:
        async with session_of() as session, asyncio.TaskGroup() as group:
            loop = loop_of(session, arguments.url, results, stream=arguments.stream)
            for _ in range(arguments.concurrency):
                embeds = arguments.url.endswith("/embeddings")
                group.create_task(loop.embed(lines, arguments.pack) if embeds else loop.chat(lines))


def _loop_factory(*, best: bool) -> Callable[[], asyncio.AbstractEventLoop]:
    if best:
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("url", help="of the API path itself")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--pack", type=int, default=1, help="texts in one request for embeddings")
    parser.add_argument("--best", action="store_true")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=_loop_factory(best=arguments.best)) as runner:
        runner.run(_run(arguments))


if __name__ == "__main__":
    main()
