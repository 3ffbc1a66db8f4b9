"""Texts that are too long: how they are cut by a server's words, and what comes of the pieces."""

from __future__ import annotations

import pytest

from batcher.exchange.overflow import CODE, Overflow, mean
from batcher.failures import Failure, FailureClass
from batcher.model import Api, Call, Job, Kind
from batcher.outcome import Completion
from batcher.wire.dialects import call_for

LONG = " ".join(f"word{number:03d}" for number in range(100))


def failure(words: str, code: str = CODE) -> Failure:
    return Failure(FailureClass.PERMANENT, code, words, 400)


def call_of(content: object = LONG, **fields: object) -> Call:
    job = Job(id="a", seq=0, kind=Kind.EMBED, hash="", model="m", content=content, **fields)  # type: ignore[arg-type]  # fields of any type
    return call_for((job,), Api.OPENAI, stream=False, base64=True)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("input (1000 tokens) is too large to process. increase the batch size (current batch size: 512)", 0.46),
        ("maximum context length is 512 tokens, however you requested 700 tokens", 0.66),
        ("`inputs` must have less than 512 tokens. Given: 2048", 0.225),
        ("request (1100 tokens) exceeds the available context size (512 tokens), try increasing it", 0.42),
        ("the input length exceeds the context length", 0.5),
        ("exceeds the context length of 512 tokens", 0.5),
        ("maximum context length is 10 tokens, you requested 100000 tokens", 0.1),
        ("maximum context length is 512 tokens, you requested 513 tokens", 0.9),
    ],
)
def test_how_much_of_a_text_is_left(words: str, left: float) -> None:
    """By the counts of tokens in the words, within bounds; half of it without them."""
    call, truncating = call_of(), Overflow("truncate")
    assert truncating.refits(call, failure(words), Api.OPENAI)
    [kept] = [job.content for job in call.jobs]
    assert LONG.startswith(kept)
    assert 0.7 * left <= len(kept) / len(LONG) <= left + 0.01
    assert kept.endswith(" ")
    assert kept.strip() in call.body.decode()
    assert call.body.endswith(b'"encoding_format":"base64"}')


def test_pieces_are_the_whole_text_and_get_smaller() -> None:
    """Each is under the prefix; refused again, all are made smaller; the call is that of the text again at its end."""
    call, splitting = call_of(f"doc: {LONG}"), Overflow("split", "doc: ")
    [job], pieces = call.jobs, list[str]()
    for most in (2, 6):
        assert splitting.refits(call, failure("too long"), Api.OPENAI)
        pieces = call.jobs[0].content
        assert all(piece.startswith("doc: ") for piece in pieces)
        assert "".join(piece.removeprefix("doc: ") for piece in pieces) == LONG
        assert most <= len(pieces) <= most + 1
    completion = Completion(vectors=[[1.0, 0.0], *[[0.0, 1.0]] * (len(pieces) - 1)])
    weights = [len(piece) for piece in pieces]
    first = weights[0] / sum(weights)
    splitting.concludes(call, completion)
    assert call.jobs == (job,)
    assert completion.vectors == [[pytest.approx(first), pytest.approx(1 - first)]]
    assert list(completion.flags) == ["input_split"]


@pytest.mark.parametrize(
    ("how", "content", "code"),
    [
        ("error", LONG, CODE),
        ("split", LONG, "bad_request"),
        ("split", [LONG, LONG], CODE),
        ("truncate", [1, 2, 3], CODE),
        ("truncate", "short", CODE),
    ],
)
def test_what_is_left_alone(how: str, content: object, code: str) -> None:
    """What nobody asked to be cut, what is no single text, and what is short already: a server may always refuse."""
    call = call_of(content)
    before = call.body
    assert not Overflow(how).refits(call, failure("too long", code), Api.OPENAI)
    assert call.body == before


def test_it_ends_though_a_server_refuses_all() -> None:
    """A piece of a few characters is not cut."""
    call, truncating = call_of(), Overflow("truncate")
    rounds = 0
    while truncating.refits(call, failure("too long"), Api.OPENAI):
        rounds += 1
    assert 3 <= rounds <= 10
    truncating.concludes(call, None)
    assert call.jobs[0].content == LONG


@pytest.mark.parametrize("pair", [([1.0, 0.0], [-1.0, 0.0]), (b"\0\0\x80?", b"\0\0\x80\xbf"), ([1, -2], [-1, 2])])
def test_pieces_that_cancel_each_other_out_have_no_vector(pair: tuple[object, object]) -> None:
    """A vector of zeros is none, wherever it comes from."""
    call, splitting = call_of("x" * 80), Overflow("split")
    job = call.jobs[0]
    assert splitting.refits(call, failure("too long"), Api.OPENAI)
    found = splitting.concludes(call, Completion(vectors=[*pair]))
    assert found is not None
    assert (found.kind, found.code) == (FailureClass.PERMANENT, "vector_of_zeros")
    assert (call.jobs, call.pieces) == ((job,), None)


def test_the_mean_is_weighted() -> None:
    """Of lists and of bytes alike."""
    assert mean([[1.0, 3.0], b"\0\0\x80?\0\0\0\0"], [1, 3]) == [1.0, 0.75]
