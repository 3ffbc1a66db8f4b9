"""Which job of a soak meets which fault at its first request: told by the seed and the job's number alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final
from zlib import crc32

RETRIED: Final = (
    *("runner_stopped", "empty500", "html502", "html504", "cloudflare524", "request_timeout", "unloaded"),
    *("html200", "empty200", "empty204", "json_error200", "reset_before", "close_before"),
    *("truncate", "cut", "reset", "error_line", "error_event", "error_field", "empty_delta", "done_false", "oops"),
)
"""Faults that cost a second request, and nobody else anything."""
CRASHES: Final = ("crash", "runner_crash")
"""Faults that break off whatever is in flight."""
HOLDING: Final = (
    *("silent", "stall_head", "stall", "pings"),
    *("busy", "loading", "overloaded", "json_throttle200", "throttled"),
    *(f"throttled hint={kind} retry_after=0.05" for kind in ("ms", "body", "metadata", "go", "plain", "epoch-ms")),
    "throttled hint=seconds retry_after=1",
)
"""Faults that hold a place until a timeout, or the whole run for as long as they say."""
HARMLESS: Final = (
    *("keep_open", "extra_after_done", "stale", "hangup", "comments", "wrapped_comments", "empty_data", "crlf", "cr"),
    *("buffered", "nospace", "multiline", "bom", "no_last_newline", "json_for_sse", "stream_unasked", "slice", "gzip"),
    *("close_delimited", "no_usage", "null_finish", "length"),
)
"""Odd answers that are answers all the same: a second request is not excused by them."""
KINDS: Final = (*RETRIED, *HARMLESS, *CRASHES, *HOLDING)
_SELDOM: Final = 40
"""How much more seldom those are that are felt by all: a million jobs meet a few hundred of them."""
_WEIGHTS: Final = (*accumulate([_SELDOM] * len(RETRIED + HARMLESS) + [1] * len(CRASHES + HOLDING)),)
TOKENS: Final = 3
"""Tokens of an answer; a fault may come before any of them."""


@dataclass(frozen=True, slots=True)
class Faults:
    """Faults for this share of the jobs."""

    seed: int
    share: float

    def kind(self, number: int) -> str:
        """One of `KINDS`; "" for most jobs."""
        return self._drawn(number)[0]

    def line(self, number: int) -> bytes:
        """The job, with the fault that its first request meets in its prompt."""
        kind, after = self._drawn(number)
        ident = name(number)
        do = f" do={kind} times=1 after={after}" if kind else ""
        return f'{{"id":"{ident}","prompt":"[[sim id={ident}{do}]]"}}\n'.encode()

    def _drawn(self, number: int) -> tuple[str, int]:
        key = f"{self.seed} {number}"
        if crc32(key.encode()) >= self.share * 2**32:  # a draw that costs next to nothing: most jobs meet no fault
            return "", 0
        rng = Random(key)
        return rng.choices(KINDS, cum_weights=_WEIGHTS)[0], rng.randrange(TOKENS)


def name(number: int) -> str:
    """The id of a job, by which the journal and the results know it."""
    return f"j{number}"
