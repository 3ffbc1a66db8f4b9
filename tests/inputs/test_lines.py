"""Lines out of bytes: where they end, how they are numbered, and what no line may cost."""

from __future__ import annotations

import io
import os
import tracemalloc
from itertools import pairwise
from typing import BinaryIO, cast

import pytest
from hypothesis import given, strategies as st

from batcher.failures import InputError
from batcher.inputs.formats.lines import Line, LineSplitter, read_lines


def lines_of(data: bytes, longest: int = 1000) -> list[Line]:
    return list(read_lines(io.BytesIO(data), longest))


def pushed(data: bytes, cuts: list[int], limit: int) -> list[Line]:
    splitter = LineSplitter(limit)
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    lines = [line for a, b in pairwise(places) for line in splitter.feed(data[a:b])]
    return lines + splitter.close()


def expected(data: bytes, limit: int) -> list[Line]:
    """The same rule, written the slow way over the whole input."""
    offset = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    lines = []
    for seq, physical in enumerate(data[offset:].split(b"\n")):
        if len(physical) > limit:
            lines.append(Line(seq, offset, None))
        elif physical.strip():
            lines.append(Line(seq, offset, physical.removesuffix(b"\r")))
        offset += len(physical) + 1
    return lines


@given(
    st.lists(st.sampled_from([b"\n", b"\r", b"a", b"bc", b" ", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b{}", b"x" * 9])),
    st.lists(st.integers(0, 200)),
    st.integers(1, 12),
    st.booleans(),
)
def test_cuts_do_not_show(parts: list[bytes], cuts: list[int], limit: int, mark: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
    """However the bytes arrive, the lines are those of the whole, with their numbers and offsets."""
    data = (b"\xef\xbb\xbf" if mark else b"") + b"".join(parts)
    assert pushed(data, cuts, limit) == expected(data, limit)


def test_only_newline_ends_a_line() -> None:
    """U+2028, U+0085, form feed and a lone carriage return are data."""
    text = '{"a":"\u2028\u0085\x0c\r"}'.encode()
    assert lines_of(text + b"\nb") == [Line(0, 0, text), Line(1, len(text) + 1, b"b")]


def test_blank_lines_keep_their_number() -> None:
    """Blank lines are passed over, and the lines after them keep the number an editor shows."""
    assert lines_of(b"a\n\n \t\r\nb\r\n") == [Line(0, 0, b"a"), Line(3, 7, b"b")]


def test_last_line_needs_no_newline() -> None:
    """The last line counts without a newline, and a newline at the end makes no line."""
    assert lines_of(b"a\nb") == [Line(0, 0, b"a"), Line(1, 2, b"b")]
    assert lines_of(b"a\nb\n") == lines_of(b"a\nb")
    assert lines_of(b"") == []


def test_mark_is_dropped() -> None:
    """A UTF-8 byte order mark is no part of the first line; offsets still count it."""
    assert lines_of(b"\xef\xbb\xbf{}\n[]") == [Line(0, 3, b"{}"), Line(1, 6, b"[]")]


@pytest.mark.parametrize(
    ("start", "hint"),
    [
        (b"\xff\xfe{\x00", "--encoding"),
        (b"\xfe\xff\x00{", "--encoding"),
        (b"\x1f\x8b\x08\x00", ".gz"),
        (b"\x28\xb5\x2f\xfd", ".zst"),
    ],
)
def test_foreign_files_are_refused(start: bytes, hint: str) -> None:
    """What is plainly no UTF-8 text ends the run at once, with a hint what to do."""
    with pytest.raises(InputError, match=hint):
        lines_of(start + b"rest")


def test_too_long_line_is_reported_and_passed_over() -> None:
    """A line over the limit has no data, and the next line is found at its place."""
    assert lines_of(b"a\n" + b"x" * 11 + b"\nb", longest=10) == [Line(0, 0, b"a"), Line(1, 2, None), Line(2, 14, b"b")]


class Zeros:
    """A file of one endless line, as far as memory goes: 256 MiB without a newline."""

    left = 1024

    def read(self, size: int) -> bytes:
        self.left -= 1
        return b"a" * size if self.left >= 0 else b""


def test_too_long_line_costs_no_memory() -> None:
    """A line far beyond the limit is passed over in memory of the order of the limit."""
    tracemalloc.start()
    try:
        assert list(read_lines(cast("BinaryIO", Zeros()), 2**20)) == [Line(0, 0, None)]
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_pipe_gives_lines_as_they_come() -> None:
    """A line is read from a pipe as soon as it is whole, while the writer holds the pipe open."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as reader, os.fdopen(write_end, "wb", buffering=0) as writer:
        writer.write(b"first\nsec")
        lines = read_lines(reader)
        assert next(lines) == Line(0, 0, b"first")
        writer.write(b"ond\n")
        assert next(lines) == Line(1, 6, b"second")
