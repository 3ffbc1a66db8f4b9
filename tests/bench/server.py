"""A loopback server whose answers are made in advance, so that a benchmark waits for its client alone.

It answers chat on both APIs, whole or streamed as the body asks and always with the same text, and embeddings. Given
slots it serves that many requests at a time and lets the others wait. It prints its port; then each line on stdin is
answered with what it has seen, as JSON, and the end of stdin ends it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import selectors
import sys
import time
from collections import deque
from heapq import heappop, heappush, heapreplace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script

from bench.answers import Answers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BACKLOG = 4096
"""Connections that may wait to be accepted: thousands of streams are opened at once."""
GRAIN = 0.0005
"""Seconds: uvloop's timers know whole milliseconds, so what is due within half of one is due."""


class Pulse:
    """Gives each stream one write a step, counted from when it began, in a slot of its own or of a few."""

    def __init__(self, step: float, slots: int | None, grain: float) -> None:
        self._step = step
        self._free = None if slots is None else [0.0] * slots
        """Free slots: how late each was seen to be free."""
        self._grain = grain
        self._due: list[tuple[float, int, int, asyncio.WriteTransport, Sequence[bytes]]] = []
        """A heap: when a stream gets its next write, its number, which write that is."""
        self._waiting: deque[tuple[asyncio.WriteTransport, Sequence[bytes]]] = deque()
        self._begun = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, transport: asyncio.WriteTransport, writes: Sequence[bytes]) -> None:
        now = asyncio.get_running_loop().time()
        if self._free is None:
            self._begin(now, transport, writes)
        elif self._free:
            self._begin(now - self._free.pop(), transport, writes)
        else:
            self._waiting.append((transport, writes))
        if self._timer is None:
            self._sleep()

    def _begin(self, start: float, transport: asyncio.WriteTransport, writes: Sequence[bytes]) -> None:
        self._begun += 1
        heappush(self._due, (start + self._step, self._begun, 0, transport, writes))

    def _sleep(self) -> None:
        self._timer = asyncio.get_running_loop().call_at(self._due[0][0], self._beat) if self._due else None

    def _beat(self) -> None:
        soon = asyncio.get_running_loop().time() + self._grain
        while self._due and self._due[0][0] <= soon:
            due, number, place, transport, writes = self._due[0]
            is_gone = transport.is_closing()  # its client was killed
            if not is_gone:
                transport.write(writes[place])
            if place + 1 < len(writes) and not is_gone:
                heapreplace(self._due, (due + self._step, number, place + 1, transport, writes))
            else:
                heappop(self._due)
                self._leave(due)
        self._sleep()

    def _leave(self, due: float) -> None:
        """A slot is free since `due`. How late that was noticed is taken off the next wait: it is no client's fault."""
        if self._waiting:
            self._begin(due, *self._waiting.popleft())
        elif self._free is not None:
            self._free.append(max(0.0, asyncio.get_running_loop().time() - due))


class Tally:
    """What has been seen: requests, and when the first since the last report came."""

    def __init__(self) -> None:
        self.requests = 0
        self.first: float | None = None

    def count(self) -> None:
        if self.first is None:
            self.first = time.monotonic()
        self.requests += 1

    def report(self) -> dict[str, Any]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        seen = {"cpu": usage.ru_utime + usage.ru_stime, "first": self.first, "requests": self.requests}
        self.requests, self.first = 0, None
        return seen


class Connection(asyncio.Protocol):
    """One client's connection: requests in, prepared writes out."""

    def __init__(self, answers: Answers, pulse: Pulse, tally: Tally) -> None:
        self._answers = answers
        self._pulse = pulse
        self._tally = tally
        self._held = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, rest = self._held.partition(b"\r\n\r\n")
        size = _content_length(head) if found else 0
        if not found or len(rest) < size:
            return
        self._tally.count()
        self._held = rest[size:]
        path = head.split(b" ", 2)[1].decode()
        answer = self._answers.to(path, rest[:size])
        if isinstance(answer, bytes):
            self._transport.write(answer)
        else:
            self._pulse.add(self._transport, answer)


def _content_length(head: bytes) -> int:
    _, _, after = head.lower().partition(b"\r\ncontent-length:")
    return int(after.split(b"\r\n", 1)[0] or 0)


async def _serve(answers: Answers, pulse: Pulse) -> None:
    loop = asyncio.get_running_loop()
    tally = Tally()
    server = await loop.create_server(lambda: Connection(answers, pulse, tally), "127.0.0.1", 0, backlog=BACKLOG)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), _report, tally, ended)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


def _report(tally: Tally, ended: asyncio.Event) -> None:
    if sys.stdin.readline():
        print(json.dumps(tally.report()), flush=True)
    else:
        ended.set()


def _exact_loop() -> asyncio.AbstractEventLoop:
    """For slots: select() takes microseconds, where epoll and uvloop wait for whole milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def _quick_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, required=True, help="words of every answer; a streamed record has one")
    parser.add_argument("--step", type=float, help="one write a record, one record every so many seconds")
    parser.add_argument("--slots", type=int, help="streams served at a time, with exact timing")
    arguments = parser.parse_args()
    answers = Answers(arguments.words, each=arguments.step is not None)
    grain = 0.0 if arguments.slots else GRAIN
    pulse = Pulse(arguments.step or 0.0, arguments.slots, grain)
    with asyncio.Runner(loop_factory=_exact_loop if arguments.slots else _quick_loop()) as runner:
        runner.run(_serve(answers, pulse))


if __name__ == "__main__":
    main()
