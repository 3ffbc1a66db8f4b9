"""All results of some rows in their order: asked at once, or by a run that keeps them in a file."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from batcher.api.arguments import Chosen
from batcher.api.calls import all_of, collected, reaching, reader_for, with_results
from batcher.api.frames import is_frame
from batcher.api.hosting import on_asyncio
from batcher.api.kept import Given, read_back, source_of
from batcher.api.schemas import Schema
from batcher.api.watching import check, watching
from batcher.api.wording import in_programs, reword_sums
from batcher.failures import BatcherError, UsageError
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
    with in_programs():
        if output is None:
            work = caller.work(rows, options, what="map", prompt=prompt, schema=schema, progress=progress)
            return await collected(work)
        check(progress)
        made = None if schema is None else Schema(schema)
        chosen = Chosen.of(caller.asking(options, prompt, made))
        for name in ("vectors", "chunk", "overlap"):
            if getattr(chosen.options, name) is not None:
                raise UsageError(
                    f"{name} is about files, and map gives a result for each row: use run, or leave it out"
                )
        part = Given(await all_of(rows), reader_for(chosen.options, is_columns=is_frame(rows)))
        with watching(progress) as observer:
            run = Run("rows", Path(output), chosen.options, chosen.environ, observer)
            run.opened = source_of(part, chosen.options.repeat)
            run.reach, run.pool = caller.reach or reaching(chosen), caller.pool
            error: BatcherError | None = None
            try:
                error = error_of_stop(await run.run())
            except BatcherError as stopped:
                error = stopped
            read = partial(
                read_back, part, chosen, run.destination.path or Path(output), run.destination.files.errors, made
            )
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
    on_asyncio("batcher.arun", "run(input, output, ...)")
    with in_programs():
        check(progress)
        names = (inputs,) if isinstance(inputs, str | os.PathLike) else tuple(inputs)
        chosen = Chosen.of(caller.asking(options, None, None))
        with watching(progress) as observer:
            run = Run(tuple(os.fspath(one) for one in names), Path(output), chosen.options, chosen.environ, observer)
            run.reach, run.pool = caller.reach, caller.pool
            summary = await run.run()
    reword_sums(summary)
    return summary
