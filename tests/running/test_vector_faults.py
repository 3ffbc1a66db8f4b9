"""Answers to embeddings that are not what was promised: none of them puts a vector under another text."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from support.embedserver import base64_of, embedding

from batcher.simulator import vector

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.commandline import Desk
    from support.embedserver import Spoil

BAD = "bad text"
TEXTS = {f"t{number}": f"text {number}" for number in range(7)} | {"bad": BAD}


def place(texts: list[str]) -> int | None:
    return texts.index(BAD) if BAD in texts else None


def each(change: Callable[[Any], Any]) -> Spoil:
    """Put another vector in the place of the bad text's."""

    def spoil(items: list[Any], texts: list[str]) -> list[Any]:
        if (at := place(texts)) is not None:
            if isinstance(items[at], dict):
                items[at]["embedding"] = change(items[at]["embedding"])
            else:
                items[at] = change(items[at])
        return items

    return spoil


def whole(change: Callable[[list[Any]], Any]) -> Spoil:
    """Change an answer as a whole, where the bad text is in it."""
    return lambda items, texts: items if place(texts) is None else change(items)


def refusing(status: int) -> Spoil:
    return whole(lambda _: (status, b'{"error":{"message":"this is no text"}}'))


def numbers(text: Any) -> list[Any]:
    return vector(BAD) if isinstance(text, str) else text


ANY_FORM: dict[str, Spoil] = {
    "one vector less": whole(lambda items: items[:-1]),
    "one more": whole(lambda items: [*items, items[0]]),
    "none": whole(lambda _: []),
    "null": each(lambda _: None),
    "a text": each(lambda _: "no vector!"),
    "an object": each(lambda _: {"0": 0.5}),
    "empty": each(lambda _: []),
    "an empty text": each(lambda _: ""),
    "zeros": each(lambda _: [0.0] * 8),
    "texts in it": each(lambda given: [*map(str, numbers(given))]),
    "null in it": each(lambda given: [*numbers(given)[:-1], None]),
    "truth in it": each(lambda given: [*numbers(given)[:-1], {}]),
    "truth among numbers": each(lambda given: [*numbers(given)[:3], True, *numbers(given)[4:]]),
    "lies among numbers": each(lambda given: [*numbers(given)[:3], False, *numbers(given)[4:]]),
    "too large for any float": each(lambda given: [*numbers(given)[:-1], 1e39]),
    "shorter": each(lambda given: numbers(given)[:-1]),
    "longer": each(lambda given: [*numbers(given), 0.5]),
    "NaN": whole(lambda _: b'{"model":"m","data":[{"index":0,"embedding":[NaN,1]}],"embeddings":[[NaN,1]]}'),
    "Infinity": whole(lambda _: b'{"model":"m","data":[{"index":0,"embedding":[Infinity]}],"embeddings":[[Infinity]]}'),
    "cut": whole(lambda items: orjson.dumps({"data": items, "embeddings": items})[:-9]),
    **{f"refused with {status}": refusing(status) for status in (400, 413, 422, 500)},
}
V1: dict[str, Spoil] = {
    "an index twice": whole(lambda items: [*items[:-1], {**items[-1], "index": 0}] if len(items) > 1 else [{}]),
    "an index too many": whole(lambda items: [*items[:-1], {**items[-1], "index": len(items)}]),
    "an index below": whole(lambda items: [*items[:-1], {**items[-1], "index": -1}]),
    "an index that is none": whole(lambda items: [*items[:-1], {**items[-1], "index": "zero"}]),
    "base64 of an odd length": each(lambda _: b64encode(bytes(range(1, 32))).decode()),
    "base64 that is none": each(lambda _: "@@@@" + base64_of(BAD)[4:]),
    "base64 of 64 bits": each(lambda _: base64_of(BAD, "<f8")),
    "base64 of the other byte order": each(lambda _: base64_of(BAD, ">f4")),
    "base64 of NaN": each(lambda _: b64encode(np.full(8, np.nan, "<f4").tobytes()).decode()),
    "base64 of infinity": each(lambda _: b64encode(np.full(8, -np.inf, "<f4").tobytes()).decode()),
}


def run(desk: Desk, spoil: Spoil, *args: str, native: bool = False, texts: dict[str, str] = TEXTS) -> list[str]:
    """The ids that have a vector, each its own; every other has one error line."""
    desk.write("jobs.jsonl", *({"id": name, "input": text} for name, text in texts.items()))
    with embedding(spoil, native=native) as server:
        common = ("--base-url", server.url, "-m", "m", "--vectors", "v.npy", "--retries", "0", "-c", "1")
        ran = desk.call("run", "jobs.jsonl", *common, *args)
    ids, array = json.loads((desk.path / "v.npy.ids.json").read_text()), np.load(desk.path / "v.npy")
    assert ids == [*texts]
    found = [name for name, row in zip(ids, array, strict=True) if not np.isnan(row).all()]
    for name, row in zip(ids, array, strict=True):
        assert name not in found or row.tolist() == vector(texts[name]), (name, ran.err)
    errors = [line["id"] for line in desk.lines("v.npy.errors.jsonl")] if len(found) < len(texts) else []
    assert sorted(errors) == sorted(texts.keys() - {*found})
    assert ran.code == (3 if errors else 0), ran.err
    return found


