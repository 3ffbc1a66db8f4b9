"""Holds the class for Ray Data's `map_batches` to what it does with a batch; Ray itself is not needed for that."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import batcher.ray
from batcher.failures import UnavailableError, UsageError
from batcher.ray import COLUMNS, Prompt
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

SAYS = "[[sim id={{ word }} say={{ word }}]]"


@pytest.fixture
def url() -> Iterator[str]:
    with simulator_thread() as simulator:
        yield simulator.url


def column(*values: object) -> object:
    return np.array(values, dtype=object)


def test_a_column_is_never_replaced(url: str) -> None:
    """What the rows have of that name would be lost: it is refused, and a prefix names the answers otherwise."""

    async def run() -> None:
        for name in COLUMNS:
            with pytest.raises(UsageError, match=rf"\({name}\).*column_prefix='answer_'"):
                await Prompt(SAYS, model="simulator", base_url=url)({"word": column("a"), name: column("mine")})
        with pytest.raises(UsageError, match=r"\(parsed\)"):
            await Prompt(SAYS, model="simulator", base_url=url, json=True)({"word": column("a"), "parsed": column(1)})
        named = Prompt(SAYS, model="simulator", base_url=url, column_prefix="answer_")
        answers = await named({"word": column("a", "b"), "text": column("mine", "too")})
        assert list(answers["text"]) == ["mine", "too"]
        assert list(answers["answer_text"]) == ["a", "b"]
        assert list(answers["answer_error"]) == [None, None]
        assert set(answers) == {"word", "text", *(f"answer_{name}" for name in COLUMNS)}
        with pytest.raises(UsageError, match=r"\(answer_text\)"):
            await named({"word": column("a"), "answer_text": column("mine")})

    asyncio.run(run())


def test_prices_make_a_column(url: str) -> None:
    """What each answer cost, by its tokens; nothing of one that failed; wrong prices are refused at once."""
    with pytest.raises(UsageError):
        Prompt(SAYS, model="simulator", base_url=url, price_in=-1)

    async def run() -> None:
        asks = Prompt("[[sim {{ word }}]]", model="simulator", base_url=url, price_in=1, price_out=2)
        answers = await asks({"word": column("tokens=3", "status=400")})
        tokens = [*zip(answers["prompt_tokens"], answers["completion_tokens"], strict=True)]
        assert list(answers["cost"]) == [pytest.approx((tokens[0][0] + 2 * tokens[0][1]) / 1e6), None]
        with pytest.raises(UsageError, match=r"\(cost\)"):
            await asks({"word": column("tokens=3"), "cost": column("mine")})

    asyncio.run(run())


def test_a_server_that_comes_late_is_found() -> None:
    """An actor lives on where Ray Data tries a batch again: what failed once does not fail for good."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))  # nobody listens there
    port = taken.getsockname()[1]

    async def run() -> None:
        asks = Prompt(SAYS, model="simulator", base_url=f"http://127.0.0.1:{port}", max_wait=0)
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await asks({"word": column("a")})
        taken.close()
        with simulator_thread(port=port):
            answers = await asyncio.gather(*(asks({"word": column(word)}) for word in "ab"))
        assert [list(answer["text"]) for answer in answers] == [["a"], ["b"]]

    asyncio.run(run())


def test_examples_name_no_column_of_an_answer() -> None:
    for text in (str(batcher.ray.__doc__), (Path(__file__).parents[2] / "docs" / "scale.md").read_text()):
        asked = re.findall(r"\{\{ (\w+) \}\}", text)
        assert asked
        assert not set(asked) & set(COLUMNS)
