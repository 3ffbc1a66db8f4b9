"""Makes the line of a job out of that of another which asked the same: the answer, and whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from batcher.ledger.fallback import dump_anything
from batcher.ledger.recovery import read_record

if TYPE_CHECKING:
    from batcher.model import Json

_NOT_COPIED: Final = ("id", "seq", "hash", "usage", "timing", "attempts", "pack", "meta", "columns", "copy_of")
"""What a line says of its own job, or of its request."""


class Copy(NamedTuple):
    """A job that is not asked: its answer is another's."""

    id: str
    seq: int
    hash: str
    meta: Json
    columns: Json = None


def copied_line(line: bytes, copy: Copy) -> bytes | None:
    """The line of a copy, made of the line with the answer; `None` if that is of another request, or cannot be read."""
    record = read_record(line)
    if record is None or record.get("hash") != copy.hash:
        return None
    made = {"id": copy.id, "seq": copy.seq, "hash": copy.hash}
    made |= {name: value for name, value in record.items() if name not in _NOT_COPIED}
    made["copy_of"] = record.get("copy_of", record["id"])
    if copy.meta is not None:
        made["meta"] = copy.meta
    if copy.columns is not None:
        made["columns"] = copy.columns
    try:
        return orjson.dumps(made, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # as in `ledger/lines`
        return dump_anything(made) + b"\n"
