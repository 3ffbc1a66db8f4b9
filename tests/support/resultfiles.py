"""A results file with its errors and its input, as a run leaves them, made without one."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from batcher import codec
from batcher.inputs.source import Source
from batcher.outputs.export import Export, Written, export
from batcher.outputs.taken import Taken

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    Lines = Iterable[Mapping[str, Any]]


class Files(NamedTuple):
    """A directory with `in.jsonl`, `r.jsonl` and `r.errors.jsonl`."""

    path: Path

    def input(self, rows: Lines) -> None:
        (self.path / "in.jsonl").write_bytes(_lines(rows))

    def results(self, records: Lines) -> None:
        (self.path / "r.jsonl").write_bytes(_lines(records))

    def errors(self, records: Lines) -> None:
        (self.path / "r.errors.jsonl").write_bytes(_lines(records))

    def export(self, name: str, form: str, *, source: str | None = "in.jsonl", **settings: Any) -> Written:
        """Make a file of them; `source` None: of the results alone. Settings are those of `Taken` and `Export`."""
        of_input = {key: settings.pop(key) for key in ("recipe", "at_most", "selection") if key in settings}
        output = name if name.startswith("sqlite:") else str(self.path / name)
        taken = None if source is None else Taken(source=Source(str(self.path / source)), **of_input)
        if taken is not None and taken.selection is not None:
            taken.selection.prepare(taken.source, taken.at_most)
        what, errors = Export(form=form, output=output, **settings), self.path / "r.errors.jsonl"
        with ExitStack() as stack:
            if taken is not None:
                stack.callback(taken.source.close)
            results = stack.enter_context((self.path / "r.jsonl").open("rb"))
            failures = stack.enter_context(errors.open("rb")) if errors.exists() else None
            return export(what, results, failures, taken)

    def table(self, **settings: Any) -> list[dict[str, Any]]:
        """The rows of a JSON table of them."""
        self.export("table.json", "json", **settings)
        rows: list[dict[str, Any]] = orjson.loads((self.path / "table.json").read_bytes())
        return rows


def result(seq: int, ident: str, text: str = "an answer", **fields: Any) -> dict[str, Any]:
    return {"id": ident, "seq": seq, "hash": f"{seq:016x}", "endpoint": "/api/chat", "text": text, **fields}


def failure(seq: int, ident: str, code: str = "cut", **fields: Any) -> dict[str, Any]:
    error = {"class": "transient", "code": code, "message": "it broke off", **fields}
    return {"id": ident, "seq": seq, "line": seq + 1, "error": error}


def _lines(records: Lines) -> bytes:
    return b"".join(codec.dumps(record) + b"\n" for record in records)
