"""Bytes in, whole records out: the same records under any chunking, as the standards say."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings, strategies as st

from batcher.wire import framing as framing_module
from batcher.wire.framing import PIECE, EventStream, Lines, RecordTooLongError

PIECES = [
    b"a",
    b"data:",
    b"data: ",
    b"event: x",
    b": ping",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\xef\xbb\xbf",
    b"\xf0\x9f",
    b" ",
]


def _lines(*chunks: bytes) -> list[bytes]:
    lines = Lines()
    return [line for chunk in chunks for line in lines.feed(chunk)] + lines.close()


def _events(*chunks: bytes) -> list[tuple[str, bytes]]:
    stream = EventStream()
    return [event for chunk in chunks for event in stream.feed(chunk)] + stream.close()


def _feed_forever(reader: Lines | EventStream, chunk: bytes) -> None:
    for _ in range(1000):
        reader.feed(chunk)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\rb\n", [b"a\rb"]),
        (b"\n\n a \n\r\n  \n", [b" a "]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n", [b"a", b"\xef\xbb\xbfb"]),
        (b"\xef\xbb\xbf", []),
        ("蓝\u2028\x85\x0b\n🌊\n".encode(), ["蓝\u2028\x85\x0b".encode(), "🌊".encode()]),
    ],
)
def test_lines_end_at_newlines_only(data: bytes, lines: list[bytes]) -> None:
    """`\\n` alone ends a line; blank lines, a `\\r` before it and the first byte order mark are dropped."""
    assert _lines(data) == lines


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [("", b"a"), ("", b"b")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [("", b"a"), ("", b"b")]),
        (b"data: a\r\rdata: b\r\r", [("", b"a"), ("", b"b")]),
        (b"data:a\n\n", [("", b"a")]),
        (b"data:  a\n\n", [("", b" a")]),
        (b"data: a\ndata: b\n\n", [("", b"a\nb")]),
        (b"data\n\n", [("", b"")]),
        (b"data: a\ndata\n\n", [("", b"a\n")]),
        (b"event: x\ndata: a\n\ndata: b\n\n", [("x", b"a"), ("", b"b")]),
        (b"data: a\nevent: x\n\n", [("x", b"a")]),
        (b"event: x\n\ndata: a\n\n", [("", b"a")]),
        (b": ping\n\n: ping\ndata: a\n\n", [("", b"a")]),
        (b"id: 1\nretry: 5\ndata: a\nnonsense: b\n\n", [("", b"a")]),
        (b"other: a\nnext-field: b\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
        (b"data: a\n\n\n\n\n", [("", b"a")]),
        (b"data: a\n", [("", b"a")]),
        (b"data: a", [("", b"a")]),
        (b"", []),
        (b'error: {"code":500}\n\n', [("error", b'{"code":500}')]),
        (b"data: a\n\nerror: b\n\ndata: [DONE]\n\n", [("", b"a"), ("error", b"b"), ("", b"[DONE]")]),
        ("data: 蓝\u2028\u0085\n\n".encode(), [("", "蓝\u2028\u0085".encode())]),
    ],
)
def test_events_follow_the_standard(data: bytes, events: list[tuple[str, bytes]]) -> None:
    """Fields, comments, line ends and byte order mark are read as WHATWG's standard says; a last event is kept."""
    assert _events(data) == events


