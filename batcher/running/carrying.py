"""What lines name beside their file, taken along when they come to stand in another one: vectors and images."""

from __future__ import annotations

import os
import shutil
from array import array
from dataclasses import dataclass
from filecmp import cmp
from itertools import chain, count
from typing import TYPE_CHECKING, Final, Self

import orjson

from batcher.failures import InputError
from batcher.ledger.fallback import dump_anything
from batcher.ledger.recovery import read_record
from batcher.opening import open_regular
from batcher.outputs.store import Store, renamed, row_named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

_NOWHERE: Final = 0


@dataclass(slots=True)
class Rows:
    """Vectors of several stores on their way to one: a row that several lines share is shared again."""

    store: Store
    sources: Mapping[int, Store]
    """By the number of the file that a line was in."""
    _at: Mapping[int, array[int]]
    """Where the rows of each have come to stand, plus 1: 8 bytes a row."""

    @classmethod
    def of(cls, path: Path, sources: Mapping[int, Store], stack: ExitStack) -> Self | None:
        """Make a store for the rows of these, open until the stack is left; None without any.

        Raises `InputError` (65) if they are of several models, lengths or widths.
        """
        filled = {number: store for number, store in sources.items() if store.rows}
        if not filled:
            return None
        first, *others = filled.values()
        for store in others:
            if (store.model, store.dim, store.dtype) != (first.model, first.dim, first.dtype):
                raise InputError(
                    f"{first.path} holds vectors of {first.model}, {first.dim} numbers of {first.dtype}, and "
                    f"{store.path} those of {store.model}, {store.dim} numbers of {store.dtype}: one file has one kind"
                )
        places = {number: array("Q", bytes(8 * store.rows)) for number, store in filled.items()}
        made = cls(Store.open(path, first.dtype), filled, places)
        stack.callback(made.store.close)
        return made

    def carried(self, numbers: Sequence[int], lines: Sequence[bytes]) -> list[bytes]:
        """These lines, each of the file of that number, with the rows that they name by now. Raises `OSError`."""
        named = [
            row_named(line) if number in self.sources else None for number, line in zip(numbers, lines, strict=True)
        ]
        for number, source in self.sources.items():
            places = self._at[number]
            fresh = {
                row.number: None
                for row, of in zip(named, numbers, strict=True)
                if row is not None and of == number and places[row.number] == _NOWHERE
            }
            if fresh:
                for old, new in zip(fresh, self.store.append(source.model, [*source.read([*fresh])]), strict=True):
                    places[old] = new.number + 1
        return [
            line if row is None else renamed(line, self._at[number][row.number] - 1)
            for line, row, number in zip(lines, named, numbers, strict=True)
        ]


@dataclass(slots=True)
class Images:
    """Files of images on their way to one directory; where it can be, they get a second name and no copy."""

    directory: Path
    sources: Sequence[Path]
    """The directory beside each file that lines were in."""

    def carried(self, numbers: Sequence[int], lines: Sequence[bytes]) -> list[bytes]:
        """These lines, with the paths of their images by now. Raises `OSError`."""
        return [
            self._carried(self.sources[number], line) if b'"image' in line else line
            for number, line in zip(numbers, lines, strict=True)
        ]

    def _carried(self, source: Path, line: bytes) -> bytes:
        record = read_record(line)
        if record is None:
            return line
        is_changed = False
        for name in ("image", "images"):
            said = record.get(name)
            paths = said if isinstance(said, list) else [said]
            moved = [self._moved(source, path) for path in paths]
            if moved != paths:
                record[name] = moved if isinstance(said, list) else moved[0]
                is_changed = True
        if not is_changed:
            return line
        try:
            return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # as in `ledger/lines`
            return dump_anything(record) + b"\n"

    def _moved(self, source: Path, path: object) -> object:
        """The path of an image where it is now; what is none of the directory stays as it is."""
        folder, _, name = path.rpartition("/") if isinstance(path, str) else ("", "", "")
        if folder != source.name or not name or not (source / name).is_file():
            return path
        self.directory.mkdir(mode=0o700, exist_ok=True)
        target = self._target(source / name)
        if not target.exists():
            try:
                os.link(source / name, target, follow_symlinks=False)
            except OSError:
                with os.fdopen(open_regular(source / name), "rb") as image, target.open("xb") as copy:
                    shutil.copyfileobj(image, copy)
        return f"{self.directory.name}/{target.name}"

    def _target(self, image: Path) -> Path:
        """Where an image goes: under its own name, or if another part's has that, under one with a number."""
        names = chain((image.name,), (f"{image.stem}-{number}{image.suffix}" for number in count(2)))
        targets = (self.directory / name for name in names)
        return next(path for path in targets if not path.exists() or cmp(image, path, shallow=False))
