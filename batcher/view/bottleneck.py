"""What a run was held up by for most of its time, in one sentence, from what was measured. Pure.

Whoever waits for a limit that lies outside is not slowed down by what lies inside, so the rules are asked in this
order: a server that is away, its rate limits, this machine's disk and CPU, and at last the server at work. Where none
of them took most of the time, nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from batcher.figures import count, rate, seconds, span

if TYPE_CHECKING:
    from collections.abc import Mapping

LEAST_S: Final = 3.0
"""Seconds of work below which nothing is said: a start is no measurement."""
ANSWERS: Final = 8
"""Answers below which nothing is said of the server at work."""
HELD: Final = 0.3
"""The part of the time in which nothing could be sent that makes it what held the run up."""
BUSY: Final = 0.8
"""The part of one core that leaves no room: the event loop has one."""
FULL: Final = 0.6
"""The part of the time in which as much was in flight as might be that shows a server at work to be the limit."""
MOST_OF_IT: Final = 0.4
"""The part of an answer's time that is more than all else."""
GAIN: Final = 0.4
"""Of what more in flight would bring if each went on as fast; less shows that they share what there is."""
APART: Final = 2
"""Times as many in flight that two levels have to be apart to tell that."""
PIECES: Final = 10
"""Pieces of answers below which a level tells nothing."""


class Kind(StrEnum):
    """What the sentence is about, for programs."""

    OUTAGES = "outages"
    RATE = "rate"
    TOKEN_RATE = "token_rate"  # noqa: S105 - no password: tokens a minute
    DISK = "disk"
    CPU = "cpu"
    QUEUE = "queue"
    SLOTS = "slots"
    SINGLE = "single"
    PROMPTS = "prompts"
    GENERATION = "generation"


class Bound(StrEnum):
    """Why no more were in flight."""

    FOUND = "found"  # the limit still moved
    ASKED = "asked"  # -c says so
    TOLD = "told"  # the server says how many slots it has
    QUEUED = "queued"  # above that calls queued
    REFUSED = "refused"  # above that the server said wait


