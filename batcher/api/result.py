"""What became of one row, for programs: the answer or the failure, beside the row as it came."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic

import orjson

from batcher.api.rows import Carried
from batcher.api.unsaid import unsaid
from batcher.api.wording import failure_in_python
from batcher.failures import BatcherError
from batcher.ledger.lines import error_line, neutral_tool_call, result_line
from batcher.ledger.vectors import to_floats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import TypeVar

    from batcher.api.schemas import Schema
    from batcher.failures import Failure
    from batcher.model import Json
    from batcher.outcome import Completion, Result as Line, Timing, Usage
    from batcher.redaction import Redactor

    R = TypeVar("R", bound="str | Mapping[str, Any] | None", default=Any)
    T = TypeVar("T", default=Any)
else:
    from typing import TypeVar

    R, T = TypeVar("R"), TypeVar("T")  # their defaults are for those who check types


class FailedRowError(BatcherError):
    """What `Result.unwrap` raises: the row has no answer. `failure` says why."""

    def __init__(self, result: Result[Any, Any], failure: Failure) -> None:
        super().__init__(f"row {result.seq + 1} (id {result.id!r}): {failure.code}: {failure.message}")
        self.failure = failure
        self.results = (result,)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.results[0], self.failure)


class Result(Generic[R, T]):
    """One row's answer, or why there is none; `R` is the type of the row, `T` of `parsed`.

    `ok` says which. Where a job failed half-way, what had come is there beside the failure. Times are seconds, tokens
    as the server counted them. A result can be pickled, and holds no connection and no key.
    """

    __slots__ = ("_line", "_record", "parsed", "row")

    row: R
    """The row as it came: its id with its type, its numbers as they were."""
    parsed: T | None
    """The answer as an object: what `schema` makes of it, else its JSON where JSON was asked for."""

    def __init__(self, line: Line, row: R, parsed: T | None, record: dict[str, Json] | None = None) -> None:
        self._line = line
        self.row = row
        self.parsed = parsed
        self._record = record

    @property
    def id(self) -> str:
        """The row's id as text; one made from the row where it has none."""
        return self._line.id

    @property
    def seq(self) -> int:
        """The number of the row, from 0; rows that are repeated count each time."""
        return self._line.seq

    @property
    def ok(self) -> bool:
        return self._line.failure is None

    @property
    def failure(self) -> Failure | None:
        """What went wrong, without keys: `kind`, `code` for programs, `message` for people, `status`."""
        return self._line.failure

    @property
    def text(self) -> str:
        """The answer's text; the partial text of a job that failed half-way, "" if there is none."""
        return self._line.text

    @property
    def thinking(self) -> str:
        return self._line.completion.first.thinking if self._line.completion else ""

    @property
    def finish_reason(self) -> str | None:
        return self._line.completion.first.finish_reason if self._line.completion else None

    @property
    def tool_calls(self) -> list[dict[str, Json]]:
        """The calls of tools, their arguments as objects."""
        completion = self._line.completion
        return [neutral_tool_call(call) for call in completion.first.tool_calls] if completion else []

    @property
    def flags(self) -> list[str]:
        """What is doubtful about the answer, as `docs/results.md` names it."""
        return [*self._line.completion.flags] if self._line.completion else []

    @property
    def usage(self) -> Usage | None:
        """Tokens of all requests for the row, as far as they were counted; its part, by length, where it shared one."""
        return self._line.completion.used if self._line.completion else None

    @property
    def vector(self) -> Sequence[float] | None:
        """The vector of a row with one text; None for a row with a list of them: see `vectors`."""
        vectors = self.vectors
        return vectors[0] if vectors and not self._line.many else None

    @property
    def vectors(self) -> list[Sequence[float]] | None:
        """All vectors of the row, one for each of its texts; None if it has none."""
        completion = self._line.completion
        if completion is None or not completion.vectors:
            return None
        return [to_floats(vector) for vector in completion.vectors]

    @property
    def meta(self) -> Json:
        """What the row had under `meta`."""
        meta = self._line.meta
        return meta.meta if type(meta) is Carried else meta

    @property
    def model(self) -> str | None:
        return self._line.model

    @property
    def server(self) -> str | None:
        """Who answered last; None if nothing was sent."""
        return self._line.server

    @property
    def attempts(self) -> int:
        """Requests that were made for it."""
        return self._line.attempts

    @property
    def timing(self) -> Timing | None:
        """When the last attempt began and ended (`total`, `ttft`, in seconds); None if nothing was sent."""
        return self._line.timing

    @property
    def completion(self) -> Completion | None:
        """All that the server answered."""
        return self._line.completion

    def unwrap(self) -> Result[R, T]:
        """Give the result itself if it is one of an answer. Raises FailedRowError, which says why it is not."""
        if self.failure is not None:
            raise FailedRowError(self, self.failure)
        return self

    def to_dict(self) -> dict[str, Json]:
        """Give the line of the results file, or of the errors file, that a run would write, in JSON's types."""
        if self._record is not None:
            return dict(self._record)
        line = replace(self._line, meta=self.meta)
        record: dict[str, Json] = orjson.loads(result_line(line) if self.ok else error_line(line))
        return record

    def keep(self, record: dict[str, Json]) -> None:
        """Remember the line that it was read from."""
        self._record = record

    def of_row(self, seq: int, row: R) -> Result[R, T]:
        """Give the same answer for another row that asks for it."""
        record = None if self._record is None else {**self._record, "seq": seq}
        return Result(replace(self._line, seq=seq), row, self.parsed, record)

    def __repr__(self) -> str:
        what = f"failed {self.failure.code}" if self.failure else repr(self.text[:60]) if self.text else "ok"
        return f"<Result {self.id!r} {what}>"


def given(line: Line, redactor: Redactor | None, schema: Schema | None, row: Any = None) -> Result[Any, Any]:
    """Make what a program gets of a finished job: the one place by which all results pass on their way to it."""
    if type(line.meta) is Carried:
        row = line.meta.row
    if redactor is not None:
        unsaid(line, redactor)
    if line.failure is not None:
        line.failure = failure_in_python(line.failure)
        return Result(line, row, None)
    completion = line.completion
    if schema is not None and completion is not None:
        return Result(line, row, schema.read(completion))
    return Result(line, row, None if completion is None else completion.parsed)
