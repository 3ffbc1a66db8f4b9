"""Reads a results file back: tells results from damage, and takes the damage out.

    result   a JSON object with an id, alone on its line, the first with that id
    damage   all else: the rest of a write that was cut short, pages that a power cut left empty, other people's lines

What batcher wrote begins `{"id":"…","seq":N,"hash":"16 hex"` and is taken at that, without reading its JSON, if
nothing about the line says that a write was torn there. That rests on how files break: a line is cut short, glued to
what followed it, or has pages of zeros; its bytes are not exchanged for others. The last line is always read whole.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import orjson

from batcher import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from batcher.done import Done
    from batcher.model import Json

Identity: TypeAlias = "tuple[str | bytes, str | bytes | None]"
"""The id and the request's hash of a line; either as text or as the UTF-8 of it."""

_PREFIX = re.compile(rb'\{"id":"([^"\\]*)","seq":[0-9]+,"hash":"([0-9a-f]{16})"[,}]')
# an id with a backslash in it does not match, and is unescaped by the JSON reader
_SECOND = b'","seq":'
_OPENING = b'{"id":"'

_PIECE = 1 << 18
"""Bytes of whole lines that are looked at together: they stay in the cache of the processor."""

_END = b"}\n"
_HEADS = re.compile(
    rb'\{"id":"(?:(?<=\}\n.{7})([^"]*)","seq":[0-9]+,"hash":"(.{16})"[,}]'
    rb'|(?:[^"\\\n]|\\.)*","seq":)'
)
# Finds the beginning of every result; one that stands elsewhere than behind the end of another has no groups. The
# pattern begins with plain characters, which `re` looks for many times as fast as for anything else.


@dataclass(slots=True)
class Findings:
    """What a scan found. `damage` holds the byte ranges, ascending, that are no results."""

    results: int = 0
    repeated: int = 0
    unreadable: int = 0
    damage: list[tuple[int, int]] = field(default_factory=list)
    unended: bool = False
    """The last line is a whole result that lacks its newline."""
    foreign: bool = False
    """Some of the damage is nothing that a broken write of ours leaves behind."""

    def mark(self, start: int, end: int) -> None:
        """Add a range; one that follows on the last makes it longer, so that memory grows with gaps alone."""
        if self.damage and self.damage[-1][1] == start:
            start = self.damage.pop()[0]
        self.damage.append((start, end))


def scan(file: BinaryIO, size: int, done: Done, beat: Callable[[], object] = bool) -> Findings:
    """Read a file of `size` bytes from its start, and remember in `done` what each result in it is of.

    `beat` is called now and then; what it raises ends the reading.
    """
    found = Findings()
    start = 0
    last = b""
    while start < size and (lines := file.readlines(_PIECE)):
        beat()
        piece = b"".join([_END, *lines])
        if not start:
            done.expect(len(lines) * size // len(piece))
        end = start + len(piece) - len(_END)
        if end >= size:
            last = lines[-1]
            identities = [*map(identify, lines[:-1]), parse(last)]
            _take(found, done, start, lines, identities)
        elif (repeated := _take_unhurt(piece, len(lines), done)) is None:
            _take(found, done, start, lines, map(identify, lines))
        elif repeated:
            ends = list(accumulate(map(len, lines), initial=start))
            for place in repeated:
                found.mark(ends[place], ends[place + 1])
            found.repeated += len(repeated)
        start = end
    found.results = len(done)
    found.unended = bool(last) and not last.endswith(b"\n") and not (found.damage and found.damage[-1][1] == start)
    return found


def _take_unhurt(piece: bytes, count: int, done: Done) -> list[int] | None:
    """Remember lines that all begin as ours and look unhurt, and return which are repeated; `None` if one does not.

    `piece` is the end of a line and `count` whole lines.
    """
    if b"\0" in piece or not piece.endswith(_END):
        return None
    heads = _HEADS.findall(piece)
    if len(heads) != count:
        return None
    idents, digests = zip(*heads, strict=True)
    names = b"".join(idents)
    if b"" in digests or b"\\" in names or b"\n" in names:
        return None
    try:
        return done.add_all(idents, b"".join(digests))
    except ValueError:
        return None


def _take(
    found: Findings, done: Done, start: int, lines: Iterable[bytes], identities: Iterable[Identity | None]
) -> None:
    """Remember results, and mark what is none, or is one of an id that has one."""
    end = start
    for line, identity in zip(lines, identities, strict=True):
        start, end = end, end + len(line)
        if identity is None:
            found.unreadable += 1
            found.foreign = found.foreign or not _could_be_ours(line)
        elif done.add(*identity):
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
    """Whose result a line is, read as JSON; `None` if it is no result.

    `custom_id` goes before `id`: lines in the OpenAI batch format have both, and the first is the job's.
    """
    try:
        record: Json = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict):
        return None
    ident = record.get("custom_id", record.get("id"))
    if isinstance(ident, bool) or not isinstance(ident, str | int):
        return None
    digest = record.get("hash")
    return str(ident), digest if isinstance(digest, str) else None


def _could_be_ours(line: bytes) -> bool:
    return b"\0" in line or line[: len(_OPENING)] == _OPENING[: len(line)]


def mend(fd: int, path: Path, aside: Path, found: Findings) -> int:
    """Move the damage out of the file at `path` to the end of the file `aside`; the results stay as they are.

    Damage at the end is cut off. Damage elsewhere needs a new file, which takes the old one's name when it is on the
    disk; its descriptor is what comes back, locked like the old one, which is closed. Until the damage is on the disk
    in `aside`, nothing is removed. Raises `OSError`, and then `fd` is still open.
    """
    if not (found.damage or found.unended):
        return fd
    size = os.fstat(fd).st_size
    keep = _complement(found.damage, size)
    if found.damage:
        _set_aside(fd, aside, found.damage)
        if keep and keep != [(0, keep[0][1])]:
            return _rewrite(fd, path, keep, ended=not found.unended)
        os.ftruncate(fd, keep[0][1] if keep else 0)
    if found.unended:
        disk.write_all(fd, b"\n")
    disk.sync(fd)
    return fd


def _set_aside(fd: int, aside: Path, damage: list[tuple[int, int]]) -> None:
    target = disk.open_appending(aside)
    try:
        for start, end in damage:
            disk.copy(fd, target, start, end)
            if os.pread(fd, 1, end - 1) != b"\n":
                disk.write_all(target, b"\n")
        disk.sync(target)
    finally:
        os.close(target)
    disk.sync_directory(aside.parent)


def renew(fd: int, path: Path) -> int:
    """Copy a whole file to a new one that takes its name, and give that one's descriptor, locked like the old one.

    For a file that a sync failed on: the kernel may have what it could not write still in memory, and call it clean,
    so that no later sync would write it. A copy is written anew. Raises `OSError`, and then `fd` is still open.
    """
    size = os.fstat(fd).st_size
    return _rewrite(fd, path, [(0, size)] if size else [], ended=True)


def _rewrite(fd: int, path: Path, keep: list[tuple[int, int]], *, ended: bool) -> int:
    with disk.replacing(path) as new:
        os.fchmod(new, stat.S_IMODE(os.fstat(fd).st_mode))
        # before the new file has the name: nobody may find it under that name without a lock on it
        fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for start, end in keep:
            disk.copy(fd, new, start, end)
        if not ended:
            disk.write_all(new, b"\n")
    os.close(fd)
    return new


def _complement(ranges: list[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Give the ranges before, between and behind the ones given, those with something in them."""
    starts = [0, *(end for _, end in ranges)]
    ends = [*(start for start, _ in ranges), size]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]
