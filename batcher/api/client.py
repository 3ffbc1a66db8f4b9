"""Servers that several calls use, at once and one after the other: one set of connections, and of limits."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

import anyio

from batcher.api.arguments import SERVER, Chosen
from batcher.api.arrays import embedded
from batcher.api.calls import Caller, reaching
from batcher.api.hosting import Host, on_asyncio
from batcher.api.maps import mapped, ran
from batcher.api.stream import Stream
from batcher.api.wording import in_programs, reword
from batcher.failures import BatcherError, UsageError, ungrouped
from batcher.redaction import Redactor
from batcher.running.openfiles import open_files
from batcher.running.sharing import Pool
from batcher.view.observer import Silent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Unpack

    from batcher.api.arguments import ClientOptions, MapOptions, PathLike, RunOptions, StreamOptions
    from batcher.api.arrays import Array
    from batcher.api.calls import Rows
    from batcher.api.result import R, Result, T
    from batcher.api.watching import Watching
    from batcher.servers.contact import Contact
    from batcher.view.observer import Observer
    from batcher.view.summary import Summary


class _Held:
    """Servers that are held open by a task of its own."""

    def __init__(self, chosen: Chosen) -> None:
        self._reach = reaching(chosen)
        self._loop = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self._contact: Contact | None = None
        self._calls: set[anyio.CancelScope] = set()
        """Those that are at work."""
        self._error: BaseException | None = None

    async def main(self) -> None:
        try:
            with open_files(), ungrouped():
                async with self._reach(Silent()) as self._contact:
                    self._begun.set()
                    await asyncio.Event().wait()
        except asyncio.CancelledError:
            self._error = None
        except BaseException as error:  # noqa: BLE001 - it is raised where the servers are waited for
            reword(error)
            self._error = error
        finally:
            self._begun.set()

    async def begun(self) -> Contact:
        """The servers. Raises what was wrong with them, and UsageError on another loop than theirs."""
        if self._loop is not asyncio.get_running_loop():
            raise UsageError("a Client is used on the loop on which it was entered, and this is another")
        await self._begun.wait()
        if self._error is not None:
            raise self._error
        assert self._contact is not None
        return self._contact

    @asynccontextmanager
    async def lent(self, _observer: Observer) -> AsyncIterator[Contact]:
        """The servers, which stay open at the end of a call. Raises as `begun`, and BatcherError if they do not."""
        server = await self.begun()
        with anyio.CancelScope() as call:
            self._calls.add(call)
            try:
                yield server
            finally:
                self._calls.discard(call)
        if call.cancelled_caught:
            raise BatcherError("the Client was left before all was done")

    async def part(self) -> None:
        """Break off the calls that are at work, and wait until they have ended."""
        with anyio.CancelScope(shield=True):
            while self._calls and self._loop is asyncio.get_running_loop():
                for call in self._calls:
                    call.cancel()
                await anyio.sleep(0.001)  # each has its own files to close


class Client:
    """Servers, keys, connections and learnt limits, for several calls at once and one after the other.

        async with batcher.Client(base_url="http://localhost:11434", model="llama3.2", concurrency=8) as client:
            first, second = await asyncio.gather(client.amap(rows, prompt="…"), client.amap(others))

    `options` are those of all its calls; which server, keys, `concurrency`, `rpm` and `tpm` are said here alone, and
    hold for all calls together: each gets what is free, by turns with others that want to send. Everything else may be
    said anew by a call. Neither `repr` nor errors show a key. It belongs to the loop on which it was entered;
    leaving it ends the streams that are still open, and other calls with a BatcherError that carries what they have.
    """

    def __init__(
        self,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        """Raises UsageError for options that are wrong, UnknownOptionError for one that there is not."""
        values: dict[str, Any] = dict(options)
        if api_key is not None:
            values["api_key"] = api_key
        if headers:
            values["headers"] = headers
        with in_programs():
            self._chosen = Chosen.of(values)
        self._values = values
        self._host: Host | None = None
        self._held: _Held | None = None
        self._caller: Caller | None = None
        self._streams: weakref.WeakSet[Stream[Any, Any]] = weakref.WeakSet()

    async def __aenter__(self) -> Self:
        """Find the servers. Raises UnavailableError, ConfigError, UsageError."""
        on_asyncio("batcher.Client")
        if self._host is not None:
            raise UsageError("this Client is open already, or was: make another")
        held = self._held = _Held(self._chosen)
        self._host = Host(held.main(), self)
        try:
            await held.begun()
        except BaseException:
            await self.aclose()
            raise
        self._caller = Caller(self._values, held.lent, Pool())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End what is open, and close the connections."""
        self._caller = None
        try:
            for stream in list(self._streams):
                await stream.aclose()
            if self._held is not None:
                await self._held.part()
        finally:
            if self._host is not None:
                await self._host.close()

    def stream(
        self,
        rows: Rows[R],
        *,
        prompt: str | None = None,
        schema: type[T] | Mapping[str, Any] | None = None,
        progress: Watching = False,
        **options: Unpack[StreamOptions],
    ) -> Stream[R, T]:
        """As `batcher.stream`."""
        caller = self._ready(options)
        work = caller.work(rows, options, what="stream", prompt=prompt, schema=schema, progress=progress)
        made: Stream[R, T] = Stream(work)
        self._streams.add(made)
        return made

    async def amap(
        self,
        rows: Rows[R],
        *,
        prompt: str | None = None,
        schema: type[T] | Mapping[str, Any] | None = None,
        output: PathLike | None = None,
        progress: Watching = False,
        **options: Unpack[MapOptions],
    ) -> list[Result[R, T]]:
        """As `batcher.amap`."""
        caller = self._ready(options)
        return await mapped(caller, rows, options, prompt=prompt, schema=schema, output=output, progress=progress)

    async def arun(
        self,
        input: PathLike | Sequence[PathLike],  # noqa: A002 - what it is
        output: PathLike,
        *,
        progress: Watching = False,
        **options: Unpack[RunOptions],
    ) -> Summary:
        """As `batcher.arun`."""
        return await ran(self._ready(options), input, output, options, progress)

    async def aembed(
        self,
        texts: Iterable[str],
        *,
        dtype: Literal["float16", "float32", "float64"] = "float32",
        on_error: Literal["raise", "nan"] = "raise",
        progress: Watching = False,
        **options: Unpack[StreamOptions],
    ) -> Array:
        """As `batcher.aembed`."""
        caller = self._ready(options)
        return await embedded(caller, texts, options, dtype=dtype, on_error=on_error, progress=progress)

    def _ready(self, options: Mapping[str, Any]) -> Caller:
        if self._caller is None:
            raise UsageError("a Client is used inside its block: async with batcher.Client(...) as client")
        if taken := sorted(SERVER & options.keys()):
            raise UsageError(f"{', '.join(taken)}: said by the Client, for all of its calls")
        return self._caller

    def __repr__(self) -> str:
        return f"<Client {Redactor().text(', '.join(self._chosen.options.base_url)) or 'of the environment'}>"