NATIVE = ("one vector less", "null", "null in it", "shorter", "NaN", "refused with 400", "refused with 500")
"""Of what either API can get wrong, what is tried on both."""


@pytest.mark.parametrize(
    ("name", "native"), [*((name, False) for name in ANY_FORM), *((name, True) for name in NATIVE)]
)
def test_one_text_costs_one_line(desk: Desk, name: str, native: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Whatever is wrong about it, and wherever it stands among others."""
    assert run(desk, ANY_FORM[name], native=native) == [*TEXTS][:-1]


@pytest.mark.parametrize("name", V1)
def test_what_only_v1_can_get_wrong(desk: Desk, name: str) -> None:
    """An index, or base64."""
    found = run(desk, V1[name])
    # alone it has no index to be wrong about that would put it elsewhere
    assert found == [*TEXTS][:-1]


def test_vectors_are_put_by_their_index(desk: Desk) -> None:
    """Shuffled, or with none, in which case they stand in order."""
    assert run(desk, lambda items, _: items[::-1]) == [*TEXTS]
    assert run(desk, lambda items, _: [{"embedding": item["embedding"]} for item in items], "--overwrite") == [*TEXTS]


def test_lists_where_base64_was_asked_for(desk: Desk) -> None:
    """A server that ignores the form is taken at its word; one that refuses it is asked once more, and then no more."""
    assert run(
        desk, lambda items, texts: [{**one, "embedding": vector(text)} for one, text in zip(items, texts, strict=True)]
    ) == [*TEXTS]
    refusals = 0

    def refuse(items: list[Any], _: list[str]) -> list[Any] | tuple[int, bytes]:
        nonlocal refusals
        if isinstance(items[0]["embedding"], str):
            refusals += 1
            return 400, b'{"error":{"message":"encoding_format is not supported"}}'
        return items

    assert run(desk, refuse, "--overwrite", "--pack", "2") == [*TEXTS]
    assert refusals == 1


def test_another_length_later(desk: Desk) -> None:
    """In the midst of a run, and in the next one: another model stands under the name."""
    longer = each(lambda _: [0.5] * 9)
    assert run(desk, longer, "--pack", "1") == [*TEXTS][:-1]
    everything = lambda items, texts: [{**one, "embedding": [0.5] * 9} for one in items]  # noqa: E731, ARG005 - short
    assert run(desk, everything, "--retries", "0") == [*TEXTS][:-1]


def test_a_dead_runner_is_asked_again_whole(desk: Desk) -> None:
    """Ollama's 400 for it is no word about a text: the pack is sent once more, in one piece."""
    crashes = 1

    def crash(items: list[Any], _: list[str]) -> list[Any] | tuple[int, bytes]:
        nonlocal crashes
        crashes -= 1
        if crashes >= 0:
            return 400, b'{"error":"do embedding request: Post \\"http://127.0.0.1:40000/embedding\\": EOF"}'
        return items

    desk.write("jobs.jsonl", *({"id": name, "input": text} for name, text in TEXTS.items()))
    with embedding(crash, native=True) as server:
        ran = desk.call("run", "jobs.jsonl", "--base-url", server.url, "-m", "m", "--vectors", "v.npy", "-c", "1")
        assert ran.code == 0, ran.err
        assert [len(texts) for texts in server.asked] == [8, 8]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (413, "batch size {} > maximum allowed batch size 3"),
        (422, "List should have at most 3 items after validation, not {}"),
        (400, "'$.input' is invalid: array too long. at most 3 items"),
        (413, "payload"),
    ],
)
def test_a_limit_of_the_server_costs_no_text(desk: Desk, status: int, words: str) -> None:
    """Named, it holds from then on; without a word halves are sent."""

    def limited(items: list[Any], texts: list[str]) -> list[Any] | tuple[int, bytes]:
        if len(texts) > 3:
            return status, orjson.dumps({"error": {"message": words.format(len(texts))}})
        return items

    texts = {f"t{number}": f"text {number}" for number in range(60)}
    assert run(desk, limited, texts=texts) == [*texts]


def test_a_limit_that_is_told_beforehand(desk: Desk) -> None:
    """At `/info`, as text-embeddings-inference has it: no request is too large."""
    texts = {f"t{number}": f"text {number}" for number in range(40)}
    desk.write("jobs.jsonl", *({"id": name, "input": text} for name, text in texts.items()))
    info = {"max_client_batch_size": 4, "max_input_length": 512, "auto_truncate": True}
    with embedding(pages={"/info": info}) as server:
        ran = desk.call("run", "jobs.jsonl", "--base-url", server.url, "-m", "m", "--vectors", "v.npy")
        assert ran.code == 0
        assert "takes 4 texts a request, of 512 tokens each, and cuts longer ones without a word" in ran.err
        assert max(map(len, server.asked)) == 4
        assert sum(map(len, server.asked)) == 40
