"""Holds the connection between a run and its workers: nobody else gets in, and messages arrive whole and in order."""

from __future__ import annotations

import asyncio
import pickle
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from batcher.exchange.cluster.link import Link, StrangerError, admits, asks_in
from batcher.redaction import Secret

if TYPE_CHECKING:
    from batcher.exchange.cluster.link import Greeting

pytestmark = pytest.mark.anyio
SECRET = Secret("a" * 64)


class Wire(asyncio.Transport):
    """Keeps what is written, and delivers nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted


def link(greeting: Greeting, heard: list[object]) -> tuple[Link, Wire]:
    made = Link(greeting, lambda _, number: heard.append(number), lambda _, said: heard.extend(said), lambda _: None)
    wire = Wire()
    made.connection_made(wire)
    return made, wire


def meet(mine: Greeting, theirs: Greeting) -> tuple[list[object], list[object], Wire, Wire]:
    """Both ends greet each other, to the end of it."""
    here: list[object] = []
    there: list[object] = []
    (run, run_wire), (worker, worker_wire) = link(mine, here), link(theirs, there)
    for _ in range(3):
        for wire, end in ((run_wire, worker), (worker_wire, run)):
            said = bytes(wire.written)
            wire.written.clear()
            if said:
                end.data_received(said)
    return here, there, run_wire, worker_wire


def test_both_ends_know_each_other() -> None:
    here, there, *wires = meet(admits({7: SECRET}.get, "batcher 1"), asks_in(7, SECRET))
    assert (here, there) == ([7], ["batcher 1"])
    assert not any(wire.is_aborted for wire in wires)


@pytest.mark.parametrize(
    ("number", "secret"), [(7, Secret("b" * 64)), (8, SECRET), (0, Secret(""))], ids=["secret", "number", "nothing"]
)
def test_a_stranger_is_hung_up_on(number: int, secret: Secret) -> None:
    """Nothing that he says is unpickled, and he learns nothing."""
    here, there, run_wire, _ = meet(admits({7: SECRET}.get, "batcher 1"), asks_in(number, secret))
    assert (here, there) == ([], [])
    assert run_wire.is_aborted
    assert not run_wire.written


def test_a_run_that_is_none_is_hung_up_on() -> None:
    """A worker believes nobody who only has the place of its run."""
    here: list[object] = []
    worker, wire = link(asks_in(7, SECRET), here)
    worker.data_received(bytes(32))
    worker.data_received(bytes(128 + 32))
    assert wire.is_aborted
    assert here == []


def test_who_is_deaf_unpickles_nothing() -> None:
    """What comes behind the greeting, in the same packet and later, may be of classes that are not there."""
    heard: list[object] = []
    frame = pickle.dumps([(1,)])
    for cut in (0, 5):
        run, worker = admits({7: SECRET}.get, "batcher 2"), asks_in(7, SECRET)
        made, wire = link(worker, [])
        made._opened = lambda one, version: setattr(one, "is_deaf", version == "batcher 2")
        made.take = lambda _, messages: heard.extend(messages)
        made.data_received(next(run)[0])
        stream = run.send(bytes(wire.written))[0] + struct.pack(">Q", len(frame)) + frame
        made.data_received(stream[: len(stream) - cut])
        made.data_received(stream[len(stream) - cut :] or struct.pack(">Q", len(frame)) + frame)
        assert made.is_deaf
    assert heard == []


def test_what_was_said_once_admits_nobody_again() -> None:
    """Who has heard all of a greeting cannot repeat it: the run draws anew each time."""
    theirs = asks_in(7, SECRET)
    next(theirs)
    first = admits({7: SECRET}.get, "batcher 1")
    said, _ = theirs.send(next(first)[0])
    again = admits({7: SECRET}.get, "batcher 1")
    next(again)
    with pytest.raises(StrangerError):
        again.send(said)


@given(st.lists(st.lists(st.binary(max_size=9), min_size=1, max_size=3), max_size=4), st.lists(st.integers(1, 40)))
def test_messages_arrive_whole_however_they_are_cut(groups: list[list[bytes]], sizes: list[int]) -> None:
    frames = [pickle.dumps(group) for group in groups]
    stream = b"".join(struct.pack(">Q", len(frame)) + frame for frame in frames)
    heard: list[object] = []
    run, _ = link(admits({7: SECRET}.get, "batcher 1"), [])
    run._greeting = None
    run.take = lambda _, said: heard.extend(said)
    for size in (*sizes, len(stream)):
        if stream:
            run.data_received(stream[:size])
        stream = stream[size:]
    assert heard == [message for group in groups for message in group]


async def test_one_message_that_cannot_be_said_leaves_the_others() -> None:
    """The end that says it is not mute for good: something is said instead, and what stands beside it goes."""
    heard: list[object] = []
    said, wire = link(asks_in(7, SECRET), [])
    wire.written.clear()
    said.instead = lambda message, error: (message[0], type(error).__name__)
    for turn in ((1, "a"), (2, lambda: None), (3, "b")):
        said.send(turn)
    said.flush()
    said.send((4, "c"))
    said.flush()
    run, _ = link(admits({7: SECRET}.get, "batcher 1"), [])
    run._greeting = None
    run.take = lambda _, messages: heard.extend(messages)
    run.data_received(bytes(wire.written))
    assert [message[0] for message in heard] == [1, 2, 3, 4]  # type: ignore[index]  # each is a message
    assert heard[0] == (1, "a")


async def test_who_has_nothing_to_say_instead_hangs_up() -> None:
    said, wire = link(asks_in(7, SECRET), [])
    said.send((1, lambda: None))
    with pytest.raises(Exception, match="pickle"):
        said.flush()
    assert wire.is_aborted