A, B = b'{"a":{"b":"}"}}', b'{"c":[1]}'


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: %s\ndata: %s\ndata: [DONE]\n" % (A, B), [("", A), ("", B), ("", b"[DONE]")]),
        (b"data: %s\r\ndata: %s\r\n" % (A, B), [("", A), ("", B)]),
        (b"data: %s\ndata: %s\n\n" % (A, B), [("", A), ("", B)]),
        (b"event: x\ndata: %s\nevent: y\ndata: %s\n" % (A, B), [("x", A), ("y", B)]),
        (b"%s\n%s\n" % (A, B), [("", A), ("", B)]),
        (b"data: %s\n\n%s\n" % (A, B), [("", A), ("", B)]),
        (b"data: %s\n%s\n" % (A, B), [("", A), ("", B)]),
        (b'data: {"a":\ndata: [1,\ndata: 2]}\n\n', [("", b'{"a":\n[1,\n2]}')]),
        (b'data: {\n"a": {\n}\n}\n\n', [("", b'{\n"a": {\n}\n}')]),
        (b"data: [DONE]\ndata: a\n\n", [("", b"[DONE]"), ("", b"a")]),
    ],
)
def test_events_one_newline_apart(data: bytes, events: list[tuple[str, bytes]]) -> None:
    """A line that is a whole object is an event, with or without `data:`; one that is none goes on in the next."""
    assert _events(data) == events
    for place in range(len(data) + 1):
        assert _events(data[:place], data[place:]) == events, f"cut at byte {place}"


@pytest.mark.parametrize(
    "line",
    [
        *(b"data " + A, b"dat: " + A, b"dataa: " + A, b"xata: " + A, b"da:a: " + A, b":ata: " + A, b"\0" * 20),
        *(b"<html>", b"Internal Server Error", b"[ERROR] no", b"{'error': 1}", b"id " + A),
    ],
)
def test_what_may_have_been_a_record_is_not_passed_over(line: bytes) -> None:
    """A line that is no field, or looks like a damaged one, is data as it stands."""
    assert _events(b"data: " + B + b"\n\n" + line + b"\n\n") == [("", B), ("", line)]


def test_comments_are_no_events() -> None:
    """A ping is passed over, wherever it stands."""
    assert _events(b": ping\n\n:\n\ndata: a\n: ping\n\n") == [("", b"a")]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_line_ends_may_be_cut_anywhere(end: bytes) -> None:
    """Each kind of line end gives the same events, cut at every byte."""
    data = end.join([b": hello", b"event: x", b"data: a", b"data: b", b"", b"data: c", b"", b""])
    assert _events(data) == [("x", b"a\nb"), ("", b"c")]
    for place in range(len(data) + 1):
        assert _events(data[:place], data[place:]) == _events(data), f"cut at byte {place}"


_CHUNKS = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4)), max_size=30)


@settings(deadline=None)
@given(chunks=_CHUNKS)
@example(chunks=[b"data: a\r", b"\n", b"\r", b"\n"])
@example(chunks=[b"data: a\r", b"", b"\n\n"])
@example(chunks=[b"\xef", b"\xbb\xbf", b"data: a\n\n"])
def test_any_chunking_gives_the_same_records(chunks: list[bytes]) -> None:
    """However bytes are cut into chunks, lines and events are those of the whole."""
    data = b"".join(chunks)
    assert _lines(*chunks) == _lines(data)
    assert _events(*chunks) == _events(data)


_USUAL = [b'data: {"a":1}\n\n', b"data: [DONE]\n\n", b"data: {}\n", b"\n", b"data: ", b"{", b"[DONE]", b"data: [1]\n\n"]


@settings(deadline=None)
@given(chunks=st.lists(st.lists(st.sampled_from(_USUAL + PIECES), max_size=5).map(b"".join), max_size=12))
@example(chunks=[b"data: {}\n\nda", b"ta: {}\n\n"])
@example(chunks=[b"event: x\n", b"data: {}\n\n"])
@example(chunks=[b"data: a\n", b"data: {}\n\n"])
@example(chunks=[b"data: a\r", b"\n\ndata: {}\n\n"])
@example(chunks=[b"da", b"ta: {", b"}\n\n"])
def test_the_short_way_gives_the_same_events(chunks: list[bytes]) -> None:
    """What `usual` takes is what `feed` would have made of it, whatever came before and comes after."""
    stream, events = EventStream(), []
    for chunk in chunks:
        usual = stream.usual(chunk)
        events += stream.feed(chunk) if usual is None else [("", data) for data in usual]
    assert events + stream.close() == _events(*chunks)


