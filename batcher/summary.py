"""The sums of a run: counts, tokens, times and causes of failure, for the terminal, for programs, for the exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from signal import Signals
from typing import TYPE_CHECKING

from batcher.failures import Exit
from batcher.figures import count, rate, seconds, span
from batcher.histogram import Histogram
from batcher.redaction import printable

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.failures import Failure
    from batcher.model import Json, Result, Usage

QUANTILES = (0.5, 0.9, 0.95, 0.99)
WIDTH = 100
"""Cells of the longest line of the block, which quotes a server."""
STOP_WIDTH = 4 * WIDTH
"""Cells of the reason why a run stopped, which may be the last words of a server that died, and of lines with paths."""
LONG = ("stopped", "results", "unsaved", "errors", "next")
CAUSES = 3
"""Causes of failure that the block names; a fourth and more are counted together."""
_GAPS_EXACT, _GAPS_STRIDE = 8, 16
"""Of up to 8 gaps of an answer every one is counted; of more than 128, every 16th, for itself and the 15 after it."""


@dataclass(slots=True)
class Summary:
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
            self.retries += result.attempts - 1
        if result.failure is not None:
            self._add_failure(result.failure, sent=result.attempts > 0)
            return
        self.ok += 1
        completion, timing = result.completion, result.timing
        if completion is not None:
            if completion.flags:
                self.flags.update(completion.flags)
            if completion.usage is not None:
                self._add_usage(completion.usage)
        if result.pack_usage is not None:
            self._add_usage(result.pack_usage)
        if timing is not None:
            self.waited += timing.waited
            self.latency.add(timing.finished - timing.started)
            if timing.arrivals:
                self.ttft.add(timing.arrivals[0] - timing.started)
                self._add_gaps(timing.arrivals)

    def _add_usage(self, usage: Usage) -> None:
        self.prompt_tokens += usage.prompt_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0

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

    def to_dict(self) -> dict[str, Json]:
        """Give the sums in JSON types, durations in seconds; quantiles are within 1 %."""
        done = self.ok + self.failed
        return {
            "exit_code": int(self.exit_code()),
            "elapsed_s": self.elapsed,
            "jobs": {
                "total": self.jobs,
                "ok": self.ok,
                "skipped": self.skipped,
                "failed": self.failed,
                "invalid": self.invalid,
                "left": self.left,
                "pending": self.pending,
                "unread": self.unread,
                "duplicates": self.duplicates,
            },
            "failures": {
                code: {"count": number, "message": self.samples[code]} for code, number in self.failures.most_common()
            },
            "flags": dict(self.flags),
            "attempts": self.attempts,
            "retries": self.retries,
            "waited_s": self.waited,
            "tokens": {"prompt": self.prompt_tokens, "completion": self.completion_tokens},
            "jobs_per_s": done / self.elapsed if self.elapsed else None,
            "tokens_per_s": self.completion_tokens / self.elapsed if self.elapsed else None,
            "ttft_s": _quantiles(self.ttft),
            "latency_s": _quantiles(self.latency),
            "itl_s": _quantiles(self.itl),
            "stop": None if self.stop is None else _reason(self.stop),
            "refused": [_reason(failure) for failure in self.refused],
            "signal": self.signal,
            "unwritten": self.unwritten,
        }

    def render(self, results: Path | str | None = None, errors: Path | str | None = None) -> str:
        """Write the block for a terminal: at most 12 lines, the last of which says what to do if something is."""
        rows = [
            ("jobs", self._jobs_row()),
            ("speed", self._speed_row()),
            ("times", self._times_row()),
            ("flags", ", ".join(f"{name} {count(n)}" for name, n in self.flags.most_common())),
            *self._failure_rows(),
            ("stopped", self._stop_row()),
            ("results", str(results or "")),
            *(("unsaved", text) for text in self.unwritten),
            ("errors", str(errors or "") if self.failures else ""),
            ("next", self._advice(errors)),
        ]
        widths = dict.fromkeys(LONG, STOP_WIDTH)
        return "\n".join(f"{name:<8} {printable(text, widths.get(name, WIDTH))}" for name, text in rows if text)

    def one_line(self, errors: Path | str | None = None) -> str:
        """Say in one line what became of the run and what to do: what cron mails and a journal keeps."""
        name = "" if self.signal is None else f"ended by {Signals(self.signal).name}"
        failures = [text for _, text in self._failure_rows()]
        return printable(
            _joined([self._jobs_row(), name, self._stop_row(), *self.unwritten, *failures, self._advice(errors)])
        )

    def _add_failure(self, failure: Failure, *, sent: bool) -> None:
        self.invalid += not sent
        self.failures[failure.code] += 1
        if failure.code not in self.samples:
            self.samples[failure.code] = failure.message

    def _add_gaps(self, arrivals: list[float]) -> None:
        """Count the gaps of an answer; of a long one a sample spread over it, so that a record costs next to nothing.

        Where the sample begins moves from job to job: a rhythm in the answers does not show.
        """
        gaps = len(arrivals) - 1
        stride = min(max(gaps // _GAPS_EXACT, 1), _GAPS_STRIDE)
        start = self.ok % stride
        sample = [b - a for a, b in zip(arrivals[start::stride], arrivals[start + 1 :: stride], strict=False)]
        if sample:
            self.itl.add_all(sample, stride)

    def _jobs_row(self) -> str:
        of_all = "" if self.unread else f" of {count(self.jobs, 'jobs')}"
        parts = [
            f"{count(self.ok + self.skipped, '' if of_all else 'jobs')}{of_all} done"
            + (f" ({count(self.skipped)} before this run)" if self.skipped else ""),
            f"{count(self.failed)} failed" if self.failed else "",
            f"{count(self.left)} failed before and left alone" if self.left else "",
            f"{count(self.pending)} pending" if self.pending else "",
            f"{count(self.duplicates)} repeated" if self.duplicates else "",
            "the rest of the input unread" if self.unread else "",
            span(self.elapsed) if self.elapsed else "",
        ]
        return _joined(parts)

    def _speed_row(self) -> str:
        if not self.elapsed or not self.ok + self.failed:
            return ""
        parts = [f"{rate((self.ok + self.failed) / self.elapsed)} jobs/s"]
        if self.completion_tokens:
            parts.append(f"{rate(self.completion_tokens / self.elapsed)} tokens/s")
        elif self.prompt_tokens:
            parts.append(f"{rate(self.prompt_tokens / self.elapsed)} prompt tokens/s")
        if self.prompt_tokens or self.completion_tokens:
            parts.append(f"{count(self.prompt_tokens)} tokens in, {count(self.completion_tokens)} out")
        if self.retries:
            parts.append(f"{count(self.retries)} of {count(self.attempts, 'attempts')} were retries")
        return _joined(parts)

    def _times_row(self) -> str:
        times = (("TTFT", self.ttft), ("latency", self.latency), ("ITL", self.itl))
        parts = [
            f"{name} p50 {seconds(h.quantile(0.5))}, p95 {seconds(h.quantile(0.95))}" for name, h in times if h.count
        ]
        return _joined(parts)

    def _failure_rows(self) -> list[tuple[str, str]]:
        """Name the commonest causes, each with the first message that came with it."""
        ranked = self.failures.most_common()
        named = ranked if len(ranked) <= CAUSES else ranked[: CAUSES - 1]
        rows = [("failed", f"{count(n)} × {code}: {self.samples[code]}") for code, n in named]  # noqa: RUF001 - times
        if rest := ranked[len(named) :]:
            rows.append(("failed", f"{count(sum(n for _, n in rest))} for {count(len(rest))} other causes"))
        return rows

    def _stop_row(self) -> str:
        failure = self.stop or (self.refused[0] if self.refused else None)
        return "" if failure is None else f"{failure.code}: {failure.message}"

    def _advice(self, errors: Path | str | None) -> str:
        retried = self.failed - self.invalid
        parts = []
        if self.invalid:
            parts.append(f"mend the {count(self.invalid, 'lines')} of the input that could not be sent")
        if retried or self.pending or self.unread:
            undone = (
                "rest"
                if self.unread
                else " and ".join(
                    f"{count(n)} {what}" for n, what in ((self.pending, "pending"), (retried, "failed")) if n
                )
            )
            parts.append(f"run the same command again for the {undone}")
        elif self.invalid:
            parts.append("run the same command again")
        where = f"; {errors} says why each failed" if self.failed and errors else ""
        return ", then ".join(parts) + where


def _quantiles(histogram: Histogram) -> dict[str, float | int] | None:
    if not histogram.count:
        return None
    quantiles = {f"p{q * 100:g}": histogram.quantile(q) or 0.0 for q in QUANTILES}
    middle = {"mean": histogram.sum / histogram.count, "min": histogram.min, **quantiles}
    return {"count": histogram.count, **middle, "max": histogram.max}


def _reason(failure: Failure) -> dict[str, str]:
    return {"code": failure.code, "message": failure.message}


def _joined(parts: list[str]) -> str:
    return " · ".join(part for part in parts if part)
