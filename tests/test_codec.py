"""JSON in and out: every integer keeps its digits, and what is written is read back."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, strategies as st

from batcher import codec

EDGES = [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**18, 10**19, 10**308, 10**309, 10**4299]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(EDGES)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    """Any JSON value, with integers of any size, comes back the same, and Python's own reader reads the same."""
    data = codec.dumps(value)
    assert codec.loads(data) == codec.loads(data.decode()) == json.loads(data) == value


@pytest.mark.parametrize("number", EDGES)
@pytest.mark.parametrize("before", range(2 * codec.STRIDE))
def test_long_integers_are_found_wherever_they_stand(number: int, before: int) -> None:
    """Beside anything."""
    data = b" " * before + b"[%d]" % number
    assert codec.loads(data) == [number]
    assert codec.has_long_integer(data) is (len(str(abs(number))) >= codec.RUN)


@pytest.mark.parametrize("text", ["0." + "1234567890" * 4, "1e" + "0" * 30, '"' + "a1" * 40 + '"', "[1, 22, 333]" * 20])
def test_what_has_none_is_not_read_twice(text: str) -> None:
    """Fractions with many digits and short numbers are none."""
    assert not codec.has_long_integer(text.encode())


@pytest.mark.parametrize("data", [b"", b"{", b'{"a":1}{"b":2}', b"NaN", b"[" + b"1" * 400, b"[NaN," + b"1" * 30 + b"]"])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """Also where a long integer stands in it, and where Python's reader would be lenient."""
    with pytest.raises(orjson.JSONDecodeError):
        codec.loads(data)


def test_halves_of_characters_are_joined_or_replaced() -> None:
    """In values and keys."""
    written = codec.dumps({"\ud83d\ude00": "\ude00\ud83d", "n": 2**70})
    assert written.decode() == '{"😀":"\ufffd\ufffd","n":1180591620717411303424}'


@pytest.mark.parametrize("value", [object(), {1: 2}, [10**5000], [[], {"a": set()}]])
def test_what_is_no_json_is_not_written(value: Any) -> None:
    """Nor is it changed into something that is."""
    with pytest.raises(TypeError):
        codec.dumps(value)


@pytest.mark.parametrize(
    "text", [rb'"\ud83d"', rb'"\ude00\ud83d"', rb'{"\ud800":1}', rb'"\u1234567890123456789012\udc00"']
)
def test_halves_of_characters_are_refused_beside_long_integers_too(text: bytes) -> None:
    """As they are without: whoever reads them has to mend them first."""
    for data in (text, b"[%b,%d]" % (text, 10**400), b"[%d,%b]" % (2**70, text)):
        with pytest.raises(orjson.JSONDecodeError):
            codec.loads(data)
    assert codec.loads(rb'["\u1234567890123456789012",%d]' % 10**400) == ["\u1234567890123456789012", 10**400]
