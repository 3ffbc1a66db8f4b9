"""Makes hostile bytes of honest ones: what readers are known to stumble over, put anywhere, and pieces of others."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Final

import orjson
from fuzz.case import Case
from fuzz.corpus import CASES
from support import wirefiles
from support.result_lines import entry

if TYPE_CHECKING:
    import random

SHARP: Final = (
    *(b"", b"\n", b"\r", b"\n\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\xbd", b'"', b"\\", b"\\u", b"\\ud83d"),
    *(b"{", b"}", b"[", b"]", b"[[[[", b",", b":", b"null", b"true", b"{}", b"[]", b'""', b"-1", b"1e400", b"NaN"),
    *(b"9" * 40, b"1" * 5000, b"-9223372036854775809", b"[" * 1100, b'{"a":' * 300, b"0.1e-400", b" " * 3000),
    *(b"data: ", b"data: [DONE]\n\n", b"event: error\n", b": ping\n", b'{"error":{"message":"x"}}', b'"id":"a"'),
    *(b'"index":-1', b'"index":99999999', b'"seq":1e3', b'"hash":""', b"\xe2\x80\xa8", b"\xc2\x9d", b"\x1b]0;x\x07"),
    *(b"=cmd", b"'", b"\t", b";", b'"",""', b"\x1f\x8b", b"PK\x03\x04"),
)
"""What has a meaning to some reader, or none to any."""
LONGEST: Final = 256 * 1024
"""Bytes of a case; what is larger is for `large.py`."""
JOBS: Final = (
    b'{"id":"a","prompt":"x","max_tokens":5,"meta":{"a":[1]}}\n{"messages":[{"role":"user","content":"x"}]}',
    b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"m","messages":[]}}',
    b'{"input":["a","b"],"dimensions":3,"params":{"temperature":0}}\n{"instruction":"x","input":"y","output":"z"}',
    b'{"prompt":"x","images":["data:image/png;base64,iVBORw0KGgo="],"options":{"num_ctx":1},"keep_alive":"5m"}',
    b'{"prompt":"x","tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"format":{"type":"object"}}',
)
STATE: Final = orjson.dumps(
    {
        "version": 1,
        "status": "complete",
        "run": {"model": "m"},
        "input": {"path": "x", "size": 1},
        "counts": {"ok": 1},
        "synced": 10,
        "sync_failed": False,
        "blocks": [[1, 2, 3]],
        "selection": {},
        "seal": {"size": 10, "crc": 1, "alone": True},
        "started_at": "x",
        "updated_at": "x",
        "batcher": "0",
    }
)
TABLE: Final = b'id,prompt,max_tokens\na,"hello, ""you""",5\nb,"two\nlines",\n'
JSON: Final = b'[{"id":"a","prompt":"x"},\n {"id":"b","prompt":"y","meta":{"k":[1,2.5,null]}}]'


def honest() -> list[Case]:
    """What each reader reads every day, and the corpus."""
    found = list(CASES)
    for name in wirefiles.names():
        file = wirefiles.load(name)
        if file.status == 200 and file.path in _answering():
            streamed = b"\ndata:" in file.body or file.body.count(b'"done":') > 1 or file.body.startswith(b"data:")
            found.append(Case("reading", file.body, file.path, streamed, file.content_type))
            found.append(Case("inflated", gzip.compress(file.body, mtime=0)))
            found.append(Case("framing", file.body))
        elif file.status != 200:
            found.append(Case("refusals", file.body, file.path))
    lines = b"".join(entry(name)[2] for name in ("a", "b", "c"))
    found += [Case("jobs", data) for data in JOBS] + [Case("text", data) for data in JOBS]
    found += [Case("results", lines), Case("errors", lines), Case("states", STATE)]
    found += [Case("csv", TABLE), Case("json", JSON), Case("packed", gzip.compress(TABLE, mtime=0))]
    return found


def _answering() -> frozenset[str]:
    from batcher.wire.dialects import DIALECTS

    return frozenset(DIALECTS)


class Mutator:
    """Draws cases by its own random numbers: the same seed, the same cases."""

    def __init__(self, rng: random.Random, seeds: list[Case]) -> None:
        self._rng = rng
        self._seeds: dict[str, list[Case]] = {}
        for case in seeds:
            self._seeds.setdefault(case.reader, []).append(case)

    def draw(self) -> Case:
        """A case of a reader that is drawn first, so that each has its turn."""
        rng = self._rng
        reader = rng.choice(sorted(self._seeds))
        base = rng.choice(self._seeds[reader])
        data = base.data
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            data = self._changed(data, reader)
        streamed = base.streamed if rng.random() < 0.9 else not base.streamed
        kind = base.type if rng.random() < 0.9 else rng.choice(("application/json", "text/event-stream", ""))
        return Case(reader, data[:LONGEST], base.path, streamed, kind)

    def _changed(self, data: bytes, reader: str) -> bytes:
        rng = self._rng
        begin, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        if rng.random() < 0.7:
            end = min(end, begin + rng.randint(0, 12))
        how = rng.randrange(8)
        if how == 0:  # one bit
            return (
                data[:begin] + bytes([data[begin] ^ 1 << rng.randrange(8)]) + data[begin + 1 :]
                if data[begin:]
                else data
            )
        if how == 1:
            return data[:begin] + rng.choice(SHARP) + data[end:]
        if how == 2:
            return data[:begin] + rng.choice(SHARP) + data[begin:]
        if how == 3:
            return data[:begin] + data[end:]
        if how == 4:
            return data[:end] + data[begin:end] * rng.choice((1, 1, 2, 50)) + data[end:]
        if how == 5:
            other = rng.choice(self._seeds[reader]).data
            cut = rng.randint(0, len(other))
            return (
                data[:begin] + other[cut:] if rng.random() < 0.5 else data[:begin] + other[cut : cut + 200] + data[end:]
            )
        if how == 6:
            return self._token(data)
        return data[:begin]

    def _token(self, data: bytes) -> bytes:
        """Put something else in the place of a JSON value, which random places seldom hit."""
        rng = self._rng
        places = [place for place in range(len(data)) if data[place] == 0x3A]  # colons
        if not places:
            return data
        begin = rng.choice(places) + 1
        end = begin
        while end < len(data) and data[end] not in b",}]\n":
            end += 1
        return data[:begin] + rng.choice(SHARP) + data[end:]
