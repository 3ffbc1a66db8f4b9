"""Which jobs have a result, and which lines of the input were met: one small memory of ids and request hashes.

    entry   a key made from the id, the hash of the request, and what is known about the id; in order of arrival
    index   an open-addressing table of places among the entries, made anew from their keys when it is too small

An entry takes 17 bytes, its share of the index 6 to 12. A key has 64 bits: should two ids ever share one, the later job
is told as a clash, or runs as a job of its own in another process, whose keys are others.
"""

from __future__ import annotations

import sys
from array import array
from binascii import unhexlify
from enum import Enum, auto
from hashlib import blake2b
from operator import or_
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_HASH_DIGITS: Final = 16
_LOAD: Final = 0.65
"""Used slots of a full index: more would save memory and cost ever longer searches."""
_LEAST: Final = 12
"""The smallest index has 2 to this many slots, 16 KB."""
_MOST_AHEAD: Final = 1 << 27
"""Jobs that are believed to come on the word of a file's size."""
_LOW: Final = 0 if sys.byteorder == "little" else 1
"""Which of the two halves of a key in memory is the lower one."""

_DONE: Final = 1
_SEEN: Final = 2
_UNKNOWN: Final = 4
_CHANGED: Final = 8
_RESULT: Final = _DONE | _UNKNOWN | _CHANGED
_UNCHANGED: Final = bytes(marks & ~_RESULT if marks & _CHANGED else marks for marks in range(256))
"""What is left of each mark when the results that have changed are forgotten."""
_SEEN_WHERE: Final = bytes([0]) + bytes([_SEEN]) * 255


class Sight(Enum):
    """What a line of the input is, beside what is known already."""

    NEW = auto()
    DONE = auto()
    """Its id has a result, for the same request or for one that is not known."""
    CHANGED = auto()
    """Its id has a result for another request."""
    REPEATED = auto()
    """An earlier line has its id and its request."""
    CLASH = auto()
    """An earlier line has its id and another request."""


NEW: Final = Sight.NEW
"""What nearly every line is: before Python 3.12 to look up a member costs as much as to call a function."""


