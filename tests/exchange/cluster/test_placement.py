"""Holds the run's end of its foreman to what it says and hears, with no Ray: a child that the test speaks for."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING

import orjson
import pytest
from support.enginerun import until

from batcher.exchange.cluster import placement
from batcher.exchange.cluster.errand import Errand
from batcher.exchange.cluster.placement import Foreman, Site
from batcher.failures import ConfigError, UnavailableError
from batcher.redaction import Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


class Pipe:
    """The child's stdin: what was said to it, as lines of JSON."""

    def __init__(self, child: Child) -> None:
        self.said: list[dict[str, object]] = []
        self._child = child

    def write(self, line: bytes) -> None:
        self.said.append(orjson.loads(line))

    def is_closing(self) -> bool:
        return self._child.is_over.is_set()

    def close(self) -> None:
        self._child.end()


class Child:
    """A foreman that says what the test has it say."""

    def __init__(self) -> None:
        self.stdin = Pipe(self)
        self.stdout, self.stderr = asyncio.StreamReader(), asyncio.StreamReader()
        self.is_over = asyncio.Event()

    def tell(self, **what: object) -> None:
        self.stdout.feed_data(orjson.dumps(what) + b"\n")

    def end(self) -> None:
        if not self.is_over.is_set():
            self.is_over.set()
            self.stdout.feed_eof()
            self.stderr.feed_eof()

    async def wait(self) -> int:
        await self.is_over.wait()
        return 0

    kill = end


@pytest.fixture
async def child(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Child]:
    """The first foreman; there is Ray."""
    made = Child()
    made.tell(ready="127.0.0.1", lacks="")

    async def create(*_: object, **__: object) -> Child:
        return made

    monkeypatch.setattr(placement, "create_subprocess_exec", create)
    yield made
    made.end()


def errand(number: int) -> Errand:
    return Errand(host="127.0.0.1", port=1, number=number, secret=Secret("a"))


async def test_one_whose_work_has_ended_is_dismissed(child: Child) -> None:
    """Its actor lives on, and keeps its CPUs from the one that is to follow, until it is ended."""
    gone: list[int] = []
    foreman = Foreman(Site())
    async with foreman.open(lambda number, _: gone.append(number), list[Exception]().append):
        foreman.place(errand(1))
        foreman.place(errand(2))
        child.tell(gone=1, words="it is over")
        await until(lambda: gone == [1])
        await until(lambda: {"dismiss": 1} in child.stdin.said)
        foreman.dismiss(1)
        assert [said for said in child.stdin.said if "dismiss" in said] == [{"dismiss": 1}]


async def test_a_foreman_is_read_whatever_it_writes(child: Child) -> None:
    """A line without an end, as of progress bars, must not block who writes it; and one that is no message is none."""
    gone: list[int] = []
    async with Foreman(Site()).open(lambda number, _: gone.append(number), list[Exception]().append) as _:
        for part in (b"early\n", *[b"." * 50_000] * 6, b"last words\nand more"):
            child.stderr.feed_data(part)
            await asyncio.sleep(0)
        for odd in (b"no message\n", b"x" * 200_000 + b"\n"):
            child.stdout.feed_data(odd)
        child.tell(gone=1, words="it is over")
        await until(lambda: gone == [1])
    assert child.stderr.at_eof()


async def test_the_last_words_of_a_foreman_are_told(child: Child) -> None:
    """However long a line before them was."""
    child.stdout = asyncio.StreamReader()
    child.stderr.feed_data(b"early\n" + b"." * 300_000 + b" and so on\nno such head\n")
    child.end()
    with pytest.raises(UnavailableError, match=r"early; \.+ and so on; no such head$") as raised:
        async with Foreman(Site(address="head:1")).open(lambda *_: None, list[Exception]().append):
            pass
    assert len(str(raised.value)) < 3000


@pytest.mark.parametrize("address", [None, "head:6379"])
async def test_what_no_machine_has_is_told(child: Child, address: str | None) -> None:
    """No other machine will join a Ray that was started for the run; one may join a cluster."""
    child.stdout = asyncio.StreamReader()
    child.tell(ready="127.0.0.1", lacks="a worker asks for GPU=1")
    foreman = Foreman(Site(address=address))
    with nullcontext() if address else pytest.raises(ConfigError, match="on this machine: a worker asks for GPU=1"):
        async with foreman.open(lambda *_: None, list[Exception]().append):
            assert foreman.lacks == "a worker asks for GPU=1"
    assert child.is_over.is_set()


async def test_what_ray_refuses_to_give_ends_the_run(child: Child) -> None:
    """Another foreman would be refused the same."""
    errors: list[Exception] = []
    async with Foreman(Site()).open(lambda *_: None, errors.append):
        child.tell(refused="GPU resource quantities >1 must be whole numbers")
        await until(lambda: bool(errors))
    assert isinstance(errors[0], ConfigError)
    assert "what it is to have: GPU resource" in str(errors[0])


async def test_an_error_while_the_foreman_is_listened_to_is_told(child: Child) -> None:
    """Nobody awaits the task that listens: the run would wait for workers that nobody starts."""
    errors: list[Exception] = []

    def gone(number: int, words: str) -> None:
        raise PermissionError(number, words)

    async with Foreman(Site()).open(gone, errors.append):
        child.tell(gone=1, words="it is over")
        await until(lambda: bool(errors))
    assert isinstance(errors[0], PermissionError)
