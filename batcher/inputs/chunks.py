"""Long texts become chunks: rows of their own, under the id of their text and a number, with their place in it.

A text is cut at an end of a paragraph, a sentence or a word. Tokens are estimated, on the side of too many: a word has
one for each four letters, or two outside of ASCII, a character of a script without blanks is one.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from batcher import codec
from batcher.failures import LineError, UsageError
from batcher.inputs.formats.jsonl import known_by, read_row, too_large
from batcher.inputs.formats.lines import Line
from batcher.inputs.identity import derived_id, own_id
from batcher.inputs.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batcher.inputs.formats.reading import Rows
    from batcher.inputs.formats.rows import Data
    from batcher.inputs.part import Part
    from batcher.model import Json

TEXTS: Final = ("input", "text")
"""Where a row has the text to embed."""
_SIZE: Final = re.compile(r"(\d{1,7})([tc])")
_PIECE: Final = re.compile(r"[^\W\d_]+|\d{1,3}|\s+|.", re.DOTALL)
_END: Final = (
    re.compile(r"\n\s*\n\s*"),
    re.compile("(?:[.!?…]['\")\\]]*\\s+|[。\uff01\uff1f]|\n)"),
    re.compile(r"\s+"),
)
"""Where a text is cut, best first: after a paragraph, a sentence or a line, a word."""
_LAST: Final = 0.6
"""From this part of a chunk on its end is looked for."""
_LETTERS: Final = (4, 2)
"""Letters of a token: of ASCII, and of other scripts that have words."""


@dataclass(frozen=True, slots=True)
class Size:
    """So many tokens ("t") or characters ("c")."""

    count: int
    unit: str = "t"

    @classmethod
    def of(cls, value: str) -> Size:
        """Read `400t` or `2000c`. Raises ValueError."""
        match = _SIZE.fullmatch(str(value).strip().lower())
        if match is None:
            raise ValueError("must be a number of tokens such as 400t, or of characters such as 2000c")
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"


@dataclass(frozen=True, slots=True)
class Chunking:
    """How texts are cut: chunks of `size`, each of which begins with the last `overlap` of the one before.

    `recipe` makes of a row what is embedded. Raises UsageError for an overlap of more than half a
    chunk, and for a recipe that asks something else.
    """

    size: Size
    overlap: Size = field(default_factory=lambda: Size(0))
    recipe: Recipe | None = None

    def __post_init__(self) -> None:
        if self.size.count < 1:
            raise UsageError("--chunk must be at least 1t")
        if self.overlap.count and self.overlap.unit != self.size.unit:
            raise UsageError(f"--overlap is counted as --chunk is: {self.overlap.count}{self.size.unit}")
        if self.recipe is not None and self.recipe.asks and self.recipe.embed is None:
            raise UsageError("--chunk cuts texts to embed, and the template asks something else: say it with --embed")
        if 2 * self.overlap.count > self.size.count:
            raise UsageError(f"--overlap {self.overlap} is more than half of --chunk {self.size}")

    @classmethod
    def of(cls, size: str | None, overlap: str | None, recipe: Recipe | None) -> Chunking | None:
        """As an option says it; None if there are to be no chunks. Raises UsageError."""
        if size is None:
            if overlap is not None:
                raise UsageError("--overlap is of chunks: say --chunk as well, such as 400t")
            return None
        try:
            return cls(Size.of(size), Size(0) if overlap is None else Size.of(overlap), recipe)
        except ValueError as error:
            raise UsageError(f"--chunk and --overlap {error}") from error

    def said(self) -> dict[str, Json]:
        """What was chosen, for the state file."""
        told: dict[str, Json] = {"size": str(self.size), "overlap": str(self.overlap)}
        return told if self.recipe is None else {**told, "recipe": dict(self.recipe.said)}

    @classmethod
    def again(cls, said: Mapping[str, Any]) -> Chunking:
        """As it was said. Raises ValueError, KeyError."""
        recipe = Recipe.again(said["recipe"]) if "recipe" in said else None
        return cls(Size.of(said["size"]), Size.of(said["overlap"]), recipe)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the chunks of a text begin and end, without the blanks around them; one at least."""
        places, counts = self._measured(text)
        start, any_yet = 0, False
        while start < len(text):
            end = self._end(text, start, places, counts)
            first, last = _stripped(text, start, end)
            if first < last:
                any_yet = True
                yield first, last
            if end >= len(text):
                break
            start = max(self._back(text, end, places, counts), start + (end - start + 1) // 2)
        if not any_yet:
            yield 0, len(text)

    def _measured(self, text: str) -> tuple[Sequence[int], Sequence[int]]:
        """Places in the text at which it may be cut, and how much stands before each."""
        if self.size.unit == "c":
            everywhere = range(len(text) + 1)
            return everywhere, everywhere
        places, counts, count = array("Q", [0]), array("Q", [0]), 0
        for match in _PIECE.finditer(text):
            place = match.start()
            for step in _steps(match[0]):
                place, count = place + step, count + (not match[0].isspace())
                places.append(place)
                counts.append(count)
        return places, counts

    def _end(self, text: str, start: int, places: Sequence[int], counts: Sequence[int]) -> int:
        """Where a chunk ends that begins at `start`: as far as it may go, or at an end of something before that."""
        at = bisect_right(places, start) - 1
        far = places[max(bisect_right(counts, counts[at] + self.size.count) - 1, at + 1)]
        if far >= len(text):
            return len(text)
        least = start + int((far - start) * _LAST)
        for pattern in _END:
            ends = [match.end() for match in pattern.finditer(text, least, far + 1) if match.end() <= far]
            if ends:
                return ends[-1]
        end = far
        while end > least + 1 and unicodedata.combining(text[end]):
            end -= 1
        return end

    def _back(self, text: str, end: int, places: Sequence[int], counts: Sequence[int]) -> int:
        """Where the chunk behind `end` begins: before it by the overlap, at the beginning of a word."""
        if not self.overlap.count:
            return end
        at = bisect_right(places, end) - 1
        start = places[bisect_left(counts, max(0, counts[at] - self.overlap.count))]
        blank = _END[2].search(text, start, end)
        return blank.end() if blank is not None and not text[max(0, start - 1)].isspace() else start


class ChunkedPart:
    """An input whose rows are the chunks of the rows of another one."""

    def __init__(self, part: Part, chunking: Chunking) -> None:
        self._part, self._chunking = part, chunking
        self._lock = Lock()  # rows may be counted while they are read
        self._first, self._rows = array("Q"), array("Q")
        """Of each row, as far as they were read: the number of its first chunk, and its own."""
        self.name, self.is_regular, self.is_near = part.name, part.is_regular, part.is_near
        self.fingerprint: dict[str, Json] = (
            {**part.fingerprint, "chunks": chunking.said()} if part.fingerprint else part.fingerprint
        )

    def identities(self) -> Sequence[tuple[int, int]]:
        return self._part.identities()

    def is_unchanged(self) -> bool:
        return self._part.is_unchanged()

    def would_read(self, path: Path) -> bool:
        return self._part.would_read(path)

    def rows(self, first: int, checkpoint: Callable[[], object] = bool, /) -> Rows:
        number, seen = first, dict[int, int]()
        for line in self._part.rows(0, checkpoint):
            with self._lock:
                if not self._rows or line.seq > self._rows[-1]:
                    self._first.append(number - first)
                    self._rows.append(line.seq)
            for data in _chunks(line.data, self._chunking, seen):
                yield Line(number, line.offset, data)
                number += 1
        return number

    def place(self, number: int) -> tuple[str, str, int]:
        return self._part.place(self._rows[bisect_right(self._first, number) - 1])

    def close(self) -> None:
        self._part.close()


class _Unfit:
    """A row of which no chunks can be made, for the reason that its error says."""

    __slots__ = ("_error",)

    def __init__(self, error: LineError) -> None:
        self._error = error

    def values(self) -> dict[str, Json]:
        raise self._error

    record = values

    def raw(self) -> bytes:
        return f"{self._error.id}\n{self._error.code}\n{self._error.message}".encode("utf-8", "surrogatepass")


def _chunks(data: Data | None, chunking: Chunking, seen: dict[int, int]) -> Iterator[Data]:
    """The chunks of a row as lines of a job file. `seen` counts ids that were made, so that equal rows differ."""
    recipe, ident = chunking.recipe, None
    try:
        row = _row(data, recipe)
        ident = own_id(row) if recipe is None else recipe.own_id(row)
        record = row if recipe is None else recipe.record(row)
        key = _text_of(record)
        if ident is None:
            ident = derived_id(known_by(data, row, recipe))  # type: ignore[arg-type]  # there is a row
            known = hash(ident)
            seen[known] = times = seen.get(known, 0) + 1
            ident = ident if times == 1 else f"{ident}#{times}"
        codec.dumps(record)
    except TypeError as error:
        yield _Unfit(LineError("input_invalid", f"the row cannot be written as JSON: {error}", id=ident))
    except LineError as error:
        error.id = error.id or ident
        yield _Unfit(error)
    else:
        yield from map(codec.dumps, _lines(record, key, ident, chunking))


def _row(data: Data | None, recipe: Recipe | None) -> dict[str, Json]:
    if data is None:
        raise too_large()
    return read_row(data, recipe)


def _text_of(record: Mapping[str, Json]) -> str:
    """Under which key a record has its one text to embed. Raises LineError."""
    key = next((key for key in TEXTS if type(record.get(key)) is str), None)
    if key is None or record.get("body") is not None:
        raise LineError("input_invalid", 'a text is what is cut into chunks, and the row has none under "input"')
    return key


def _lines(record: dict[str, Json], key: str, ident: str, chunking: Chunking) -> Iterator[dict[str, Json]]:
    text, meta = record[key], record.get("meta", record.get("metadata"))
    for number, (start, end) in enumerate(chunking.spans(text)):
        place = {"of": ident, "start": start, "end": end}
        if meta is not None:
            place["meta"] = meta
        yield {**record, "id": f"{ident}#{number}", key: text[start:end], "meta": place}


def _steps(piece: str) -> Iterator[int]:
    """How many characters each token of a piece has, about."""
    if piece.isspace():
        yield len(piece)
    elif not piece.isascii() and _is_wide(piece[0]):
        yield from (1 for _ in piece)
    else:
        letters = _LETTERS[not piece.isascii()]
        for place in range(0, len(piece), letters):
            yield min(letters, len(piece) - place)


def _is_wide(letter: str) -> bool:
    """Whether it is of a script that writes no blanks between words: Han, kana, Hangul, Thai and others."""
    return letter >= "\u2e80" or "\u0e00" <= letter <= "\u0eff" or "\u1000" <= letter <= "\u109f"


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
