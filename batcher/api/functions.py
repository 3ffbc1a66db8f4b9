"""The functions of the package, for rows and for files; those whose names begin with an `a` are awaited.

What they share is said once here. Options are those of the command, under the names of `batcher.options.Options`;
durations are seconds, or text (`"30s"`), or a timedelta. `api_key` and `headers` are sent to the servers and shown
nowhere. `progress` is True for a live line on stderr, or a function that is called with a `Progress` five times a
second. Wrong options raise UsageError at once, and an unknown name UnknownOptionError, a TypeError too. A row or a job
that fails raises nothing: it is a failed result. Neither signal handlers nor loop policies are touched.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from batcher.api.arrays import embedded
from batcher.api.calls import Caller
from batcher.api.maps import mapped, ran
from batcher.api.stream import Stream
from batcher.running.loops import blocking

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Unpack

    from batcher.api.arguments import MapOptions, PathLike, RunOptions, StreamOptions
    from batcher.api.arrays import Array
    from batcher.api.calls import Rows
    from batcher.api.result import R, Result, T
    from batcher.api.watching import Watching
    from batcher.view.summary import Summary

_ALONE = Caller()


def run(
    input: PathLike | Sequence[PathLike],  # noqa: A002 - what it is
    output: PathLike,
    *,
    progress: Watching = False,
    **options: Unpack[RunOptions],
) -> Summary:
    """Run a file of jobs, or several as one, write results beside what is there already, and return the sums.

    Blocks until it is done, also in a notebook, where a loop runs. Raises BatcherError (see `batcher.failures`):
    UsageError for options that are wrong, InputError, OutputError, UnavailableError, ConfigError. Jobs that fail raise
    nothing: they are in the sums and in the errors file. What has a result is not asked again by the same call.
    """
    return blocking(partial(arun, input, output, progress=progress, **options))


async def arun(
    input: PathLike | Sequence[PathLike],  # noqa: A002 - what it is
    output: PathLike,
    *,
    progress: Watching = False,
    **options: Unpack[RunOptions],
) -> Summary:
    """As `run`, awaited. Cancelled, it breaks off what is in flight and keeps what has finished."""
    return await ran(_ALONE, input, output, options, progress)


def stream(
    rows: Rows[R],
    *,
    prompt: str | None = None,
    schema: type[T] | Mapping[str, Any] | None = None,
    progress: Watching = False,
    **options: Unpack[StreamOptions],
) -> Stream[R, T]:
    """Ask about rows as they are made, and give each result as it finishes: see `Stream` for how that may be left.

        async with batcher.stream(["Hello"], model="llama3.2") as results:
            async for result in results:
                print(result.row, result.text if result.ok else result.failure)

    A row is a text or a mapping, as on a line of a job file or with the columns that `prompt` names (a template); a
    text is its column `text`, or the prompt itself without one. Rows come from any iterable, which is read in a thread,
    an asynchronous one, or a frame that speaks Arrow. They are read no faster than they are answered. `schema` is a
    JSON schema, or a class of pydantic's kind, of which `parsed` is an object then. `max_duration` counts from the
    first step; when it is over nothing more is sent, and what is in flight gets `grace`.
    """
    work = _ALONE.work(rows, options, what="stream", prompt=prompt, schema=schema, progress=progress)
    return Stream(work)


def map(  # noqa: A001 - what it is, as an executor's
    rows: Rows[R],
    *,
    prompt: str | None = None,
    schema: type[T] | Mapping[str, Any] | None = None,
    output: PathLike | None = None,
    progress: Watching = False,
    **options: Unpack[MapOptions],
) -> list[Result[R, T]]:
    """Ask about each row and return the results in the order of the rows. Blocks, also in a notebook.

    Rows, `prompt` and `schema` are as for `stream`. With `output` the results are kept in that file as `run` keeps
    them, and the same call takes the work up again: what has a result is not asked twice. Rows that repeat another, id
    and all, are asked once. Raises BatcherError when not all could be done (the server away, a key refused, a limit
    that was set, a source of rows that raised); its `results` are those that there are, in order.
    """
    return blocking(partial(amap, rows, prompt=prompt, schema=schema, output=output, progress=progress, **options))


async def amap(
    rows: Rows[R],
    *,
    prompt: str | None = None,
    schema: type[T] | Mapping[str, Any] | None = None,
    output: PathLike | None = None,
    progress: Watching = False,
    **options: Unpack[MapOptions],
) -> list[Result[R, T]]:
    """As `map`, awaited. Cancelled, it breaks off what is in flight; with `output` what has finished is kept."""
    return await mapped(_ALONE, rows, options, prompt=prompt, schema=schema, output=output, progress=progress)


def embed(
    texts: Iterable[str],
    *,
    dtype: Literal["float16", "float32", "float64"] = "float32",
    on_error: Literal["raise", "nan"] = "raise",
    progress: Watching = False,
    **options: Unpack[StreamOptions],
) -> Array:
    """Embed texts and return their vectors as an array of shape (texts, dimensions), in order. Blocks.

    With `on_error="nan"` a text that fails has a row of NaN; else all are asked, and then BatcherError names the first
    that failed, with the array as its `results`. As many texts go into a request as are found to be best, or
    `pack`. Raises ConfigError without numpy (`pip install 'batcher[vectors]'`), and as `map`.
    """
    return blocking(partial(aembed, texts, dtype=dtype, on_error=on_error, progress=progress, **options))


async def aembed(
    texts: Iterable[str],
    *,
    dtype: Literal["float16", "float32", "float64"] = "float32",
    on_error: Literal["raise", "nan"] = "raise",
    progress: Watching = False,
    **options: Unpack[StreamOptions],
) -> Array:
    """As `embed`, awaited."""
    return await embedded(_ALONE, texts, options, dtype=dtype, on_error=on_error, progress=progress)
