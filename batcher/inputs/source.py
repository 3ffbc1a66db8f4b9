"""Where rows come from: one input after another, read as they are needed, or by a thread so that nothing waits."""

from __future__ import annotations

import threading
from bisect import bisect_right
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from batcher.failures import InputError
from batcher.figures import count
from batcher.inputs.chunks import ChunkedPart
from batcher.inputs.formats import FORMATS
from batcher.inputs.formats.reading import Reading
from batcher.inputs.part import Place
from batcher.inputs.parts import parts_of
from batcher.inputs.pipe import Pipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from batcher.inputs.chunks import Chunking
    from batcher.inputs.formats import Format, Line
    from batcher.inputs.formats.reading import Rows
    from batcher.inputs.part import Part
    from batcher.model import Json


class Source:
    """The inputs of a run. `lines()` yields None where nothing has arrived yet and `on_arrival` will be called.

    A file is read from its start, as standard input from where whoever opened it left off. A FIFO is waited for where
    it is read. `damage` tells what could not be read of inputs that could be read in part. Raises InputError when an
    input cannot be opened, and when nothing can be read.
    """

    def __init__(
        self,
        inputs: str | Sequence[str],
        form: Format | str | None = None,
        reading: Reading | None = None,
        *,
        part: Part | None = None,
        chunking: Chunking | None = None,
    ) -> None:
        """`part` is the one input, where it is none that a name leads to; `chunking` is how texts are cut, if so."""
        self.inputs = (inputs,) if isinstance(inputs, str) else tuple(inputs)
        reading = _telling_once(reading or Reading())
        self._note = reading.note
        self._parts = [part] if part else parts_of(self.inputs, form, reading)
        if chunking is not None:
            self._parts = [ChunkedPart(one, chunking) for one in self._parts]
        self._first = [0]
        """The number of the first row of each part, as far as they were read."""
        self.is_regular = all(part.is_regular for part in self._parts)
        self.on_arrival: Callable[[], None] = lambda: None
        self.damage: list[str] = []
        self.repeat = 1
        """How often each row is counted (`Selection.repeat`)."""

    @property
    def path(self) -> str:
        """The first input, as it was named."""
        return self.inputs[0]

    @property
    def identities(self) -> set[tuple[int, int]]:
        """Devices and inodes of the files that are read."""
        return {identity for part in self._parts for identity in part.identities()}

    def is_unchanged(self) -> bool:
        """Whether all inputs are known to be what they were when they were opened."""
        return all(part.is_unchanged() for part in self._parts)

    def would_read(self, path: Path) -> bool:
        """Whether a file that is written there would be read by the next run."""
        return any(part.would_read(path) for part in self._parts)

    @property
    def fingerprint(self) -> dict[str, Json]:
        """By what the inputs are known again; empty if that cannot be told of one of them."""
        if not self.is_regular or not all(part.fingerprint for part in self._parts):
            return {}
        if len(self._parts) == 1:
            return self._parts[0].fingerprint
        return {"inputs": [part.fingerprint for part in self._parts]}

    @property
    def size(self) -> int | None:
        """The bytes that are read to count the rows; `None` if that is not known of one of the inputs."""
        sizes = [part.fingerprint.get("size", 0 if "files" in part.fingerprint else None) for part in self._parts]
        return None if None in sizes else sum(filter(None, sizes))

    def lines(self) -> Iterator[Line | None]:
        """Every line once, from the start."""
        if self.is_regular and all(part.is_near for part in self._parts):
            return self.all_lines()
        return self._arriving()

    def all_lines(self) -> Iterator[Line]:
        """As `lines`, and it waits for what a pipe has yet to bring."""
        if len(self._parts) == 1:
            return self._of_one(self._parts[0])
        return self._of_all()

    def count(self, checkpoint: Callable[[], object], at_most: int | None = None) -> int:
        """Count the lines of files; `checkpoint` is called now and then, and what it raises ends the counting.

        Others may read the lines meanwhile.
        """
        here = threading.get_ident()

        def asked_here() -> None:
            if threading.get_ident() == here:  # Arrow reads in threads of its own, in which nobody may be asked
                checkpoint()

        rows = (1 for part in self._parts for _ in part.rows(0, asked_here))
        return sum(rows if at_most is None else islice(rows, at_most))

    def place(self, seq: int) -> Place:
        """Where a row that was read stands."""
        seq //= self.repeat
        number = bisect_right(self._first, seq) - 1
        file, unit, place = self._parts[number].place(seq - self._first[number])
        is_plain = len(self._parts) == 1 and unit == FORMATS["jsonl"].unit
        return Place(None if is_plain else file, unit, place)

    def close(self) -> None:
        for part in self._parts:
            part.close()

    def _of_one(self, part: Part) -> Iterator[Line]:
        begun = False
        try:
            rows = part.rows(0)
            for line in rows:
                begun = True
                yield line
                break
            yield from rows  # which costs less than to pass each on
        except InputError as error:
            self._tell(part, error, begun=begun)
        if not begun:
            self._tell_nothing()

    def _of_all(self) -> Iterator[Line]:
        seq, begun = 0, False
        for number, part in enumerate(self._parts):
            if number == len(self._first):
                self._first.append(seq)
            rows: Rows | None = None
            while True:
                try:
                    rows = rows or part.rows(seq)
                    line = next(rows)
                except StopIteration as end:
                    seq = end.value
                    break
                except InputError as error:
                    self._tell(part, error, begun=begun)
                    break
                begun, seq = True, line.seq + 1
                yield line
        if not begun:
            self._tell_nothing()

    def _tell(self, part: Part, error: InputError, *, begun: bool) -> None:
        """Note damage; raise it if it is all that there is."""
        name = "" if str(error).startswith(part.name) else f"{part.name}: "
        if not begun and part is self._parts[-1]:
            raise InputError(f"{name}{error}") from error
        if f"{name}{error}" not in self.damage:
            self.damage.append(f"{name}{error}")

    def _tell_nothing(self) -> None:
        """Say that there is no row: nothing went wrong, and whoever expects some would like to know."""
        names = self._parts[0].name if len(self._parts) == 1 else count(len(self._parts), "inputs")
        self._note(f"there is no row in {names}")

    def _arriving(self) -> Iterator[Line | None]:
        pipe = Pipe(self.all_lines(), self._arrived)
        while True:
            line = pipe.take()
            if line is None and pipe.ended:
                return
            yield line

    def _arrived(self) -> None:
        self.on_arrival()


def _telling_once(reading: Reading) -> Reading:
    """As it is, but what was told once is not told by the next pass over the input."""
    told: set[str] = set()

    def note(words: str) -> None:
        if words not in told:
            told.add(words)
            reading.note(words)

    return replace(reading, note=note)
