"""The least that does the job: a plain aiohttp and orjson worker loop, with nothing that makes a run safe to trust.

No retry, no proof that an answer is complete, no timing, no resuming: what batcher costs more than this is their price.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import aiohttp
import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator


class Loop:
    """Workers over one iterator of lines; each writes its results as they come."""

    def __init__(self, session: aiohttp.ClientSession, url: str, results: IO[bytes], *, stream: bool) -> None:
        self._session = session
        self._url = url
        self._results = results
        self._stream = stream
        self._native = url.endswith("/api/chat")

    async def work(self, lines: Iterator[bytes]) -> None:
        for line in lines:
            job = orjson.loads(line)
            body = {"model": "m", "messages": job["messages"], "stream": self._stream}
            headers = {"Content-Type": "application/json"}
            async with self._session.post(self._url, data=orjson.dumps(body), headers=headers) as response:
                response.raise_for_status()
                answer = await (self._streamed(response) if self._stream else self._whole(response))
            self._results.write(orjson.dumps({"id": job["id"], "text": answer}) + b"\n")
            self._results.flush()

    async def _whole(self, response: aiohttp.ClientResponse) -> str:
        answer = orjson.loads(await response.read())
        message = answer["message"] if self._native else answer["choices"][0]["message"]
        content: str = message["content"]
        return content

    async def _streamed(self, response: aiohttp.ClientResponse) -> str:
        texts: list[str] = []
        rest = b""
        async for chunk in response.content.iter_any():
            *records, rest = (rest + chunk).split(b"\n")
            for record in records:
                if self._native:
                    texts.append(orjson.loads(record)["message"]["content"])
                elif record.startswith(b"data: {"):
                    texts.extend(_contents(orjson.loads(record[6:])))
        return "".join(texts)


def _contents(record: dict[str, Any]) -> list[str]:
    return [choice["delta"].get("content", "") for choice in record["choices"]]


async def _run(arguments: argparse.Namespace) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    with arguments.input.open("rb") as lines, arguments.output.open("wb") as results:
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            loop = Loop(session, arguments.url, results, stream=arguments.stream)
            for _ in range(arguments.concurrency):
                group.create_task(loop.work(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("url", help="of the API path itself")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--concurrency", type=int, required=True)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
