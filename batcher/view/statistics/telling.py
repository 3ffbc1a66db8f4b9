"""Statistics as JSON: the names in it stay, as `docs/statistics.md` has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.view.statistics.events import KINDS, clock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batcher.model import Json
    from batcher.view.histogram import Histogram
    from batcher.view.statistics.groups import Group
    from batcher.view.statistics.statistics import Statistics

QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
BARS: Final = 24
CAUSES: Final = 20


def as_dict(of: Statistics) -> dict[str, Json]:
    """Give all of it in JSON types, times in seconds; what is not known is null."""
    stretches = of.stretches()
    worked = of.worked()
    found = of.bottleneck(stretches)
    words = of.told_bottleneck or (found.words if found is not None else None)
    full = of.fullness(stretches)
    return {
        "answers": of.answers,
        "failed": of.failed,
        "invalid": of.invalid,
        "copies": of.copies,
        "packed": of.packed,
        "unreadable": of.unreadable,
        "superseded": of.superseded,
        "attempts": of.attempts,
        "retries": of.retries,
        "waited_s": of.waited,
        "began": clock(stretches[0].start) if stretches else None,
        "ended": clock(stretches[-1].end) if stretches else None,
        "worked_s": worked,
        "stretches": len(stretches),
        "answers_per_s": of.answers / worked if worked else None,
        "tokens_per_s": of.completion_tokens / worked if worked else None,
        "tokens": {
            "prompt": of.prompt_tokens,
            "cached": of.cached_tokens,
            "completion": of.completion_tokens,
            "reasoning": of.reasoning_tokens,
            "uncounted_answers": of.uncounted,
        },
        "cost": of.cost,
        "unpriced": of.unpriced if of.prices is not None else None,
        "in_flight": {
            "mean": full.mean,
            "most": full.most,
            "most_is_told": full.is_told,
            "full": full.part,
        }
        if full.most
        else None,
        "bottleneck": words,
        "bottleneck_is_told": of.told_bottleneck is not None,
        "ttft_s": distribution(of.ttft),
        "latency_s": distribution(of.latency),
        "itl_p50_s": distribution(of.itl),
        "itl_p95_s": distribution(of.itl_p95),
        "tokens_per_s_of_answers": distribution(of.speed),
        "prompt_tokens": distribution(of.prompts),
        "completion_tokens": distribution(of.completions),
        "flags": dict(of.flags.most_common()),
        "finish_reasons": dict(of.finish_reasons.most_common()),
        "failures": dict(of.codes.most_common()),
        "causes": of.causes.to_json(CAUSES),
        "models": _groups(of.models.ranked()),
        "servers": _groups(of.servers.ranked()),
        "hours": _groups(of.hours.in_order()),
        "events": [
            {
                "kind": event.kind,
                "means": KINDS[event.kind],
                "server": event.server,
                "start": clock(event.start),
                "end": clock(event.end),
                "words": event.words,
                "count": event.times,
            }
            for event in of.events.all
        ]
        if of.events.known
        else None,
    }


def distribution(of: Histogram) -> dict[str, Json] | None:
    """Quantiles within 1 %; `bars` are exact: above, up to, count."""
    if not of.count:
        return None
    return {
        "count": of.count,
        "sum": of.sum,
        "mean": of.mean,
        "min": of.min,
        **{f"p{q * 100:g}": of.quantile(q) for q in QUANTILES},
        "max": of.max,
        "nothing": of.nothing,
        "bars": [list(bar) for bar in of.bars(BARS)],
    }


def _groups(groups: Iterable[tuple[str, Group]]) -> list[Json]:
    return [
        {
            "name": name,
            "answers": group.answers,
            "failed": group.failed,
            "prompt_tokens": group.prompt_tokens,
            "completion_tokens": group.completion_tokens,
            "cost": group.cost,
            "unpriced": group.unpriced,
            **{
                f"{what}_{q}_s": of.quantile(share)
                for what, of in (("latency", group.latency), ("ttft", group.ttft))
                for q, share in (("p50", 0.5), ("p95", 0.95))
            },
        }
        for name, group in groups
    ]
