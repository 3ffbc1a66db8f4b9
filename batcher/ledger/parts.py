"""Results of one input that several runs have, each in a file of its own: read to be put together, and never changed.

A part is held against runs while it is read: what a run adds meanwhile would be in one file and not in the other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, Self

from batcher.failures import InputError, OutputError
from batcher.inputs.compression import LONGEST_MARK, as_unpacked, packing_of
from batcher.inputs.formats.folder import matched
from batcher.inputs.parts import identity_of, is_pattern
from batcher.inputs.selection import answered
from batcher.ledger import state
from batcher.ledger.errors import failed_id
from batcher.ledger.lock import share
from batcher.ledger.names import errors_path, state_path, superseded_path, table_results_path
from batcher.ledger.neighbours import former_errors
from batcher.ledger.ordering import place_on
from batcher.ledger.recovery import identify, survey, unmarked
from batcher.opening import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batcher.ledger.repair import Findings
    from batcher.ledger.state import State

_FIRST_LINE: Final = 1 << 20
"""Bytes in which the first line of a file is looked for."""
_BUFFERS: Final = 16 << 20
"""Bytes of all parts together that are read ahead."""
_LEAST, _MOST = 1 << 13, 1 << 18


class Found(NamedTuple):
    """A result: where its line begins, whose it is, and the hash of its request."""

    offset: int
    ident: str | bytes
    digest: str | bytes
    line: bytes


@dataclass(slots=True)
class Part:
    """One of them, open and held. `note` is what there is to say of its state file."""

    path: Path
    file: BinaryIO
    size: int
    state: State | None
    note: str | None
    dropped: set[int] = field(default_factory=set)
    """Where results begin that do not count."""
    _damage: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, among: int = 1) -> Self:
        """Open one of so many parts. Raises `OutputError` (73) if it cannot be read, `LockedError` (75)."""
        buffering = min(max(_BUFFERS // among, _LEAST), _MOST)
        try:
            file = os.fdopen(open_regular(path, follow=True, own=False), "rb", buffering=buffering)
        except OSError as error:
            raise OutputError(f"{path}: cannot be read: {error.strerror}") from error
        try:
            share(file.fileno(), path)
            told, note = state.read(state_path(path))
            return cls(path, file, os.fstat(file.fileno()).st_size, told, note)
        except BaseException:
            file.close()
            raise

    def survey(self) -> Findings:
        """Tell results from damage; raises `InputError` (65) if nothing in it is a result of ours, `OSError`."""
        found = survey(self.file, self.size)
        if found.foreign and not found.results:
            self.file.seek(0)
            packing = packing_of(self.file.read(LONGEST_MARK))
            words = "holds no results of batcher, and is no part of any"
            if packing is not None:
                words = f"is packed ({packing}): unpack it first, as results are read where they stand"
            raise InputError(f"{self.path}: {words}")
        self._damage = found.damage
        return found

    def results(self) -> Iterator[Found]:
        """Its results as they stand, but for those that are `dropped`. Raises `OSError`."""
        for offset, line in self._lines():
            identity = identify(line)
            if identity is not None:
                yield Found(offset, *identity, line)

    def places(self, first: int) -> Iterator[tuple[int, str | bytes, int]]:
        """As `InputOrder.arrange` wants them, with offsets counted on from `first`. Raises `OSError`."""
        for offset, line in self._lines():
            yield first + offset, *place_on(line)

    def line_at(self, offset: int) -> bytes:
        """The line that begins there, with its end. Raises `OSError`."""
        self.file.seek(offset)
        return unmarked(self.file.readline()).removesuffix(b"\n") + b"\n"

    def failures(self) -> Iterator[bytes]:
        """The lines of its errors file, if it has one. Raises `OSError`."""
        path = former_errors(self.path)
        if not os.path.lexists(path):
            return
        with os.fdopen(open_regular(path, own=False), "rb") as file:
            for line in file:
                if failed_id(line) is not None:
                    yield unmarked(line).removesuffix(b"\n") + b"\n"

    @property
    def shard(self) -> str | None:
        """Which part it is, as its last run was told: 3/8."""
        said = self.state.selection.get("shard") if self.state is not None else None
        return said if isinstance(said, str) else None

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        self.file.seek(0)
        damage = iter(self._damage)
        start, end = next(damage, (self.size, self.size))
        offset = 0
        for line in self.file:
            if offset >= end:
                start, end = next(damage, (self.size, self.size))
            if offset >= self.size:
                return
            if not start <= offset < end and offset not in self.dropped:
                yield offset, line
            offset += len(line)


def named(names: Iterable[str | Path]) -> list[Path]:
    """The files of results that are meant, each once: of a table, its results; of a pattern, those that hold answers.

    What stands beside results (errors, superseded ones), inputs and other files that a pattern matches are left out.
    Raises `InputError` (65) where a pattern matches none.
    """
    found: dict[tuple[int, int] | Path, Path] = {}
    for name in map(str, names):
        if not is_pattern(name):
            files = [Path(name)]
        else:
            root, inside = matched(name)
            paths = [root / file for file in inside]
            beside = {make(path) for path in paths for make in (errors_path, superseded_path)}
            files = [path for path in paths if path not in beside and (_of_table(path) or _has_answers(path))]
            if not files:
                raise InputError(f"{name}: none of the {len(paths)} files holds results")
        for file in files:
            path = _of_table(file) or file
            found.setdefault(identity_of(path) or path, path)
    return [*found.values()]


def _of_table(path: Path) -> Path | None:
    """The results of which a table is made, if it is one."""
    results = table_results_path(path)
    return results if results.exists() else None


def _has_answers(path: Path) -> bool:
    """Whether a file is one of results, ours or OpenAI's, by its first line; an empty one is, of a part without any."""
    try:
        with os.fdopen(open_regular(path, follow=True, own=False), "rb") as file:
            line = unmarked(as_unpacked(file).readline(_FIRST_LINE))
    except (OSError, InputError):
        return False
    return not line or identify(line) is not None or (b'"response"' in line and answered(line) is not None)
