"""What an answer cost as fields of a line: tokens, times in seconds to the microsecond, and when it began."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.model import Json
    from batcher.outcome import Completion, ServerTimes, Timing, Usage


def usage_fields(usage: Usage) -> dict[str, int]:
    counts = {}
    if usage.prompt_tokens is not None:
        counts["prompt_tokens"] = usage.prompt_tokens
    if usage.completion_tokens is not None:
        counts["completion_tokens"] = usage.completion_tokens
    if usage.reasoning_tokens is not None:
        counts["reasoning_tokens"] = usage.reasoning_tokens
    if usage.cached_tokens is not None:
        counts["cached_tokens"] = usage.cached_tokens
    return counts


def spent_fields(completion: Completion) -> dict[str, int]:
    """The tokens of all exchanges for a job."""
    used = completion.used
    return {} if used is None else usage_fields(used)


def timing_fields(timing: Timing, completion: Completion | None) -> dict[str, Json]:
    waited = _micro(timing.waited) if timing.waited else 0.0
    times: dict[str, Json] = {"started_at": iso(timing.started_at), "waited_s": waited}
    arrivals = timing.arrivals
    if arrivals:
        times["ttft_s"] = _micro(arrivals[0] - timing.started)
        if len(arrivals) > 1:
            gaps = timing.gaps()
            times["itl_p50_s"] = _micro(_percentile(gaps, 50))
            times["itl_p95_s"] = _micro(_percentile(gaps, 95))
    times["total_s"] = _micro(timing.finished - timing.started)
    if completion is not None:
        speed = _speed(arrivals, completion.usage) if arrivals else None
        if speed is not None:
            times["tokens_per_s"] = _micro(speed)
        if completion.server is not None:
            server = _server(completion.server)
            if server:
                times["server"] = server
    return times


def _micro(seconds: float) -> float:
    """To six decimals, as `round` does in three times the time."""
    return (seconds * 1e6 + 0.5) // 1 / 1e6


def _percentile(ascending: list[float], percent: int) -> float:
    """The nearest rank: the least value that at least `percent` of them do not exceed."""
    return ascending[max(-(-percent * len(ascending) // 100) - 1, 0)]


def _speed(arrivals: list[float], usage: Usage | None) -> float | None:
    """(completion tokens - 1) / (last - first content), in tokens a second; `None` if either is not known."""
    if len(arrivals) < 2 or usage is None or usage.completion_tokens is None or usage.completion_tokens < 2:
        return None
    span = arrivals[-1] - arrivals[0]
    return (usage.completion_tokens - 1) / span if span > 0 else None


def _server(server: ServerTimes) -> dict[str, float]:
    times = {}
    if server.load_s is not None:
        times["load_s"] = _micro(server.load_s)
    if server.prompt_eval_s is not None:
        times["prompt_eval_s"] = _micro(server.prompt_eval_s)
    if server.eval_s is not None:
        times["eval_s"] = _micro(server.eval_s)
    if server.total_s is not None:
        times["total_s"] = _micro(server.total_s)
    return times


def iso(unix: float) -> str:
    """UTC to the millisecond, ISO 8601; times that no calendar knows become the epoch."""
    milliseconds = int(unix * 1000 + 0.5) if isfinite(unix) else 0
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(unix: int) -> str:
    try:
        return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00"
