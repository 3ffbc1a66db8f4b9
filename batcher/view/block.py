"""The sums of a run in words: the block at its end for a terminal, and the one line for cron's mail."""

from __future__ import annotations

import time
from signal import Signals
from typing import TYPE_CHECKING

from batcher.failures import Exit
from batcher.figures import count, money, rate, seconds, span
from batcher.redaction import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batcher.view.causes import Cause
    from batcher.view.sums import ServerSums, Sums

WIDTH = 91
"""Cells of a text of the block, with the word before it 100; what quotes a server may have two rows."""
STOP_WIDTH = 4 * WIDTH
"""Cells of the reason why a run stopped, which may be the last words of a server that died, and of lines with paths."""
LONG = ("stopped", "results", "unsaved", "errors", "next")
CAUSES = 3
"""Causes of failure that the block names; a fourth and more are counted together."""
SERVERS = 8
"""Servers that the block names; more are in the summary for programs."""
ID_WIDTH = 24
"""Cells of the id of a job that is an example."""
SIGNS = 12
"""Cells around a code, a message and an id."""
REMEDIES = {
    "quota": "see to the account's quota",
    "payment_required": "see to the account's credit",
    "model_not_found": "name a model that is there",
    "local_server_died": "see what it died of",
    "not_an_llm": "name a server of models",
}
"""What to do where a code says more than the exit code."""
BY_EXIT = {
    Exit.REFUSED: "give the key that the server wants",
    Exit.CONFIG: "mend that",
    Exit.INPUT: "mend the input",
    Exit.UNAVAILABLE: "see to the server, or name another one",
}
OF_TEMPLATES = ("template_column", "template_null", "template_failed")
"""Codes of rows that a template cannot be filled with: as often as not it is the template that is wrong."""
WORTH_TELLING = 1.0
"""Seconds of waiting from which on it is told."""


def render(summary: Sums, results: Path | str | None, errors: Path | str | None) -> str:
    """Write the block: at most 12 lines and those of the servers; the last says what to do if something is."""
    rows = [
        ("jobs", jobs_row(summary)),
        ("speed", _speed_row(summary)),
        ("times", _times_row(summary)),
        ("cost", _cost_row(summary)),
        *_server_rows(list(summary.servers.values()), _alone(summary)),
        ("flags", ", ".join(f"{name} {count(n)}" for name, n in summary.flags.most_common())),
        ("bound by", found.words if (found := summary.bottleneck) is not None else ""),
        *_failure_rows(summary),
        ("stopped", _stop_row(summary)),
        ("results", str(results or "")),
        *(("unsaved", text) for text in summary.unwritten),
        ("errors", str(errors or "") if summary.failures else ""),
        ("next", _advice(summary, errors)),
    ]
    twice = ("speed", "times", "limit", "server", "failed")
    widths = {**dict.fromkeys(LONG, STOP_WIDTH), **dict.fromkeys(twice, 2 * WIDTH), "bound by": 3 * WIDTH}
    return "\n".join(f"{name:<8} {printable(text, widths.get(name, WIDTH))}" for name, text in rows if text)


def one_line(summary: Sums, errors: Path | str | None) -> str:
    """Say in one line what became of the run and what to do."""
    name = "" if summary.signal is None else f"ended by {Signals(summary.signal).name}"
    failures = [text for _, text in _failure_rows(summary)]
    return printable(
        joined(
            [
                jobs_row(summary),
                name,
                _stop_row(summary),
                *summary.unwritten,
                *failures,
                _advice(summary, errors),
            ]
        )
    )


def jobs_row(summary: Sums) -> str:
    """What became of the jobs, and how long that took."""
    all_jobs = summary.total if summary.unread else summary.jobs
    of_all = "" if all_jobs is None else f" of {count(all_jobs, 'jobs')}"
    if summary.unread and summary.undone is not None:
        undone = f"{count(summary.undone)} left"
    else:
        undone = f"{count(summary.pending)} pending" if summary.pending else ""
    parts = [
        f"{count(summary.ok + summary.skipped, '' if of_all else 'jobs')}{of_all} done"
        + (f" ({count(summary.skipped)} before this run)" if summary.skipped else ""),
        f"{count(summary.failed)} failed" if summary.failed else "",
        f"{count(summary.left)} failed before and left alone" if summary.left else "",
        undone,
        f"{count(summary.duplicates)} repeated" if summary.duplicates else "",
        "the rest of the input unread" if summary.unread and summary.undone is None else "",
        "nothing left to do" if _is_idle(summary) else "",
        span(summary.elapsed) if summary.elapsed else "",
    ]
    return joined(parts)


def _is_idle(summary: Sums) -> bool:
    """Whether all was done before the run, and nothing was asked."""
    return bool(summary.skipped) and summary.complete and not (summary.ok or summary.failed or summary.left)


def _speed_row(summary: Sums) -> str:
    if not summary.elapsed or not summary.attempts:  # nothing was sent: there is no speed
        return ""
    parts = [f"{rate((summary.ok + summary.failed) / summary.elapsed)} jobs/s"]
    if summary.completion_tokens:
        parts.append(f"{rate(summary.completion_tokens / summary.elapsed)} tokens/s")
    elif summary.prompt_tokens:
        parts.append(f"{rate(summary.prompt_tokens / summary.elapsed)} prompt tokens/s")
    if summary.prompt_tokens or summary.completion_tokens:
        parts.append(f"{count(summary.prompt_tokens)} tokens in, {count(summary.completion_tokens)} out")
    if summary.retries:
        parts.append(f"{count(summary.retries)} of {count(summary.attempts, 'attempts')} were retries")
    return joined(parts)


