"""The sums of a run for programs: one JSON object, in `--summary-json` and at the end of a log in JSON."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.model import Json
    from batcher.view.histogram import Histogram
    from batcher.view.sums import Sums

QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)


def record(of: Sums) -> dict[str, Json]:
    """Give the sums in JSON types, durations in seconds; quantiles are within 1 %."""
    done = of.ok + of.failed
    found = of.bottleneck
    return {
        "exit_code": int(of.exit_code()),
        "elapsed_s": of.elapsed,
        "jobs": {
            "total": of.jobs,
            "ok": of.ok,
            "skipped": of.skipped,
            "failed": of.failed,
            "invalid": of.invalid,
            "left": of.left,
            "pending": of.pending,
            "unread": of.unread,
            "duplicates": of.duplicates,
        },
        "failures": {
            code: {"count": number, "message": of.samples[code]} for code, number in of.failures.most_common()
        },
        "causes": of.causes.to_json(),
        "flags": dict(of.flags),
        "attempts": of.attempts,
        "retries": of.retries,
        "waited_s": of.waited,
        "alone_s": of.work.alone,
        "tokens": {"prompt": of.prompt_tokens, "completion": of.completion_tokens},
        "cost": of.cost,
        "unpriced": of.unpriced,
        "bottleneck": None if found is None else {"kind": str(found.kind), "words": found.words},
        "jobs_per_s": done / of.elapsed if of.elapsed else None,
        "tokens_per_s": of.completion_tokens / of.elapsed if of.elapsed else None,
        "ttft_s": _quantiles(of.ttft),
        "latency_s": _quantiles(of.latency),
        "itl_s": _quantiles(of.itl),
        "stop": None if of.stop is None else _reason(of.stop),
        "refused": [_reason(failure) for failure in of.refused],
        "signal": of.signal,
        "come_back_at": None
        if of.come_back is None
        else datetime.fromtimestamp(of.come_back, UTC).isoformat(timespec="seconds"),
        "unwritten": of.unwritten,
        "servers": [asdict(server) for server in of.servers.values()],
    }


def _quantiles(histogram: Histogram) -> dict[str, float | int] | None:
    if not histogram.count:
        return None
    quantiles = {f"p{q * 100:g}": histogram.quantile(q) or 0.0 for q in QUANTILES}
    middle = {"mean": histogram.sum / histogram.count, "min": histogram.min, **quantiles}
    return {"count": histogram.count, **middle, "max": histogram.max}


def _reason(failure: Failure) -> dict[str, str]:
    return {"code": failure.code, "message": failure.message}
