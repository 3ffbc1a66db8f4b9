"""The sums over a results file and its errors file, line by line: more lines need no more memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from batcher.failures import Failure, FailureClass
from batcher.outcome import Usage, count_of
from batcher.view.bottleneck import Bound, Measured, bottleneck
from batcher.view.causes import Causes
from batcher.view.histogram import Histogram
from batcher.view.statistics.events import NONE, Events
from batcher.view.statistics.fullness import FULL, fullness
from batcher.view.statistics.groups import Block, Groups, count_all
from batcher.view.statistics.measures import measures_of, moment_of, name_of
from batcher.view.statistics.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.view.bottleneck import Bottleneck
    from batcher.view.prices import Prices
    from batcher.view.statistics.fullness import Fullness
    from batcher.view.statistics.groups import Group
    from batcher.view.statistics.measures import Measures
    from batcher.view.statistics.timeline import Stretch

SAMPLE: Final = 2000
"""Answers of which length and latency are kept: each has the same chance (algorithm R of Vitter, ACM TOMS 11, 1985)."""
SEED: Final = 20
SLOTS: Final = 240
"""Slots into which the course of time is cut."""
NAMES: Final = 200
"""Names of flags and of codes that are told apart."""
LONGEST_WORDS: Final = 2048
"""Characters of what a server said that are kept."""
_TOGETHER: Final = 2048
_CLASSES: Final = {str(kind): kind for kind in FailureClass}
_REST: Final = "(others)"


@dataclass(slots=True)
class Statistics:
    """Times are seconds. Quantiles are those of `Histogram`: within 1 %."""

    prices: Prices | None = None
    events: Events = NONE
    told_bottleneck: str | None = None
    """What the last run itself said held it up."""
    answers: int = 0
    failed: int = 0
    invalid: int = 0
    """Failures that nothing was sent for."""
    copies: int = 0
    """Answers that were taken from another job that asked the same."""
    packed: int = 0
    """Answers that came with those of others in one response."""
    unreadable: int = 0
    """Lines of the results file that are no results."""
    superseded: int = 0
    """Lines of the errors file of jobs that have a result, or a later line there."""
    attempts: int = 0
    retries: int = 0
    waited: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    uncounted: int = 0
    """Answers whose tokens the server did not tell."""
    cost: float | None = None
    unpriced: int = 0
    flags: Counter[str] = field(default_factory=Counter)
    finish_reasons: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    causes: Causes = field(default_factory=Causes)
    latency: Histogram = field(default_factory=Histogram)
    ttft: Histogram = field(default_factory=Histogram)
    itl: Histogram = field(default_factory=Histogram)
    """Of the answers' medians."""
    itl_p95: Histogram = field(default_factory=Histogram)
    """Of the answers' 95th percentiles."""
    speed: Histogram = field(default_factory=Histogram)
    prompts: Histogram = field(default_factory=Histogram)
    """Tokens of a prompt."""
    completions: Histogram = field(default_factory=Histogram)
    """Tokens of an answer."""
    models: Groups = field(default_factory=Groups)
    servers: Groups = field(default_factory=Groups)
    hours: Groups = field(default_factory=Groups)
    lengths: dict[int, Histogram] = field(default_factory=dict)
    """Latency by the tokens of the answer: n stands for 2^(n-1) to 2^n - 1 of them."""
    sample: list[tuple[int, float]] = field(default_factory=list)
    """Tokens and latency of some answers."""
    sampled_of: int = 0
    timeline: Timeline = field(default_factory=Timeline)
    read_s: float = 0.0
    """Seconds that servers took to read prompts, and those before they began to, as far as they tell."""
    queued_s: float = 0.0
    _block: list[Measures] = field(default_factory=list)
    _random: Random = field(default_factory=lambda: Random(SEED))

    def know(self, events: Events) -> None:
        """Take in what the runs met: a time in which nothing could be sent is none of rest."""
        self.events = events
        for event in events.holds:
            self.timeline.held(event.start, event.end)

    def add(self, record: Mapping[str, Any]) -> Measures:
        """Count a line of results, and give what it tells. `settle` has to follow on the last one."""
        told = measures_of(record)
        self._block.append(told)
        if len(self._block) >= _TOGETHER:
            self.settle()
        return told

    def settle(self) -> None:
        """Count what was added of late: many at a time cost a third of what each would alone."""
        told, self._block = self._block, []
        if not told:
            return
        block = Block(told)
        self.answers += len(told)
        self.models.add([one.model for one in told], block)
        self.servers.add([one.server for one in told], block)
        self.hours.add([one.hour for one in told], block)
        _count_all(self.flags, Counter(flag for one in told for flag in one.flags))
        _count_all(self.finish_reasons, Counter(one.finish_reason for one in told if one.finish_reason is not None))
        self.copies += sum([one.is_copy for one in told])
        self.packed += sum([one.size is not None for one in told])
        if self.prices is not None:
            for one in told:
                self._add_cost(self.prices, one)
        if len(block.requests) < len(told):
            for one in told:
                if not one.is_request and one.moment is not None and one.total is not None:
                    self.timeline.shared(one.moment + one.total, one.completion_tokens or 0)
        self._add_tokens(block)
        self._add_times(block)

    def add_failure(self, record: Mapping[str, Any]) -> None:
        """Count a line of errors that stands."""
        error = record.get("error")
        error = error if type(error) is dict else {}
        code, words = name_of(error.get("code")) or "", error.get("message")
        kind = _CLASSES.get(str(error.get("class")), FailureClass.PERMANENT)
        message = words[:LONGEST_WORDS] if type(words) is str else ""
        self.failed += 1
        _count(self.codes, code)
        self.causes.add(Failure(kind, code, message), name_of(record.get("id")) or "")
        attempts = count_of(record.get("attempts")) or 0
        pack = record.get("pack")
        self.invalid += not attempts
        if attempts and not (type(pack) is dict and pack.get("place")):
            self.attempts += attempts
            self.retries += attempts - 1 - min(count_of(record.get("asked_again")) or 0, attempts - 1)
        hour, moment = moment_of(record.get("at"))
        if record.get("usage"):
            self._add_spent(measures_of(record), hour)
        if attempts:
            self.models.of(name_of(record.get("model"))).failed += 1
            self.servers.of(name_of(record.get("server"))).failed += 1
        self.hours.of(hour).failed += 1
        if moment is not None:
            self.timeline.failed(moment)

    def stretches(self) -> list[Stretch]:
        """The course of time, in slots that have some answers each where there are few of them."""
        return self.timeline.stretches(max(12, min(SLOTS, (self.answers + self.failed) // 4)))

    def worked(self) -> float:
        """Seconds of work: without the pauses between runs."""
        return sum(stretch.span for stretch in self.timeline.stretches(1))

    def bottleneck(self, stretches: list[Stretch]) -> Bottleneck | None:
        """What held the runs up, as far as lines and events tell: what the disk and the CPU took they do not."""
        events = self.events
        slots = [slot for stretch in stretches for slot in stretch.slots]
        most = self.fullness(stretches).most
        elapsed = self.worked()
        return bottleneck(
            Measured(
                elapsed=elapsed,
                answers=self.latency.count,
                away=events.seconds("away", "failing"),
                kept_by_requests=events.seconds("told", "requests"),
                kept_by_tokens=events.seconds("tokens"),
                full=sum(slot.span for slot in slots if most and slot.in_flight >= FULL * most),
                busy=min(sum(min(slot.busy, slot.span) for slot in slots), elapsed),
                in_flight=round(most),
                bound=Bound.FOUND,
                latency=self.latency.sum,
                queue=self.queued_s,
                prompts=self.read_s,
                tokens=self.completion_tokens,
                prompt_tokens=self.prompt_tokens,
            )
        )

    def fullness(self, stretches: list[Stretch]) -> Fullness:
        """How full the slots were."""
        return fullness(stretches, self.events.last_limit)

    def _add_tokens(self, block: Block) -> None:
        told = block.told
        self.uncounted += sum(
            [one.prompt_tokens is None and one.completion_tokens is None and not one.is_copy for one in told]
        )
        self.prompt_tokens += block.prompt_tokens
        self.completion_tokens += block.completion_tokens
        self.cached_tokens += sum([one.cached_tokens or 0 for one in told])
        self.reasoning_tokens += sum([one.reasoning_tokens or 0 for one in told])
        count_all(self.prompts, [one.prompt_tokens for one in told])
        count_all(self.completions, [one.completion_tokens for one in told])

    def _add_times(self, block: Block) -> None:
        requests = block.requests
        self.ttft.merge(block.ttft)
        self.latency.merge(block.latency)
        count_all(self.itl, [told.itl_p50 for told in requests])
        count_all(self.itl_p95, [told.itl_p95 for told in requests])
        count_all(self.speed, [told.speed for told in requests])
        self.attempts += sum([told.attempts for told in requests])
        self.retries += sum([max(0, told.attempts - 1 - told.asked_again) for told in requests if told.attempts > 1])
        self.waited += sum([told.waited or 0.0 for told in requests])
        by_length: defaultdict[int, list[float]] = defaultdict(list)
        for told in requests:
            total, tokens = told.total, told.completion_tokens
            if total is None:
                continue
            if told.moment is not None:
                self.timeline.answered(told.moment, total, tokens=tokens or 0)
            if told.prompt_eval is not None:
                self.read_s += told.prompt_eval
                began = told.ttft if told.ttft is not None else total - (told.evaluation or 0.0)
                self.queued_s += max(0.0, began - told.prompt_eval - (told.load or 0.0))
            if tokens:
                by_length[tokens.bit_length()].append(total)
                self._draw(tokens, total)
        for length, totals in by_length.items():
            self.lengths.setdefault(length, Histogram()).add_all(totals)

    def _draw(self, tokens: int, total: float) -> None:
        self.sampled_of += 1
        if len(self.sample) < SAMPLE:
            self.sample.append((tokens, total))
        elif (place := int(self._random.random() * self.sampled_of)) < SAMPLE:
            self.sample[place] = (tokens, total)

    def _add_spent(self, told: Measures, hour: str | None) -> None:
        """Add the tokens and the cost of an answer that was refused."""
        told = told._replace(hour=hour)
        self.prompt_tokens += told.prompt_tokens or 0
        self.completion_tokens += told.completion_tokens or 0
        self.cached_tokens += told.cached_tokens or 0
        self.reasoning_tokens += told.reasoning_tokens or 0
        for group in self._groups(told):
            group.prompt_tokens += told.prompt_tokens or 0
            group.completion_tokens += told.completion_tokens or 0
        if self.prices is not None:
            self._add_cost(self.prices, told)

    def _groups(self, told: Measures) -> tuple[Group, ...]:
        return self.models.of(told.model), self.servers.of(told.server), self.hours.of(told.hour)

    def _add_cost(self, prices: Prices, told: Measures) -> None:
        """Add what an answer costs; the tokens of a copy stand on another line."""
        if told.is_copy:
            return
        cost = cost_of(prices, told)
        if cost is None:
            self.unpriced += 1
        else:
            self.cost = (self.cost or 0.0) + cost
        for group in self._groups(told):
            group.pay(cost)


def cost_of(prices: Prices, told: Measures) -> float | None:
    """What an answer cost; None where tokens or their price are not known."""
    usage = Usage(told.prompt_tokens, told.completion_tokens, told.reasoning_tokens, told.cached_tokens)
    return prices.of(told.model, told.endpoint, usage)


def _count(counter: Counter[str], name: str, times: int = 1) -> None:
    counter[name if name in counter or len(counter) < NAMES else _REST] += times


def _count_all(counter: Counter[str], names: Counter[str]) -> None:
    for name, times in names.items():
        _count(counter, name, times)
