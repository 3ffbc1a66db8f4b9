"""What an input is to whoever reads it: rows, once from the start and again, and where each of them stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from batcher.inputs.formats.reading import Rows
    from batcher.model import Json


class Place(NamedTuple):
    """Where a row stands: the file, where there are several or it is no JSONL; what its rows are called; from 1 on."""

    file: str | None
    unit: str
    number: int

    def fields(self) -> dict[str, Json]:
        """As it stands on an error line."""
        found: dict[str, Json] = {"file": self.file} if self.file is not None else {}
        return found if self.unit == "file" else {**found, self.unit: self.number}

    def __str__(self) -> str:
        if self.unit == "file":
            return self.file or ""
        return f"{self.file}, {self.unit} {self.number}" if self.file else f"{self.unit} {self.number}"


class Part(Protocol):
    """One input. `fingerprint` is by what it is known again, empty if it cannot be told."""

    name: str
    is_regular: bool
    """It can be read again."""
    is_near: bool
    """Reading it waits for nothing but a disk of this machine."""
    fingerprint: dict[str, Json]

    def identities(self) -> Sequence[tuple[int, int]]:
        """Devices and inodes of what is read."""

    def is_unchanged(self) -> bool:
        """Whether it is known to be what it was when it was opened."""

    def would_read(self, path: Path) -> bool:
        """Whether a file that is written there would be a row next time."""

    def rows(self, first: int, checkpoint: Callable[[], object] = ..., /) -> Rows:
        """Every row once, numbered from `first` on. Raises InputError."""

    def place(self, number: int) -> tuple[str, str, int]:
        """Where its row stands that has this number, from 0."""

    def close(self) -> None: ...
