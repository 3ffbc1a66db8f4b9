"""A class for Ray Data's `map_batches`, which asks a model about each row of a batch.

from batcher.ray import Prompt

answers = ray.data.read_parquet("reviews/").map_batches(
    Prompt,
    fn_constructor_kwargs={"prompt": "Good or bad? {{ text }}", "model": "llama3.2", "base_url": "http://gpu:8000"},
    batch_size=256,
    concurrency=4,
)
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from batcher.failures import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from batcher.api.arguments import MapOptions
    from batcher.api.client import Client
    from batcher.api.result import Result

COLUMNS: Final = ("text", "finish_reason", "prompt_tokens", "completion_tokens", "error")
"""What is added to each row; `error` is null where all went well, else `code: message`."""


class Prompt:
    """Asks what `prompt` makes of each row, and adds the answers as columns: those of `COLUMNS`, and `parsed`, which is
    the answer's JSON as text, where a `schema` is given or JSON is asked for.

    `options` are those of `batcher.Client` and `batcher.amap`. Batches come as Ray Data has them by default, columns to
    arrays; all rows of one are asked at once, as far as `concurrency` allows, and those of all batches that an actor
    has share its connections and limits. A row that fails has its `error`, and the others their answers; a server
    that stays away raises, and Ray Data says what becomes of that.
    """

    def __init__(self, prompt: str | None = None, schema: Any = None, **options: Unpack[MapOptions]) -> None:
        """Raises UsageError for options that are wrong, and for a key: what is given here stands in Ray's records."""
        if {"api_key", "headers"} & options.keys():
            raise UsageError(
                "what a class for map_batches is made with stands in Ray's records: name the key's variable "
                "or file on the workers' machines, by api_key_env or api_key_file"
            )
        from batcher.api.client import Client

        self._prompt, self._schema = prompt, schema
        self._parses = schema is not None or bool(options.get("json"))
        self._client: Client = Client(**options)
        self._open: asyncio.Task[Client] | None = None

    async def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The batch with its answers. Raises BatcherError."""
        import numpy as np

        if self._open is None:
            self._open = asyncio.ensure_future(self._client.__aenter__())
        client = await asyncio.shield(self._open)
        names = list(batch)
        rows = [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        results = await client.amap(rows, prompt=self._prompt, schema=self._schema)
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        for result in results:
            for name, value in zip(COLUMNS, _told(result), strict=True):
                columns[name].append(value)
        if self._parses:
            columns["parsed"] = [_json(result) for result in results]
        return {**batch, **{name: np.array(values, dtype=object) for name, values in columns.items()}}


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
