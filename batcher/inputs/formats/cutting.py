"""Cuts CSV into the bytes of its rows: a line, or several where a quoted cell goes on over its end.

A row that is wrong costs itself: a quote that never ends well is told of its own line, and the next line is a row.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Final

from batcher.failures import InputError
from batcher.inputs.formats.lines import FOREIGN_MARKS, LINE_LIMIT, LONGEST_MARK
from batcher.inputs.formats.rows import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BLOCK: Final = 256 * 1024
_BOM: Final = b"\xef\xbb\xbf"


def lines(file: BinaryIO) -> Iterator[list[bytes | None]]:
    """The lines of a file as they come, without their ends, a mark at the start taken off; `None` for one too long."""
    read = getattr(file, "read1", file.read)
    block, end = _beginning(read)
    tail: list[bytes] = []
    size = 0  # of the unfinished line, bytes dropped from it included
    while block:
        first, *more = block.split(end)
        tail.append(first)
        size += len(first)
        if size > LINE_LIMIT:
            tail.clear()
        if more:
            last = more.pop()
            yield [_line(tail, size), *more]
            tail, size = [last], len(last)
        block = read(_BLOCK)
    if size:
        yield [_line(tail, size)]


def _line(pieces: list[bytes], size: int) -> bytes | None:
    return b"".join(pieces) if size <= LINE_LIMIT else None


def _beginning(read: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """(the first block without its mark, what ends lines). Raises `InputError` if it is no UTF-8 text.

    A lone CR ends them where there is nothing else, as in the CSV of old Macs.
    """
    block = read(_BLOCK)
    while len(block) < LONGEST_MARK and (more := read(_BLOCK)):
        block += more
    while b"\n" not in block and len(block) < _BLOCK and (more := read(_BLOCK)):
        block += more
    for mark, what in FOREIGN_MARKS.items():
        if block.startswith(mark):
            raise InputError(f"the input is not UTF-8 text but {what}")
    end = b"\n" if b"\n" in block or b"\r" not in block else b"\r"
    while block.startswith(_BOM):  # each program that handed it on may have set one
        block = block.removeprefix(_BOM)
    return block, end


def records(blocks: Iterator[list[bytes | None]], delimiters: Sequence[bytes]) -> Iterator[bytes | Refused | None]:
    """Whole rows, blank lines left out: a line, or several where a quoted cell goes on over its end.

    `None` is a line that is too long, which ends a quoted cell too.
    """
    held: list[bytes] = []
    size = 0
    for block in chain(blocks, ([],)):
        found, place, last = block, 0, not block
        while place < len(found) or (last and held):
            if place < len(found):
                line = found[place]
                if line is not None:
                    place += 1
                    quoted = b'"' in line
                    if not held and not quoted:
                        if line and line != b"\r":
                            yield line if line[-1] != 13 else line[:-1]
                        continue
                    state = _state(line, delimiters, inside=bool(held)) if quoted else True
                    held.append(line)
                    size += len(line) + 1
                    if state is False or (state is None and len(held) == 1):
                        yield b"\n".join(held).removesuffix(b"\r")  # what is odd in itself is told when it is read
                        held, size = [], 0
                        continue
                    if state is True and size <= LINE_LIMIT:
                        continue
                elif not held:
                    place += 1
                    yield None
                    continue
            yield Refused(
                "row_quotes", "a quote opens a cell here and does not end it; the next line is a row", held[0]
            )
            found, place = [*held[1:], *found[place:]], 0
            held, size = [], 0


def _state(line: bytes, delimiters: Sequence[bytes], *, inside: bool) -> bool | None:
    """Whether a cell is open at the end of a line; `None` if its quotes do not stand where quotes of a table do."""
    parts = line.removesuffix(b"\r").split(b'"')
    ends_inside = inside == (len(parts) % 2 == 1)
    outside = parts[1::2] if inside else parts[::2]
    last = len(outside) - 1
    for place, part in enumerate(outside):
        if not part:
            continue  # a quote that is doubled, or the edge of the line
        begins = place > 0 or inside
        ends = place < last or ends_inside
        if (begins and not part.startswith(tuple(delimiters))) or (ends and not part.endswith(tuple(delimiters))):
            return None
    return ends_inside
