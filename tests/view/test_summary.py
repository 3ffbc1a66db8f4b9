"""The sums of a run, its quantiles, and how people and programs are told."""

from __future__ import annotations

import itertools
import math
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from batcher.failures import Exit, Failure, FailureClass
from batcher.figures import count, rate, seconds, span
from batcher.outcome import Completion, Result, Timing, Usage
from batcher.view.causes import MOST, Causes
from batcher.view.histogram import ERROR, Histogram
from batcher.view.prices import Price, Prices
from batcher.view.summary import Summary
from batcher.view.sums import ServerSums

if TYPE_CHECKING:
    from collections.abc import Callable


def answer(
    *arrivals: float, start: float = 10.0, end: float = 12.0, attempts: int = 1, flags: list[str] | None = None
) -> Result:
    completion = Completion(usage=Usage(prompt_tokens=3, completion_tokens=5), flags=flags or [])
    timing = Timing(started=10.0, finished=12.0, waited=0.5, arrivals=list(arrivals))
    return Result(id="a", seq=0, completion=completion, timing=timing, attempts=attempts)


def failed(code: str, message: str = "no", attempts: int = 1) -> Result:
    return Result(id="a", seq=0, failure=Failure(FailureClass.PERMANENT, code, message), attempts=attempts)


def stopped(exit: Exit) -> Failure:  # noqa: A002 - the field's name
    return Failure(FailureClass.FATAL, "refused", "the key is not accepted", exit=exit)


def summary_of(*results: Result, **fields: object) -> Summary:
    summary = Summary(started=100.0, finished=110.0)
    for result in results:
        summary.add(result)
    for name, value in fields.items():
        setattr(summary, name, value)
    return summary


def test_answers() -> None:
    """Answers add up: tokens, attempts, flags, waiting, and times from the marks of the last attempt."""
    summary = summary_of(answer(10.5, 11.0, 11.75), answer(attempts=3, flags=["length"]))
    assert (summary.ok, summary.failed, summary.attempts, summary.retries, summary.waited) == (2, 0, 4, 2, 1.0)
    assert (summary.prompt_tokens, summary.completion_tokens, summary.flags) == (6, 10, {"length": 1})
    assert (summary.ttft.count, summary.ttft.min, summary.latency.count, summary.latency.max) == (1, 0.5, 2, 2.0)
    assert (summary.itl.count, summary.itl.min, summary.itl.max) == (2, 0.5, 0.75)


def test_answer_without_particulars() -> None:
    """An answer of which nothing more is known counts, and what is unknown is not taken for 0."""
    summary = summary_of(Result(id="a", seq=0), Result(id="b", seq=1, completion=Completion(usage=Usage())))
    assert (summary.ok, summary.completion_tokens, summary.latency.count, summary.ttft.count) == (2, 0, 0, 0)
    assert summary.to_dict()["ttft_s"] is None


def test_failures() -> None:
    """Failures count by code with the first message; those that nothing was sent for are told apart."""
    summary = summary_of(failed("bad", "first"), failed("bad", "second"), failed("input_invalid", "line 3", attempts=0))
    assert summary.failures == {"bad": 2, "input_invalid": 1}
    assert summary.samples == {"bad": "first", "input_invalid": "line 3"}
    assert (summary.failed, summary.invalid, summary.attempts, summary.latency.count) == (3, 1, 2, 0)


def test_every_gap_of_a_short_answer_and_a_share_of_a_long_one() -> None:
    """However many records an answer has, its gaps weigh what they should; long answers are sampled evenly."""
    for records in (0, 1, 2, 17, 40, 129, 3000):
        summary = Summary(started=0.0)
        arrivals = [float(n) for n in range(records)]
        for _ in range(16):
            summary.add(answer(*arrivals))
        assert summary.itl.count == pytest.approx(16 * max(records - 1, 0), rel=0.02)


