"""How `--pack auto` goes from a cold start: what it had in a request and in flight, and texts a second, by time."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Span(NamedTuple):
    """A stretch of a run, from its first request on. Seconds."""

    start: float
    end: float
    pack: float
    """Texts in a request, of those that were sent in it, on average."""
    in_flight: float
    """Requests on their way, on average."""
    rate: float
    """Texts a second that came back in it."""


def curve(lines: Sequence[dict[str, Any]], edges: Sequence[float]) -> list[Span]:
    """The spans between the edges as the lines of the results tell of them."""
    heads = [line for line in lines if line.get("pack", {}).get("place", 0) == 0]
    sent = [datetime.fromisoformat(line["timing"]["started_at"]).timestamp() for line in heads]
    took = [line["timing"]["total_s"] for line in heads]
    sizes = [line.get("pack", {}).get("size", 1) for line in heads]
    began = min(sent)
    requests = [(at - began, at - began + each, size) for at, each, size in zip(sent, took, sizes, strict=True)]
    spans = []
    for start, end in pairwise(edges):
        packs = [size for at, _, size in requests if start <= at < end]
        if not packs:
            continue
        on_the_way = sum(max(0.0, min(done, end) - max(at, start)) for at, done, _ in requests)
        back = sum(size for _, done, size in requests if start < done <= end)
        spans.append(Span(start, end, sum(packs) / len(packs), on_the_way / (end - start), back / (end - start)))
    return spans
