"""Lines of a results file, and what such a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.ledger.lines import Entry


def entry(ident: str, seq: int = 0, text: str = "hello", digest: str = "0123456789abcdef") -> Entry:
    record = {"id": ident, "seq": seq, "hash": digest, "text": text}
    return ident, digest, orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def ids(path: Path) -> list[str]:
    return [orjson.loads(line)["id"] for line in path.read_bytes().splitlines()]
