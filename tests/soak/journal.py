"""What a soak's server was asked, in the order in which it was: a file that outlives each of the server's lives.

The server appends a record for each request before it answers, with a write of its own: what a write has taken survives
`kill -9`. Whoever starts a client or a server appends a record of that. So each request belongs to one life of both,
and a request for a job that had been asked for before without a fault shows what a kill had cost.
"""

from __future__ import annotations

import asyncio
import os
import struct
from array import array
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from soak.faults import CRASHES, HARMLESS, name

from batcher.simulator import Seen, Tally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_RECORD: Final = struct.Struct("<II")
_BLOCK: Final = _RECORD.size << 16
_EXCUSES: Final = frozenset(HARMLESS)
_BREAKS: Final = frozenset(CRASHES)


class What(IntEnum):
    """What a record is about."""

    PLAIN = 0
    """A request that gets its answer."""
    FAULT = 1
    """A request that gets a fault, after which another is due."""
    CRASH = 2
    """One of these faults has broken off whatever was in flight."""
    CLIENT = 3
    """A new life of the client begins."""
    SERVER = 4
    """A new life of the server begins."""


class Journal:
    """The file, for those who write in it; several may."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, what: What, number: int = 0) -> None:
        os.write(self._fd, _RECORD.pack(what, number))

    def close(self) -> None:
        os.close(self._fd)


class JournalTally(Tally):
    """A simulator's memory that is written down, request by request, before the answer begins.

    It knows from the lives before which jobs have had their fault: each has it once.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(keep=0)
        self.journal = Journal(path)
        self.journal.write(What.SERVER)
        for what, number in records(path):
            if what == What.FAULT:
                self.counts[name(number)] = 1

    def remember(self, seen: Seen) -> None:
        self.journal.write(What.FAULT if seen.faults - _EXCUSES else What.PLAIN, int(seen.id[1:]))
        if seen.faults & _BREAKS:  # requests that have arrived with it are broken off as well, and noted before this
            asyncio.get_running_loop().call_soon(self.journal.write, What.CRASH)


def records(path: Path) -> Iterator[tuple[int, int]]:
    """What a journal holds, in order."""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield from _RECORD.iter_unpack(block)


@dataclass(slots=True)
class Account:
    """What a journal tells."""

    requests: int = 0
    asked: int = 0
    """Jobs that were asked for at least once."""
    faults: int = 0
    lost: Counter[What] = field(default_factory=Counter)
    """Requests that met no fault and were made again, by what ended the life that they were made in."""
    most: Counter[What] = field(default_factory=Counter)
    """The most of them for one such end."""
    causeless: list[int] = field(default_factory=list)
    """Jobs that were asked for again though they had met no fault, and nothing had ended in between."""


def account(path: Path, jobs: int) -> Account:
    """Read a journal of so many jobs."""
    found = Account()
    never, faulty = -1, -2
    last = array("i", [never]) * jobs
    """By job: the life in which it was last asked for without a fault. A life ends with the client's, the server's, or
    a crash, and the next begins."""
    ends: list[What] = []
    lost: Counter[int] = Counter()
    """By life: what was asked for in it and was asked for again later."""
    for what, number in records(path):
        if what <= What.FAULT:
            life = last[number]
            found.requests += 1
            found.asked += life == never
            found.faults += what
            if life == len(ends):
                found.causeless.append(number)
            elif life >= 0:
                lost[life] += 1
            last[number] = len(ends) if what == What.PLAIN else faulty
        else:
            ends.append(What(what))
    for life, count in lost.items():
        found.lost[ends[life]] += count
        found.most[ends[life]] = max(found.most[ends[life]], count)
    return found
