"""The short way to the job of a row that asks for the embedding of one text and for nothing else, as corpora have them.

It makes what `read_record` makes, or nothing: then that is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from batcher.inputs.formats.content import is_blank
from batcher.inputs.identity import canonical_request, request_hash
from batcher.model import EMBED, Job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.model import Json

_KEYS: Final = frozenset({"id", "input"})
_NO_TEXT: Final = len(b"null")
_AFTER: Final = len(b"null,null,null,null,null,null,[]]")
"""From where the text stands to the end of a request that says nothing else: what comes before is the same in all."""


@dataclass(slots=True, kw_only=True)
class Plain:
    """What all such rows of a run have in common, as `Defaults` has it, and what stands around their texts in the
    canonical JSON of their requests. Raises LineError for parameters that cannot be written.
    """

    model: str | None
    path: str | None
    prefix: str
    params: Mapping[str, Json]
    options: Mapping[str, Json]
    extra: Mapping[str, Json]
    keep_alive: str
    _head: bytes = field(init=False)
    _tail: bytes = field(init=False)

    def __post_init__(self) -> None:
        params, options, extra = self.params, self.options, self.extra
        asked = canonical_request(EMBED, self.model, None, params=params, options=options, extra=extra)
        place = len(canonical_request(EMBED, self.model, None)) - _AFTER
        self._head, self._tail = asked[:place], asked[place + _NO_TEXT :]

    def job(self, record: Mapping[str, Json], name: str, seq: int) -> Job | None:
        """The job of a row, if it is such a one."""
        text = record.get("input")
        if type(text) is not str or not text or not _KEYS.issuperset(record):
            return None
        if not text[0].isalnum() and is_blank(text):
            return None
        if self.prefix:
            text = self.prefix + text
        try:
            asked = self._head + orjson.dumps(text) + self._tail
        except TypeError:  # half of a character
            return None
        return Job(
            name,
            seq,
            EMBED,
            request_hash(asked),
            self.model,
            self.path,
            None,
            text,
            None,
            (),
            None,
            self.params,
            self.options,
            self.extra,
            self.keep_alive,
        )
