"""Embeddings as one array: a row for each text, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from batcher.api.calls import with_results
from batcher.api.hosting import Host, on_asyncio
from batcher.failures import BatcherError, ConfigError, UsageError

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
    on_asyncio("batcher.aembed")
    if dtype not in KINDS:
        raise UsageError(f"dtype is {', '.join(KINDS[:-1])} or {KINDS[-1]}, not {dtype!r}")
    if on_error not in ("raise", "nan"):
        raise UsageError(f"on_error is raise or nan, not {on_error!r}")
    if options.get("repeat", 1) != 1:
        raise UsageError("repeat would make more vectors than texts")
    rows = texts if isinstance(texts, str) else list(texts)  # a single one is refused by `work`
    work = caller.work(rows, options, what="embed", progress=progress, column="input")
    work.base64 = True
    array: Array = numpy.empty((0, 0), dtype)
    failed: list[Result[Any, Any]] = []
    host = Host(work.main())
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
        await host.close()
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


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError:
        raise ConfigError("arrays of embeddings: numpy is not installed; pip install 'batcher[vectors]'") from None
    return np
