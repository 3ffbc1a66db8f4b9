"""Reads a results file back: tells results from damage, and takes the damage out.

    result   a JSON object with an id, a seq and the hash of a request, alone on its line, the first with that id
    damage   all else: the rest of a write that was cut short, pages that a power cut left empty, other people's lines

A byte order mark before a line, as editors leave, is nothing, and goes.

What batcher wrote begins `{"id":"…","seq":N,"hash":"16 hex"` and is taken at that, without reading its JSON, if
nothing about the line says that a write was torn there. That rests on how files break: a line is cut short, glued to
what followed it, or has pages of zeros; its bytes are not exchanged for others. The last line is always read whole, and
so are all of them where any damage is found: what others appended to a torn line may make it end like a result.
"""

from __future__ import annotations

import os
import re
from array import array
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import orjson

from batcher import codec
from batcher.failures import OutputError
from batcher.inputs.done import DoneIds
from batcher.inputs.formats.objects import without_lone_escapes
from batcher.ledger import disk
from batcher.ledger.repair import Findings, Repair, mend
from batcher.ledger.seal import Prefixes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from batcher.ledger.seal import Seal
    from batcher.model import Json

Identity: TypeAlias = "tuple[str | bytes, str | bytes]"
"""The id and the request's hash of a line; either as text or as the UTF-8 of it."""

_MARK = b"\xef\xbb\xbf"
"""A byte order mark in UTF-8."""
_HASH = re.compile("[0-9a-fA-F]{16}")

_PREFIX = re.compile(rb'\{"id":"([^"\\]*)","seq":[0-9]+,"hash":"([0-9a-f]{16})"[,}]')
# an id with a backslash in it does not match, and is unescaped by the JSON reader
_SECOND = b'","seq":'
_TORN_PARTS = (
    *b'{"id":"',
    rb'[^"\\]*+(?:\\.[^"\\]*+)*+\\?',  # possessive: an id of megabytes is not to be remembered piece by piece
    *b'","seq":',
    b"[0-9]*",
    *b',"hash":"',
    *[b"[0-9a-f]"] * 16,
    b'".*',
)
_LOST = re.compile(rb"(?:\{[^\0]*+)?\0++(?:[^\0]++\0{8,}+)*+[^\0]*+\0*+")
# the last page is as short as the end of the file leaves it
_TORN = re.compile(
    b"".join(b"(?:" + (re.escape(bytes([part])) if isinstance(part, int) else part) for part in _TORN_PARTS)
    + b")?" * len(_TORN_PARTS),
    re.DOTALL,
)
# The beginning of a result, broken off anywhere

_PIECE = 1 << 18
"""Bytes of whole lines that are looked at together: they stay in the cache of the processor."""

_END = b"}\n"
_HEADS = re.compile(
    rb'\{"id":"(?:(?<=\}\n.{7})([^"]*)","seq":[0-9]+,"hash":"(.{16})"[,}]'
    rb'|(?:[^"\\\n]|\\.)*","seq":)'
)
# Finds the beginning of every result; one that stands elsewhere than behind the end of another has no groups. The
# pattern begins with plain characters, which `re` looks for many times as fast as for anything else.