def test_no_rhythm_is_overlooked() -> None:
    """A pause at every 16th record is seen as often as it is there, though only every 16th gap is looked at."""
    summary = Summary(started=0.0)
    arrivals = [n + 9.0 * (n // 16) for n in range(801)]
    for _ in range(16):
        summary.add(answer(*arrivals))
    assert summary.itl.quantile(0.93) == pytest.approx(1.0, rel=ERROR)
    assert summary.itl.quantile(0.94) == pytest.approx(10.0, rel=ERROR)


@pytest.mark.parametrize(
    ("fields", "results", "code"),
    [
        ({}, [], 0),
        ({"skipped": 5, "duplicates": 2}, [answer()], 0),
        ({}, [answer(), failed("bad")], 3),
        ({"pending": 1}, [failed("bad")], 4),
        ({"pending": 1, "refused": [stopped(Exit.CONFIG)]}, [failed("bad")], 78),
        ({"pending": 1, "stop": stopped(Exit.REFUSED)}, [answer()], 77),
        ({"pending": 1, "signal": signal.SIGTERM}, [], 143),
        ({"pending": 1, "signal": signal.SIGINT, "stop": stopped(Exit.REFUSED)}, [], 130),
    ],
)
def test_exit_code(fields: dict[str, object], results: list[Result], code: int) -> None:
    """The signal goes first, then why the run stopped, what it left undone, what failed."""
    assert summary_of(*results, **fields).exit_code() == code


def test_block() -> None:
    """The block says how many, how fast, how long, what went wrong, where things are and what to do."""
    bad = failed("context_overflow", "prompt too long")
    summary = summary_of(answer(10.2, 10.3), answer(10.2, 10.3, attempts=2), bad, skipped=1200, pending=7, duplicates=1)
    assert summary.render("r.jsonl", "r.errors.jsonl").splitlines() == [
        "jobs     1,202 of 1,210 jobs done (1,200 before this run) · 1 failed · 7 pending · 1 repeated · 10 s",
        "speed    0.30 jobs/s · 1.00 tokens/s · 6 tokens in, 10 out · 1 of 4 attempts were retries",
        "times    TTFT p50 200 ms, p95 200 ms · latency p50 2.00 s, p95 2.00 s · ITL p50 100 ms, p95 100 ms",
        "failed   1 × context_overflow: prompt too long (a)",  # noqa: RUF001 - times
        "results  r.jsonl",
        "errors   r.errors.jsonl",
        (
            "next     mend what the server refuses of 1 job, then run the same command again for the 7 pending and 1 "
            "failed; r.errors.jsonl says why each failed"
        ),
    ]


def test_one_line() -> None:
    """For cron's mail: how many, how it ended, what went wrong and what to do, without a line end from anywhere."""
    bad = failed("context_overflow", "prompt\ntoo long\x1b[2J")
    summary = summary_of(answer(), bad, pending=7, signal=signal.SIGTERM, unread=True)
    assert summary.one_line("r.errors.jsonl") == (
        "1 job done · 1 failed · 7 pending · the rest of the input unread · 10 s · ended by SIGTERM"
        " · 1 × context_overflow: prompt too long (a)"  # noqa: RUF001 - times
        " · mend what the server refuses of 1 job, then run the same command again for the rest"
        "; r.errors.jsonl says why each failed"
    )
    summary = summary_of(answer(), stop=stopped(Exit.REFUSED), unwritten=["e.jsonl: no space left"])
    assert "refused: the key is not accepted · e.jsonl: no space left" in summary.one_line()


def test_causes_are_told_apart_by_code_and_words() -> None:
    """Three causes under one code are three rows, each with an example; numbers and ids make no cause of their own."""
    bad = [failed("bad_request", "temperature must be less than 2") for _ in range(10)]
    long = [failed("bad_request", f"{n} tokens, request 7f3a90bc{n:04}, are too many at {n}.{n} s") for n in range(5)]
    other = Result(
        id="odd\x1b[2J", seq=0, failure=Failure(FailureClass.PERMANENT, "bad_request", "no image"), attempts=1
    )
    summary = summary_of(*bad, *long, other)
    assert [line for line in summary.render().splitlines() if line.startswith("failed")] == [
        "failed   10 × bad_request: temperature must be less than 2 (a)",  # noqa: RUF001 - times
        "failed   5 × bad_request: 0 tokens, request 7f3a90bc0000, are too many at 0.0 s (a)",  # noqa: RUF001 - times
        "failed   1 × bad_request: no image (odd)",  # noqa: RUF001 - times
    ]
    told: Any = summary.to_dict()
    assert [(cause["count"], cause["id"]) for cause in told["causes"]] == [(10, "a"), (5, "a"), (1, "odd\x1b[2J")]
    assert told["failures"]["bad_request"]["count"] == 16


def test_causes_in_little_memory() -> None:
    """However many ways a server has to say no, each failure counts, and no more than so many are told apart."""
    causes = Causes()
    words = ["".join(letters) for letters in itertools.product("abcdefgh", repeat=3)]
    for word in words:
        causes.add(Failure(FailureClass.PERMANENT, "bad", word), word)
    assert sum(cause.count for cause in causes.ranked()) == len(words) > MOST
    assert len(causes.ranked()) == MOST + 1


@pytest.mark.parametrize(
    ("stop", "advice"),
    [
        (
            stopped(Exit.REFUSED),
            "give the key that the server wants, then run the same command again for the 3 pending",
        ),
        (stopped(Exit.CONFIG), "mend that, then run the same command again for the 3 pending"),
        (
            stopped(Exit.UNAVAILABLE),
            "see to the server, or name another one, then run the same command again for the 3 pend",
        ),
        (stopped(Exit.STOPPED), "run the same command again for the 3 pending"),
        (
            Failure(FailureClass.FATAL, "quota", "gone", exit=Exit.REFUSED),
            "see to the account's quota, then run the same",
        ),
    ],
)
def test_what_to_do_depends_on_what_happened(stop: Failure, advice: str) -> None:
    """A mistake that only people can mend is not to be run again as it is."""
    assert summary_of(pending=3, stop=stop).render().splitlines()[-1].startswith(f"next     {advice}")


TEMPLATE = "mend the template, or the input where it does not fit"
LINES = "of the input that could not be sent"


@pytest.mark.parametrize(
    ("codes", "advice"),
    [
        (["template_column"] * 4, f"{TEMPLATE} (4 rows), then run the same command again"),
        (["template_null", "template_failed"], f"{TEMPLATE} (2 rows), then run"),
        (["input_invalid"], f"mend the 1 line {LINES}, then run"),
        (["template_column", *["row_ragged"] * 2], f"{TEMPLATE} (1 row), then mend the 2 lines {LINES}"),
    ],
)
def test_what_does_not_fit_a_template_may_be_its_mistake(codes: list[str], advice: str) -> None:
    summary = summary_of(*(failed(code, attempts=0) for code in codes))
    assert summary.render().splitlines()[-1].startswith(f"next     {advice}")


def test_nothing_sent_is_no_speed() -> None:
    """Lines that were refused before anything was sent have no speed."""
    assert "speed" not in summary_of(failed("input_invalid", attempts=0)).render()


def test_a_stopped_run_knows_what_is_left() -> None:
    """Of an input that was counted the rest is told, whatever was read of it."""
    summary = summary_of(*[answer() for _ in range(105)], signal=signal.SIGINT, unread=True, pending=23, total=300)
    assert summary.render().splitlines()[0] == "jobs     105 of 300 jobs done · 195 left · 10 s"
    assert summary.render().splitlines()[-1] == "next     run the same command again for the 195 left"


def test_cost() -> None:
    """What answers cost by the prices that were said; those whose price is not known are counted and not guessed."""
    prices = Prices({"a": Price(1e6, 0.5e6, 2e6)})
    summary = Summary(started=0.0, finished=9.0, prices=prices)
    for model, usage in (("a", Usage(3, 5, cached_tokens=2)), ("a", Usage(1, 1)), ("b", Usage(9, 9)), ("a", None)):
        summary.add(Result(id="x", seq=0, model=model, completion=Completion(usage=usage), attempts=1))
    assert (summary.cost, summary.unpriced) == (1 + 2 * 0.5 + 5 * 2 + 1 + 2, 2)
    assert "cost     15.00 and that of 2 answers whose price is not known" in summary.render().splitlines()
    assert summary_of(answer()).cost is None


def test_an_input_that_was_not_read_to_its_end() -> None:
    """A run that was stopped early does not count what it never saw as if that were all."""
    summary = summary_of(answer(), signal=signal.SIGINT, unread=True)
    assert summary.render().splitlines()[0] == "jobs     1 job done · the rest of the input unread · 10 s"
    assert summary_of(unread=True).one_line().startswith("0 jobs done · the rest of the input unread")
    assert summary.render().splitlines()[-1] == "next     run the same command again for the rest"


def test_block_of_nothing() -> None:
    """A run with nothing to do says so on one line, and never divides by nothing."""
    assert Summary(started=5.0).render() == "jobs     0 of 0 jobs done"
    assert (
        Summary(started=5.0, finished=5.0, skipped=1).render()
        == "jobs     1 of 1 job done (1 before this run) · nothing left to do"
    )


def test_block_at_its_longest() -> None:
    """Whatever happens, the block has at most 12 lines, none long but for whole paths, and counts every cause."""
    causes = [failed(f"cause_{n}", "y" * 500) for n in range(9) for _ in range(9 - n)]
    summary = summary_of(
        answer(10.2, 10.3, attempts=2, flags=["length"]),
        *causes,
        failed("input_invalid", attempts=0),
        pending=1,
        stop=stopped(Exit.REFUSED),
    )
    errors = f"{'e' * 150}.jsonl"
    lines = summary.render("r.jsonl", errors).splitlines()
    assert len(lines) == 11
    assert max(map(len, lines[:-2])) <= 200  # two rows: what quotes a server
    assert "29 for 8 other causes" in "\n".join(lines)
    assert lines[-2] == f"errors   {errors}"
    assert lines[-1].startswith("next     mend the 1 line of the input that could not be sent, then give the key")
    assert lines[-1].endswith(f" for the 1 pending and 45 failed; {errors} says why each failed")


ROOT = "http://127.0.0.1:1"
HELD = ServerSums(
    server=ROOT, ok=7, failed=1, requests=12, throttled=3, held_s=65.0, in_flight=5, limit="5 in flight: they queued"
)
AWAY = ServerSums(server="http://127.0.0.1:2", ok=3, requests=3, away_s=3600.0, in_flight=4)


def test_how_one_server_did() -> None:
    """Where the limit settled, and how long was waited; a fixed limit and no wait need no words."""
    lines = summary_of(answer(), servers={ROOT: HELD}, finished=400.0).render().splitlines()
    assert lines[3:] == [
        "limit    5 in flight: they queued",
        "waited   held 1m 05s by rate limits (3 times told to)",
    ]
    assert "limit" not in summary_of(answer(), servers={AWAY.server: AWAY}).render()
    few = ServerSums(server=ROOT, requests=2, in_flight=2, limit="2 in flight")
    assert "limit" not in summary_of(answer(), servers={ROOT: few}).render()


def test_how_several_servers_did() -> None:
    """A line each, and no more than a screen of them."""
    lines = summary_of(answer(), servers={HELD.server: HELD, AWAY.server: AWAY}, finished=9e3).render().splitlines()
    held = "held 1m 05s by rate limits (3 times told to)"
    assert lines[3:] == [
        f"server   {ROOT}  7 done · 1 failed · 12 requests · {held} · 5 in flight: they queued",
        "server   http://127.0.0.1:2  3 done · 3 requests · away 1h 00m",
    ]
    many = {str(n): ServerSums(server=f"http://host-{n}") for n in range(20)}
    assert summary_of(answer(), servers=many).render().splitlines()[-1] == "server   and 12 more"


def test_results_are_counted_by_server() -> None:
    """Each job counts where it ended; what was never sent counts nowhere."""
    results = [answer(), answer(), failed("bad"), failed("input_invalid", attempts=0)]
    for result, server in zip(results, (ROOT, AWAY.server, ROOT, None), strict=True):
        result.server = server
    told = summary_of(*results, come_back=1e9).to_dict()
    counts = {server["server"]: (server["ok"], server["failed"]) for server in told["servers"]}
    assert counts == {ROOT: (1, 1), AWAY.server: (1, 0)}
    assert told["come_back_at"] == "2001-09-09T01:46:40+00:00"


def test_hostile_words() -> None:
    """A server's words cannot command the terminal, nor break the block's lines."""
    block = summary_of(failed("bad", "a\x1b]0;title\x07b\nc\x1b[2J\r\u202ed")).render()
    assert all(line.isprintable() for line in block.splitlines())
    assert [line.split()[0] for line in block.splitlines()] == ["jobs", "speed", "failed", "next"]


def test_for_programs() -> None:
    """The sums go through JSON, with units in the names."""
    summary = summary_of(answer(10.2, 10.3), failed("bad"), pending=2, stop=stopped(Exit.REFUSED))
    told = orjson.loads(orjson.dumps(summary.to_dict()))
    counts = {"ok": 1, "skipped": 0, "failed": 1, "invalid": 0, "left": 0, "pending": 2, "duplicates": 0}
    assert told["jobs"] == {"total": 4, "unread": False, **counts}
    assert (told["elapsed_s"], told["jobs_per_s"], told["tokens_per_s"], told["exit_code"]) == (10.0, 0.2, 0.5, 77)
    assert told["failures"] == {"bad": {"count": 1, "message": "no"}}
    assert told["stop"] == {"code": "refused", "message": "the key is not accepted"}
    assert told["latency_s"] | {"p99": 2.0} == {
        "count": 1,
        "mean": 2.0,
        "min": 2.0,
        "p50": 2.0,
        "p90": 2.0,
        "p95": 2.0,
        "p99": 2.0,
        "max": 2.0,
    }


@pytest.mark.parametrize(
    "draw", [lambda r: r.expovariate(3), lambda r: r.lognormvariate(0, 3), lambda r: 10 ** r.uniform(-6, 6)]
)
def test_quantiles(draw: Callable[[random.Random], float]) -> None:
    """Each quantile is within 1 % of the measurement that has that rank, for short and long tails."""
    rng = random.Random(4)
    numbers = sorted(max(draw(rng), 2e-6) for _ in range(5000))
    histogram = Histogram()
    for x in numbers:
        histogram.add(x)
    for q in (0.0, 0.001, 0.1, 0.5, 0.9, 0.95, 0.99, 0.9999, 1.0):
        true = numbers[max(math.ceil(q * len(numbers)), 1) - 1]
        assert histogram.quantile(q) == pytest.approx(true, rel=ERROR * 1.0001)
    assert (histogram.min, histogram.max, histogram.count) == (numbers[0], numbers[-1], 5000)
    assert histogram.mean == pytest.approx(sum(numbers) / 5000)


def test_merge() -> None:
    """Two histograms merged are the histogram of both."""
    rng = random.Random(5)
    parts, whole = (Histogram(), Histogram()), Histogram()
    for n in range(1000):
        x = rng.expovariate(1)
        parts[n % 2].add(x)
        whole.add(x)
    parts[0].merge(parts[1])
    assert [parts[0].quantile(n / 100) for n in range(101)] == [whole.quantile(n / 100) for n in range(101)]
    assert parts[0].sum == pytest.approx(whole.sum)


@pytest.mark.parametrize("extra", [[], [0.0], [1e9], [-1.0, 1e-7]])
def test_many_at_once(extra: list[float]) -> None:
    """Measurements counted together are counted as one by one, also those beyond the range."""
    rng = random.Random(6)
    numbers = [rng.expovariate(1) for _ in range(100)] + extra
    together, singly = Histogram(), Histogram()
    together.add_all(numbers, 3)
    for x in numbers:
        singly.add(x, 3)
    assert [together.quantile(n / 100) for n in range(101)] == [singly.quantile(n / 100) for n in range(101)]
    assert (together.count, together.min, together.max) == (singly.count, singly.min, singly.max)
    assert together.sum == pytest.approx(singly.sum)


def test_odd_measurements() -> None:
    """Times that are none, or beyond the range, count at its ends; a repeated one weighs more; no number is refused."""
    histogram = Histogram()
    assert (histogram.quantile(0.5), histogram.mean) == (None, None)
    for x in (-1.0, 0.0, 1e-9, 1e-6, 1e6, 1e30):
        histogram.add(x)
    assert (histogram.quantile(0.0), histogram.quantile(1.0), histogram.count) == (-1.0, 1e30, 6)
    histogram.add(2.0, 100)
    assert histogram.count == 106
    assert histogram.quantile(0.5) == pytest.approx(2.0, rel=ERROR)
    with pytest.raises(ValueError, match="not a number"):
        histogram.add(math.nan)
    with pytest.raises(ValueError, match="between 0 and 1"):
        histogram.quantile(95)


def test_figures() -> None:
    """Numbers are written for people."""
    assert [count(1, "jobs"), count(0, "jobs"), count(12345, "jobs"), count(1000)] == [
        "1 job",
        "0 jobs",
        "12,345 jobs",
        "1,000",
    ]
    assert [seconds(s) for s in (None, 0.0, 0.00084, 0.0123, 0.9999, 2.9, 12.34, 125.4)] == [
        "-",
        "0 µs",
        "840 µs",
        "12.3 ms",
        "1,000 ms",
        "2.90 s",
        "12.3 s",
        "125 s",
    ]
    assert [span(s) for s in (0.04, 9.94, 9.96, 59.4, 59.6, 187.0, 3599.6, 7500.0, 360000.0, math.inf, -1.0)] == [
        "0.0 s",
        "9.9 s",
        "10 s",
        "59 s",
        "1m 00s",
        "3m 07s",
        "1h 00m",
        "2h 05m",
        "4d 04h",
        "∞",
        "0.0 s",
    ]
    assert [rate(r) for r in (0.25, 6.519, 9.999, 81.25, 99.96, 812.4, 12400.0)] == [
        "0.25",
        "6.52",
        "10.0",
        "81.2",
        "100",
        "812",
        "12,400",
    ]


@pytest.mark.parametrize(("wait", "is_told"), [(3600.0, True), (30.0, False)])
def test_when_a_job_that_has_to_wait_for_long_may_be_asked_again(wait: float, *, is_told: bool) -> None:
    """The sums of a run that has ended say so, for people and for programs."""
    told = Failure(FailureClass.THROTTLE, "rate_limited", "it asks to wait", 429, wait)
    timing = Timing(started_at=1_000_000.0, started=10.0, finished=12.0)
    summary = summary_of(answer(), Result(id="bad", seq=1, failure=told, timing=timing, attempts=3))
    assert summary.come_back == (1_000_002.0 + wait if is_told else None)
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(1_000_002.0 + wait))
    again = f"for the 1 failed, after {when}, as the server says" if is_told else "for the 1 failed"
    assert summary.render(None, "bad.jsonl").endswith(
        f"run the same command again {again}; bad.jsonl says why each failed"
    )
