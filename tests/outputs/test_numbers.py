"""Rows are what numpy would make of the same vectors, to the bit."""

from __future__ import annotations

from base64 import b64encode

import numpy as np
import pytest
from hypothesis import given, strategies as st

from batcher.outputs.numbers import no_row, normalized, numbers_of, row_of

NUMBERS = st.lists(st.floats(-60000, 60000), min_size=1, max_size=20)
TOO_LARGE = [
    ([1e39, 1.0], "float32"),
    ([1 << 200], "float32"),
    ([70000.0], "float16"),
    ([-7e4], "float16"),
    ([1 << 200], "float16"),
]
TOO_SMALL = [([1e-60, 0.0], "float32"), ([1e-9, -1e-9], "float16"), ([0.0, -0.0], "float32"), ([0, 0], "float16")]
TINY = st.lists(st.floats(-1e-4, 1e-4), min_size=1, max_size=20)


def wire(vector: list[float]) -> str:
    return b64encode(np.array(vector, "<f4").tobytes()).decode()


@given((NUMBERS | TINY).filter(lambda vector: np.array(vector, "<f4").astype("<f2").any()))
def test_rows_are_rounded_as_numpy_rounds(vector: list[float]) -> None:
    assert row_of(vector, "float32") == np.array(vector, "<f4").tobytes()
    assert row_of(vector, "float16") == np.array(vector, "<f2").tobytes()
    assert row_of(np.array(vector, "<f4").tobytes(), "float16") == row_of(wire(vector), "float16")
    assert row_of(wire(vector), "float32") == np.array(vector, "<f4").tobytes()
    assert row_of(wire(vector), "float16") == np.array(vector, "<f4").astype("<f2").tobytes()


@pytest.mark.parametrize(("vector", "dtype"), TOO_LARGE)
def test_what_is_too_large_is_told(vector: list[float], dtype: str) -> None:
    with pytest.raises(ValueError, match=f"too large for {dtype}"):
        row_of(vector, dtype)


@pytest.mark.parametrize(("vector", "dtype"), TOO_SMALL)
def test_no_row_is_of_zeros(vector: list[float], dtype: str) -> None:
    """Numbers that all become 0 are told, as those are that become infinite."""
    with pytest.raises(ValueError, match=f"zeros, in {dtype}, has no direction"):
        row_of(vector, dtype)


@pytest.mark.parametrize(
    ("vector", "dtype"), [([2.0**-142, 0.0], "float32"), ([1e-60, 1.0], "float32"), ([6e-8], "float16")]
)
def test_the_least_numbers_are_none(vector: list[float], dtype: str) -> None:
    """Nor is a vector with one number that is left; the first is made of the bytes that a negative zero has."""
    assert any(numbers_of(row_of(vector, dtype), dtype))


def test_large_numbers_that_fit_are_kept() -> None:
    """Up to the last."""
    assert np.frombuffer(row_of([3e38, -3e38], "float32"), "<f4").tolist() == [np.float32(3e38), np.float32(-3e38)]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_no_row_is_nan_all_over(dtype: str) -> None:
    row = no_row(3, dtype)
    assert np.isnan(np.frombuffer(row, dtype)).all()
    assert len(numbers_of(row, dtype)) == 3


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20).filter(any))
def test_normalized_vectors_have_length_one(vector: list[float]) -> None:
    assert np.linalg.norm(normalized(vector)) == pytest.approx(1.0)
    assert normalized(np.array([3.0, 4.0], "<f4").tobytes()) == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize("number", [1e308, 5e-324, 1 << 1023])
def test_normalized_vectors_of_extremes_have_length_one(number: float) -> None:
    assert normalized([number] * 4) == [0.5] * 4
    assert normalized([-number, number]) == pytest.approx([-(0.5**0.5), 0.5**0.5])


def test_zeros_have_no_direction() -> None:
    with pytest.raises(ValueError, match="no direction"):
        normalized([0.0, 0.0])
