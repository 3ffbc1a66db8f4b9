"""Cuts a JSON array into its elements, or objects that follow on one another, with as much in memory as one of them.

An element is found by its brackets and strings, and read when it is asked for, as a line of JSONL is: one that is
broken inside costs itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import orjson

from batcher.failures import InputError
from batcher.inputs.formats.lines import FOREIGN_MARKS, LINE_LIMIT, Line, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.inputs.formats.reading import Rows

_BLOCK: Final = 256 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_COMMA: Final = 44
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_AMONG: Final = re.compile(rb'(?:[^"\[\]{},]++|' + _STRING + rb")*+([\[\]{},])", re.DOTALL)
"""Up to the next mark between elements."""
_WITHIN: Final = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+([\[\]{}])", re.DOTALL)
"""Up to the next bracket in one."""
_OPEN: Final = re.compile(rb"\s*+\{")
_CLOSE: Final = re.compile(rb"\}\s*+(?=[,\]])")
_BY_COLUMNS: Final = re.compile(
    rb'\{\s*(?:"(?:[^"\\]|\\.)*"\s*:\s*\{\s*"0"\s*:|"0"\s*:\s*\{|"columns"\s*:\s*\[|"schema"\s*:\s*\{\s*"fields"\s*:)'
)
"""How `DataFrame.to_json` begins with any other `orient` than `records`."""
_TRIES: Final = 8
"""Ends of an object that are tried. No end of a JSON object is in another one's midst, so what can be read is whole."""


def read_json(file: BinaryIO, first: int) -> Rows:
    """The elements of an array, or objects one behind another. Raises `InputError` where it breaks off."""
    elements = _Elements(file)
    if elements.are_lines:
        return (yield from read_lines(cast("BinaryIO", elements), first=first))
    seq = first
    for element in elements:
        yield Line(seq, 0, element if len(element) <= LINE_LIMIT else None)
        seq += 1
    return seq


class _Elements:
    """What is cut out of a file, in order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        buffer = file.read(_BLOCK)
        for mark, what in FOREIGN_MARKS.items():
            if buffer.startswith(mark):
                raise InputError(f"the input is not UTF-8 text but {what}")
        buffer = buffer.removeprefix(_BOM).lstrip()
        while not buffer and (more := file.read(_BLOCK)):
            buffer = more.lstrip()
        begun, _, behind = buffer.partition(b"\n")
        if _BY_COLUMNS.match(buffer) and not (_is_object(begun) and behind.strip()):
            raise InputError(
                "this is a table by columns, as pandas writes it of itself; write it by rows: orient='records'"
            )
        self._buffer = buffer
        self._is_array = buffer.startswith(b"[")
        self.are_lines = not self._is_array and _is_object(begun)
        """It is JSONL, whatever its name says."""
        self._start = self._place = self._depth = int(self._is_array)
        self._count = 0

    def __iter__(self) -> Iterator[bytes]:
        """Raises `InputError` where the file breaks off, or goes on behind the array."""
        among = self._depth
        yield from self._objects()
        while (mark := self._mark(_AMONG if self._depth == among else _WITHIN)) is not None:
            if mark in b"[{":
                self._depth += 1
                continue
            if mark != b",":
                self._depth = max(self._depth - 1, 0)
            if not (self._is_array if mark == b"," else self._depth == 0):
                continue
            element = self._buffer[self._start : self._place - self._is_array].strip()
            self._start = self._place
            if element or mark == b",":
                self._count += 1
                yield element
            if self._is_array:
                if mark != b",":
                    self._end()
                    return
                yield from self._objects()

    def read(self, size: int) -> bytes:
        """As a file that begins again."""
        begin, self._buffer = self._buffer, b""
        return begin or self._file.read(size)

    def _objects(self) -> Iterator[bytes]:
        """Those that follow next and are small and sound: found by reading them, which is ten times as fast."""
        while self._is_array and (found := self._object()) is not None:
            self._count += 1
            yield found

    def _object(self) -> bytes | None:
        buffer = self._buffer
        opened = _OPEN.match(buffer, self._place)
        if opened is None:
            return None
        start = end = opened.end() - 1
        for _ in range(_TRIES):
            closed = _CLOSE.search(buffer, end)
            if closed is None:
                return None
            end = closed.end()
            element = buffer[start : closed.start() + 1]
            if _is_object(element):
                # the bracket behind the last one is for whoever looks at brackets
                self._start = self._place = end + (buffer[end] == _COMMA)
                return element
        return None

    def _mark(self, pattern: re.Pattern[bytes]) -> bytes | None:
        """The next mark; `None` at the end of objects that stand in no array."""
        while (match := pattern.match(self._buffer, self._place)) is None:
            held = len(self._buffer) - self._start
            if held > LINE_LIMIT + _BLOCK:
                raise InputError(
                    f"row {self._count + 1} is longer than {LINE_LIMIT >> 20} MiB; nothing behind it is read"
                )
            more = self._file.read(max(_BLOCK, held))  # twice as much, so that a long one is not looked at too often
            if not more:
                if not self._is_array and not self._buffer[self._start :].strip():
                    return None
                raise InputError(f"the JSON breaks off in row {self._count + 1}; what is before it was read")
            self._buffer, self._place, self._start = self._buffer[self._start :] + more, self._place - self._start, 0
        self._place = match.end()
        mark: bytes = match[1]
        return mark

    def _end(self) -> None:
        if self._buffer[self._place :].strip() or self._file.read(_BLOCK).strip():
            raise InputError("there is more behind the end of the JSON array; it was not read")


def _is_object(data: bytes) -> bool:
    try:
        return type(orjson.loads(data)) is dict
    except orjson.JSONDecodeError:
        return False
