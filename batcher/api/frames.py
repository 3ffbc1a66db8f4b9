"""Frames as rows: whatever speaks Arrow's stream interface, as those of pandas, polars, pyarrow and DuckDB do.

https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeGuard, runtime_checkable

from batcher.inputs.formats.reading import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE: Final = 1024
"""Rows that are made at a time."""
_INDEX: Final = re.compile(r"__index_level_\d+__")
"""Columns in which pandas hands on an index, which is none of the columns."""


@runtime_checkable
class Frame(Protocol):
    """Columns that can be handed on as a stream of Arrow's batches."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


def is_frame(rows: Any) -> TypeGuard[Frame]:
    """Whether these rows are a frame, and not one column, which is a stream of Arrow's too."""
    return hasattr(rows, "__arrow_c_stream__") and (hasattr(rows, "columns") or hasattr(rows, "schema"))


def rows_of(frame: Frame) -> Iterator[dict[str, Any]]:
    """The rows of a frame, each with its columns by name. Raises ConfigError without pyarrow."""
    try:
        import pyarrow as pa
    except ImportError:
        raise missing("frames as rows", "pyarrow", "data") from None
    with pa.RecordBatchReader.from_stream(frame) as reader:
        names = [name for name in reader.schema.names if not _INDEX.fullmatch(name)]
        for batch in reader:
            chosen = batch.select(names)
            for start in range(0, chosen.num_rows, _AT_ONCE):
                yield from chosen.slice(start, _AT_ONCE).to_pylist()
