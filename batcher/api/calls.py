"""What a call of the library is made of, whoever makes it: its options, its way to the servers, its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio

from batcher.api.arguments import Chosen, streamed
from batcher.api.frames import Frame, is_frame, rows_of
from batcher.api.hosting import on_asyncio
from batcher.api.rows import Reader, refuse_one
from batcher.api.schemas import Schema
from batcher.api.watching import check
from batcher.api.wording import in_programs, reword
from batcher.api.work import Work
from batcher.failures import BatcherError, InputError
from batcher.running.wiring import recipe_of
from batcher.servers.contact import load
from batcher.servers.described import reached

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from batcher.api.result import R, Result
    from batcher.api.watching import Watching
    from batcher.options import Options
    from batcher.running.sharing import Pool
    from batcher.servers.contact import Contact
    from batcher.view.observer import Observer

    Reach: TypeAlias = Callable[[Observer], AbstractAsyncContextManager[Contact]]

load()  # a first call in a web server's handler would hold up all the others
Rows: TypeAlias = "Iterable[R] | AsyncIterable[R] | Frame"
"""Rows: texts or mappings, in any iterable, also an asynchronous one; or a frame that speaks Arrow."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Makes the work of calls. Those of a `Client` have its options, its way to the servers and its limits."""

    values: Mapping[str, Any] = field(default_factory=dict, repr=False)
    reach: Reach | None = None
    pool: Pool | None = None

    def asking(self, options: Mapping[str, Any], prompt: str | None, schema: Schema | None) -> dict[str, Any]:
        """The options of a call on top of those of its caller, with what it asks for."""
        values = {**self.values, **options}
        if prompt is not None:
            values["prompt"] = prompt
        return values if schema is None else schema.put(values)

    @in_programs()
    def work(
        self,
        rows: Rows[Any],
        options: Mapping[str, Any],
        *,
        what: str,
        prompt: str | None = None,
        schema: Any = None,
        progress: Watching = False,
        column: str | None = None,
    ) -> Work:
        """The work of one call. Raises UsageError, UnknownOptionError."""
        refuse_one(rows)
        check(progress)
        made = None if schema is None else Schema(schema)
        chosen = streamed(self.asking(options, prompt, made), what)
        total = len(rows) if isinstance(rows, list | tuple) else None
        is_columns = is_frame(rows)
        return Work(
            rows_of(rows) if is_frame(rows) else rows,
            reader_for(chosen.options, column, is_columns=is_columns),
            chosen,
            self.reach or reaching(chosen),
            progress,
            made,
            total,
            pool=self.pool,
        )


def reader_for(options: Options, column: str | None = None, *, is_columns: bool = False) -> Reader:
    """What makes lines of rows: a text is the column `text` for a template, else what is asked."""
    recipe = recipe_of(options)
    asks = recipe is not None and recipe.asks
    return Reader(column or ("text" if asks else "prompt"), options.id_field, nulls=asks or not is_columns)


def reaching(chosen: Chosen) -> Reach:
    """The way to the servers that options name."""
    return partial(reached, chosen.options, chosen.environ)


async def all_of(rows: Any) -> list[Any]:
    """All rows of a source. Raises UsageError for what is none, InputError from what it raises."""
    refuse_one(rows)
    try:
        if hasattr(rows, "__aiter__"):
            return [row async for row in rows]
        if isinstance(rows, list | tuple):
            return list(rows)
        return await anyio.to_thread.run_sync(list, rows_of(rows) if is_frame(rows) else rows)
    except Exception as error:
        raise InputError(f"the rows ended early, with {type(error).__name__}: {error}; nothing was sent") from error


async def collected(work: Work) -> list[Result[Any, Any]]:
    """All results of some work, in the order of its rows.

    A row that repeats another, id and all, has its answer. Raises what ended it early as BatcherError with `results`.
    """
    on_asyncio("batcher.amap")
    results: list[Result[Any, Any]] = []
    work.begin()
    try:
        while (result := await work.outlet.take()) is not None:
            results.append(result)
    finally:
        await work.close()
    results.sort(key=_place)
    ordered = _with_repeats(results) if work.summary.duplicates else results
    if work.error is not None:
        raise with_results(work.error, ordered, work)
    return ordered


def with_results(error: BaseException, results: Any, work: Work | None = None) -> BaseException:
    """What ended a call, as an error that carries the results that there are; Ctrl-C and bugs stay what they are."""
    if work is not None and error is work.source_error and isinstance(error, Exception):
        found = InputError(f"the rows ended early, with {type(error).__name__}: {error}")
        found.__cause__, error = error, found
    if isinstance(error, BatcherError):
        error.results = results
        reword(error)
    return error


def _place(result: Result[Any, Any]) -> int:
    return result.seq


def _with_repeats(results: list[Result[Any, Any]]) -> list[Result[Any, Any]]:
    """Give rows that ask what another row of their id asks the answer of that one."""
    first: dict[str, Result[Any, Any]] = {}
    for result in results:
        if not _is_repeat(result):
            first.setdefault(result.id, result)
    return [
        first[result.id].of_row(result.seq, result.row) if _is_repeat(result) and result.id in first else result
        for result in results
    ]


def _is_repeat(result: Result[Any, Any]) -> bool:
    return result.failure is not None and result.failure.code == "repeated"
