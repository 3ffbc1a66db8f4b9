"""What the scripts of all peers share: their arguments, and workers over one iterator of lines as in `bare.py`."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("url", help="of the API path itself")
    parser.add_argument("--aiohttp", action="store_true", help="as the library's HTTP client")
    parser.add_argument("--no-limit", action="store_true", help="lift the library's own limit of requests a second")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--pack", type=int)
    return parser.parse_args()


def base_url(given: argparse.Namespace) -> str:
    """What the libraries for OpenAI's API want."""
    url: str = given.url
    return url.removesuffix("/chat/completions")


def jobs(given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with given.input.open("rb") as lines:
        yield from map(orjson.loads, lines)


async def work(given: argparse.Namespace, ask: Callable[[list[dict[str, str]]], Awaitable[str]]) -> None:
    """Have every job answered and written, so many at a time."""
    todo = jobs(given)
    with given.output.open("wb") as results:

        async def worker() -> None:
            for job in todo:
                text = await ask(job["messages"])
                results.write(orjson.dumps({"id": job["id"], "text": text}) + b"\n")
                results.flush()

        async with asyncio.TaskGroup() as group:
            for _ in range(given.concurrency):
                group.create_task(worker())