def _times_row(summary: Sums) -> str:
    times = (("TTFT", summary.ttft), ("latency", summary.latency), ("ITL", summary.itl))
    parts = [f"{name} p50 {seconds(h.quantile(0.5))}, p95 {seconds(h.quantile(0.95))}" for name, h in times if h.count]
    return joined(parts)


def _cost_row(summary: Sums) -> str:
    if summary.cost is None:
        return ""
    unknown = f" and that of {count(summary.unpriced, 'answers')} whose price is not known" if summary.unpriced else ""
    return f"{money(summary.cost)}{unknown}"


def _alone(summary: Sums) -> str:
    """How long nothing was left to do but to wait with some."""
    time_s = summary.work.alone
    return f"{span(time_s)} to ask single jobs again" if time_s >= WORTH_TELLING else ""


def _server_rows(servers: list[ServerSums], alone: str) -> list[tuple[str, str]]:
    """How each of several servers did; of one alone where the limit settled and how long it was waited for."""
    if len(servers) == 1:
        [server] = servers
        return [("limit", _limit(server)), ("waited", joined([*_waits(server), alone]))]
    rows = []
    for server in servers[:SERVERS]:
        parts = [
            f"{server.server}  {count(server.ok)} done",
            f"{count(server.failed)} failed" if server.failed else "",
            count(server.requests, "requests"),
            *_waits(server),
            _limit(server),
        ]
        rows.append(("server", joined(parts)))
    if rest := len(servers) - len(rows):
        rows.append(("server", f"and {count(rest)} more"))
    if alone:
        rows.append(("waited", alone))
    return rows


def _limit(server: ServerSums) -> str:
    """Where the limit settled, if there was enough to do for it to matter."""
    return server.limit if server.ok and server.requests > server.in_flight else ""


def _waits(server: ServerSums) -> list[str]:
    times = f" ({count(server.throttled, 'times')} told to)" if server.throttled else ""
    return [
        f"away {span(server.away_s)}" if server.away_s >= WORTH_TELLING else "",
        f"failing {span(server.failing_s)}" if server.failing_s >= WORTH_TELLING else "",
        f"refusing {span(server.refusing_s)}" if server.refusing_s >= WORTH_TELLING else "",
        f"held {span(server.held_s)} by rate limits{times}" if server.held_s >= WORTH_TELLING else "",
    ]


def _failure_rows(summary: Sums) -> list[tuple[str, str]]:
    """Name the commonest causes, each with the message that came with the first, and the id of that job."""
    ranked = summary.causes.ranked()
    named = ranked if len(ranked) <= CAUSES else ranked[: CAUSES - 1]
    rows = [
        ("failed", f"{count(cause.count)} × {cause.code}: {_example(cause)}")  # noqa: RUF001 - times
        for cause in named
    ]
    if rest := ranked[len(named) :]:
        rows.append(("failed", f"{count(sum(cause.count for cause in rest))} for {count(len(rest))} other causes"))
    return rows


def _example(cause: Cause) -> str:
    name = printable(cause.id, ID_WIDTH)
    return f"{printable(cause.message, 2 * WIDTH - len(cause.code) - len(name) - SIGNS)} ({name})"


def _stop_row(summary: Sums) -> str:
    return "" if (why := summary.why) is None else f"{why.code}: {why.message}"


def _advice(summary: Sums, errors: Path | str | None) -> str:
    """What to do: first what only people can, then the same command again for what is left."""
    retried, undone = summary.failed - summary.invalid, summary.undone
    first = [
        *_unsent(summary),
        _remedy(summary)
        or (f"mend what the server refuses of {count(summary.rejected, 'jobs')}" if summary.rejected else ""),
    ]
    left = [
        f"{count(undone)} {'left' if summary.unread else 'pending'}" if undone else "",
        f"{count(retried)} failed" if retried else "",
    ]
    if retried and not undone and summary.come_back is not None:
        left[-1] += f", after {time.strftime('%Y-%m-%d %H:%M', time.localtime(summary.come_back))}, as the server says"
    if undone is None:
        again = "run the same command again for the rest"
    elif any(left):
        again = f"run the same command again for the {' and '.join(part for part in left if part)}"
    else:
        again = "run the same command again" if summary.invalid else ""
    where = f"; {errors} says why each failed" if summary.failed and errors else ""
    return ", then ".join(part for part in (*first, again) if part) + where


def _unsent(summary: Sums) -> Iterator[str]:
    """What is to be mended of the input, or of the template."""
    unfit = sum(summary.failures[code] for code in OF_TEMPLATES)
    if unfit:
        yield f"mend the template, or the input where it does not fit ({count(unfit, 'rows')})"
    if summary.invalid > unfit:
        yield f"mend the {count(summary.invalid - unfit, 'lines')} of the input that could not be sent"


def _remedy(summary: Sums) -> str:
    """What is to be mended before a run that ended early can go on."""
    why = summary.why
    if why is None or summary.signal is not None:
        return ""
    return REMEDIES.get(why.code) or BY_EXIT.get(why.exit, "")


def joined(parts: list[str]) -> str:
    """Those parts that there are, with dots between."""
    return " · ".join(part for part in parts if part)
