"""What results can be made into, told by a name: the formats, what each needs, what may be in its place."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from batcher.failures import ConfigError, OutputError
from batcher.inputs.formats.sidefiles import check_sides
from batcher.opening import open_regular

EXTENSIONS: Final = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
"""How the name of a table ends, and what it is (as in `ledger.names.TABLE_ENDS`)."""
TABLES: Final = ("csv", "tsv", "json", "jsonl", "parquet", "arrow")
ARRAY: Final = "npy"
FORMATS: Final = (*TABLES, ARRAY, "openai-batch", "messages")
SQLITE: Final = "sqlite:"
SQLITE_MAGIC: Final = b"SQLite format 3\0"
_TYPED: Final = frozenset({"parquet", "arrow"})


def table_of(output: str) -> str | None:
    """The format of the table that a name of a run's output asks for; `None` for results."""
    return "sqlite" if output.startswith(SQLITE) else EXTENSIONS.get(Path(output).suffix.lower())


def check_format(form: str) -> None:
    """Raise ConfigError (78) if the library that writes a format is not there."""
    if form in _TYPED and find_spec("pyarrow") is None:
        raise ConfigError(f"a {form} table: pyarrow is not installed; pip install 'batcher[data]'")


def check_database(path: Path) -> None:
    """Raise OutputError (73) for what is no SQLite database, or has beside it what is not to be opened with it."""
    try:
        check_sides(path)
        with os.fdopen(open_regular(path, follow=True), "rb") as file:
            if (head := file.read(len(SQLITE_MAGIC))) and head != SQLITE_MAGIC:
                raise OutputError(f"{path}: is no SQLite database; name another -o")
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{error.filename}: {error.strerror}; name another -o") from error
