"""What becomes of a text that is too long to be embedded: its beginning is, or pieces whose mean is its vector. Pure.

What is too long the server alone can say: a refusal that names tokens tells how much of the text is left, another one
halves it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Final

from batcher.failures import LineError, unfit_vector
from batcher.model import Kind
from batcher.wire.dialects import call_for
from batcher.wire.dialects.embeddings import BASE64
from batcher.wire.dialects.vectors import floats_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.failures import Failure
    from batcher.model import Api, Call, Job, Json
    from batcher.outcome import Completion

CODE: Final = "context_overflow"
LEAST: Final = 16
"""Characters of a piece that is made no smaller."""
SHARE: Final = (0.1, 0.9)
"""What is left of a text after one refusal, at least and at most: words of others are believed within bounds."""
SPARE: Final = 0.9
"""Of what fits by a server's count: tokens are not spread evenly over a text."""
BACK: Final = 4
"""The end of a piece is moved back to a blank within the last of so many parts."""
_COUNT: Final = re.compile(
    r"(?<![\w.])(\d{2,9})(?=\D{0,3}\s*tokens?\b)|(?:size|length|given)\D{1,16}(\d{2,9})", re.IGNORECASE
)


@dataclass(slots=True)
class Pieces:
    """What is sent of one text in its place."""

    job: Job
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Overflow:
    """What is done: `how` is "error", "truncate" or "split". `prefix` stands before each piece."""

    how: str = "error"
    prefix: str = ""

    def refits(self, call: Call, failure: Failure, api: Api) -> bool:
        """Whether a call whose one text was too long goes on with less; then its body is that."""
        if self.how == "error" or failure.code != CODE or len(call.jobs) != 1:
            return False
        pieces: Pieces | None = call.pieces
        job = call.jobs[0] if pieces is None else pieces.job
        text = job.content
        if job.kind is not Kind.EMBED or job.body is not None or type(text) is not str:
            return False
        prefix = self.prefix if text.startswith(self.prefix) else ""
        text = text[len(prefix) :]
        longest = len(text) if pieces is None else max(map(len, pieces.texts)) - len(prefix)
        if longest <= LEAST:
            return False
        most = max(LEAST, int(longest * _share(failure.message)))
        found = _cut(text, most) if self.how == "split" else [_beginning(text, 0, most)]
        texts = [prefix + piece for piece in found]
        return self._asks(call, Pieces(job, texts), api)

    def concludes(self, call: Call, completion: Completion | None) -> Failure | None:
        """Have the answer to pieces be that to the text they are of, which is the call's again.

        The failure, if what comes of them is no vector.
        """
        pieces: Pieces | None = call.pieces
        if pieces is None:
            return None
        call.jobs, call.pieces = (pieces.job,), None
        if completion is None or not completion.vectors:
            return None
        if self.how != "split":
            completion.flag("input_truncated")
            return None
        whole = mean(completion.vectors, [len(text) for text in pieces.texts])
        if not any(whole):
            words = f"the text was split, and the vectors of its {len(pieces.texts)} pieces cancel each other out"
            return unfit_vector(words)  # as little as a server's own that has no direction
        completion.vectors = [whole]
        completion.flag("input_split")
        return None

    def _asks(self, call: Call, pieces: Pieces, api: Api) -> bool:
        content: Json = pieces.texts if self.how == "split" else pieces.texts[0]
        job = replace(pieces.job, content=content)
        try:
            made = call_for((job,), api, stream=False, base64=call.body.endswith(BASE64))
        except LineError:
            return False
        call.jobs, call.body, call.pieces = (job,), made.body, pieces
        return True


def mean(vectors: Sequence[Json], weights: Sequence[int]) -> list[float]:
    """The weighted mean of vectors of one length."""
    whole = sum(weights)
    shares = [weight / whole for weight in weights]
    columns = zip(*(floats_of(vector) for vector in vectors), strict=True)
    return [sum(number * share for number, share in zip(column, shares, strict=True)) for column in columns]


def _share(words: str) -> float:
    """What is left of a text that a server refuses with these words."""
    counts = [int(one or other) for one, other in _COUNT.findall(words)]
    least, most = SHARE
    if not counts or min(counts) == max(counts):
        return 0.5
    return min(most, max(least, SPARE * min(counts) / max(counts)))


def _cut(text: str, longest: int) -> list[str]:
    """Pieces of about one length, of so many characters at most, which end where words do."""
    pieces, start = [], 0
    while left := len(text) - start:
        piece = _beginning(text, start, ceil(left / ceil(left / longest)))
        start += len(piece)
        if not piece.isspace():
            pieces.append(piece)
    return pieces


def _beginning(text: str, start: int, longest: int) -> str:
    """What stands from `start` on, of so many characters at most, up to the last word that ends there."""
    end = start + longest
    if end < len(text):
        place = max(text.rfind(blank, end - longest // BACK, end) for blank in "\n ")
        end = place + 1 if place > start else end
    return text[start:end]
