"""Has exchanges made by workers elsewhere: which of them makes which, and what becomes of those of one that dies."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path
from time import monotonic as now
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec

from anyio import to_thread

from batcher.exchange import answers
from batcher.exchange.cluster import parcels
from batcher.exchange.cluster.crew import Crew, Waiting
from batcher.exchange.cluster.errand import SPOKEN, Errand
from batcher.exchange.cluster.link import Link, admits
from batcher.exchange.cluster.losses import Losses
from batcher.exchange.cluster.member import Flying, Member
from batcher.failures import ConfigError, UnavailableError
from batcher.figures import count
from batcher.outcome import Attempt, Timing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Set as AbstractSet

    from batcher.exchange.cluster.errand import Placement, Setup
    from batcher.exchange.cluster.link import Message
    from batcher.exchange.seam import Flow, Reports
    from batcher.failures import Failure
    from batcher.model import Call, Endpoint
    from batcher.redaction import Secret

FIRST_S: Final = 120.0
"""Seconds within which the first worker must be ready; a cluster may have to get a machine for it."""
LEAST_S: Final = 20.0
"""The same for one who says that he waits for less: a process of Python has to start."""
NOBODY_S: Final = 30.0
"""Seconds for which a call waits for a worker; then nobody is there, as if its server were away."""
GREETS_S: Final = 15.0
"""Seconds that whoever connects has to show that he is a worker."""
LOOK_S: Final = 5.0
SILENT: Final = 6
"""How often a worker is looked for in vain: each says something every second, unless its machine is gone."""

P = ParamSpec("P")


def _ends_the_run(does: Callable[Concatenate[Cluster, P], None]) -> Callable[Concatenate[Cluster, P], None]:
    """Of what the event loop calls: it logs errors, and goes on."""

    @wraps(does)
    def do(self: Cluster, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            does(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._break(error)

    return do


@dataclass(slots=True, repr=False)
class Cluster:
    """The maker of exchanges by workers in other processes.

    With `owned` each worker has a server of its own: the first endpoint is that of the first worker, and so on.
    """

    placement: Placement
    setup: Setup
    size: int
    fail_on: AbstractSet[str] = frozenset()
    ca_file: str | None = None
    """Where the certificates are that workers trust; they are sent what stands in it."""
    owned: tuple[str, ...] = ()
    """The names of their servers, one a worker."""
    note: Callable[[str], object] = bool
    first_within: float = FIRST_S
    nobody_within: float = NOBODY_S
    version: str = SPOKEN
    _reports: Reports = field(init=False)
    _port: int = 0
    _host: str = ""
    _members: dict[int, Member] = field(default_factory=dict)
    """All that were placed and have not died, by number."""
    _links: set[Link] = field(default_factory=set)
    """Connections that are open, those of strangers among them."""
    _crew: Crew = field(init=False)
    _numbers: int = 0
    _losses: Losses = field(default_factory=Losses)
    _first: asyncio.Future[None] = field(init=False)
    _broken: asyncio.Future[None] = field(init=False)
    """Has the error that ends the run."""
    _is_open: bool = False

    def __post_init__(self) -> None:
        self._crew = Crew(self.owned)

    @asynccontextmanager
    async def open(self, reports: Reports) -> AsyncIterator[None]:
        """As in `Exchanges`, with one worker that is ready at least. Raises BatcherError without any."""
        self._reports = reports
        loop = asyncio.get_running_loop()
        self._first = loop.create_future()
        if self.ca_file is not None:
            self.setup = replace(self.setup, authority=await to_thread.run_sync(Path(self.ca_file).read_bytes))
        self._broken = loop.create_future()
        async with self.placement.open(self._gone, self._break) as self._host:
            if self.placement.lacks:
                self._losses.why = self.placement.lacks
                self.note(f"no worker can begin as it stands: {self.placement.lacks}")
            server = await loop.create_server(self._greet, self._host, 0)
            self._port = server.sockets[0].getsockname()[1]
            self._is_open = True
            try:
                for place in range(self.size):
                    self._hire(place)
                await self._until_ready()
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._watch()), group.create_task(self._until_broken())]
                    try:
                        yield
                    finally:
                        for task in tasks:
                            task.cancel()
            finally:
                self._is_open = False
                self._broken.cancel()
                server.close()
                for link in self._links:
                    link.close()

    def _break(self, error: Exception) -> None:
        """End the run: as in `Workers`, an error of whoever takes a report is no reason to lose a call and go on."""
        if not self._first.done():
            self._first.set_exception(error)
        elif not self._broken.done():
            self._broken.set_exception(error)

    async def _until_broken(self) -> None:
        await self._broken

    def send(self, call: Call, endpoint: Endpoint) -> None:
        """Give the call to a worker, or keep it until there is one."""
        member = self._crew.next(endpoint)
        if member is None:
            self._crew.keep(Waiting(call, endpoint, now()))
        else:
            self._give(member, call, endpoint)

    def ask(self, endpoint: Endpoint) -> None:
        """Have a worker ask. Without one nobody is there."""
        member = self._crew.next(endpoint)
        if member is None:
            asyncio.get_running_loop().call_soon(self._tell, endpoint, False)  # noqa: FBT003 - by position, as it is called
        else:
            self._numbers += 1
            member.ask(self._numbers, endpoint)

    def flow(self) -> Flow:
        """What comes just now, as the workers said it last."""
        return self._crew.flow()

    def _give(self, member: Member, call: Call, endpoint: Endpoint) -> None:
        self._numbers += 1
        member.give(self._numbers, Flying(call, endpoint, time.time(), now()))

    @_ends_the_run
    def _tell(self, endpoint: Endpoint, is_there: bool) -> None:  # noqa: FBT001 - by position, as the loop calls it
        if self._is_open:
            self._reports.told(endpoint, is_there=is_there)

    # --- workers come

    @_ends_the_run
    def _hire(self, place: int) -> None:
        if not self._is_open:
            return
        self._numbers += 1
        member = self._members[self._numbers] = Member(place, self._numbers)
        self.placement.place(Errand(host=self._host, port=self._port, number=member.number, secret=member.secret))

    def _greet(self) -> Link:
        link = Link(admits(self._secret_of, self.version), self._admit, self._take, self._hung_up)
        self._links.add(link)
        asyncio.get_running_loop().call_later(GREETS_S, self._part_from_strangers, link)
        return link

    def _part_from_strangers(self, link: Link) -> None:
        """Who has not shown by now that he is a worker is none."""
        if link.owner is None:
            link.close()

    def _secret_of(self, number: int) -> Secret | None:
        member = self._members.get(number)
        return None if member is None or member.link is not None else member.secret

    @_ends_the_run
    def _admit(self, link: Link, number: int) -> None:
        member = self._members.get(number)
        if member is None or member.link is not None:
            link.close()
            return
        member.link, link.owner = link, member
        link.send((parcels.SETUP, self.setup))

    async def _until_ready(self) -> None:
        try:
            await asyncio.wait_for(asyncio.shield(self._first), self.first_within)
        except TimeoutError:
            words = f"no worker was ready within {self.first_within:g} s: {self._losses.why}"
            raise UnavailableError(f"{words}. Ask for fewer resources a worker, or give the cluster more") from None

    @_ends_the_run
    def _take(self, link: Link, messages: list[Message]) -> None:
        """Take what a worker says."""
        member: Member = link.owner
        member.silent = 0
        if not self._is_open or member.number not in self._members:
            return
        for message in messages:
            kind = message[0]
            if kind == parcels.ENDED:
                self._ended(member, *message[1:])
            elif kind == parcels.BEGUN:
                flying = member.flying.get(message[1])
                if flying is not None:
                    self._reports.begun(flying.call)
            elif kind == parcels.FLOW:
                member.pieces, ago = message[1:]
                member.heard = None if ago is None else now() - ago
            elif kind == parcels.TOLD:
                self._reports.told(member.asked.pop(message[1]), is_there=message[2])
            elif kind == parcels.READY:
                self._begin(member, *message[1:])
            else:
                self._lose(member, message[1], cannot=True, is_final=message[2])

    def _begin(self, member: Member, host: str) -> None:
        member.is_ready, member.host = True, host
        self._crew.join(member)
        if not self._first.done():
            self._first.set_result(None)
        for call, endpoint, _ in self._crew.waiting_for(member):
            self.send(call, endpoint)

    def _ended(self, member: Member, number: int, parcel: Message) -> None:
        call, endpoint, started_at, started = member.flying.pop(number)
        member.has_served = True
        self._losses.outlived(call)
        attempt = parcels.heard_attempt(parcel, call, started_at, started)
        self._reports.ended(call, endpoint, answers.judged(call, attempt, self.fail_on))

    # --- workers go

    @_ends_the_run
    def _hung_up(self, link: Link) -> None:
        self._links.discard(link)
        if link.owner is not None:
            self._lose(link.owner, "it hung up")

    @_ends_the_run
    def _gone(self, number: int, words: str) -> None:
        """Who places them says that one has died."""
        member = self._members.get(number)
        if member is not None:
            self._lose(member, words)

    def _lose(self, member: Member, words: str, *, cannot: bool = False, is_final: bool = False) -> None:
        """A worker is no more: what it had is sent again, and another one takes its place.

        One that `cannot` work ends the run before its begin; where that `is_final`, its place is given up later on.
        """
        if not self._is_open or self._members.pop(member.number, None) is None:
            return
        who = f"worker {member.place + 1}" + (f" on {member.host}" if member.host else "")
        pause = self._losses.died(member.place, f"{who}: {words}", has_served=member.has_served)
        if member.is_ready:
            self._crew.leave(member)
        if member.link is not None:
            member.link.close()
        self.placement.dismiss(member.number)
        if cannot and not self._first.done():
            self._first.set_exception(ConfigError(f"{who} cannot begin: {words}"))
            return
        if is_final:
            self._give_up_place(member.place, f"{who} cannot begin: {words}")
            return
        had = count(len(member.flying), "calls")
        self.note(f"{who} is gone ({words}): its {had} are sent again, and another one takes its place")
        asyncio.get_running_loop().call_later(pause, self._hire, member.place)
        for flying in member.flying.values():
            timing = Timing(flying.started_at, flying.started, now(), flying.call.waited)
            self._fail(flying.call, flying.endpoint, timing, self._losses.under(flying.call, words))
        for endpoint in member.asked.values():
            self.ask(endpoint)

    def _give_up_place(self, place: int, words: str) -> None:
        self._losses.given_up.add(place)
        self.note(f"{words}. Nobody takes its place")
        if len(self._losses.given_up) == self.size:
            self._break(ConfigError(words))

    def _fail(self, call: Call, endpoint: Endpoint, timing: Timing, failure: Failure) -> None:
        self._reports.ended(call, endpoint, Attempt(timing, failure=failure))

    async def _watch(self) -> None:
        """Look for workers that say nothing, and give up calls for which there is none."""
        looked = now()
        while True:
            await asyncio.sleep(min(1.0, self.nobody_within / 2))
            for call, endpoint, since in self._crew.overdue(now() - self.nobody_within):
                self._fail(call, endpoint, Timing(time.time(), since, now(), call.waited), self._losses.of_nobody())
            if now() - looked < LOOK_S:
                continue
            looked = now()
            for member in self._crew:
                member.silent += 1
                if member.silent > SILENT:
                    self._lose(member, f"it has said nothing for {SILENT * LOOK_S:g} s")
