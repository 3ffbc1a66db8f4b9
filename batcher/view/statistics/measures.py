"""What a line of results or of errors tells in numbers. It may be damaged or made up: what is no number is none."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from batcher.outcome import LONGEST_S, MOST, count_of, number_of

if TYPE_CHECKING:
    from collections.abc import Mapping

LATEST: Final = 2.5e11
"""What is later, in the year 9892, is no moment."""
LONGEST: Final = 200
"""Characters of a name that are kept."""
FLAGS: Final = 32
"""Flags of a line that are looked at."""
_USUAL: Final = len("2026-11-22T20:11:03.120Z")
_TIMES: Final = ("total_s", "ttft_s", "itl_p50_s", "itl_p95_s", "tokens_per_s", "waited_s")
_TAKEN: Final = ("total_s", "ttft_s", "tokens_per_s")
_OF_SERVER: Final = ("load_s", "prompt_eval_s", "eval_s")
_TOKENS: Final = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")


class Measures(NamedTuple):
    """Times in seconds, moments in seconds since 1970; None where the line does not tell."""

    ident: str
    model: str | None
    endpoint: str | None
    server: str | None
    hour: str | None
    """The hour of UTC in which it began, `2026-11-22T20`; of a failure that in which it failed."""
    moment: float | None
    """When the request of the answer was sent; when a job failed."""
    total: float | None
    ttft: float | None
    itl_p50: float | None
    itl_p95: float | None
    speed: float | None
    """Tokens a second."""
    waited: float | None
    load: float | None
    prompt_eval: float | None
    evaluation: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    cached_tokens: int | None
    attempts: int
    asked_again: int
    flags: tuple[str, ...]
    finish_reason: str | None
    place: int | None
    """Which of the inputs of a shared call it was, from 0."""
    size: int | None
    is_copy: bool

    @property
    def is_request(self) -> bool:
        """Whether times and attempts are its own: not those of another job that asked the same, or shared its call."""
        return not self.is_copy and not self.place


def measures_of(record: Mapping[str, Any]) -> Measures:
    """What a line of results tells."""
    get = record.get
    timing, usage, pack, flags = get("timing"), get("usage"), get("pack"), get("flags")
    times, started, server = _UNTIMED, None, None
    if type(timing) is dict:
        times, server = _numbers(timing, _TIMES), timing.get("server")
        started = timing.get("started_at")
    hour, moment = moment_of(started)
    place, size = (count_of(pack.get("place")), count_of(pack.get("size"))) if type(pack) is dict else (None, None)
    return Measures._make(
        (
            name_of(get("id")) or "",
            name_of(get("model")),
            name_of(get("endpoint")),
            name_of(get("server")),
            hour,
            moment,
            *times,
            *(_numbers(server, _OF_SERVER) if type(server) is dict else _UNSERVED),
            *(_counts(usage) if type(usage) is dict else _UNCOUNTED),
            count_of(get("attempts")) or 0,
            count_of(get("asked_again")) or 0,
            tuple(flag[:LONGEST] for flag in flags[:FLAGS] if type(flag) is str) if type(flags) is list else (),
            name_of(get("finish_reason")),
            place,
            size,
            "copy_of" in record,
        )
    )


def taken_by(record: Mapping[str, Any]) -> Measures:
    """What an answer took, and nothing else of its line, at half the price: its model, times and tokens."""
    timing, usage, pack = record.get("timing"), record.get("usage"), record.get("pack")
    total, ttft, speed = _numbers(timing, _TAKEN) if type(timing) is dict else (None, None, None)
    return Measures._make(
        (
            *("", name_of(record.get("model")), name_of(record.get("endpoint"))),
            *(None, None, None, total, ttft, None, None, speed, None),
            *_UNSERVED,
            *(_counts(usage) if type(usage) is dict else _UNCOUNTED),
            *(0, 0, (), None),
            count_of(pack.get("place")) if type(pack) is dict else None,
            *(None, "copy_of" in record),
        )
    )


def _numbers(of: Mapping[str, Any], names: tuple[str, ...]) -> list[float | None]:
    """Each as `number_of` has it: for those that are as usual, without the price of a call."""
    return [x if type(x) is float and 0 <= x <= LONGEST_S else number_of(x) for x in map(of.get, names)]


def _counts(of: Mapping[str, Any]) -> list[int | None]:
    """Each as `count_of` has it."""
    return [n if type(n) is int and 0 <= n <= MOST else None for n in map(of.get, _TOKENS)]


def name_of(value: Any) -> str | None:
    """A name, of which the beginning tells enough."""
    return value[:LONGEST] if type(value) is str else None


def moment_of(stamp: Any) -> tuple[str | None, float | None]:
    """The hour of UTC and the moment of a time as lines have it."""
    if type(stamp) is not str or len(stamp) > LONGEST:
        return None, None
    if len(stamp) == _USUAL and stamp[16] == ":" and stamp[19] == "." and stamp[23] == "Z":
        digits = f"{stamp[17:19]}{stamp[20:23]}"
        if digits.isdecimal() and (milliseconds := int(digits)) < 60_000 and (minute := _minute(stamp[:16])):
            return minute[0], minute[1] + milliseconds / 1000
    try:
        moment = datetime.fromisoformat(stamp)
        seconds = moment.timestamp()
    except (ValueError, OverflowError):
        return None, None
    if moment.tzinfo is None or not 0 <= seconds <= LATEST:
        return None, None
    offset = moment.utcoffset()
    return (moment - offset if offset else moment).isoformat()[:13], seconds


@lru_cache(maxsize=1024)
def _minute(minute: str) -> tuple[str, float] | None:
    """Its hour and the moment in which a minute of UTC begins; None where there is none such."""
    try:
        began = datetime.fromisoformat(f"{minute}:00+00:00")
        seconds = began.timestamp()
    except (ValueError, OverflowError):
        return None
    return (began.isoformat()[:13], seconds) if 0 <= seconds < LATEST - 60 else None


_UNTIMED: Final[list[float | None]] = [None] * len(_TIMES)
_UNSERVED: Final[list[float | None]] = [None] * len(_OF_SERVER)
_UNCOUNTED: Final[list[int | None]] = [None] * len(_TOKENS)