class Level(NamedTuple):
    """How fast single answers came while about so many were in flight."""

    in_flight: float
    seconds: float
    """Of the making of answers that were looked at, added up."""
    pieces: int

    @property
    def speed(self) -> float:
        """Pieces a second of one answer."""
        return self.pieces / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Times in seconds: of the run, and added up over answers. Those of several servers are means."""

    elapsed: float
    answers: int = 0
    away: float = 0.0
    kept_by_requests: float = 0.0
    """Slots were free and the allowance of requests used up, or the server had said wait."""
    kept_by_tokens: float = 0.0
    crowded: float = 0.0
    """The server had said wait, as it had too many at once."""
    turned_away: int = 0
    """How often it said so, where that was what it mostly said."""
    a_minute: float = 0.0
    """The limit that kept them back, if it is known."""
    alone: float = 0.0
    """Nothing was left but single jobs that waited to be asked again."""
    disk: float = 0.0
    cpu: float = 0.0
    full: float = 0.0
    """As many were in flight as might be."""
    busy: float = 0.0
    """Something was in flight, and nothing was kept back."""
    in_flight: int = 0
    """How many might be in flight in the end."""
    bound: Bound = Bound.FOUND
    latency: float = 0.0
    queue: float = 0.0
    """Of `latency`, what was spent before anything was done, where that is known."""
    prompts: float = 0.0
    """Of `latency`, what reading the prompts took."""
    tokens: int = 0
    prompt_tokens: int = 0
    levels: Mapping[int, Level] = field(default_factory=dict)


class Bottleneck(NamedTuple):
    kind: Kind
    words: str


def bottleneck(of: Measured) -> Bottleneck | None:
    """What held the run up, and what would help; `None` if nothing did for most of the time."""
    if of.elapsed < LEAST_S:
        return None
    return _outside(of) or _single(of) or _here(of) or _at_work(of)


def _outside(of: Measured) -> Bottleneck | None:
    if of.away >= HELD * of.elapsed:
        return Bottleneck(
            Kind.OUTAGES,
            f"outages: the server was away, or failed, for {_part(of.away, of)}; it has to be kept up, or a second one "
            "named with --base-url",
        )
    if max(of.kept_by_requests, of.kept_by_tokens) < HELD * of.elapsed:
        return _turned_away(of)
    by_tokens = of.kept_by_tokens > of.kept_by_requests
    kept, unit = (of.kept_by_tokens, "tokens") if by_tokens else (of.kept_by_requests, "requests")
    limit = f" of {of.a_minute:,.0f} {unit} a minute" if of.a_minute else ""
    spare = "shorter prompts, a smaller max_tokens, or" if by_tokens else "packing embeddings (--pack), or"
    return Bottleneck(
        Kind.TOKEN_RATE if by_tokens else Kind.RATE,
        f"the rate limit{limit}: {unit} were kept back for {_part(kept, of)}; {spare} a higher limit "
        f"({'--tpm' if by_tokens else '--rpm'}, or the account's) would help",
    )


def _turned_away(of: Measured) -> Bottleneck | None:
    """It took no more at once, and said so: for most of the time, or to as many requests as it answered."""
    if of.crowded < HELD * of.elapsed and (not of.turned_away or of.turned_away < of.answers):
        return None
    return Bottleneck(
        Kind.SLOTS,
        f"the server's slots: it was full and said wait {count(of.turned_away, 'times')}, to {count(of.answers)} that "
        "it answered; more slots there (OLLAMA_NUM_PARALLEL, --max-num-seqs of vLLM) would help, fewer in flight (-c) "
        "would save it the refusals",
    )


def _single(of: Measured) -> Bottleneck | None:
    """All else was done."""
    if of.alone < HELD * of.elapsed:
        return None
    return Bottleneck(
        Kind.SINGLE,
        f"single jobs: for {_part(of.alone, of)} nothing was left but to ask those again that had failed, or were "
        "told to wait; a smaller --max-wait, or fewer --retries, would have ended that sooner",
    )


def _here(of: Measured) -> Bottleneck | None:
    if of.disk >= HELD * of.elapsed:
        return Bottleneck(
            Kind.DISK,
            f"the disk: results waited for it for {_part(of.disk, of)}; --durability batch or another disk would help",
        )
    if of.cpu >= BUSY * of.elapsed:
        return Bottleneck(
            Kind.CPU,
            f"this machine's CPU: batcher used {100 * of.cpu / of.elapsed:.0f} % of a core; --no-stream costs less, "
            "and --shard shares the work among processes",
        )
    return None


def _at_work(of: Measured) -> Bottleneck | None:
    """The server did nothing else: what with?"""
    if of.answers < ANSWERS or not of.latency or max(of.full, of.busy) < FULL * of.elapsed:
        return None
    if of.prompts >= MOST_OF_IT * of.latency and of.prompts > of.queue:
        speed = of.prompt_tokens / of.elapsed
        return Bottleneck(
            Kind.PROMPTS,
            f"reading prompts: {_share(of.prompts, of)} of an answer's time, {rate(speed)} prompt tokens/s; shorter "
            "prompts, or a common beginning that the server keeps (its prompt cache), would help",
        )
    is_full = of.full >= FULL * of.elapsed
    if of.queue >= MOST_OF_IT * of.latency or (of.bound is Bound.QUEUED and is_full):
        waited = f", {seconds(of.queue / of.answers)} each" if of.queue >= MOST_OF_IT * of.latency else ""
        return Bottleneck(
            Kind.QUEUE,
            f"the server's slots: with {count(of.in_flight)} in flight requests wait in its queue{waited}; more slots "
            "there (OLLAMA_NUM_PARALLEL, llama-server --parallel) would help, more in flight (-c) would not",
        )
    if (shared := _shared(of)) is not None:
        return Bottleneck(
            Kind.GENERATION,
            f"generation: {rate(of.tokens / of.elapsed)} tokens/s is what the server makes in all, with "
            f"{shared.in_flight:.0f} in flight as with more; a smaller model, shorter answers (max_tokens) or a "
            "second server (--base-url) would help",
        )
    why = {
        Bound.TOLD: "as many as the server says it has; more there (llama-server --parallel) would help",
        Bound.REFUSED: "above which it says wait; more there (OLLAMA_NUM_PARALLEL, --max-num-seqs of vLLM) would help",
        Bound.ASKED: "as -c says; more in flight may help: -c auto finds out",
    }.get(of.bound)
    if why is None or not is_full:
        return None
    return Bottleneck(
        Kind.SLOTS,
        f"the server's slots: {count(of.in_flight)} were in use for {_part(of.full, of)}, {why}",
    )


def _shared(of: Measured) -> Level | None:
    """The level from which on answers came no faster in all, if the levels tell: each was slower as there were more."""
    levels = sorted(level for level in of.levels.values() if level.pieces >= PIECES)
    if len(levels) < 2:
        return None
    high = max(levels[1:], key=lambda level: level.seconds)
    lower = [level for level in levels if level.in_flight * APART <= high.in_flight]
    if not lower:
        return None
    low = lower[0]
    more = high.in_flight / low.in_flight
    gained = more * high.speed / low.speed
    return low if gained - 1 <= GAIN * (more - 1) else None


def _part(time: float, of: Measured) -> str:
    return f"{span(time)} of {span(of.elapsed)}"


def _share(time: float, of: Measured) -> str:
    return f"{100 * time / of.latency:.0f} %"
