"""Vectors and images: one for each input, in order, whole and usable."""

from __future__ import annotations

import base64
import math
import struct
import sys
from typing import Any

import pytest
from support.conformance import read
from support.wirefiles import load

from batcher.failures import AttemptError, FailureClass
from batcher.model import Api, Job, Kind
from batcher.outcome import Completion
from batcher.wire.dialects import DIALECTS, call_for, vectors as dialect
from batcher.wire.dialects.vectors import Sizes, check_vectors, inputs_of


def test_vectors_stand_in_the_order_of_the_inputs() -> None:
    """Items are placed by their index, in either encoding."""
    assert read(load("openai-embeddings-out-of-order")).vectors == [[0.1, 1.0], [0.2, 2.0], [0.3, 3]]
    vectors = read(load("captured-ollama-v1-embeddings-base64")).vectors
    assert vectors is not None
    floats = read(load("captured-ollama-v1-embeddings")).vectors
    assert floats is not None
    assert struct.unpack("<4f", vectors[0]) == pytest.approx(floats[0], abs=1e-6)


@pytest.mark.parametrize(
    ("content", "count"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2), ([[1, 2]], 1)]
)
def test_inputs_are_counted(content: Any, count: int) -> None:
    """A list of numbers is one input; a list of anything else is as many as it holds."""
    job = Job(id="a", seq=0, kind=Kind.EMBED, content=content)
    assert len(inputs_of(job)) == count
    assert len(inputs_of(Job(id="a", seq=0, kind=Kind.EMBED, body={"input": content}))) == count


@pytest.mark.parametrize(
    "vector",
    [
        *([], None, "", "AAA", "!!!!", {}, ["a"], [[1.0]], [math.nan, 1.0], [math.inf], [None], 3, [10**400]),
        *([0.0, 0], "AAAAAAAAAAA=", [True, False], [True], [0.5, True]),
    ],
)
def test_unusable_vectors_are_refused(vector: Any) -> None:
    """A vector that is none, holds anything but finite numbers, or nothing but zeros, is malformed."""
    for binary in (False, True):
        with pytest.raises(AttemptError, match="malformed"):
            check_vectors([vector], 1, binary=binary)


@pytest.mark.parametrize(
    ("indices", "vectors"),
    [
        ((1, 0), [[2.0], [1.0]]),
        ((1.0, 0.0), [[2.0], [1.0]]),
        (("1", "0"), [[2.0], [1.0]]),
        ((True, False), [[2.0], [1.0]]),
        ((None, 1.0), [[1.0], [2.0]]),
    ],
)
def test_an_index_is_read_in_any_form_of_a_number(indices: tuple[Any, Any], vectors: list[list[float]]) -> None:
    """As of choices: gateways have other numbers, or none."""
    first, second = indices
    assert _vectors([{"index": first, "embedding": [1.0]}, {"index": second, "embedding": [2.0]}]) == vectors


@pytest.mark.parametrize("index", [0.5, "0.5", "one", -1, 2, "2", [], 0, "0"])
def test_an_index_that_is_none_or_there_twice_is_refused(index: Any) -> None:
    with pytest.raises(AttemptError, match="malformed"):
        _vectors([{"index": 0, "embedding": [1.0]}, {"index": index, "embedding": [2.0]}])


def _vectors(data: list[Any]) -> Any:
    job = Job(id="a", seq=0, kind=Kind.EMBED, content=["a", "b"])
    call, completion = call_for((job,), Api.OPENAI, stream=False), Completion()
    DIALECTS[call.path].whole({"data": data}, completion, call)
    return completion.vectors


@pytest.mark.parametrize("vector", [[1.5, -2, 3], [0.1, 1e-30, 0], [1, 2.5, 0.0]])
def test_lists_become_bytes_where_these_are_wanted(vector: Any) -> None:
    """As if the server had given base64, by what was wanted of the call."""
    assert check_vectors([vector], 1, binary=True) == [struct.pack("<3f", *vector)]
    assert check_vectors([vector], 1) == [vector]
    for api, data in ((Api.OPENAI, {"data": [{"embedding": vector}]}), (Api.NATIVE, {"embeddings": [vector]})):
        for binary in (True, False):
            call = call_for((Job(id="a", seq=0, kind=Kind.EMBED, content="a"),), api, stream=False, base64=binary)
            completion = Completion()
            DIALECTS[call.path].whole(dict(data), completion, call)
            assert completion.vectors == check_vectors([vector], 1, binary=binary)


