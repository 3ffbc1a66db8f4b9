"""Makes one file of other programs' out of results, whole or not at all: what there was stays until the end."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from batcher.codec import uncollected
from batcher.failures import OutputError, OutputIOError, UsageError
from batcher.ledger import disk
from batcher.ledger.names import errors_path
from batcher.ledger.neighbours import holds_results
from batcher.opening import open_regular, real
from batcher.outputs.arrays import check_array, fill, on_lines, write_array
from batcher.outputs.chats import chat_line
from batcher.outputs.columns import Columns
from batcher.outputs.forms import ARRAY, SQLITE, TABLES, check_database, check_format
from batcher.outputs.joining import joined
from batcher.outputs.openaibatch import answer_line, failure_line
from batcher.outputs.places import Places
from batcher.outputs.replacing import replacing
from batcher.outputs.table import Shape, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batcher.inputs.formats.defaults import Defaults
    from batcher.outputs.columns import Price
    from batcher.outputs.joining import Chunk
    from batcher.outputs.store import Store
    from batcher.outputs.taken import Taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is to be made, and where it goes: a path, or `sqlite:` and one. `guard` and `keep` are as in `Shape`.

    `fields` are those that `parsed` has by its schema; `defaults` what the run said for its lines, for `messages`;
    `price` tells what a line cost, for tables.
    """

    form: str
    output: str
    keep: Sequence[str] | None = None
    guard: bool = True
    table: str = "answers"
    fields: Sequence[str] = ()
    defaults: Defaults | None = None
    price: Price | None = None
    store: Store | None = None
    """Where the vectors are that lines name."""


@dataclass(slots=True)
class Written:
    """What came of it: rows or lines in the file, failures in the file of errors, lines left out.

    `missing`: columns that were to be kept, and that no row has.
    """

    rows: int = 0
    failures: int = 0
    left_out: int = 0
    missing: Sequence[str] = ()


def export(
    what: Export,
    results: BinaryIO,
    errors: BinaryIO | None,
    taken: Taken | None,
    checkpoint: Callable[[], object] = bool,
) -> Written:
    """Read results and make the file. `taken` is the input, if the rows are to be its.

    Raises UsageError, InputError, OutputError (73) and OutputIOError (74); what was there before is there then.
    """
    check_format(what.form)
    with uncollected():
        if what.form == ARRAY:
            return _array(Path(what.output), what.store, results, taken, checkpoint)
        return _export(what, Places(results, errors, checkpoint), taken, checkpoint)


def _export(what: Export, places: Places, taken: Taken | None, checkpoint: Callable[[], object]) -> Written:

    def chunks() -> Iterator[Chunk]:
        for chunk in joined(places, taken, what.keep):
            checkpoint()
            if what.store is not None:
                fill(chunk.records, what.store)
            yield chunk

    try:
        columns = Columns(dict.fromkeys(what.fields), what.price)
        if what.output.startswith(SQLITE):
            from batcher.outputs.database import upsert

            path = Path(what.output.removeprefix(SQLITE))
            check_database(path)
            return Written(upsert(path, what.table, chunks(), columns))
        path = Path(what.output)
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: is no regular file; name another -o")
        path = real(path, follow=True)
        if holds_results(path):
            raise OutputError(f"{path}: holds results of batcher, which are not written over; name another -o")
        if what.form in TABLES:
            written = _table(path, Shape(form=what.form, guard=what.guard, columns=columns), chunks)
            written.missing = [name for name in what.keep or () if name not in columns.of_input]
            return written
        if what.form == "messages":
            return _messages(path, what, chunks, taken)
        return _batch(path, chunks)
    except OSError as error:
        raise OutputIOError(f"{what.output}: cannot be written: {error.strerror or error}") from error


def _array(
    path: Path, store: Store | None, results: BinaryIO, taken: Taken | None, checkpoint: Callable[[], object]
) -> Written:
    check_array(path)
    vectors = store if store is not None and store.dim is not None else on_lines(results)
    if vectors.dim is None:
        raise UsageError(f"there is no vector in the results, of which {path} could be made")
    made = write_array(path, vectors, results, taken, checkpoint)
    if made.corrupt:
        raise OutputIOError(f"{path}: {made.corrupt} vectors in the store are not what was written, and are NaN here")
    return Written(made.rows, left_out=made.empty)


def _table(path: Path, shape: Shape, chunks: Callable[[], Iterator[Chunk]]) -> Written:
    with replacing(path) as fd:
        rows = write_table(chunks, shape, fd, lambda: os.ftruncate(fd, 0))
    disk.let_go(fd)
    return Written(rows)


def _messages(path: Path, what: Export, chunks: Callable[[], Iterator[Chunk]], taken: Taken | None) -> Written:
    if taken is None or what.defaults is None:
        raise UsageError("training chats are made of prompts and answers: say with --input what was asked")
    written = Written()
    with replacing(path) as fd:
        for chunk in chunks():
            made = [
                chat_line(line, record, what.defaults, taken.repeat)
                for line, record in zip(chunk.lines, chunk.records, strict=True)
            ]
            lines = [line for line in made if line is not None]
            written.rows += len(lines)
            written.left_out += len(made) - len(lines)
            disk.write_all(fd, b"".join(lines))
    disk.let_go(fd)
    return written


def _batch(path: Path, chunks: Callable[[], Iterator[Chunk]]) -> Written:
    """Answers go into one file, and failures into one beside it, which is there only if there are some."""
    written = Written()
    beside = errors_path(path)
    _check_batch(beside)
    with ExitStack() as stack:
        fd, failed = stack.enter_context(replacing(path)), stack.enter_context(replacing(beside))
        for chunk in chunks():
            answers = [answer_line(record) for record in chunk.records if record and "error" not in record]
            failures = [failure_line(record) for record in chunk.records if "error" in record]
            written.rows += len(answers)
            written.failures += len(failures)
            written.left_out += len(chunk.records) - len(answers) - len(failures)
            disk.write_all(fd, b"".join(answers))
            disk.write_all(failed, b"".join(failures))
    disk.let_go(fd)
    disk.let_go(failed)
    if not written.failures:
        beside.unlink(missing_ok=True)
    return written


def _check_batch(path: Path) -> None:
    """Raise OutputError if something else than failures of a batch has their name."""
    if not os.path.lexists(path):
        return
    with os.fdopen(open_regular(path), "rb") as file:
        line = file.readline(1 << 20)
    if line and b'"custom_id":' not in line:
        raise OutputError(f"{path}: holds something else than a batch's failures, which go there; name another -o")
