"""The names of the files beside the results, made from the name of the results file."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from batcher.failures import OutputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

PART: Final = ".part"
"""What is added to the name of a results file that takes that name when it is complete (`--atomic`)."""


LINES: Final = ".jsonl"
"""What the name of a results file mostly ends with; the names beside it do without, and without nothing else."""


TABLE_ENDS: Final = (".csv", ".tsv", ".tab", ".json", ".parquet", ".pq", ".arrow", ".feather", ".db", ".sqlite", ".npy")
"""How the names of tables end that are made of results beside them."""
_RESULTS: Final = ".results"
MODEL: Final = "{model}"
"""What stands in a name for that of the model."""
_NO_NAME: Final = re.compile(r"[^\w.-]+")
"""What names of models have and names of files had better not: separators, colons, spaces, what terminals obey."""


def stem(results: Path) -> str:
    """Give what the names beside the results begin with: answers.jsonl → answers, out.m1 → out.m1.

    Beside results of which a table is made they begin as the table's: out.csv.results.jsonl → out.csv.
    """
    name = results.name.removesuffix(PART).removesuffix(LINES)
    table = name.removesuffix(_RESULTS)
    return table if table != name and table.endswith(TABLE_ENDS) else name


def table_results_path(table: Path) -> Path:
    """Name the results of which a table is made: out.csv → out.csv.results.jsonl."""
    return _beside(table, f"{table.name}{_RESULTS}{LINES}")


def for_model(name: str, model: str) -> str:
    """Name the file of one of several models: answers.jsonl → answers.qwen2.5-7b.jsonl, {model}.csv → qwen2.5-7b.csv.

    Which name a model has hangs on no other model. Raises UsageError for a model whose name has no letter in it.
    """
    word = model_word(model)
    if MODEL in name:
        return name.replace(MODEL, word)
    directory, slash, last = name.rpartition("/")
    end = f"{_RESULTS}{LINES}" if last.endswith(f"{_RESULTS}{LINES}") else PurePath(last).suffix
    return f"{directory}{slash}{last.removesuffix(end)}.{word}{end}"


def model_word(model: str) -> str:
    """The name of a model as names of files have it: library/qwen2.5:7b → library-qwen2.5-7b. Raises UsageError."""
    word = _NO_NAME.sub("-", model).strip(".-")
    if not word:
        raise UsageError(f"-m {model!r}: no file can be named for it")
    return word


def errors_path(results: Path) -> Path:
    """Name the file of the failures that still stand: results.jsonl → results.errors.jsonl."""
    return _beside(results, f"{stem(results)}.errors.jsonl")


def quarantine_path(results: Path) -> Path:
    """Name the file of the bytes that repair removed: results.jsonl → results.quarantine."""
    return _beside(results, f"{stem(results)}.quarantine")


def state_path(results: Path) -> Path:
    """Name the file of the run's parameters: results.jsonl → results.state.json."""
    return _beside(results, f"{stem(results)}.state.json")


def superseded_path(results: Path) -> Path:
    """Name the file of replaced results: results.jsonl → results.superseded.jsonl."""
    return _beside(results, f"{stem(results)}.superseded.jsonl")


def vectors_path(results: Path) -> Path:
    """Name the store of vectors: results.jsonl → results.vectors."""
    return _beside(results, f"{stem(results)}.vectors")


def ids_path(array: Path) -> Path:
    """Name the file with the ids of the rows of an array: notes.npy → notes.npy.ids.json."""
    return _beside(array, f"{array.name}.ids.json")


def images_path(results: Path) -> Path:
    """Name the directory of images: results.jsonl → results.images."""
    return _beside(results, f"{stem(results)}.images")


def part_path(out: Path) -> Path:
    """Name the file that a run works on until it is complete: results.jsonl → results.jsonl.part."""
    return _beside(out, out.name + PART)


def _beside(path: Path, name: str) -> Path:
    """Name what stands beside a file. Raises OutputError for `.` and `/`, which are the names of no file."""
    if not path.name:
        raise OutputError(f"{path}: is a directory; name a file")
    return path.with_name(name)
