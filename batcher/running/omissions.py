"""What batcher asks for of itself and a server refuses: it is left out from then on, and the job asked again.

A streamed chat says how many tokens it cost only if it is asked to, by `stream_options`, and vectors come as bytes only
by `encoding_format`. Servers that hold a request against a closed list of fields refuse that, each in its own words; to
be answered without counts, or in numbers, is the better part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.failures import FailureClass
from batcher.wire.dialects.embeddings import BASE64

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Call, Endpoint

OURS: Final = {
    b',"stream_options":{"include_usage":true}}': re.compile(r"stream[_ ]?options|include_usage", re.IGNORECASE),
    BASE64: re.compile(r"encoding[_ ]?format|base64", re.IGNORECASE),
}
"""How a body ends in which it was put by us, as the last of its fields, and by which words it is refused."""
ENDS: Final = tuple(OURS)
SOME_FIELD: Final = re.compile(
    r"extra (inputs|fields)( are)? not permitted|extra_forbidden|additional propert"
    r"|(unknown|unexpected|unrecognized|unsupported|undefined|extra) (request )?"
    r"(fields?|keys?|keyword|arguments?|parameters?|propert|members?|options?)",
    re.IGNORECASE,
)
"""Words of pydantic 2 and 1, JSON Schema, and Go, Rust, Java and Python decoders, where they do not say which field."""
STATUSES: Final = frozenset({None, 400, 422, 500, 501})
"""500: a Python server that passes all fields on as arguments; None: an error in a stream."""
DOUBTS: Final = 3
"""After so many jobs that were refused without it as well, words that name no field are not about it."""


@dataclass(slots=True)
class Omissions:
    """What each server of a run turned out to refuse. Pure."""

    known: set[tuple[str, str]] = field(default_factory=set)
    """(Server, path) where it is left out from the start."""
    _trials: dict[Call, tuple[str, str]] = field(default_factory=dict)
    _doubts: dict[tuple[str, str], int] = field(default_factory=dict)

    def heed(self, call: Call, endpoint: Endpoint) -> None:
        """Leave out of a call what the server refuses."""
        if (endpoint.root, call.path) in self.known and call.body.endswith(ENDS):
            call.body = call.body[: -len(_ours(call))] + b"}"

    def takes_back(self, call: Call, endpoint: Endpoint, failure: Failure) -> bool:
        """Whether the refusal may be about what we asked for: then the call is without it, and may be sent again."""
        place = (endpoint.root, call.path)
        if call in self._trials:
            del self._trials[call]
            if failure.kind is FailureClass.PERMANENT:
                self._doubts[place] = self._doubts.get(place, 0) + 1
        if failure.status not in STATUSES or not call.body.endswith(ENDS):
            return False
        ours = _ours(call)
        is_vague = self._doubts.get(place, 0) < DOUBTS and SOME_FIELD.search(failure.message)
        if not is_vague and not OURS[ours].search(failure.message):
            return False
        call.body = call.body[: -len(ours)] + b"}"
        self._trials[call] = place
        return True

    def served(self, call: Call) -> None:
        """A call was answered; if it was one of those that went once more, that was the reason."""
        if self._trials and (place := self._trials.pop(call, None)):
            self.known.add(place)


def _ours(call: Call) -> bytes:
    """What of the body was put there by us."""
    return next(end for end in ENDS if call.body.endswith(end))
