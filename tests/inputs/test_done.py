"""The memory of ids and hashes: right at any size, small, and the same one by one and all at once."""

from __future__ import annotations

from array import array

import pytest

from batcher.inputs.done import DoneIds, Sight

A, B = "0123456789abcdef", "fedcba9876543210"


def ids(start: int, end: int) -> list[bytes]:
    return [b"job-%d" % number for number in range(start, end)]


def hashes(start: int, end: int) -> bytes:
    return b"".join(b"%016x" % number for number in range(start, end))


@pytest.mark.parametrize("expected", [0, 20_000, 100_000])
def test_many_at_once(expected: int) -> None:
    """However much room was made before, ids added in groups are all there, each with its hash, and no other is."""
    done = DoneIds()
    done.expect(expected)
    for start in range(0, 20_000, 500):
        assert done.add_all(ids(start, start + 500), hashes(start, start + 500)) == []
    assert len(done) == 20_000
    assert [done.get(ident) for ident in ids(0, 20_000)] == [f"{number:016x}" for number in range(20_000)]
    assert not any(ident in done for ident in ids(20_000, 40_000))


def test_one_by_one_is_the_same() -> None:
    """An id is the same as text and as UTF-8, alone and in a group."""
    done = DoneIds()
    assert all(done.add(ident.decode(), f"{number:016x}") for number, ident in enumerate(ids(0, 10_000)))
    assert done.add_all(ids(9_990, 10_010), hashes(9_990, 10_010)) == list(range(10))
    assert len(done) == 10_010
    assert done.get("job-10009") == f"{10_009:016x}"
    assert done.get("job-1") == f"{1:016x}"


def test_repeated_within_a_group() -> None:
    """Of an id that is in a group twice the first counts, and the second is refused."""
    done = DoneIds()
    assert done.add_all([b"a", b"b", b"a", b""], hashes(0, 4)) == [2]
    assert (done.get("a"), done.get(""), len(done)) == (f"{0:016x}", f"{3:016x}", 3)


def test_group_without_hashes() -> None:
    """What is no hash is told before anything is changed."""
    done = DoneIds()
    with pytest.raises(ValueError, match="hex"):
        done.add_all([b"a"], b"0123456789abcdeX")
    assert (len(done), "a" in done) == (0, False)
    assert done.add("a", A)


def test_forgotten_and_found_again() -> None:
    """An id whose result is forgotten may get another, alone or in a group."""
    done = DoneIds()
    done.add("a", A)
    done.discard("a")
    done.discard("nobody")
    assert ("a" in done, done.get("a"), len(done)) == (False, None, 0)
    assert done.add_all([b"a", b"a"], (B + A).encode()) == [1]
    assert (done.get("a"), len(done)) == (B, 1)


def test_unknown_hash() -> None:
    """A result whose hash is no hash is a result of whatever the input asks for."""
    done = DoneIds()
    done.add("a", "none")
    assert done.get("a") == ""
    assert done.see("a", A) is Sight.DONE


def test_sights() -> None:
    """A line of the input is told from what is done and from the lines before it."""
    done = DoneIds()
    done.add("old", A)
    done.add("other", A)
    assert [done.see(*line) for line in (("old", A), ("other", B), ("new", A))] == [
        Sight.DONE,
        Sight.CHANGED,
        Sight.NEW,
    ]
    assert [done.see(*line) for line in (("old", A), ("other", B), ("new", B))] == [
        Sight.REPEATED,
        Sight.REPEATED,
        Sight.CLASH,
    ]
    assert [done.changed(ident) for ident in ("old", "other", "new", "nobody")] == [False, True, False, False]
    assert (done.seen("new"), done.seen("nobody"), len(done)) == (True, False, 2)


def test_result_of_a_line_that_was_seen() -> None:
    """A job that gets its result in this run is done, and a later line with its id still a repeat."""
    done = DoneIds()
    assert done.see("a", A) is Sight.NEW
    assert "a" not in done
    assert done.add("a", A)
    assert not done.add("a", A)
    assert done.see("a", A) is Sight.REPEATED


def test_changed_ones_are_forgotten_together() -> None:
    """Results of other requests go, the others stay, and what was met in the input is known as before."""
    done = DoneIds()
    for ident, digest in (("same", A), ("changed", A), ("unknown", None), ("unmet", A)):
        done.add(ident, digest)
    for ident in ("same", "changed", "unknown"):
        done.see(ident, B if ident == "changed" else A)
    assert done.discard_changed() == 1
    assert [ident in done for ident in ("same", "changed", "unknown", "unmet")] == [True, False, True, True]
    assert (len(done), done.seen("changed"), done.changed("changed")) == (3, True, False)
    assert done.add("changed", B)
    assert done.discard_changed() == 0


def test_small() -> None:
    """A job costs 17 bytes, and up to 13 in the index: twice as many for a doubling just over."""
    done = DoneIds()
    for start in range(0, 100_000, 1000):
        done.add_all(ids(start, start + 1000), hashes(start, start + 1000))
    held = [value for name in DoneIds.__slots__ if isinstance(value := getattr(done, name), array | bytearray)]
    assert sum(len(memoryview(value).cast("B")) for value in held) < 30 * 100_000


def test_everything_at_the_same_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that all want one slot are slow and right."""
    monkeypatch.setattr("batcher.inputs.done._key", lambda ident: int(ident.removeprefix(b"job-")) << 32)
    done = DoneIds()
    assert all(done.add(ident, None) for ident in ids(0, 300))
    assert all(ident in done for ident in ids(0, 300))
    assert b"job-300" not in done
