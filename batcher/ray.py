"""A class for Ray Data's `map_batches`, which asks a model about each row of a batch.

from batcher.ray import Prompt

answers = ray.data.read_parquet("reviews/").map_batches(
    Prompt,
    fn_constructor_kwargs={"prompt": "Good or bad? {{ review }}", "model": "llama3.2", "base_url": "http://gpu:8000"},
    batch_size=256,
    compute=ray.data.ActorPoolStrategy(size=4),
)
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from batcher.failures import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Unpack

    from batcher.api.arguments import MapOptions
    from batcher.api.client import Client
    from batcher.api.result import Result

COLUMNS: Final = ("text", "finish_reason", "prompt_tokens", "completion_tokens", "error")
"""What is added to each row, behind a `column_prefix`; `error` is null where all went well, else `code: message`."""
_PRICES: Final = ("price_in", "price_cached", "price_out", "price_file")


class Prompt:
    """Asks what `prompt` makes of each row, and adds the answers as columns.

    They are those of `COLUMNS`; `cost`, where prices are given, null where it is not known; and `parsed`, which is the
    answer's JSON as text, where a `schema` is given or JSON is asked for. `column_prefix` goes before their names.

    `options` are those of `batcher.Client` and `batcher.amap`. Batches come as Ray Data has them by default, columns to
    arrays; all rows of one are asked at once, as far as `concurrency` allows, and those of all batches that an actor
    has share its connections and limits. A row that fails has its `error`, and the others their answers; a server
    that stays away raises, and Ray Data says what becomes of that.
    """

    def __init__(
        self, prompt: str | None = None, schema: Any = None, column_prefix: str = "", **options: Unpack[MapOptions]
    ) -> None:
        """Raises UsageError for options that are wrong, and for a key: what is given here stands in Ray's records."""
        if {"api_key", "headers"} & options.keys():
            raise UsageError(
                "what a class for map_batches is made with stands in Ray's records: name the key's variable "
                "or file on the workers' machines, by api_key_env or api_key_file"
            )
        from batcher.api.client import Client
        from batcher.options import Options
        from batcher.view.prices import prices_of

        said = Options.of({name: value for name, value in options.items() if name in _PRICES})
        self._prices = prices_of(said.price_in, said.price_cached, said.price_out, said.price_file)
        self._prompt, self._schema, self._column_prefix = prompt, schema, column_prefix
        self._parses = schema is not None or bool(options.get("json"))
        self._make: Callable[[], Client] = partial(Client, **options)
        self._make()  # raises for options that are wrong
        self._open: asyncio.Task[Client] | None = None

    async def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with its answers. Raises BatcherError, and UsageError where it has a column of the same name."""
        import numpy as np

        names = list(batch)
        more = [*(["cost"] if self._prices is not None else []), *(["parsed"] if self._parses else [])]
        added = [self._column_prefix + name for name in (*COLUMNS, *more)]
        if taken := [name for name in names if name in added]:
            raise UsageError(
                f"the rows have columns that the answers' would replace ({', '.join(taken)}): "
                "give those others, as by column_prefix='answer_'"
            )
        client = await self._opened()
        rows = [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        results = await client.amap(rows, prompt=self._prompt, schema=self._schema)
        told = [(*_told(result), *self._more(result)) for result in results]
        columns = {name: np.array([row[place] for row in told], dtype=object) for place, name in enumerate(added)}
        return {**batch, **columns}

    def _more(self, result: Result[Any, Any]) -> Iterator[Any]:
        """The values of the columns that not all have."""
        if self._prices is not None:
            yield self._prices.of_line(result.to_dict())
        if self._parses:
            yield _json(result)

    async def _opened(self) -> Client:
        """The client of all batches; another one where it could not be opened. Raises BatcherError."""
        task = self._open
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._open = asyncio.ensure_future(self._make().__aenter__())
        return await asyncio.shield(task)


def _told(result: Result[Any, Any]) -> tuple[Any, ...]:
    """The values of `COLUMNS` of one result."""
    usage, failure = result.usage, result.failure
    return (
        result.text,
        result.finish_reason,
        None if usage is None else usage.prompt_tokens,
        None if usage is None else usage.completion_tokens,
        None if failure is None else f"{failure.code}: {failure.message}",
    )


def _json(result: Result[Any, Any]) -> str | None:
    """What was parsed of the answer, as text: rows whose objects differ are no column of Arrow."""
    from batcher import codec

    parsed = result.to_dict().get("parsed")
    return None if parsed is None else codec.dumps(parsed).decode()
