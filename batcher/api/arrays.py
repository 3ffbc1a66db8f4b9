"""Embeddings as one array: a row for each text, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from batcher.api.calls import all_of, with_results
from batcher.api.hosting import on_asyncio
from batcher.failures import BatcherError, ConfigError, UsageError
from batcher.options import Options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TypeAlias

    import numpy as np
    from numpy.typing import NDArray

    from batcher.api.calls import Caller
    from batcher.api.result import Result
    from batcher.api.watching import Watching

    Array: TypeAlias = NDArray[np.floating[Any]]

KINDS: Final = ("float16", "float32", "float64")
_NOT_HERE: Final = frozenset({"prompt", "messages", "repeat", "limit", "limit_new", "shard", "done_from"})
"""Options that ask for something else, or of more rows or fewer."""


async def embedded(
    caller: Caller,
    texts: Iterable[str],
    options: Mapping[str, Any],
    *,
    dtype: str,
    on_error: str,
    progress: Watching,
) -> Array:
    """What `aembed` gives."""
    numpy = _numpy()
    on_asyncio("batcher.aembed", "embed(texts, ...)")
    _check(dtype, on_error, {**caller.values, **options})
    rows = await all_of(texts)
    work = caller.work(rows, options, what="embed", progress=progress, column="input")
    work.base64 = True
    array: Array = numpy.empty((0, 0), dtype)
    failed: list[Result[Any, Any]] = []
    work.begin()
    try:
        while (result := await work.outlet.take()) is not None:
            given = result.completion.vectors if result.completion is not None and result.ok else None
            if given is None or len(given) != 1:
                failed.append(result)
                continue
            vector = numpy.frombuffer(given[0], "<f4") if type(given[0]) is bytes else given[0]
            if not array.size:
                array = numpy.full((len(rows), len(vector)), numpy.nan, dtype)
            array[result.seq] = vector
    finally:
        await work.close()
    if not array.size and len(rows):
        array = numpy.full((len(rows), 0), numpy.nan, dtype)
    error = work.error
    if error is None and failed and on_error == "raise":
        first = min(failed, key=lambda result: result.seq)
        words = "no vector" if first.failure is None else f"{first.failure.code}: {first.failure.message}"
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        error = BatcherError(f"text {first.seq + 1} has none: {words}{more}; on_error='nan' leaves it out")
    if error is not None:
        raise with_results(error, array, work)
    return array


def _check(dtype: str, on_error: str, values: Mapping[str, Any]) -> None:
    """Raise UsageError for what is asked of an array that none can be."""
    if dtype not in KINDS:
        raise UsageError(f"dtype is {', '.join(KINDS[:-1])} or {KINDS[-1]}, not {dtype!r}")
    if on_error not in ("raise", "nan"):
        raise UsageError(f"on_error is raise or nan, not {on_error!r}")
    for name in sorted(_NOT_HERE & values.keys()):
        if values[name] != getattr(Options(), name):
            raise UsageError(f"{name} is not for embed, which gives one vector for each text")


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError:
        raise ConfigError("arrays of embeddings: numpy is not installed; pip install 'batcher[vectors]'") from None
    return np
