"""What type checkers make of programs that use the library: held by mypy (`make lint`) and pyright (`make pyright`).

Nothing here is run. A mistake that a checker must see stands beside an ignore, which is an error itself where it is not
needed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import batcher


class City:
    """A class that stands for pydantic's."""

    name: str


def texts() -> Iterator[str]:
    yield "one"


async def mappings() -> AsyncIterator[dict[str, int]]:
    yield {"n": 1}


def files() -> None:
    assert_type(batcher.run("a.jsonl", Path("b.jsonl"), model="m", prompt="{{ text }}"), batcher.Summary)
    batcher.run(["a.jsonl", Path("b.csv")], "out.jsonl", ordered=True, timeout="30s", grace=timedelta(seconds=5))
    batcher.run("a", "b", concurrency="2-16", max_errors="5%", base_url=["http://x", "http://y"], shard="1/2")
    batcher.run("a", "b", modle="m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    batcher.run("a", "b", durability="now")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    batcher.run("a", "b", retries="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def rows() -> None:
    assert_type(batcher.map(["one", "two"]), list[batcher.Result[str, Any]])
    assert_type(batcher.map(texts(), schema=City), list[batcher.Result[str, City]])
    assert_type(batcher.map(mappings()), list[batcher.Result[dict[str, int], Any]])
    assert_type(batcher.map(["one", None]), list[batcher.Result[str | None, Any]])
    for result in batcher.map([{"a": 1}], schema=City):
        assert_type(result.row, dict[str, int])
        assert_type(result.parsed, City | None)
        assert_type(result.unwrap().row, dict[str, int])
        assert_type(result.vector, Sequence[float] | None)
        assert_type(result.failure, batcher.Failure | None)
        assert_type(result.flags, list[str])
        assert_type(result.to_dict(), dict[str, Any])
    batcher.map(["one"], output="kept.jsonl", on_change="rerun", progress=print)
    batcher.map([1, 2])  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    batcher.map(["one"], ordred=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def streams(given: Sequence[Mapping[str, str]]) -> None:
    async with batcher.stream(given, schema=City, api_key="k", headers={"X-Team": "t"}) as results:
        assert_type(results, batcher.Stream[Mapping[str, str], City])
        async for result in results:
            assert_type(result, batcher.Result[Mapping[str, str], City])
        assert_type(results.finished(), list[batcher.Result[Mapping[str, str], City]])
        assert_type(results.summary, batcher.Summary)
    batcher.stream(given, ordered=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    batcher.stream(given, timeout=[1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    plain: list[batcher.Result] = await batcher.amap(["one"])
    assert plain


async def clients() -> None:
    async with batcher.Client("key", base_url="http://x", concurrency=4) as client:
        assert_type(client, batcher.Client)
        assert_type(await client.amap(["one"], prompt="{{ text }}"), list[batcher.Result[str, Any]])
        assert_type(client.stream(mappings(), schema=City), batcher.Stream[dict[str, int], City])
        assert_type(await client.arun("a", "b"), batcher.Summary)
        await client.amap(["one"], temprature=0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def vectors() -> None:
    assert_type(batcher.embed(["a"], model="m", dtype="float16"), NDArray[np.floating[Any]])
    assert_type(await batcher.aembed(texts(), on_error="nan"), NDArray[np.floating[Any]])
    batcher.embed(["a"], dtype="int8")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
