"""A row a request: what each answer and each failure took and cost, as CSV or Parquet, without its text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from batcher.failures import ConfigError
from batcher.outcome import count_of, number_of
from batcher.outputs.delimited import Delimited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batcher.model import Json

TEXT: Final = "string"
WHOLE: Final = "int64"
REAL: Final = "float64"
_TIMES: Final = ("waited_s", "ttft_s", "itl_p50_s", "itl_p95_s", "total_s", "tokens_per_s")
_SERVER: Final = ("load_s", "prompt_eval_s", "eval_s")
_TOKENS: Final = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")
COLUMNS: Final[Mapping[str, str]] = {
    "id": TEXT, "seq": WHOLE, "ok": "bool", "model": TEXT, "endpoint": TEXT, "server": TEXT, "served_model": TEXT,
    "started_at": TEXT, **dict.fromkeys(_TIMES, REAL), **dict.fromkeys(_SERVER, REAL), **dict.fromkeys(_TOKENS, WHOLE),
    "cost": REAL, "attempts": WHOLE, "asked_again": WHOLE, "finish_reason": TEXT, "flags": TEXT, "characters": WHOLE,
    "pack_place": WHOLE, "pack_size": WHOLE, "copy_of": TEXT, "error_class": TEXT, "error_code": TEXT,
    "error_status": WHOLE, "failed_at": TEXT,
}  # fmt: skip
"""Column → its type, as Parquet has it; CSV has empty cells where there is nothing."""
BLOCK: Final = 16384
"""Rows that are written at once."""
_NOTHING: Final[Mapping[str, Json]] = {}


class Measurements:
    """Writes rows to a descriptor, which may be a pipe. `close` writes the rest. Raises OSError."""

    def __init__(self, fd: int, *, is_parquet: bool, clean: Callable[[str], str] | None = None) -> None:
        """`clean` is for texts on a terminal. Raises ConfigError (78) where what writes Parquet is not there."""
        self._clean = clean
        self._rows: list[list[Json]] = []
        self._sink = _Parquet(fd) if is_parquet else _Csv(fd)

    def add(self, record: Mapping[str, Json], cost: float | None) -> None:
        self._rows.append(_row(record, cost))
        if len(self._rows) >= BLOCK:
            self._write()

    def close(self) -> None:
        self._write()
        self._sink.close()

    def _write(self) -> None:
        if not self._rows:
            return
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        self._rows.clear()
        if self._clean is not None:
            columns = [[self._clean(v) if type(v) is str else v for v in column] for column in columns]
        self._sink.write(columns)


class _Csv:
    def __init__(self, fd: int) -> None:
        self._file = Delimited(fd, ",", guard=True)
        self._file.learn({name: [] for name in COLUMNS})

    def write(self, columns: list[list[Json]]) -> None:
        self._file.write(dict(zip(COLUMNS, columns, strict=True)))

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, fd: int) -> None:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError:
            raise ConfigError("Parquet: pyarrow is not installed; pip install 'batcher[data]'") from None
        self._schema: Any = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
        self._file = os.fdopen(os.dup(fd), "wb")
        self._writer: Any = parquet.ParquetWriter(self._file, self._schema, compression="zstd", compression_level=1)

    def write(self, columns: list[list[Json]]) -> None:
        import pyarrow as pa

        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
        self._file.close()


def _row(record: Mapping[str, Json], cost: float | None) -> list[Json]:
    """The cells of a line, each of its column's type or None: a line may have been made up."""
    timing, usage, pack, error = (_mapping(record.get(name)) for name in ("timing", "usage", "pack", "error"))
    server, flags, text = _mapping(timing.get("server")), record.get("flags"), record.get("text")
    return [
        _text(record.get("id")), count_of(record.get("seq")), "error" not in record, _text(record.get("model")),
        _text(record.get("endpoint")), _text(record.get("server")), _text(record.get("served_model")),
        _text(timing.get("started_at")), *[number_of(timing.get(name)) for name in _TIMES],
        *[number_of(server.get(name)) for name in _SERVER], *[count_of(usage.get(name)) for name in _TOKENS],
        cost, count_of(record.get("attempts")), count_of(record.get("asked_again")), _text(record.get("finish_reason")),
        " ".join(flag for flag in flags if type(flag) is str) if type(flags) is list else None,
        len(text) if type(text) is str else None,
        count_of(pack.get("place")), count_of(pack.get("size")), _text(record.get("copy_of")),
        _text(error.get("class")), _text(error.get("code")), count_of(error.get("status")), _text(record.get("at")),
    ]  # fmt: skip


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if type(value) is dict else _NOTHING


def _text(value: Json) -> str | None:
    return value if type(value) is str else None
