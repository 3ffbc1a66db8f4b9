"""Reads Parquet, and Arrow files and streams (Feather too): by batches, and only if one of its rows is wanted."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from batcher.failures import InputError, LineError
from batcher.inputs.formats.header import unique
from batcher.inputs.formats.lines import LINE_LIMIT, Line
from batcher.inputs.formats.pythonic import told_by_python
from batcher.inputs.formats.reading import missing
from batcher.inputs.formats.values import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batcher.inputs.formats.reading import Reading, Rows
    from batcher.model import Json

_ROWS: Final = 1024
"""Rows of a batch at most."""
_BYTES: Final = 8 << 20
"""Bytes of a batch that are aimed at."""
_BUFFER: Final = 1 << 20
"""Bytes of a column that are read ahead: without it, a whole column of a row group is."""


def read_parquet(file: BinaryIO, reading: Reading, first: int) -> Rows:
    """The rows of a Parquet file. Raises `InputError` if it is none, `ConfigError` if pyarrow is not there."""
    parquet = _library("pyarrow.parquet", "Parquet")
    try:
        table = parquet.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER)
    except Exception as error:
        raise _unfit(error, "Parquet") from error
    columns = _columns(table.schema_arrow, reading)
    names = list(table.schema_arrow.names) if columns is None else columns
    seq, new = first, tuple.__new__
    for group in range(table.metadata.num_row_groups):
        about = table.metadata.row_group(group)
        size = max(1, min(_ROWS, _BYTES * about.num_rows // max(about.total_byte_size, 1)))
        batches = partial(table.iter_batches, size, row_groups=[group], columns=columns, use_threads=False)
        stretch = _Stretch(batches, names)
        for place in range(about.num_rows):
            yield new(Line, (seq, 0, Record(stretch, place)))  # as Line(…), which costs twice as much
            seq += 1
    return seq


def read_arrow(file: BinaryIO, reading: Reading, first: int) -> Rows:
    """The rows of an Arrow file or stream. Raises as `read_parquet`."""
    ipc = _library("pyarrow.ipc", "Arrow")
    magic = file.read(6)
    file.seek(0)
    seq = first
    if magic != b"ARROW1":
        try:
            stream = ipc.open_stream(file)
            unique(stream.schema.names, reading)
            for batch in stream:
                seq = yield from _batch_rows(batch, seq)
        except _errors() as error:
            raise _unfit(error, "Arrow stream") from error
        return seq
    try:
        table = ipc.open_file(file)
    except Exception as error:
        raise _unfit(error, "Arrow file") from error
    unique(table.schema.names, reading)
    for number in range(table.num_record_batches):
        try:
            batch = table.get_batch(number)
        except _errors() as error:
            raise _unfit(error, "Arrow file") from error
        seq = yield from _batch_rows(batch, seq)
    return seq


def _batch_rows(batch: Any, seq: int) -> Rows:
    for start in range(0, batch.num_rows, _ROWS):
        part = batch.slice(start, _ROWS)
        stretch = _Stretch(partial(_alone, part), part.schema.names)
        for place in range(part.num_rows):
            yield Line(seq, 0, Record(stretch, place))
            seq += 1
    return seq


def _alone(batch: Any) -> Iterator[Any]:
    yield batch


class _Stretch:
    """Batches that follow on one another, made when a row of them is asked for; the last one that was is kept."""

    __slots__ = ("_batch", "_batches", "_begin", "_end", "_open", "_rows", "names")

    def __init__(self, open_batches: Callable[[], Iterator[Any]], names: Sequence[str]) -> None:
        self._open = open_batches
        self.names = names
        self._batches: Iterator[Any] | None = None
        self._begin = self._end = 0
        self._batch: Any = None
        self._rows: list[tuple[Json, ...]] = []

    def row(self, place: int) -> tuple[Json, ...]:
        if not self._begin <= place < self._end:
            self._read(place)
        return self._rows[place - self._begin]

    def piece(self, place: int) -> tuple[Any, int]:
        """The batch with a row, as Arrow has it, and where in it the row stands."""
        if not self._begin <= place < self._end:
            self._read(place)
        return self._batch, place - self._begin

    def _read(self, place: int) -> None:
        """Have the batch with a row, by way of those before it. Raises `LineError`."""
        try:
            if self._batches is None or place < self._begin:
                self._batches, self._end = self._open(), 0
            while True:
                batch = next(self._batches)
                self._begin, self._end = self._end, self._end + batch.num_rows
                if place < self._end:
                    break
            if batch.nbytes > batch.num_rows * LINE_LIMIT:
                raise LineError("line_too_large", f"the row is longer than {LINE_LIMIT >> 20} MiB")
            self._batch = batch
            self._rows = list(zip(*map(_column, batch.columns), strict=True)) or [()] * batch.num_rows
        except StopIteration:
            self._batches, self._begin, self._end = None, 0, 0
            raise LineError("row_unreadable", "the file says that it has this row, and has not") from None
        except _errors() as error:
            self._batches, self._begin, self._end = None, 0, 0
            raise LineError("row_unreadable", f"the row cannot be read: {_words(error)}") from error


def _column(column: Any) -> list[Json]:
    """The values of a column as JSON has them; an error in the place of one that it cannot have."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        with suppress(UnicodeDecodeError):
            values: list[Any] = column.to_pylist()
            return values
    elif (told := told_by_python(kind)) != kind:
        with suppress(pa.ArrowException):
            column = column.cast(told, safe=False)
    try:
        return [_or_error(value) for value in column.to_pylist()]
    except _errors():  # one of them: each alone costs its own row
        return [_alone_or_error(value) for value in column]


def _or_error(value: Any) -> Json:
    try:
        return plain(value)
    except LineError as error:
        return error


def _alone_or_error(value: Any) -> Json:
    try:
        return _or_error(value.as_py())
    except OverflowError:
        return LineError("row_unreadable", "a time of the row is outside of the years 1 to 9999")
    except _errors() as error:
        return LineError("row_unreadable", f"the row cannot be read: {_words(error)}")


class Record:
    """A row of a columnar file. See `rows.Row`."""

    __slots__ = ("_place", "_stretch")

    def __init__(self, stretch: _Stretch, place: int) -> None:
        self._stretch, self._place = stretch, place

    def values(self) -> dict[str, Json]:
        row = self._stretch.row(self._place)
        for value in row:
            if type(value) is LineError:
                raise value
        return dict(zip(self._stretch.names, row, strict=True))

    def record(self) -> dict[str, Json]:
        """All but what is null."""
        return {name: value for name, value in self.values().items() if value is not None}

    def raw(self) -> None:
        return None

    def piece(self) -> tuple[Any, int]:
        """The record batch in which the row stands, with all its types, and where. Raises `LineError`."""
        return self._stretch.piece(self._place)


def _columns(schema: Any, reading: Reading) -> list[str] | None:
    """The columns to read; those that are asked for and are not there are told by the rows."""
    names = [str(name) for name in schema.names]
    unique(names, reading)
    if reading.columns is None or reading.is_whole:
        return None
    return [name for name in names if name in reading.columns]


def _library(name: str, what: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise missing(what, "pyarrow", "data") from None


def _errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises on what it cannot read."""
    import pyarrow as pa

    return (pa.ArrowException, OSError, ValueError, OverflowError)


def _unfit(error: Exception, what: str) -> InputError:
    return InputError(f"this is no {what} that can be read: {_words(error)}")


def _words(error: Exception) -> str:
    """What a library says, on one line."""
    with suppress(IndexError):
        return str(error).splitlines()[0][:200]
    return type(error).__name__
