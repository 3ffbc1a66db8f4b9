"""Makes an array of vectors (numpy's `.npy`) with a row for each row of the input, and a list of their ids beside it.

A row without a vector is NaN. The format is that of numpy/lib/format.py, version 1.0: a head of text, then the rows.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from batcher import codec
from batcher.failures import OutputError, OutputIOError
from batcher.ledger import disk
from batcher.ledger.names import ids_path
from batcher.ledger.recovery import read_record
from batcher.opening import open_regular, real
from batcher.outputs.checksums import crc32
from batcher.outputs.joining import joined
from batcher.outputs.numbers import WIDTHS, no_row, row_of
from batcher.outputs.places import Places
from batcher.outputs.replacing import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batcher.model import Json
    from batcher.outputs.joining import Chunk
    from batcher.outputs.store import Store
    from batcher.outputs.taken import Taken
    from batcher.outputs.written import Written

MAGIC: Final = b"\x93NUMPY\x01\x00"
HEAD: Final = 128
"""Bytes of the head, to which it is filled up."""
_MOST: Final = 1 << 48
"""Rows that a store may have: a number beyond comes from somebody else."""
_KINDS: Final = {"float32": "<f4", "float16": "<f2"}
_SHAPE: Final = re.compile(rb"'descr': '(<f[24])', 'fortran_order': False, 'shape': \((\d+), (\d+)\)")


def check_array(path: Path) -> None:
    """Raise OutputError for a file that is no array."""
    if not os.path.lexists(path):
        return
    try:
        with os.fdopen(open_regular(path, follow=True, own=False), "rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; name another --vectors") from error
    if head and not head.startswith(MAGIC[:6]):
        raise OutputError(f"{path}: is there, and no array of numpy's; name another --vectors")


class Vectors(Protocol):
    """Where the rows of an array are, and of which kind they are."""

    model: str | None
    dim: int | None
    dtype: str

    @property
    def width(self) -> int: ...

    def read(self, numbers: Sequence[int]) -> Iterator[bytes]: ...


@dataclass(slots=True)
class OnLines:
    """Vectors that stand on the lines themselves: there are no rows elsewhere."""

    model: str | None = None
    dim: int | None = None
    dtype: str = "float32"

    @property
    def width(self) -> int:
        return WIDTHS[self.dtype] * (self.dim or 0)

    def read(self, numbers: Sequence[int]) -> Iterator[bytes]:
        return iter([b""] * len(numbers))


def on_lines(results: BinaryIO) -> OnLines:
    """What vectors the first line with one has, for results without a store."""
    results.seek(0)
    for line in results:
        if b'"embedding":' in line and (record := read_record(line)) is not None and "embedding" in record:
            with suppress(TypeError, ValueError):
                row = row_of(record["embedding"], "float32")
                return OnLines(record.get("model"), len(row) // WIDTHS["float32"])
    return OnLines()


@dataclass(slots=True)
class Array:
    """What came of it: rows, those of them that are NaN, and those whose bytes in the store are not what they were."""

    rows: int = 0
    empty: int = 0
    corrupt: int = 0


def write_array(
    path: Path,
    store: Vectors,
    results: BinaryIO,
    taken: Taken | None,
    checkpoint: Callable[[], object] = bool,
    *,
    written: Written | None = None,
) -> Array:
    """Put the array and the ids in their places, each in one step, the ids first; `written` as `joined` has it.

    Raises InputError, OutputError (73) and OutputIOError (74); what was there before is there then.
    """
    made, dim = Array(), store.dim
    if dim is None:
        return made
    path = real(path, follow=True)
    try:
        with replacing(path) as fd, replacing(ids_path(path)) as beside:
            disk.write_all(fd, bytes(HEAD))
            for number, chunk in enumerate(_chunks(results, taken, checkpoint, written)):
                rows = [*_rows(store, chunk, made)]
                disk.write_all(fd, b"".join(rows))
                disk.write_all(beside, (b",\n" if number else b"[") + b",\n".join(map(codec.dumps, chunk.idents)))
                made.rows += len(rows)
            disk.write_all(beside, b"]\n" if made.rows else b"[]\n")
            _put_head(fd, _head(store.dtype, made.rows, dim))
    except OSError as error:
        raise OutputIOError(f"{path}: cannot be written: {error.strerror or error}") from error
    disk.let_go(fd)
    disk.let_go(beside)
    return made


def faults_of(path: Path, store: Store, results: BinaryIO, taken: Taken | None) -> Iterator[tuple[int, str | None]]:
    """The rows of an array, from 0, that are not the vectors of its ids, with the id: by the checksums on the lines.

    Row -1 stands for the whole: it has another shape. Raises OutputError if it cannot be read.
    """
    try:
        with os.fdopen(open_regular(path, follow=True, own=False), "rb") as file:
            match = _SHAPE.search(file.read(HEAD))
            width = store.width
            count = 0
            if match is None or match[1].decode() != _KINDS[store.dtype] or int(match[3]) != store.dim:
                yield -1, None
                return
            for chunk in _chunks(results, taken, bool):
                data = file.read(width * len(chunk.records))
                for place, record in enumerate(chunk.records):
                    row = data[place * width : (place + 1) * width]
                    if crc32()(row) != _sum_of(record, store):
                        yield count + place, chunk.idents[place]
                count += len(chunk.records)
            if count != int(match[2]) or file.read(1):
                yield -1, None
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror}") from error


def fill(records: Sequence[dict[str, Json]], store: Store) -> None:
    """Put numbers on records that name rows, for tables."""
    from batcher.outputs.numbers import numbers_of

    named = [(record, place) for record in records if (place := _named(record)) is not None]
    for (record, place), row in zip(named, store.read([place[0] for _, place in named]), strict=True):
        if row and crc32()(row) == place[1]:
            record["embedding"] = [*numbers_of(row, store.dtype)]


def _chunks(
    results: BinaryIO, taken: Taken | None, checkpoint: Callable[[], object], written: Written | None = None
) -> Iterator[Chunk]:
    for chunk in joined(Places(results, None, checkpoint), taken, written=written):
        checkpoint()
        yield chunk


def _rows(store: Vectors, chunk: Chunk, made: Array) -> Iterator[bytes]:
    """The row of each record: from the store, or of the numbers that stand on it, or none."""
    places: list[tuple[int, int] | None] = [*chunk.named] or [*map(_named, chunk.records)]
    found = iter(store.read([place[0] for place in places if place is not None]))
    nothing, sum_of = no_row(store.dim or 0, store.dtype), crc32()
    for number, place in enumerate(places):
        row = next(found) if place is not None else _on_line(chunk.records[number], store)
        if place is not None and (not row or sum_of(row) != place[1]):
            made.corrupt += 1
            row = b""
        if row:
            yield row
        else:
            made.empty += 1
            yield nothing


def _named(record: Mapping[str, Json]) -> tuple[int, int] | None:
    """Which row a line names, and what its bytes add up to, if it names one."""
    vector: Any = record.get("vector")
    if type(vector) is not dict:
        return None
    row, crc = vector.get("row"), vector.get("crc32")
    return (row, crc) if type(row) is int and type(crc) is int and 0 <= row < _MOST else None


def _on_line(record: Mapping[str, Json], store: Vectors) -> bytes:
    """The row of a vector that was written onto its line by a run without a store."""
    if "embedding" not in record:
        return b""
    try:
        row = row_of(record["embedding"], store.dtype)
    except (TypeError, ValueError):
        return b""
    return row if len(row) == store.width and record.get("model") == store.model else b""


def _sum_of(record: Mapping[str, Json], store: Vectors) -> int:
    place = _named(record)
    if place is not None:
        return place[1]
    return crc32()(_on_line(record, store) or no_row(store.dim or 0, store.dtype))


def _put_head(fd: int, head: bytes) -> None:
    """Write the head when it is known how many rows there are: a file to append to takes nothing at its start."""
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_APPEND)
    os.pwrite(fd, head, 0)


def _head(dtype: str, rows: int, dim: int) -> bytes:
    assert dtype in WIDTHS
    text = f"{{'descr': '{_KINDS[dtype]}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    size = HEAD - len(MAGIC) - 2
    return MAGIC + size.to_bytes(2, "little") + text.ljust(size - 1).encode() + b"\n"
