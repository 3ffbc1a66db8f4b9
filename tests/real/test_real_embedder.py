"""batcher and a model that people embed with, on the real llama.cpp server, beside vectors of a real Ollama."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.commandline import Desk
from support.embedder import DIM, made
from support.realserver import serving
from support.wirefiles import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(120)]

TEXTS = [
    *("a", "b", "The cat sleeps.", "Grüße aus Köln!", "猫が寝ている", "7", "A cat is asleep on the mat.", "Bread."),
    *("Bees live in hives. " * repeats for repeats in range(1, 25, 3)),
    *(f"note {number}: " + "rain, all day long, " * (number % 7) for number in range(60)),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(model=made(tmp_path_factory.mktemp("model") / "all-minilm.gguf")) as address:
        yield address


def embedded(desk: Desk, url: str, name: str, *args: str) -> Any:
    """The array of all texts."""
    desk.write("texts.jsonl", *({"id": str(place), "input": text} for place, text in enumerate(TEXTS)))
    ran = desk.run("run", "texts.jsonl", "-m", "all-minilm", "--base-url", url, "--vectors", name, *args)
    assert ran.code == 0, ran.err
    assert desk.call("verify", "texts.jsonl", f"{name}.results.jsonl").code == 0
    return np.load(desk.path / name)


def cosines(one: Any, other: Any) -> Any:
    """Row by row."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    return np.sum(one * other, axis=1) / (np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1))


def test_packed_they_are_the_vectors_of_one_a_request(url: str, tmp_path: Path) -> None:
    """As many together as are found to be good, fixed packs, several at a time, as lists: row by row the same."""
    desk = Desk(tmp_path)
    alone = embedded(desk, url, "alone.npy", "--pack", "1", "-c", "1")
    assert alone.shape == (len(TEXTS), DIM)
    ways = {
        "auto": (),
        "packs": ("--pack", "16", "-c", "1"),
        "beside": ("--pack", "8", "-c", "4"),
        "lists": ("--param", "encoding_format=float"),
    }
    for name, args in ways.items():
        assert cosines(alone, embedded(desk, url, f"{name}.npy", *args)).min() >= 0.9999, name
    half = embedded(desk, url, "half.npy", "--vectors-dtype", "float16", "--pack", "1", "-c", "1")
    assert half.dtype == np.float16
    assert (half == alone.astype(np.float16)).all()


def test_they_are_those_of_a_real_ollama(url: str, tmp_path: Path) -> None:
    """The same model there, asked for its first four dimensions, which it brings to length 1."""
    capture = load("captured-ollama-embed")
    assert capture.request["input"] == TEXTS[:2]
    theirs = np.array(json.loads(capture.body)["embeddings"])
    ours = embedded(Desk(tmp_path), url, "v.npy")[:2, : theirs.shape[1]]
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    assert np.abs(ours - theirs).max() < 0.005  # llama.cpp of another day, and other instructions
    assert cosines(ours, theirs).min() >= 0.9999


def test_what_is_alike_is_near(url: str, tmp_path: Path) -> None:
    """So that these are vectors of meaning, and not merely the same ones each time."""
    array = embedded(Desk(tmp_path), url, "v.npy", "--normalize")
    assert np.abs(np.linalg.norm(array, axis=1) - 1).max() < 1e-5
    near = array[TEXTS.index("The cat sleeps.")] @ array.T
    first, second = np.argsort(-near)[:2]
    assert [TEXTS[first], TEXTS[second]] == ["The cat sleeps.", "A cat is asleep on the mat."]