class DoneIds:
    """The ids that have a result, and those met in the input, each with the hash of its request.

    An id is its text, or the UTF-8 of it. `len` counts results.
    """

    __slots__ = ("_count", "_hashes", "_index", "_keys", "_marks")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._keys = array("q", [0])  # a first entry that stands for nobody: 0 in the index is an empty slot
        self._hashes = array("Q", [0])
        self._marks = bytearray(1)
        self._index = _index(0)
        self._count = 0

    def expect(self, count: int) -> None:
        """Make room for as many ids in all at once, which spares making it in steps."""
        count = min(count, _MOST_AHEAD)
        if count > len(self._index) * _LOAD:
            self._index = _index(count)
            self._fill(1, len(self._keys))

    def add(self, ident: str | bytes, digest: str | bytes | None) -> bool:
        """Remember a result; false, and nothing changes, if the id has one already.

        A digest that is not of 16 hex digits, as foreign lines may have, counts as unknown.
        """
        place = self._place(_key(ident))
        marks = self._marks[place]
        if marks & _DONE:
            return False
        self._count += 1
        if marks & _SEEN:  # then its hash is known
            self._marks[place] = marks | _DONE
            return True
        number = _number(digest)
        self._hashes[place] = number or 0
        self._marks[place] = marks | (_DONE if number is not None else _DONE | _UNKNOWN)
        return True

    def add_all(self, idents: Sequence[bytes], digests: bytes) -> list[int]:
        """As `add`, many at once; returns which were refused.

        `digests` holds 16 hex digits for each; raises `ValueError`, and nothing changes, if it holds something else.
        """
        numbers = array("Q", unhexlify(digests))
        if sys.byteorder == "little":
            numbers.byteswap()
        first = len(self._keys)
        self._keys.extend(array("q", map(hash, idents)))
        self._hashes.extend(numbers)
        self._marks += bytes([_DONE]) * len(numbers)
        known = self._enter(first)
        self._count += len(numbers) - len(known)
        return [place - first for place, earlier in known if not self._revive(earlier, place)]

    def see(self, ident: str | bytes, digest: str) -> Sight:
        """Note a line of the input and tell what it is. The hash of its request is what `get` gives from now on."""
        try:
            number = int(digest, 16) if len(digest) == _HASH_DIGITS else 0
        except ValueError:
            number = 0
        entries = len(self._keys)
        place = self._place(_key(ident), number, _SEEN)
        if place == entries:  # nearly always in a run that begins
            return NEW
        marks, before = self._marks[place], self._hashes[place]
        if marks & _SEEN:
            return Sight.REPEATED if before == number else Sight.CLASH
        self._marks[place] = (marks | _SEEN) & ~_UNKNOWN
        self._hashes[place] = number
        if not marks & _DONE:
            return NEW
        if marks & _UNKNOWN or before == number:
            return Sight.DONE
        self._marks[place] |= _CHANGED
        return Sight.CHANGED

    def see_first(self, count: int) -> None:
        """Note that the first `count` results that were added are those of lines of the input."""
        self._marks[1 : count + 1] = self._marks[1 : count + 1].replace(bytes([_DONE]), bytes([_DONE | _SEEN]))

    def see_these(self, which: bytes) -> None:
        """As `see_first`, of those of the first results for which there is a 1 and not a 0."""
        end = len(which) + 1
        self._marks[1:end] = bytes(map(or_, self._marks[1:end], which.translate(_SEEN_WHERE)))

    def seen(self, ident: str | bytes) -> bool:
        """Whether a line of the input with this id was noted."""
        return bool(self._known(ident) & _SEEN)

    def changed(self, ident: str | bytes) -> bool:
        """Whether the result that an id has is of another request than its line of the input."""
        return bool(self._known(ident) & _CHANGED)

    def discard(self, ident: str | bytes) -> None:
        """Forget the result of an id."""
        place = self._index[self._slot(_key(ident))]
        if self._marks[place] & _DONE:
            self._marks[place] &= ~_RESULT
            self._count -= 1

    def discard_changed(self) -> int:
        """Forget the results that are of another request than their line of the input; return how many they were."""
        before = self._count
        self._count -= sum(self._marks.count(marks) for marks in range(len(_UNCHANGED)) if marks & _CHANGED)
        self._marks = self._marks.translate(_UNCHANGED)
        return before - self._count

    def get(self, ident: str | bytes) -> str | None:
        """Give the hash in 16 hex digits; "" if it is unknown; `None` if the id has no result."""
        place = self._index[self._slot(_key(ident))]
        if not self._marks[place] & _DONE:
            return None
        return "" if self._marks[place] & _UNKNOWN else f"{self._hashes[place]:016x}"

    def __contains__(self, ident: str | bytes) -> bool:
        return bool(self._known(ident) & _DONE)

    def __len__(self) -> int:
        return self._count

    def _known(self, ident: str | bytes) -> int:
        return self._marks[self._index[self._slot(_key(ident))]]

    def _slot(self, key: int) -> int:
        """Where in the index a key is, or else the empty slot that it may have."""
        index, keys = self._index, self._keys
        mask = len(index) - 1
        slot = key & mask
        while (place := index[slot]) and keys[place] != key:
            slot = (slot + 1) & mask
        return slot

    def _place(self, key: int, number: int = 0, marks: int = 0) -> int:
        """Where among the entries a key is; one that is new gets an entry with this hash and these marks."""
        index, keys = self._index, self._keys
        mask = len(index) - 1
        slot = key & mask
        while place := index[slot]:  # the loop of `_slot`, written out: it runs twice a job
            if keys[place] == key:
                return place
            slot = (slot + 1) & mask
        place = len(keys)
        keys.append(key)
        self._hashes.append(number)
        self._marks.append(marks)
        if place > len(index) * _LOAD:
            self._enter(place)
        else:
            index[slot] = place
        return place

    def _enter(self, first: int) -> list[tuple[int, int]]:
        """Put the entries from `first` on into the index; returns those whose key has one, and where that is."""
        count = len(self._keys)
        if count > len(self._index) * _LOAD:
            self._index = array("I")  # the old one goes before the new one comes
            self._index = _index(count)
            self._fill(1, first)
        return self._fill(first, count)

    def _fill(self, first: int, end: int) -> list[tuple[int, int]]:
        """The loop of `_slot`, written out: it runs once a line of the results file."""
        index, keys, known = self._index, self._keys, []
        mask = len(index) - 1
        with memoryview(keys) as whole, whole[first:end] as part, part.cast("B") as octets, octets.cast("I") as halves:
            for place, half in enumerate(halves[_LOW::2], first):
                slot = half & mask
                while earlier := index[slot]:
                    if keys[earlier] == keys[place]:
                        known.append((place, earlier))
                        break
                    slot = (slot + 1) & mask
                else:
                    index[slot] = place
        return known

    def _revive(self, earlier: int, place: int) -> bool:
        """Note a result for an entry that was there and had none; the later entry is out of reach from now on."""
        if self._marks[earlier] & _DONE:
            return False
        self._marks[earlier] |= _DONE
        self._hashes[earlier] = self._hashes[place]
        self._count += 1
        return True


def _index(count: int) -> array[int]:
    """Make an empty index with room for so many entries and some more."""
    return array("I", [0]) * (1 << max(int(count / _LOAD).bit_length(), _LEAST))


def id_hash(ident: str | bytes) -> int:
    """Make 128 bits that stand for an id."""
    return int.from_bytes(blake2b(_raw(ident), digest_size=16).digest(), "little")


def _raw(ident: str | bytes) -> bytes:
    # surrogatepass: an id that no file can hold still has a hash; whoever writes it will complain
    return ident if isinstance(ident, bytes) else ident.encode(errors="surrogatepass")


def _key(ident: str | bytes) -> int:
    # Python's own hash of bytes: SipHash, keyed anew for each process, so that no file of ids can be made to collide.
    return hash(ident.encode("utf-8", "surrogatepass") if type(ident) is str else ident)


def _number(digest: str | bytes | None) -> int | None:
    if not digest or len(digest) != _HASH_DIGITS:
        return None
    try:
        return int(digest, 16)
    except ValueError:
        return None
