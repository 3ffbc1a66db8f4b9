"""Ids and hashes: what makes two jobs the same."""

from __future__ import annotations

import re
from typing import Any

import pytest

from batcher.failures import LineError
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.jsonl import parse_job
from batcher.inputs.identity import Ids, body_hash, canonical_id, canonical_request, derived_id
from batcher.model import Kind

BASE = b'{"id":"a","model":"m","prompt":"hi","max_tokens":5,"options":{"num_ctx":64},"params":{"x":1},"system":"s"}'


def hash_of(line: bytes, **defaults: Any) -> str:
    return parse_job(line, 0, Defaults(**defaults)).hash


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(None, None), ("a", "a"), (1, "1"), ("1", "1"), (-7, "-7"), ("1.0", "1.0"), (1.0, "1"), (-7.0, "-7")],
)
def test_ids_are_texts(given: Any, wanted: str | None) -> None:
    """An id is a text; the number 1 and the text "1" are one id."""
    assert canonical_id(given) == wanted


@pytest.mark.parametrize("given", [1.5, 2.0**53, float("inf"), float("nan"), True, {}, [], ""])
def test_other_ids_are_refused(given: Any) -> None:
    """What is equal to an integer only in some languages, or is no name at all, is refused."""
    with pytest.raises(LineError) as caught:
        canonical_id(given)
    assert caught.value.code == "input_invalid"


def test_missing_ids_come_from_the_bytes() -> None:
    """A line without an id always gets the same one, and equal lines are told apart by their order."""
    seen: set[str] = set()
    ids = Ids(seen.__contains__)
    lines = [b"x", b"x", b"y", b"x"]
    given = []
    for seq, line in enumerate(lines):
        given.append(ids.derive(line, seq))
        seen.add(given[-1])
    first = derived_id(b"x")
    assert re.fullmatch("h:[0-9a-f]{32}", first)
    assert first == Ids().derive(b"x")
    assert given == [first, f"{first}#2", derived_id(b"y"), f"{first}#3"]
    assert ids.repeated
    ids.replay()
    assert [ids.derive(lines[seq], seq) for seq in (3, 0, 1)] == [f"{first}#3", first, f"{first}#2"]


def test_any_number_of_equal_lines() -> None:
    """Each gets the next number, however many there are."""
    seen: set[str] = set()
    ids = Ids(seen.__contains__)
    for seq in range(300):
        seen.add(ids.derive(b"x", seq))
    assert seen == {derived_id(b"x"), *(f"{derived_id(b'x')}#{number}" for number in range(2, 301))}


@pytest.mark.parametrize(
    "change",
    [
        (b'"hi"', b'"ho"'),
        (b'"m"', b'"n"'),
        (b'"max_tokens":5', b'"max_tokens":6'),
        (b'"num_ctx":64', b'"num_ctx":65'),
        (b'"x":1', b'"x":2'),
        (b'"system":"s"', b'"system":"t"'),
        (b'"id":"a"', b'"id":"a","tools":[{"type":"function"}]'),
        (b'"id":"a"', b'"id":"a","images":["iVBORw0KGgoAAAAN"]'),
        (b'"id":"a"', b'"id":"a","url":"/api/chat"'),
    ],
)
def test_hash_covers_what_is_asked(change: tuple[bytes, bytes]) -> None:
    """Whatever can change the answer changes the hash."""
    assert hash_of(BASE.replace(*change)) != hash_of(BASE)


@pytest.mark.parametrize(
    "line",
    [
        BASE.replace(b'"id":"a"', b'"id":"b"'),
        BASE.replace(b'"id":"a"', b'"id":"a","stream":false,"keep_alive":"5m","truncate":true,"meta":{"m":1}'),
        BASE.replace(b'"id":"a"', b'"id":"a","url":"/api/generate"'),
        BASE.replace(b'"max_tokens"', b'"num_predict"'),
        BASE.replace(b'"max_tokens"', b'"max_completion_tokens"'),
        BASE.replace(b'"x":1', b'"x":1,"stream_options":{}'),
        b'{"system":"s","params":{"x":1},"options":{"num_ctx":64},"max_tokens":5,"prompt":"\\u0068i","model":"m"}',
    ],
)
def test_hash_leaves_the_rest_out(line: bytes) -> None:
    """Ids, delivery, metadata, the order of keys and the names of parameters do not change the hash."""
    assert hash_of(line) == hash_of(BASE)


def test_hash_is_of_the_effective_request() -> None:
    """A value counts the same on the line and as the run's, and an alias counts as what it stands for."""
    bare = b'{"prompt":"hi","max_tokens":5,"options":{"num_ctx":64}}'
    assert hash_of(bare, model="m", system="s", extra={"x": 1}) == hash_of(BASE)
    assert hash_of(BASE.replace(b'"m"', b'"other"'), aliases={"other": "m"}) == hash_of(BASE)


def test_hash_is_stable() -> None:
    """The hash of a known line never changes between versions: it is what a resume compares."""
    assert hash_of(BASE) == "887eadeebf113072"


def test_body_hash() -> None:
    """A body's hash leaves out how the answer is delivered and covers all else."""
    line = b'{"custom_id":"a","url":"/v1/completions","body":{"model":"m","prompt":"hi"%s}}'
    assert hash_of(line % b',"stream":true,"stream_options":{}') == hash_of(line % b"")
    assert hash_of(line % b',"user":"u"') != hash_of(line % b"")


def test_hash_needs_json() -> None:
    """What no JSON can carry is refused instead of hashed."""
    with pytest.raises(LineError) as caught:
        canonical_request(Kind.CHAT, "m", "hi", extra={"a": {1, 2}})
    assert caught.value.code == "input_invalid"


def test_a_name_and_its_latest_are_one() -> None:
    """Ollama adds `:latest` to a name without a tag: the same answer is not asked for twice."""
    one, other, tagged = (canonical_request(Kind.CHAT, name, "hi") for name in ("m", "m:latest", "m:7b"))
    assert one == other != tagged
    assert body_hash(Kind.CHAT, {"model": "m"}) == body_hash(Kind.CHAT, {"model": "m:latest"})
