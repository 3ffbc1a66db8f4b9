"""What a line of results or of errors tells in numbers. It may be damaged or made up: what is no number is none."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST: Final = 1e12
"""What is more is no count of tokens."""
LONGEST_S: Final = 1e9
"""What is more is no time: 30 years."""
LATEST: Final = 2.5e11
"""What is later, in the year 9892, is no moment."""
LONGEST: Final = 200
"""Characters of a name that are kept."""
FLAGS: Final = 32
"""Flags of a line that are looked at."""
_NOTHING: Final[Mapping[str, Any]] = {}


class Measures(NamedTuple):
    """Times in seconds, moments in seconds since 1970; None where the line does not tell."""

    ident: str
    model: str | None
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
    timing, usage, pack = (_mapping(record.get(name)) for name in ("timing", "usage", "pack"))
    server = _mapping(timing.get("server"))
    hour, moment = moment_of(timing.get("started_at"))
    flags = record.get("flags")
    return Measures(
        ident=name_of(record.get("id")) or "",
        model=name_of(record.get("model")),
        server=name_of(record.get("server")),
        hour=hour,
        moment=moment,
        total=number_of(timing.get("total_s")),
        ttft=number_of(timing.get("ttft_s")),
        itl_p50=number_of(timing.get("itl_p50_s")),
        itl_p95=number_of(timing.get("itl_p95_s")),
        speed=number_of(timing.get("tokens_per_s")),
        waited=number_of(timing.get("waited_s")),
        load=number_of(server.get("load_s")),
        prompt_eval=number_of(server.get("prompt_eval_s")),
        evaluation=number_of(server.get("eval_s")),
        prompt_tokens=count_of(usage.get("prompt_tokens")),
        completion_tokens=count_of(usage.get("completion_tokens")),
        reasoning_tokens=count_of(usage.get("reasoning_tokens")),
        cached_tokens=count_of(usage.get("cached_tokens")),
        attempts=count_of(record.get("attempts")) or 0,
        asked_again=count_of(record.get("asked_again")) or 0,
        flags=tuple(flag[:LONGEST] for flag in flags[:FLAGS] if type(flag) is str) if type(flags) is list else (),
        finish_reason=name_of(record.get("finish_reason")),
        place=count_of(pack.get("place")),
        size=count_of(pack.get("size")),
        is_copy="copy_of" in record,
    )


def number_of(value: Any) -> float | None:
    """A time, or a rate: what is negative, infinite or beyond all reason is none."""
    return float(value) if (type(value) is float or type(value) is int) and 0 <= value <= LONGEST_S else None


def count_of(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= LARGEST else None


def name_of(value: Any) -> str | None:
    """A name, of which the beginning tells enough."""
    return value[:LONGEST] if type(value) is str else None


def moment_of(stamp: Any) -> tuple[str | None, float | None]:
    """The hour of UTC and the moment of a time as lines have it."""
    if type(stamp) is not str or len(stamp) > LONGEST:
        return None, None
    try:
        moment = datetime.fromisoformat(stamp)
        seconds = moment.timestamp()
    except (ValueError, OverflowError):
        return None, None
    if moment.tzinfo is None or not 0 <= seconds <= LATEST:
        return None, None
    offset = moment.utcoffset()
    is_usual = not offset and stamp[4:5] == "-" and stamp[10:11] == "T"
    return (stamp[:13] if is_usual else (moment - offset if offset else moment).isoformat()[:13]), seconds


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if type(value) is dict else _NOTHING
