"""Texts as an array of vectors: a row for each, in their order, whatever fails."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.commandline import names
from support.embedserver import embedding

import batcher
from batcher.failures import ConfigError, UsageError
from batcher.simulator import vector

if TYPE_CHECKING:
    from batcher.simulator import BackgroundSimulator


pytestmark = pytest.mark.usefixtures("sim")


def test_a_row_for_each_text(sim: BackgroundSimulator) -> None:
    """In order, equal ones alike, packed into few requests; as the type that was asked for."""
    texts = [*names(40), names(1)[0]]
    vectors = batcher.embed(texts, model="simulator")
    assert vectors.dtype == np.float32
    assert vectors.shape[0] == 41
    assert np.isfinite(vectors).all()
    assert (vectors[0] == vectors[40]).all()
    assert not (vectors[0] == vectors[1]).all()
    assert sum(sim.tally.paths.values()) < 41
    [alone] = batcher.map([{"input": texts[7]}])
    assert alone.vector is not None
    assert np.allclose(vectors[7], alone.vector)
    assert batcher.embed(iter(texts[:2]), dtype="float64").dtype == np.float64
    assert batcher.embed([]).shape == (0, 0)


def test_of_length_1() -> None:
    """Also where the server gives longer ones, as bytes or as numbers."""
    tripled = lambda items, texts: [{"embedding": [3 * x for x in vector(text)]} for text in texts]  # noqa: E731, ARG005 - one line; the signature
    with embedding(tripled) as server:
        made = [batcher.embed(["a", "b"], model="m", base_url=server.url, normalize=wanted) for wanted in (True, False)]
    assert np.allclose(np.linalg.norm(made[0], axis=1), 1)
    assert np.allclose(made[1], 3 * made[0])


@pytest.mark.anyio
async def test_on_either_api_and_in_a_loop(sim: BackgroundSimulator) -> None:
    """Awaited or in a notebook; by Ollama's API or OpenAI's."""
    found = [await batcher.aembed(["a", "b"], base_url=url) for url in (sim.url, f"{sim.url}/v1")]
    found.append(batcher.embed(["a", "b"]))
    assert all(np.allclose(found[0], vectors, atol=1e-6) for vectors in found)


def test_what_fails_is_named_or_nan() -> None:
    """All are asked first; then the error names the first that failed, and has the array that there is."""
    texts: list[Any] = ["one", None, "three", " "]
    vectors = batcher.embed(texts, on_error="nan")
    assert [bool(np.isnan(row).all()) for row in vectors[:3]] == [False, True, False]
    with pytest.raises(batcher.BatcherError, match="text 2 has none: input_invalid") as caught:
        batcher.embed(texts)
    assert np.array_equal(np.asarray(caught.value.results), vectors, equal_nan=True)
    assert batcher.embed([None, None], on_error="nan").shape == (2, 0)  # type: ignore[list-item]  # a column of holes


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dtype": "int8"}, "dtype is float16, float32 or float64, not 'int8'"),
        ({"on_error": "ignore"}, "on_error is raise or nan, not 'ignore'"),
        ({"repeat": 2}, "repeat is not for embed, which gives one vector for each text"),
        ({"limit": 1}, "limit is not for embed"),
        ({"shard": "1/2"}, "shard is not for embed"),
        ({"prompt": "{{ text }}"}, "prompt is not for embed"),
        ({"ordered": True}, "ordered is about files"),
    ],
)
def test_wrong_wishes(values: dict[str, Any], words: str) -> None:
    """They are told before anything is sent."""
    with pytest.raises(UsageError, match=words):
        batcher.embed(["a"], **values)
    for texts in ("one text", None, 3):
        with pytest.raises(UsageError, match="rows are wanted"):
            batcher.embed(texts)  # type: ignore[arg-type]  # mistakes


def test_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ConfigError, match=r"pip install 'batcher\[vectors\]'"):
        batcher.embed(["a"])
