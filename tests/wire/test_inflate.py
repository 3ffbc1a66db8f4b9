"""What a server compressed unasked: all that is an answer is read, and nothing grows without bound."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from batcher.failures import AttemptError
from batcher.wire.inflate import HEAD_START, RATIO_LIMIT, Inflate, inflater


def fed(packed: bytes, size: int = 4096) -> int:
    """How many bytes come of it; raises AttemptError."""
    inflate = Inflate()
    return sum(len(inflate.feed(packed[i : i + size])) for i in range(0, len(packed), size))


@pytest.mark.parametrize("size", [1000, 65536])
def test_an_answer_of_a_token_a_record_is_read(size: int) -> None:
    """A hundred thousand records that differ in their token alone, as a stream of a long answer has them."""
    records = (
        b'data: {"id":"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012","object":"chat.completion.chunk","created":1795975077,'
        b'"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_0123456789","choices":'
        b'[{"index":0,"delta":{"content":%b},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
        % json.dumps(f" w{(n * 2654435761) % 99991}").encode()
        for n in range(100_000)
    )
    text = b"".join(records)
    assert len(text) > 4 * HEAD_START
    assert fed(gzip.compress(text, 6), size) == len(text)


def test_a_short_answer_may_shrink_to_nothing() -> None:
    """Blanks are no bomb."""
    assert fed(gzip.compress(b" " * 4_000_000)) == 4_000_000


@pytest.mark.parametrize("members", [1, 50])
def test_a_bomb_is_refused_before_it_has_grown(members: int) -> None:
    """In one member or in many: what came of it is in proportion to what was sent."""
    packed = zlib.compress(bytes(64 << 20), 9) if members == 1 else gzip.compress(bytes(2 << 20), 9) * members
    inflate = Inflate()
    grown: list[int] = []
    with pytest.raises(AttemptError, match="grows beyond"):
        grown.extend(len(inflate.feed(packed[i : i + 4096])) for i in range(0, len(packed), 4096))
    assert sum(grown) <= HEAD_START + RATIO_LIMIT * len(packed)


def test_deflate_without_its_frame() -> None:
    """What is called deflate may be bare, and is held to the same bounds; gzip may not."""
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(b"{}" * 1000) + packer.flush()
    assert len(Inflate(may_be_bare=True).feed(packed)) == 2000
    with pytest.raises(AttemptError, match="cannot be read"):
        Inflate().feed(packed)
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(bytes(64 << 20)) + packer.flush()
    with pytest.raises(AttemptError, match="grows beyond"):
        Inflate(may_be_bare=True).feed(bomb)


def test_what_undoes_an_encoding() -> None:
    """By name, whatever its case; nothing where nothing was done."""
    assert inflater("identity") is None
    assert inflater("") is None
    assert isinstance(inflater(" GZip "), Inflate)
