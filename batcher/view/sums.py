"""The sums of a run: counts, tokens, times and causes of failure, for programs and for the exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from batcher.failures import Exit, FailureClass
from batcher.outcome import Usage
from batcher.view.bottleneck import Measured, bottleneck
from batcher.view.causes import Causes
from batcher.view.histogram import Histogram
from batcher.view.work import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batcher.failures import Failure
    from batcher.outcome import Result, Timing
    from batcher.view.bottleneck import Bottleneck
    from batcher.view.prices import Prices

_UNTOLD: Final = Usage()
_GAPS_EXACT, _GAPS_STRIDE = 8, 16
"""Of up to 8 gaps of an answer every one is counted; of more than 128, every 16th, for itself and the 15 after it."""

LONG_S: Final = 60.0
"""Seconds that a server asks to wait with a job from which on it is told when they are over."""


@dataclass(slots=True, kw_only=True)
class ServerSums:
    """How one server of a run did. What is held is seen five times a second: times are right to about that."""

    server: str
    requests: int = 0
    ok: int = 0
    """Jobs that it answered."""
    failed: int = 0
    """Jobs that ended with a failure there."""
    throttled: int = 0
    """Requests that it answered with: wait."""
    away_s: float = 0.0
    """Seconds in which it did not answer."""
    held_s: float = 0.0
    """Seconds in which it said wait."""
    failing_s: float = 0.0
    """Seconds in which it failed whatever it was asked."""
    refusing_s: float = 0.0
    """Seconds in which it was looked whether it refuses for good whatever it is asked: no outage."""
    in_flight: int = 0
    """How many requests it was given at once in the end."""
    limit: str = ""
    """Where that settled and why, in a sentence; empty if it was fixed."""


@dataclass(slots=True)
class Sums:
    """What became of a run. Times are seconds on the monotonic clock; nothing here reads it.

    Jobs are in one of four places: `ok` and `skipped` have a result, `failed` have an error line, `pending` have
    neither. Lines that repeat an earlier one (`duplicates`) are not jobs.
    """

    started: float
    finished: float | None = None
    ok: int = 0
    skipped: int = 0
    """Jobs that had a result before the run."""
    left: int = 0
    """Jobs that failed before the run and were left alone, as `--skip-failed` says; their error lines stand."""
    pending: int = 0
    """Jobs that the run left undone; the next one takes them up."""
    duplicates: int = 0
    invalid: int = 0
    """Failures among `failures` that nothing was sent for: lines that are no job, or none for this server."""
    rejected: int = 0
    """Failures that the same request will meet again, since the server refuses what is asked."""
    newest: Failure | None = None
    """The last failure of a job."""
    total: int | None = None
    """Jobs of the input, where it was counted."""
    causes: Causes = field(default_factory=Causes)
    prices: Prices | None = None
    cost: float | None = None
    """Of the answers whose price is known, those that `--fail-on` refused among them; None: of none."""
    unpriced: int = 0
    """Those whose price is not known, where prices were said."""
    work: Work = field(default_factory=Work)
    failures: Counter[str] = field(default_factory=Counter)
    samples: dict[str, str] = field(default_factory=dict)
    """The first message of each code in `failures`."""
    flags: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 0
    retries: int = 0
    """Attempts after a job's first."""
    waited: float = 0.0
    """Backoff and pacing, added up over jobs, in seconds."""
    ttft: Histogram = field(default_factory=Histogram)
    latency: Histogram = field(default_factory=Histogram)
    itl: Histogram = field(default_factory=Histogram)
    stop: Failure | None = None
    """Why the run ended early."""
    refused: list[Failure] = field(default_factory=list)
    """Why the jobs of some model or path were left pending."""
    signal: int | None = None
    """The signal that ended the run."""
    unread: bool = False
    """The run ended before the end of the input: it has more jobs than are counted here."""
    unwritten: list[str] = field(default_factory=list)
    """What else than results could not be written, in sentences."""
    servers: dict[str, ServerSums] = field(default_factory=dict)
    """By their roots."""
    come_back: float | None = None
    """When the server will serve again, as it says: wall clock, seconds since 1970. Set where the run ended for it, or
    a job failed that was told to wait for long.
    """

    @property
    def failed(self) -> int:
        return self.failures.total()

    @property
    def jobs(self) -> int:
        """Jobs of the input, as far as it was read."""
        return self.ok + self.skipped + self.failed + self.left + self.pending

    @property
    def elapsed(self) -> float:
        """Seconds from start to end; 0 before the end."""
        return 0.0 if self.finished is None else self.finished - self.started

    def add(self, result: Result) -> None:
        """Count a finished job, whether it has an answer or failed for good."""
        if result.attempts and (result.pack is None or not result.pack[0]):  # the jobs of a pack share its attempts
            self.attempts += result.attempts
            self.retries += result.attempts - 1 - result.more_asked
        if result.server is not None:
            server = self.server(result.server)
            server.ok += result.ok
            server.failed += not result.ok
        completion, timing = result.completion, result.timing
        if completion is not None:
            self._add_usage(completion.usage, completion.spent)
        if self.prices is not None:
            self._add_cost(self.prices, result)
        if result.failure is not None:
            self.waited += timing.waited if timing is not None else 0.0
            self._add_failure(result.failure, result.id, sent=result.attempts > 0)
            self._add_wait(result.failure, timing)
            return
        self.ok += 1
        self.work.add(result)
        if completion is not None and completion.flags:
            self.flags.update(completion.flags)
        if timing is not None:
            self.waited += timing.waited
            self.latency.add(timing.finished - timing.started)
            if timing.arrivals:
                self.ttft.add(timing.arrivals[0] - timing.started)
                self._add_gaps(timing.arrivals)

    def add_pack(self, results: Sequence[Result]) -> None:
        """Count the results of one call that all have answers: but for tokens, what is said of one is said of all."""
        first, others = results[0], len(results) - 1
        self.add(first)
        self.ok += others
        if first.server is not None:
            self.server(first.server).ok += others
        if first.completion is not None:
            for flag in first.completion.flags:
                self.flags[flag] += others
        if first.timing is not None:
            self.waited += others * first.timing.waited
            self.latency.add(first.timing.total, others)
        self._add_usage(*[result.completion.usage for result in results[1:] if result.completion is not None])
        if self.prices is not None:
            for result in results[1:]:
                self._add_cost(self.prices, result)

    def server(self, root: str) -> ServerSums:
        """The sums of one server."""
        found = self.servers.get(root)
        if found is None:
            found = self.servers[root] = ServerSums(server=root)
        return found

    def _add_usage(self, *usages: Usage | None) -> None:
        for usage in usages:
            if usage is not None:
                self.prompt_tokens += usage.prompt_tokens or 0
                self.completion_tokens += usage.completion_tokens or 0

    @property
    def held_s(self) -> float:
        """Seconds in which nothing could be sent."""
        return self.work.held

    @property
    def undone(self) -> int | None:
        """Jobs that have neither a result nor an error line, as far as that is known."""
        if not self.unread:
            return self.pending
        if self.total is None:
            return None
        return max(self.pending, self.total - self.ok - self.skipped - self.failed - self.left - self.duplicates)

    @property
    def why(self) -> Failure | None:
        """What ended the run before its end, if something did; a signal is none."""
        return self.stop or next(iter(self.refused), None)

    @property
    def bottleneck(self) -> Bottleneck | None:
        """What held the run up for most of its time, if something did."""
        work, servers, several = self.work, self.servers.values(), max(1, len(self.servers))
        held = sum(server.held_s for server in servers)
        return bottleneck(
            Measured(
                elapsed=self.elapsed,
                answers=self.ok,
                away=sum(server.away_s + server.failing_s for server in servers) / several,
                kept_by_requests=work.requests + max(0.0, held - work.crowded) / several,
                crowded=work.crowded / several,
                turned_away=sum(server.throttled for server in servers) if work.crowded > held / 2 else 0,
                kept_by_tokens=work.tokens,
                a_minute=work.a_minute,
                alone=work.alone,
                disk=work.disk,
                cpu=work.cpu,
                full=work.full,
                busy=work.busy,
                in_flight=sum(server.in_flight for server in self.servers.values()),
                bound=work.bound,
                latency=self.latency.sum,
                queue=work.queue,
                prompts=work.prompts,
                tokens=self.completion_tokens,
                prompt_tokens=self.prompt_tokens,
                levels=work.levels,
            )
        )

    @property
    def complete(self) -> bool:
        """Nothing ended the run before each of its jobs had a result or failed."""
        return self.stop is None and self.signal is None and not self.pending

    def exit_code(self) -> int:
        """Decide what the process ends with: the signal, why it stopped, what is left undone, what failed, or 0."""
        if self.signal is not None:
            return 128 + self.signal
        if self.stop is not None:
            return self.stop.exit
        if self.pending or self.unread:
            return self.refused[0].exit if self.refused else Exit.STOPPED
        if self.unwritten:
            return Exit.IO
        return Exit.SOME_FAILED if self.failures or self.left else Exit.OK

    def _add_cost(self, prices: Prices, result: Result) -> None:
        """Add what an answer costs, be it refused; a copy of another has no completion, and costs nothing."""
        completion = result.completion
        if completion is None:
            return
        used = completion.used
        if result.failure is not None and (used is None or used == _UNTOLD):
            return  # it is not known to have brought any
        cost = prices.of(result.model, result.path, used)
        if cost is None:
            self.unpriced += 1
        else:
            self.cost = (self.cost or 0.0) + cost

    def _add_failure(self, failure: Failure, job: str, *, sent: bool) -> None:
        self.invalid += not sent
        self.rejected += sent and failure.kind is FailureClass.PERMANENT
        self.newest = failure
        self.causes.add(failure, job)
        self.failures[failure.code] += 1
        if failure.code not in self.samples:
            self.samples[failure.code] = failure.message

    def _add_wait(self, failure: Failure, timing: Timing | None) -> None:
        """Take in for how long a job that failed was told to wait."""
        wait = failure.retry_after or 0.0
        if failure.kind is FailureClass.THROTTLE and wait >= LONG_S and timing is not None and timing.started_at:
            self.come_back = max(self.come_back or 0.0, timing.started_at + timing.total + wait)

    def _add_gaps(self, arrivals: list[float]) -> None:
        """Count the gaps of an answer; of a long one a sample spread over it, so that a record costs next to nothing.

        Where the sample begins moves from job to job: a rhythm in the answers does not show.
        """
        gaps = len(arrivals) - 1
        if not gaps:
            return
        stride = min(max(gaps // _GAPS_EXACT, 1), _GAPS_STRIDE)
        start = self.ok % stride
        sample = [b - a for a, b in zip(arrivals[start::stride], arrivals[start + 1 :: stride], strict=False)]
        self.itl.add_all(sample, stride)
