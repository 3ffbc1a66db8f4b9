"""Results as they finish: an object to iterate over, in whichever way it is entered, left, or forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self

from batcher.api.hosting import on_asyncio
from batcher.api.result import R, T
from batcher.failures import UsageError

if TYPE_CHECKING:
    from types import TracebackType

    from batcher.api.result import Result
    from batcher.api.work import Work
    from batcher.view.summary import Summary


class Stream(Generic[R, T]):
    """The results of some rows, as they finish; made by `batcher.stream`.

        async with batcher.stream(rows, model="llama3.2") as results:
            async for result in results:
                ...

    The next result may be waited for with a timeout, or in a task that is cancelled, and be asked for again: none is
    lost. Several tasks may take results from one stream. It need not be entered; then it begins with the first result,
    and ends when they are all taken, or nobody holds it any more.

    Leaving it in any way (its end, `break`, an exception, cancellation, Ctrl-C, collection) breaks off what is in
    flight, closes the connections and the source of rows, and leaves no task. A thread that waits in a source ends when
    the source does. What was answered and not taken is in `finished()`, also then.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._is_left = False

    @property
    def summary(self) -> Summary:
        """The sums so far: `ok`, `failed`, tokens, times; whole when all results are taken or it is left."""
        return self._work.summary

    async def __aenter__(self) -> Self:
        """Find the servers and begin. Raises UnavailableError, AccountError, ConfigError, UsageError."""
        if self._is_left:
            raise UsageError("this stream was left; make another")
        self._start()
        try:
            await self._work.begun()
            if self._work.outlet.is_over:
                self._raise()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Result[R, T]:
        """Give the next result that there is, ok or failed.

        After the last one: raises what the source of rows raised, or BatcherError that says why rows were left undone
        (`exit` says how: 4 for a limit that was set or a wait that is too long, 69, 77, 78 for the server).
        """
        if self._is_left:
            raise StopAsyncIteration
        self._start()
        result = await self._work.outlet.take()
        if result is not None:
            return result
        self._raise()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Leave it, as the end of its block does. What is in flight is broken off."""
        self._is_left = True
        await self._work.close()

    def stop(self) -> None:
        """Send nothing more. What is in flight comes still, and then the iteration ends without an error."""
        self._work.stop()

    def finished(self) -> list[Result[R, T]]:
        """Take what was answered and not taken yet, without waiting; also after the stream was left."""
        return self._work.outlet.take_all()

    def _start(self) -> None:
        if not self._work.has_begun:
            on_asyncio("batcher.stream")
            self._work.begin(self)

    def _raise(self) -> None:
        error, self._work.error = self._work.error, None
        if error is not None:
            raise error
