"""What comes back: deltas add up to a completion, an exchange is an attempt, and a job ends with a result.

Times are seconds on one monotonic clock; the wall clock appears in `Timing.started_at` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batcher.failures import Failure
    from batcher.model import Json

MOST: Final = 10**12
"""The largest count that is believed: of a million such lines the sum still has 64 bits."""
LONGEST_S: Final = 1e9
"""The longest time that is believed, and the highest rate: 30 years."""


def count_of(value: Any) -> int | None:
    """A count as a line of JSON has it, which may be damaged or made up: anything else is none."""
    return value if type(value) is int and 0 <= value <= MOST else None


def number_of(value: Any) -> float | None:
    """A time in seconds, or a rate: what is negative, no number or beyond all reason is none."""
    return float(value) if (type(value) is float or type(value) is int) and 0 <= value <= LONGEST_S else None


@dataclass(slots=True)
class Usage:
    """Tokens as the server counted them; absent is `None`, never 0. Nobody changes one, as with a `Job`."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


def total(one: Usage, other: Usage) -> Usage:
    """The tokens of both; what neither tells is not known."""
    return Usage(
        _sum(one.prompt_tokens, other.prompt_tokens),
        _sum(one.completion_tokens, other.completion_tokens),
        _sum(one.reasoning_tokens, other.reasoning_tokens),
        _sum(one.cached_tokens, other.cached_tokens),
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None and other is None else (one or 0) + (other or 0)


@dataclass(slots=True)
class ServerTimes:
    """The server's own durations, in seconds."""

    load_s: float | None = None
    prompt_eval_s: float | None = None
    eval_s: float | None = None
    total_s: float | None = None


@dataclass(slots=True)
class Delta:
    """The meaning of one decoded record for one choice; any part may be empty."""

    text: str = ""
    thinking: str = ""
    index: int = 0
    finish_reason: str | None = None
    tool_calls: Sequence[dict[str, Json]] = ()
    logprobs: Sequence[Json] = ()
    refusal: str = ""


_Item = TypeVar("_Item")


def more(held: list[_Item] | tuple[()], items: Iterable[_Item]) -> list[_Item]:
    """The list with more items. What nearly no answer has is `()` until there is some: an empty list costs as much."""
    if not held:
        return list(items)
    held.extend(items)
    return held


@dataclass(slots=True)
class Choice:
    """One answer of a completion, growing by deltas. Text is kept in pieces and joined when asked for."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] | tuple[()] = ()
    tool_calls: list[dict[str, Json]] | tuple[()] = ()
    logprobs: list[Json] | tuple[()] = ()
    refusals: list[str] | tuple[()] = ()
    finish_reason: str | None = None
    open: Any = field(default=None, repr=False, compare=False)
    """What the dialect remembers of tool calls that come in pieces."""

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def thinking(self) -> str:
        return "".join(self.thoughts)

    def add(self, delta: Delta) -> None:
        if delta.text:
            self.texts.append(delta.text)
        if delta.thinking:
            self.thoughts = more(self.thoughts, (delta.thinking,))
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
        if delta.tool_calls:
            self.tool_calls = more(self.tool_calls, delta.tool_calls)
        if delta.logprobs:
            self.logprobs = more(self.logprobs, delta.logprobs)
        if delta.refusal:
            self.refusals = more(self.refusals, (delta.refusal,))


@dataclass(slots=True)
class Completion:
    """An answer added up from its deltas, with all that is needed to give back the API's whole response object.

    `head` is the first record's envelope and `tail` the fields that came with or after the last one; `whole` is the
    response object itself when it came in one piece. `proof` names the mark that proved the answer complete.
    """

    choices: dict[int, Choice] = field(default_factory=dict)
    usage: Usage | None = None
    server: ServerTimes | None = None
    served_model: str | None = None
    vectors: list[Json] | None = None
    images: list[str] | None = None
    proof: str | None = None
    flags: list[str] | tuple[()] = ()
    head: dict[str, Json] | None = None
    tail: dict[str, Json] = field(default_factory=dict)
    whole: dict[str, Json] | None = None
    parsed: Json = None
    """The text as JSON, when JSON was asked for and it is JSON."""
    mismatch: str | None = None
    """What about it does not fit, if something had to (`Job.fits`)."""
    spent: Usage | None = None
    """Tokens of the exchanges for the same job before this one."""

    @property
    def used(self) -> Usage | None:
        """Tokens of all exchanges for the job, which is what its line tells."""
        if self.spent is None or self.usage is None:
            return self.spent or self.usage
        return total(self.spent, self.usage)

    def add(self, delta: Delta) -> bool:
        """Add one delta; true if it brought content (text, thinking, a tool call or an image)."""
        choice = self.choices.get(delta.index)
        if choice is None:
            choice = self.choices[delta.index] = Choice()
        choice.add(delta)
        return bool(delta.text or delta.thinking or delta.tool_calls or delta.refusal)

    @property
    def first(self) -> Choice:
        """The choice that most callers mean: the lowest index, or an empty one."""
        first = self.choices.get(0)
        if first is None:
            return self.choices[min(self.choices)] if self.choices else Choice()
        return first

    def flag(self, name: str) -> None:
        if name not in self.flags:
            self.flags = more(self.flags, (name,))


@dataclass(slots=True)
class Timing:
    """Marks of one attempt, in seconds on the monotonic clock; all else is derived from them.

    `arrivals` holds the time of each chunk that brought content. Several records can share a chunk.
    """

    started_at: float = 0.0
    """Wall clock (Unix time), for people; never subtracted."""
    started: float = 0.0
    finished: float = 0.0
    waited: float = 0.0
    arrivals: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        return self.finished - self.started

    @property
    def ttft(self) -> float | None:
        """Time to first token: send → first content, in seconds; `None` when nothing arrived in pieces."""
        return self.arrivals[0] - self.started if self.arrivals else None

    def gaps(self) -> list[float]:
        """Inter-token latencies: the gaps between content arrivals, ascending."""
        return sorted(b - a for a, b in zip(self.arrivals, self.arrivals[1:], strict=False))


@dataclass(frozen=True, slots=True)
class Allowance:
    """One dimension of a rate limit as a server states it; what it does not state is `None`, what is nonsense too.

    `limit` is a number per minute, `remaining` how much of it is left, `reset` the seconds until it is whole again.
    """

    limit: float | None = None
    remaining: float | None = None
    reset: float | None = None


@dataclass(frozen=True, slots=True)
class Hints:
    """What an answer says about when to come back, and how often. `retry_after` is in seconds."""

    retry_after: float | None = None
    requests: Allowance | None = None
    tokens: Allowance | None = None


NO_HINTS: Final = Hints()


@dataclass(slots=True)
class Attempt:
    """One exchange: a completion, a failure, or both when text had arrived before it failed."""

    timing: Timing
    completion: Completion | None = None
    failure: Failure | None = None
    hints: Hints = NO_HINTS


@dataclass(slots=True)
class Result:
    """What goes on a line: the completion or the failure of one job, with its timing and its `meta` untouched.

    Made by the thousand, it is given its fields in their order: by their names it takes thrice as long.
    """

    id: str
    seq: int
    hash: str = ""
    model: str | None = None
    path: str | None = None
    meta: Json = None
    columns: Json = None
    completion: Completion | None = None
    failure: Failure | None = None
    timing: Timing | None = None
    attempts: int = 0
    server: str | None = None
    pack: tuple[int, int] | None = None
    """(place in the pack, size of the pack) when many embedding inputs went in one call."""
    many: bool = False
    """The job has a list of embedding inputs, and so a list of vectors."""
    raw: dict[str, Json] | None = None
    """The API's whole response object, when it was asked for."""
    asked_again: int = 0
    """How often it was asked again, since an answer did not fit."""
    turns: Sequence[Completion] = ()
    """The answers to all turns, this one the last, where there are several."""
    vector: tuple[int, int] | None = None
    """(row, crc32) where its vector stands in a file of its own."""
    image: list[str] | None = None
    """Paths of image files written beside the results."""

    @property
    def ok(self) -> bool:
        return self.failure is None

    @property
    def more_asked(self) -> int:
        """Exchanges beside the first that were no second tries."""
        return self.asked_again + max(len(self.turns) - 1, 0)

    @property
    def text(self) -> str:
        """The answer's text; the partial text if the job failed half-way, "" if there is none."""
        return self.completion.first.text if self.completion else ""


def by_call(results: Sequence[Result]) -> Iterator[Sequence[Result]]:
    """The results of one call after the other, those of a pack together; they share its `timing`."""
    start = 0
    while start < len(results):
        first, end = results[start], start + 1
        if first.pack is None:
            yield (first,)
        else:
            timing, count = first.timing, len(results)
            while end < count and results[end].timing is timing:
                end += 1
            yield results[start:end]
        start = end