def scan(
    file: BinaryIO, size: int, done: DoneIds, checkpoint: Callable[[], object] = bool, *, wholly: bool = False
) -> Findings:
    """Read a file of `size` bytes from its start, and remember in `done` what each result in it is of.

    `wholly`: nothing is taken at its beginning. `checkpoint` is called now and then; what it raises ends the reading.
    """
    found = Findings()
    start = 0
    last = b""
    whose = parse if wholly else identify
    while start < size and (lines := file.readlines(_PIECE)):
        checkpoint()
        piece = b"".join([_END, *lines])
        if not start:
            done.expect(len(lines) * size // len(piece))
        end = start + len(piece) - len(_END)
        if end >= size:
            last = lines[-1]
            identities = [*map(whose, lines[:-1]), parse(last)]
            _take(found, done, start, lines, identities)
        elif wholly or (repeated := _take_unhurt(piece, len(lines), done)) is None:
            _take(found, done, start, lines, map(whose, lines))
        elif repeated:
            ends = list(accumulate(map(len, lines), initial=start))
            for place in repeated:
                found.mark(ends[place], ends[place + 1])
            found.repeated += len(repeated)
        start = end
    found.results = len(done)
    found.unended = bool(last) and not last.endswith(b"\n") and not (found.damage and found.damage[-1][1] == start)
    return found


def survey(file: BinaryIO, size: int, checkpoint: Callable[[], object] = bool, done: DoneIds | None = None) -> Findings:
    """Scan a file of `size` bytes, and read lines wholly where any is damaged; what was in `done` goes."""
    done = DoneIds() if done is None else done
    file.seek(0)  # the place is that of the descriptor, which may have been read before
    found = scan(file, size, done, checkpoint)
    if found.damage:
        done.clear()
        file.seek(0)
        found = scan(file, size, done, checkpoint, wholly=True)
    return found


def _take_unhurt(piece: bytes, count: int, done: DoneIds) -> list[int] | None:
    """Remember lines that all begin as ours and look unhurt, and return which are repeated; `None` if one does not.

    `piece` is the end of a line and `count` whole lines.
    """
    if b"\0" in piece or not piece.endswith(_END):
        return None
    prefixes = _HEADS.findall(piece)
    if len(prefixes) != count:
        return None
    idents, digests = zip(*prefixes, strict=True)
    names = b"".join(idents)
    if b"" in digests or b"\\" in names or b"\n" in names:
        return None
    try:
        return done.add_all(idents, b"".join(digests))
    except ValueError:
        return None


def _take(
    found: Findings, done: DoneIds, start: int, lines: Iterable[bytes], identities: Iterable[Identity | None]
) -> None:
    """Remember results, and mark what is none, or is one of an id that has one."""
    end = start
    for line, identity in zip(lines, identities, strict=True):
        start, end = end, end + len(line)
        if identity is None:
            found.unreadable += 1
            found.foreign = found.foreign or not could_be_ours(line)
        elif done.add(*identity):
            if line.startswith(_MARK):
                found.marks.append((start, end - len(unmarked(line))))
            continue
        else:
            found.repeated += 1
        found.mark(start, end)


def identify(line: bytes) -> Identity | None:
    """Whose result a line is, from its prefix if it has one and looks unhurt; `None` if it is no result."""
    match = _PREFIX.match(line)
    if match and line[-2:] == b"}\n" and b"\0" not in line and line.find(_SECOND, match.end()) < 0:
        return match[1], match[2]
    return parse(line)


def parse(line: bytes) -> Identity | None:
    """Whose result a line is, read as JSON; `None` if it is no result: what has no hash of ours, batcher did not write.

    Lines of jobs, of failures and in the OpenAI batch format have ids as well, and are no answers.
    """
    record = read_record(line)
    return None if record is None else identity_of(record)


def identity_of(record: Mapping[str, Json]) -> Identity | None:
    """The same of a line that was read."""
    ident, seq, digest = record.get("id"), record.get("seq"), record.get("hash")
    if not isinstance(ident, str) or type(seq) is not int or seq < 0:
        return None
    return (ident, digest) if isinstance(digest, str) and _HASH.fullmatch(digest) else None


def is_result(beginning: bytes) -> bool:
    """Whether a line, of which the beginning is known, is one of results."""
    return _PREFIX.match(unmarked(beginning)) is not None or parse(beginning) is not None


def read_record(line: bytes) -> dict[str, Json] | None:
    """The object on a line; `None` if it is none. Earlier versions wrote halves of surrogate pairs as escapes."""
    line = unmarked(line)
    try:
        record: Json = codec.loads(line)
    except orjson.JSONDecodeError:
        try:
            record = codec.loads(without_lone_escapes(line)) if b"\\u" in line else None
        except orjson.JSONDecodeError:
            return None
    return record if isinstance(record, dict) else None


def unmarked(line: bytes) -> bytes:
    """The line behind its byte order marks."""
    while line.startswith(_MARK):
        line = line[len(_MARK) :]
    return line


def could_be_ours(line: bytes) -> bool:
    """Whether a line that is no result may be the rest of one: cut short in its beginning, or with pages of zeros."""
    rest = unmarked(line).rstrip(b"\r\n")
    return has_lost_pages(rest) or (_TORN.fullmatch(rest) is not None if rest else line.startswith(_MARK))


def has_lost_pages(line: bytes) -> bool:
    """Whether a line is one of ours, or what is left of it, with pages of zeros in it, as a power cut leaves them.

    Text in UTF-16, of which every other byte is zero, and pictures are not.
    """
    return b"\0" in line and _LOST.fullmatch(line.rstrip(b"\r\n")) is not None


def none_of_ours(path: Path, lines: int) -> OutputError:
    """Make the error for a file of something else, which nobody asked to replace."""
    return OutputError(
        f"{path}: holds none of our results, but {lines} other lines; name the file of results, another file with -o, "
        "or --overwrite to replace what is in it"
    )


@dataclass(slots=True)
class Readback:
    """A results file, locked, at `path`. `fd` may become another one when it is mended."""

    fd: int
    path: Path
    done: DoneIds = field(default_factory=DoneIds)
    prefixes: Prefixes = field(default_factory=Prefixes)
    unread: int = 0
    """So many bytes at its start hold results whose ids are not in `done`, since `prefixes` tells of them."""
    repaired: Repair | None = None

    def keep_order(self) -> None:
        """Remember which results are of which lines of the input, in their order."""
        self.prefixes.order = array("I")

    def read(self, aside: Path, earlier: Seal | None, checkpoint: Callable[[], object]) -> None:
        """Read it, trusting `earlier` as far as that holds, and mend it, with what is no result moved to `aside`.

        Raises `OutputError` if it is a file of something else, `OSError`, and what `checkpoint` raises, which is called
        now and then; `fd` is open in any case.
        """
        if earlier is not None:
            size = os.fstat(self.fd).st_size
            is_whole = earlier.alone and size == earlier.size
            done = self.done if is_whole and self.prefixes.order is not None else None  # the ids will be asked for
            if self._is_proven(earlier, checkpoint, done) and is_whole:
                self.unread = size if done is None else 0
                return
            if done is not None:
                self.done = DoneIds()
        if self._recover(aside, checkpoint) and earlier is not None:
            self.prefixes = Prefixes(order=None if self.prefixes.order is None else array("I"))
            self._is_proven(earlier, checkpoint)
        with self._opened() as file:
            self.prefixes.read_on(file, os.fstat(self.fd).st_size, checkpoint)

    def _is_proven(self, earlier: Seal, checkpoint: Callable[[], object], done: DoneIds | None = None) -> bool:
        with self._opened() as file:
            if self.prefixes.prove(file, earlier, checkpoint, done):
                return True
        self.prefixes = Prefixes()
        return False

    def _recover(self, aside: Path, checkpoint: Callable[[], object]) -> bool:
        """Whether there was something to mend."""
        with self._opened() as file:
            found = survey(file, os.fstat(self.fd).st_size, checkpoint, self.done)
        if found.foreign and not found.results:
            raise none_of_ours(self.path, found.unreadable)
        self.fd = mend(self.fd, self.path, aside, found)
        if found.damage:
            removed = sum(end - start for start, end in found.damage)
            self.repaired = Repair(self.path, aside, found.unreadable, found.repeated, removed)
        return bool(found.damage or found.marks)

    def _opened(self) -> BinaryIO:
        return open(self.fd, "rb", buffering=disk.BLOCK, closefd=False)
