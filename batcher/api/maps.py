"""All results of some rows in their order: asked at once, or by a run that keeps them in a file."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from batcher.api.arguments import Chosen
from batcher.api.calls import collected, reaching, reader_for, with_results
from batcher.api.frames import is_frame, rows_of
from batcher.api.hosting import on_asyncio
from batcher.api.kept import Given, read_back, source_of
from batcher.api.rows import refuse_one
from batcher.api.schemas import Schema
from batcher.api.watching import check, watching
from batcher.failures import BatcherError, InputError, UsageError
from batcher.running.runner import Run
from batcher.running.standing import error_of_stop

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batcher.api.arguments import PathLike
    from batcher.api.calls import Caller, Rows
    from batcher.api.result import Result
    from batcher.api.watching import Watching
    from batcher.view.summary import Summary


async def mapped(
    caller: Caller,
    rows: Rows[Any],
    options: Mapping[str, Any],
    *,
    prompt: str | None,
    schema: Any,
    output: PathLike | None,
    progress: Watching,
) -> list[Result[Any, Any]]:
    """What `amap` gives."""
    on_asyncio("batcher.amap")
    if output is None:
        work = caller.work(rows, options, what="map", prompt=prompt, schema=schema, progress=progress)
        return await collected(work)
    refuse_one(rows)
    check(progress)
    made = None if schema is None else Schema(schema)
    chosen = Chosen.of(caller.asking(options, prompt, made))
    for name in ("vectors", "chunk", "overlap"):
        if getattr(chosen.options, name) is not None:
            raise UsageError(f"{name} is about files, and map gives a result for each row: use run, or leave it out")
    part = Given(await _all_of(rows), reader_for(chosen.options, is_columns=is_frame(rows)))
    with watching(progress) as observer:
        run = Run("rows", Path(output), chosen.options, chosen.environ, observer)
        run.opened = source_of(part, chosen.options.repeat)
        run.reach, run.pool = caller.reach or reaching(chosen), caller.pool
        error: BatcherError | None = None
        try:
            error = error_of_stop(await run.run())
        except BatcherError as stopped:
            error = stopped
        read = partial(read_back, part, chosen, run.destination.path or Path(output), run.destination.errors_path, made)
        results = await anyio.to_thread.run_sync(read)
    if error is not None:
        raise with_results(error, results)
    return results


async def ran(
    caller: Caller,
    inputs: PathLike | Sequence[PathLike],
    output: PathLike,
    options: Mapping[str, Any],
    progress: Watching,
) -> Summary:
    """What `arun` gives."""
    on_asyncio("batcher.arun")
    check(progress)
    names = (inputs,) if isinstance(inputs, str | os.PathLike) else tuple(inputs)
    chosen = Chosen.of(caller.asking(options, None, None))
    with watching(progress) as observer:
        run = Run(tuple(os.fspath(one) for one in names), Path(output), chosen.options, chosen.environ, observer)
        run.reach, run.pool = caller.reach, caller.pool
        return await run.run()


async def _all_of(rows: Any) -> list[Any]:
    """All rows of a source. Raises InputError from what the source raises."""
    try:
        if hasattr(rows, "__aiter__"):
            return [row async for row in rows]
        if isinstance(rows, list | tuple):
            return list(rows)
        return await anyio.to_thread.run_sync(list, rows_of(rows) if is_frame(rows) else rows)
    except Exception as error:
        raise InputError(f"the rows ended early, with {type(error).__name__}: {error}; nothing was sent") from error
