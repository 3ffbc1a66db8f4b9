"""Cuts a JSON array into its elements, or objects that follow on one another, with as much in memory as one of them.

An element is found by its brackets and strings, and read when it is asked for, as a line of JSONL is: one that is
broken inside costs itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, Final

from batcher.failures import InputError
from batcher.inputs.formats.lines import FOREIGN_MARKS, LINE_LIMIT, Line

if TYPE_CHECKING:
    from batcher.inputs.formats.reading import Reading, Rows

_BLOCK: Final = 256 * 1024
_BOM: Final = b"\xef\xbb\xbf"
_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_AMONG: Final = re.compile(rb'(?:[^"\[\]{},]++|' + _STRING + rb")*+([\[\]{},])", re.DOTALL)
"""Up to the next mark between elements."""
_WITHIN: Final = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+([\[\]{}])", re.DOTALL)
"""Up to the next bracket in one."""


def read_json(file: BinaryIO, reading: Reading, first: int) -> Rows:
    """The elements of an array, or objects one behind another. Raises `InputError` where it breaks off."""
    buffer = file.read(_BLOCK)
    for mark, what in FOREIGN_MARKS.items():
        if buffer.startswith(mark):
            raise InputError(f"the input is not UTF-8 text but {what}")
    buffer = buffer.removeprefix(_BOM).lstrip()
    while not buffer and (more := file.read(_BLOCK)):
        buffer = more.lstrip()
    is_array = buffer.startswith(b"[")
    among = 1 if is_array else 0
    seq, start, place, depth = first, among, among, among
    while True:
        match = (_AMONG if depth == among else _WITHIN).match(buffer, place)
        if match is None:
            rest = len(buffer) - start
            if rest > LINE_LIMIT + _BLOCK:
                raise InputError(f"row {seq - first + 1} is longer than {LINE_LIMIT >> 20} MiB; nothing behind it was read")
            more = file.read(max(_BLOCK, rest))  # twice as much, so that a long element is not looked at too often
            if not more:
                if not is_array and not buffer[start:].strip():
                    return seq
                raise InputError(f"the JSON breaks off in row {seq - first + 1}; nothing behind it was read")
            buffer, place, start = buffer[start:] + more, place - start, 0
            continue
        mark, place = match[1], match.end()
        if mark in b"[{":
            depth += 1
            continue
        ends = is_array
        if mark != b",":
            depth -= 1
            ends = depth < among if is_array else depth <= among
        if not ends:
            continue
        data = buffer[start : place - 1 if is_array else place].strip()
        if data or mark == b",":
            yield Line(seq, 0, data if len(data) <= LINE_LIMIT else None)
            seq += 1
        start = place
        if depth < 0 or (is_array and depth == 0):
            return _ended(buffer[place:], file, seq)


def _ended(rest: bytes, file: BinaryIO, seq: int) -> int:
    if rest.strip() or file.read(_BLOCK).strip():
        raise InputError("there is more behind the end of the JSON array; it was not read")
    return seq