@pytest.mark.parametrize("vector", [[1e60, 1.0], [2.0**60, 1.0], [1e-60]])
def test_numbers_that_bytes_do_not_hold_stay_what_they_are(vector: Any) -> None:
    """Who writes them down tells then what is wrong with them."""
    assert check_vectors([vector], 1, binary=True) == [vector]


@pytest.mark.parametrize(
    "vector", [[], ["a"], [[1.0]], [math.nan, 1.0], [math.inf], [None], [10**400], [0.0, 0], [True]]
)
def test_unusable_lists_are_refused_where_bytes_are_wanted(vector: Any) -> None:
    with pytest.raises(AttemptError, match="malformed"):
        check_vectors([vector], 1, binary=True)


def test_all_vectors_of_a_run_have_one_length() -> None:
    """A length that changes under one name is another model; what was asked for by length is compared with its like."""
    sizes = Sizes()

    def differs(vector: Any, model: str = "m", **fields: Any) -> bool:
        job = Job(id="a", seq=0, kind=Kind.EMBED, model=model, content="a", **fields)
        return sizes.differs(call_for((job,), Api.OPENAI, stream=False), [vector]) is not None

    packed = base64.b64encode(struct.pack("<3f", 1, 2, 3)).decode()
    assert not any(map(differs, ([1, 2, 3], [4, 5, 6], packed)))
    assert differs([1, 2])
    assert differs(base64.b64encode(struct.pack("<2f", 1, 2)).decode())
    assert not differs([1, 2], model="n")
    assert not differs([1, 2], params={"dimensions": 2})
    assert differs([1, 2, 3], extra={"dimensions": 2})
    assert not differs([1, 2, 3])


def test_images_come_as_base64() -> None:
    """Every image of an answer is taken, and a link is refused for good with what to do."""
    pictures = read(load("openai-images")).images
    assert pictures is not None
    assert len(pictures) == 2
    with pytest.raises(AttemptError, match="response_format") as caught:
        read(load("openai-images-url"))
    assert caught.value.failure.kind is FailureClass.PERMANENT


def test_base64_without_its_padding_is_read() -> None:
    """Of a vector whose bytes are no multiple of three; what lacks more than that is none."""
    for numbers in ([1.5], [1.5, -2], [1.5, -2, 3], [1.5, -2, 3, 4]):
        packed = struct.pack(f"<{len(numbers)}f", *numbers)
        bare = base64.b64encode(packed).decode().rstrip("=")
        assert check_vectors([bare, base64.b64encode(packed).decode()], 2) == [packed, packed]
        for cut in range(1, 5):
            with pytest.raises(AttemptError):
                check_vectors([bare[:-cut]], 1)


@pytest.mark.parametrize("text", ["", "A", "AADA PwAAAMAA AEBA", "AADAPwAAAMAAAEBA\n", "AADAPwAA*AMAAAEBA", "é" * 16])
@pytest.mark.parametrize("has_pybase64", [True, False])
def test_base64_is_read_strictly(text: str, monkeypatch: pytest.MonkeyPatch, *, has_pybase64: bool) -> None:
    """By either reader; and what is base64 is the same by both."""
    if not has_pybase64:
        monkeypatch.setitem(sys.modules, "pybase64", None)
    dialect._reader.cache_clear()
    try:
        packed = struct.pack("<3f", 1.5, -2, 3)
        assert check_vectors([base64.b64encode(packed).decode()], 1) == [packed]
        with pytest.raises(AttemptError, match="no list of finite numbers"):
            check_vectors([text], 1)
    finally:
        dialect._reader.cache_clear()
