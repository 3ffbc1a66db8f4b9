"""The state and the sums of a run as Prometheus reads them: text for the textfile collector of its node exporter.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batcher.view.histogram import Histogram
    from batcher.view.snapshot import Snapshot
    from batcher.view.sums import Sums

QUANTILES: Final = (0.5, 0.9, 0.99)


class Metric(NamedTuple):
    """A name with its values: by labels, or by what follows the name (`_sum`), each written as it stands."""

    name: str
    kind: str
    words: str
    values: Mapping[str, float]


def exposition(summary: Sums, snapshot: Snapshot, *, is_over: bool) -> str:
    """Write it all, as of now; nothing in it is a server's words but the codes of failures, which are ours."""
    lines: list[str] = []
    for metric in _metrics(summary, snapshot, is_over=is_over):
        lines.append(f"# HELP batcher_{metric.name} {metric.words}")
        lines.append(f"# TYPE batcher_{metric.name} {metric.kind}")
        lines += [f"batcher_{metric.name}{labels} {value!r}" for labels, value in metric.values.items()]
    return "\n".join(lines) + "\n"


def _metrics(summary: Sums, snapshot: Snapshot, *, is_over: bool) -> Iterator[Metric]:
    yield Metric("running", "gauge", "1 while the run goes on", {"": 0 if is_over else 1})
    if is_over:
        yield Metric("exit_code", "gauge", "What the run ended with", {"": int(summary.exit_code())})
    elapsed = summary.elapsed or snapshot.elapsed
    yield Metric("elapsed_seconds", "gauge", "Since the start of the run", {"": round(elapsed, 3)})
    jobs = {"ok": summary.ok, "failed": summary.failed, "skipped": summary.skipped, "left": summary.left}
    yield Metric("jobs", "gauge", "Jobs by what became of them", {_label("state", key): n for key, n in jobs.items()})
    if snapshot.total is not None:
        yield Metric("input_jobs", "gauge", "Jobs of the whole input", {"": snapshot.total})
    yield Metric("in_flight", "gauge", "Requests in flight", {"": snapshot.in_flight})
    if snapshot.allowed is not None:
        yield Metric("in_flight_limit", "gauge", "Requests that may be in flight", {"": snapshot.allowed})
    yield Metric("parked", "gauge", "Requests that wait for their next attempt", {"": snapshot.parked})
    yield Metric("held_seconds_total", "counter", "Time in which nothing could go", {"": round(summary.held_s, 3)})
    yield Metric("attempts_total", "counter", "Requests that have ended", {"": summary.attempts})
    yield Metric("retries_total", "counter", "Those that were not the first of a job", {"": summary.retries})
    tokens = {"prompt": summary.prompt_tokens, "completion": summary.completion_tokens}
    yield Metric(
        "tokens_total", "counter", "Tokens as servers count them", {_label("kind", key): n for key, n in tokens.items()}
    )
    if summary.cost is not None:
        yield Metric("cost_total", "counter", "By the prices that were said", {"": summary.cost})
        yield Metric("unpriced_total", "counter", "Answers whose price is not known", {"": summary.unpriced})
    failures = {_label("code", code): n for code, n in sorted(summary.failures.items())}
    yield Metric("failures_total", "counter", "Jobs that failed, by code", failures)
    for name, histogram in (("latency", summary.latency), ("ttft", summary.ttft)):
        yield Metric(f"{name}_seconds", "summary", "Of answers; quantiles within 1 %", _quantiles(histogram))


def _quantiles(histogram: Histogram) -> dict[str, float]:
    found = {_label("quantile", f"{q:g}"): histogram.quantile(q) for q in QUANTILES}
    known = {label: round(value, 6) for label, value in found.items() if value is not None}
    return known | {"_sum": round(histogram.sum, 6), "_count": histogram.count}


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{{{name}="{escaped}"}}'
