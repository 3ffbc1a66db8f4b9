"""What rows of a program are: a text, a mapping, or what is wrong with it; each becomes a line as a job file has it.

    text       the column `text` where a template asks, the prompt itself where none does
    mapping    a line of a job file, or the columns that templates name; numbers of numpy, dates, decimals as in tables;
               also rows of databases, named tuples and dataclasses, which name their columns too
    the rest   a row that fails, under its number and its id; also `None`, for a column may have holes

A row rides through a run in the place of its job's `meta`, which nobody else looks at: with `Carried` there is nothing
to be kept beside the jobs in flight, and nothing that could be left behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time
from enum import Enum
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeAlias
from uuid import UUID

import orjson

from batcher import codec
from batcher.failures import LineError, UsageError, shown
from batcher.inputs.formats import Line, parse_job
from batcher.inputs.formats.values import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from batcher.inputs.formats.defaults import Defaults
    from batcher.inputs.formats.rows import Data
    from batcher.inputs.identity import Ids
    from batcher.model import Job, Json

Row: TypeAlias = "str | Mapping[str, Any]"
"""One row: a text, or columns by their names."""

_NUMBERS: Final = orjson.OPT_SERIALIZE_NUMPY
_DEPTH: Final = 250


class Carried(NamedTuple):
    """What rides in the place of a job's `meta`: the row as it came, and that."""

    row: Any
    meta: Json


class Refused:
    """A row that is no job: see `inputs.rows.Row`."""

    __slots__ = ("_id", "_message")

    def __init__(self, message: str, ident: str | None) -> None:
        self._message, self._id = message, ident

    def values(self) -> NoReturn:
        raise LineError("input_invalid", self._message, id=self._id)

    record = values

    def raw(self) -> None:
        return None


class Reader:
    """Makes lines of rows, and jobs of lines. `column` is where a row stands that is a text."""

    def __init__(self, column: str, id_field: str | None = None, *, nulls: bool = True) -> None:
        self._column = column
        self._id_field = id_field
        self._nulls = nulls
        """Whether a null is said; else it is as if the column were not there."""
        self.row: Any = None
        """The row of which a line was made last."""

    def line(self, row: Any, seq: int) -> Line:
        """The line of a row, whatever it is."""
        self.row = row
        return Line(seq, 0, self._data(row, seq))

    def parse(self, data: Data, seq: int, defaults: Defaults, ids: Ids | None = None) -> Job:
        """As `parse_job`, of the line that was made last: its row rides along."""
        job = parse_job(data, seq, defaults, ids)
        job.meta = Carried(self.row, job.meta)
        return job

    def _data(self, row: Any, seq: int) -> Data:
        try:
            record = self._record(row)
            try:
                return orjson.dumps(record, option=_NUMBERS)
            except TypeError:  # a lone surrogate, an object, a key or an integer that JSON does not have
                return codec.dumps(_plain(record, "", 0))
        except (LineError, TypeError, ValueError, RecursionError) as error:
            words = error.message if isinstance(error, LineError) else str(error)
            ident = self._ident(row)
            name = f" (id {shown(ident)})" if ident is not None else ""
            return Refused(f"row {seq + 1}{name}: {words}", ident)
        except Exception as error:  # noqa: BLE001 - a mapping of the caller's may raise anything, and costs its row alone
            return Refused(f"row {seq + 1} cannot be read: {type(error).__name__}: {error}", None)

    def _record(self, row: Any) -> Mapping[str, Any]:
        if hasattr(row, "as_py"):  # a value of pyarrow's
            row = row.as_py()
        if isinstance(row, str):
            return {self._column: row}
        if isinstance(row, Mapping):
            if not self._nulls:
                return {name: value for name, value in row.items() if value is not None}
            return row if type(row) is dict else dict(row)
        if (columns := _columns_of(row)) is not None:
            return self._record(columns)
        raise LineError("input_invalid", f"a row is a text or a mapping, not {_name(row)}")

    def _ident(self, row: Any) -> str | None:
        """The id that a row gives itself, as far as it can be told."""
        if not isinstance(row, Mapping):
            return None
        for name in ("id", "custom_id") if self._id_field is None else (self._id_field,):
            value: Any = row.get(name)
            if hasattr(value, "dtype"):  # a number of numpy
                value = value.tolist()
            if isinstance(value, UUID):
                value = str(value)
            if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                return codec.whole_text(str(value))
        return None


def _columns_of(row: Any) -> dict[str, Any] | None:
    """The columns of a row that is no mapping and names them: of a database's cursor, a named tuple, a dataclass."""
    if hasattr(row, "keys") and hasattr(row, "__getitem__"):  # sqlite3.Row
        return {name: row[name] for name in row.keys()}  # noqa: SIM118 - it is no mapping
    if hasattr(row, "_asdict"):
        return dict(row._asdict())
    opened = _opened(row)
    return opened if isinstance(opened, dict) else None


def _plain(value: Any, where: str, depth: int) -> Json:
    """A value as JSON has it. Raises LineError, which says where it stands."""
    if depth > _DEPTH:
        raise LineError("input_invalid", f"it nests deeper than {_DEPTH} levels")
    value = _opened(value)
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, Mapping):
        return {_key(key, where): _plain(item, f"{where}.{key}" if where else str(key), depth + 1)
                for key, item in value.items()}  # fmt: skip
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{place}]", depth + 1) for place, item in enumerate(value)]
    for kind, change in _ALSO.items():
        if isinstance(value, kind):
            return change(value)
    try:
        return plain(value)
    except LineError:
        raise LineError("input_invalid", f"{where or 'it'} is {_name(value)}, which JSON does not have") from None


def _opened(value: Any) -> Any:
    """What stands in the place of a value that holds another, as orjson has it."""
    if isinstance(value, Enum):  # before what it may be beside: a text, a number
        return _opened(value.value)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return value


def _text(value: str, where: str) -> str:
    if codec.whole_text(value) != value:
        raise LineError("input_invalid", f"{where or 'a text'} holds half of a character, which is no text")
    return str(value)


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        inside = f" in {where}" if where else ""
        raise LineError("input_invalid", f"the name of a column{inside} is {_name(key)}, not text")
    return _text(key, "the name of a column")


_ALSO: Final[dict[type, Callable[[Any], Json]]] = {
    bool: bool,
    int: lambda value: value,
    float: lambda value: float(value) if isfinite(value) else None,
    datetime: lambda value: value.isoformat() if value == value else None,  # noqa: PLR0124 - not a time, of pandas
    date: lambda value: value.isoformat(),
    time: lambda value: value.isoformat(),
    UUID: str,
}
"""Kinds whose descendants count as they do, as orjson has them; the rest is `inputs.formats.values`'."""


def _name(value: Any) -> str:
    return "None" if value is None else f"of the type {type(value).__name__}"


def refuse_one(rows: Any) -> None:
    """Raise UsageError for what is one row, or a name, in the place of rows."""
    if isinstance(rows, str | bytes | bytearray):
        raise UsageError("rows are wanted, and this is one text: put it into a list; for files there is run")
    if isinstance(rows, Mapping):
        raise UsageError("rows are wanted, and this is one mapping: put it into a list")
    if not hasattr(rows, "__iter__") and not hasattr(rows, "__aiter__") and not hasattr(rows, "__getitem__"):
        raise UsageError(f"rows are wanted: a list, a generator, a frame; this is {_name(rows)}")
