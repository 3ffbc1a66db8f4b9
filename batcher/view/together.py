"""Shows several runs over one input as one: a line for each, their sums, what is left, and what to do next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from batcher.figures import count, money, rate, span
from batcher.redaction import printable
from batcher.view.block import WIDTH, jobs_row, joined
from batcher.view.record import record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batcher.model import Json
    from batcher.view.sums import Sums

NAME_WIDTH = 32
"""Cells of a model's name."""


class Part(NamedTuple):
    """One run of several: the model that it asks, where its results go, and its sums."""

    model: str
    results: str
    sums: Sums | None = None
    words: str = "not begun"
    """What became of it, where there are no sums."""


def lines(parts: Sequence[Part]) -> Iterator[str]:
    """A line for each run, one of all together, and what to do next."""
    names = [printable(part.model, NAME_WIDTH) for part in parts]
    width = max(map(len, names))
    for name, part in zip(names, parts, strict=True):
        yield f"model    {name.ljust(width)}  {printable(_row(part), 2 * WIDTH)}"
    yield f"all      {_all_row(parts)}"
    if advice := _advice(parts):
        yield f"next     {advice}"


def _row(part: Part) -> str:
    sums = part.sums
    if sums is None:
        return part.words
    tokens, elapsed = sums.completion_tokens, sums.elapsed
    speed = f"{rate(tokens / elapsed)} tokens/s" if tokens and elapsed else ""
    why = sums.stop or (sums.refused[0] if sums.refused else None)
    return joined(
        [
            jobs_row(sums),
            "" if why is None else why.code,
            speed,
            "" if sums.cost is None else money(sums.cost),
            part.results,
        ]
    )


def _all_row(parts: Sequence[Part]) -> str:
    sums = _known(parts)
    undone = [of.undone for of in sums]
    left = sum(known for known in undone if known is not None)
    costs = [of.cost for of in sums if of.cost is not None]
    failed = sum(of.failed + of.left for of in sums)
    unpriced = sum(of.unpriced for of in sums)
    begun = [part for part in parts if part.sums is not None]
    return joined(
        [
            f"{count(sum(of.ok + of.skipped for of in sums), 'jobs')} done",
            f"{count(failed)} failed" if failed else "",
            f"{count(left)}{' and more' if None in undone else ''} left" if left or None in undone else "",
            f"{count(len(parts) - len(begun))} of {count(len(parts), 'models')} without a run"
            if begun != parts
            else "",
            span(sum(of.elapsed for of in sums)) if any(of.elapsed for of in sums) else "",
            money(sum(costs)) if costs else "",
            f"{count(unpriced, 'answers')} of unknown price" if unpriced else "",
        ]
    )


def _advice(parts: Sequence[Part]) -> str:
    """The same command for what is left; and of what has answers, how two are held against each other."""
    done = [part for part in parts if part.sums is not None and part.sums.ok + part.sums.skipped]
    if any(part.sums is None or part.sums.undone != 0 for part in parts):
        return "run the same command again: it goes on where this one ended"
    if len(done) < 2:
        return ""
    return f"batcher compare {' '.join(shlex.quote(part.results) for part in done[:2])}"


def as_dict(parts: Sequence[Part], code: int) -> dict[str, Json]:
    """All of it for programs: sums of all together, and each run's own."""
    sums = _known(parts)
    costs = [of.cost for of in sums if of.cost is not None]
    return {
        "exit_code": code,
        "elapsed_s": sum(of.elapsed for of in sums),
        "jobs": {
            name: sum(getattr(of, name) for of in sums)
            for name in ("ok", "skipped", "failed", "invalid", "left", "pending", "duplicates")
        },
        "attempts": sum(of.attempts for of in sums),
        "retries": sum(of.retries for of in sums),
        "tokens": {
            "prompt": sum(of.prompt_tokens for of in sums),
            "completion": sum(of.completion_tokens for of in sums),
        },
        "cost": sum(costs) if costs else None,
        "unpriced": sum(of.unpriced for of in sums),
        "models": [
            {
                "model": part.model,
                "results": part.results,
                "state": part.words if part.sums is None else "made",
                "summary": None if part.sums is None else record(part.sums),
            }
            for part in parts
        ],
    }


def _known(parts: Sequence[Part]) -> list[Sums]:
    return [part.sums for part in parts if part.sums is not None]
