"""Rows of a program whose results are kept in a file: asked as a file's rows are, taken up again, and read back."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batcher.api.result import Result, given
from batcher.failures import Failure, FailureClass, LineError
from batcher.inputs.comparison import DuplicateError
from batcher.inputs.formats import parse_job
from batcher.inputs.formats.jsonl import refused
from batcher.inputs.selection import Turns
from batcher.inputs.source import Source
from batcher.ledger.recovery import read_record
from batcher.opening import open_regular
from batcher.outcome import Choice, Completion, Result as Finished, Usage
from batcher.running.wiring import defaults_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batcher.api.arguments import Chosen
    from batcher.api.rows import Reader
    from batcher.api.schemas import Schema
    from batcher.inputs.formats.reading import Rows
    from batcher.model import Json


@dataclass(slots=True)
class Given:
    """Rows in memory as an input: see `inputs.part.Part`."""

    data: Sequence[Any]
    reader: Reader
    name: str = "rows"
    is_regular: bool = True
    is_near: bool = True
    fingerprint: dict[str, Json] = field(default_factory=dict)

    def identities(self) -> Sequence[tuple[int, int]]:
        return ()

    def is_unchanged(self) -> bool:
        return False

    def would_read(self, _path: Path) -> bool:
        return False

    def rows(self, first: int, checkpoint: Callable[[], object] = bool) -> Rows:
        for number, row in enumerate(self.data):
            if not number % 1000:
                checkpoint()
            yield self.reader.line(row, first + number)
        return first + len(self.data)

    def place(self, number: int) -> tuple[str, str, int]:
        return self.name, "row", number + 1

    def close(self) -> None: ...


def source_of(part: Given, repeat: int) -> Source:
    """The rows as an input."""
    source = Source(part.name, part=part)
    source.repeat = repeat
    return source


def read_back(
    part: Given, chosen: Chosen, results: Path, errors: Path | None, schema: Schema | None
) -> list[Result[Any, Any]]:
    """The results of rows in their order, out of the files; rows that have neither result nor error line are left out.

    What a result is of is told by its id, since rows may stand elsewhere than when it was asked.
    """
    jobs = list(_jobs(part, chosen))
    wanted = {ident for _, _, ident, _ in jobs if ident is not None}
    found = _records(results, wanted, follow=True)
    failed = _records(errors, wanted, follow=chosen.options.errors is not None) if errors is not None else {}
    made: list[Result[Any, Any]] = []
    for seq, row, ident, refusal in jobs:
        if refusal is not None:
            made.append(given(refusal, None, schema, row))
        elif ident is not None and (record := found.get(ident) or failed.get(ident)):
            result = given(_finished(record, seq), None, schema, row)
            result.keep(record)
            made.append(result)
    return made


def _jobs(part: Given, chosen: Chosen) -> Iterator[tuple[int, Any, str | None, Finished | None]]:
    """Of each row: its number, itself, and the id of its job, or what refuses it."""
    repeat = chosen.options.repeat
    seen: dict[str, str] = {}
    turns = Turns(seen.__contains__, repeat)
    defaults = defaults_for(chosen.options, chosen.environ, "", "-")
    for row in part.rows(0):
        for turn in range(repeat):
            line = row._replace(seq=row.seq * repeat + turn)
            data, ident, refusal = part.data[row.seq], None, None
            try:
                job = turns.job(parse_job, line, defaults)
            except LineError as error:
                refusal = refused(error, line)
            else:
                if seen.setdefault(job.id, job.hash) == job.hash:
                    ident = job.id
                else:
                    refusal = refused(DuplicateError(job.id, is_named=True), line)
            yield line.seq, data, ident, refusal


def _records(path: Path, wanted: set[str], *, follow: bool) -> dict[str, dict[str, Json]]:
    """The lines of some ids in a file of results, or of errors; the last of each counts."""
    found: dict[str, dict[str, Json]] = {}
    if path.exists():
        with os.fdopen(open_regular(path, follow=follow), "rb") as file:
            for line in file:
                record = read_record(line)
                if record is not None and isinstance(ident := record.get("id"), str) and ident in wanted:
                    found[ident] = record
    return found


def _finished(record: Mapping[str, Any], seq: int) -> Finished:
    """What a line of a results file, or of an errors file, says."""
    result = Finished(
        id=record["id"],
        seq=seq,
        hash=record.get("hash", ""),
        model=record.get("model"),
        path=record.get("endpoint"),
        meta=record.get("meta"),
        attempts=record.get("attempts", 0),
        server=record.get("server"),
        many="embeddings" in record,
    )
    error = record.get("error")
    if error is not None:
        result.failure = Failure(
            FailureClass(error["class"]), error["code"], error["message"], status=error.get("status")
        )
        if record.get("partial") or record.get("usage"):
            partial = {0: Choice(texts=[record["partial"]])} if record.get("partial") else {}
            usage = Usage(**record["usage"]) if record.get("usage") else None
            result.completion = Completion(choices=partial, usage=usage)
        return result
    completion = result.completion = Completion(
        parsed=record.get("parsed"), served_model=record.get("served_model"), flags=list(record.get("flags", ()))
    )
    for choice in record.get("choices") or [record]:
        if "text" in choice:
            completion.choices[choice.get("index", 0)] = Choice(
                texts=[choice["text"]],
                thoughts=[choice["thinking"]] if "thinking" in choice else [],
                tool_calls=list(choice.get("tool_calls", ())),
                refusals=[choice["refusal"]] if "refusal" in choice else [],
                logprobs=list(choice.get("logprobs", ())),
                finish_reason=choice.get("finish_reason"),
            )
    if "usage" in record:
        completion.usage = Usage(**record["usage"])
    vectors = record.get("embeddings") or ([record["embedding"]] if "embedding" in record else None)
    completion.vectors = vectors
    return result