def test_the_short_way_is_taken() -> None:
    """Records of an answer go it, many in a chunk, one in a chunk, and cut anywhere but between two line ends."""
    one, end = b'data: {"a":1}\n\n', b"data: [DONE]\n\n"
    assert EventStream().usual(one * 3 + end) == [b'{"a":1}', b'{"a":1}', b'{"a":1}', b"[DONE]"]
    for place in range(1, len(one) - 1):
        stream = EventStream()
        assert stream.usual(one + one[:place]) == [b'{"a":1}']
        assert stream.usual(one[place:]) == [b'{"a":1}']


@pytest.mark.parametrize("framing", [Lines, EventStream])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_records_without_an_end_are_refused(framing: type[Lines | EventStream], size: int) -> None:
    """What is held stays within the limit, whatever the size of the chunks."""
    with pytest.raises(RecordTooLongError, match="640 bytes"):
        _feed_forever(framing(limit=640), b"x" * size)


@pytest.mark.parametrize("line", [b"data: xxxxxxxx\n", b"data: x\n", b"data:\n", b"data\n", b"data: \r\n", b"x\n"])
def test_events_of_many_lines_are_limited_too(line: bytes) -> None:
    """Data lines of an event that never ends are held, and count, also those with nothing in them."""
    with pytest.raises(RecordTooLongError):
        _feed_forever(EventStream(limit=640), line)


@pytest.mark.parametrize("framing", [Lines, EventStream])
def test_pieces_of_a_line_take_memory(framing: type[Lines | EventStream]) -> None:
    """A line that comes a byte at a time is held as so many pieces, and may be so much shorter."""
    with pytest.raises(RecordTooLongError):
        _feed_forever(framing(limit=64 * PIECE), b"x")


@pytest.mark.parametrize("framing", [Lines, EventStream])
def test_the_limit_is_for_one_record(framing: type[Lines | EventStream]) -> None:
    """A long stream of short records passes, cut in the middle of each."""
    reader = framing(limit=256)
    for _ in range(50):
        reader.feed(b"data: xxxxxxxxxx")
        assert reader.feed(b"xxxxxxxxxx\n\n")


@pytest.mark.parametrize(
    "line", [b"\n", b": ping\n", b":\n", b"id: 7\n", b"event: x\n", b"retry: 1\n", b"other: a\n", b"data: x\n\n"]
)
@pytest.mark.parametrize("begun", [b"", b"data: begun\n"])
def test_what_is_not_kept_does_not_count(line: bytes, begun: bytes) -> None:
    """Pings, names and numbers of events may come for ever, also in the middle of one."""
    stream = EventStream(limit=256)
    stream.feed(begun)
    _feed_forever(stream, line * 20)
    assert stream.feed(b"\n\ndata: a\n\n")[-1] == ("", b"a")


def test_blank_lines_take_nothing() -> None:
    """Between lines of JSON they may come for ever."""
    lines = Lines(limit=256)
    _feed_forever(lines, b"\n \r\n\n" * 20)
    assert lines.feed(b"a\n") == [b"a"]


def test_a_long_event_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line that comes behind one that is nearly an object would cost as much as that again."""
    looked: list[bytes] = []
    is_object = framing_module._is_object

    def look(data: bytes) -> bool:
        looked.append(data)
        return is_object(data)

    monkeypatch.setattr(framing_module, "_is_object", look)
    stream = EventStream()
    for line in (b'data: {"a":1}}\n', b"event: x\n", b"event: y\n", b"event: z\n", b"data: {}\n"):
        stream.feed(line)
    assert looked == [b'{"a":1}}']
    assert stream.feed(b"\ndata: {}\nevent: x\n") == [("z", b'{"a":1}}\n{}'), ("", b"{}")]
    assert looked == [b'{"a":1}}', b"{}"]


def test_the_name_of_an_event_is_short() -> None:
    """Of a long one no more is kept than is looked at."""
    [(name, data)] = _events(b"event: " + b"x" * 5000 + b"\ndata: a\n\n")
    assert (len(name), data) == (framing_module.NAME, b"a")
