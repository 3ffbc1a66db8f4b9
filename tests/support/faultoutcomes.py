"""What a run must make of each fault of the matrix: class, code, attempts, lines, exit code, requests for each job.

A run has four jobs, one in flight at a time: `before` and `after` meet no fault, `once` meets it in its first request,
`always` in each. Waits are short, and one retry is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from support.faultmatrix import ALL, STREAMS, WHOLES, Way
from support.rawhttp import RESPONSES

from batcher.failures import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.faultmatrix import Fault

MANY: Final = -1
"""More requests than attempts are allowed: how many is a matter of time."""


class Fate(NamedTuple):
    """What becomes of a job: where its line is, how often it was asked for, what the line says."""

    line: Literal["result", "error", "none"]
    requests: int = 1
    attempts: int = 1
    kind: str = ""
    code: str = ""
    flags: tuple[str, ...] = ()


ANSWERED: Final = Fate("result")
UNSENT: Final = Fate("none", requests=0, attempts=0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a run. `stop` is the class and code of what ended it early, `hint` after how long to come back.

    `retries` and `max_wait` (seconds) are what the run allows. `is_exact` is false where chance decides how often is
    asked.
    """

    once: Fate
    always: Fate
    exit: Exit
    before: Fate = ANSWERED
    after: Fate = ANSWERED
    stop: str = ""
    hint: float | None = None
    retries: int = 1
    max_wait: float = 1.0
    is_exact: bool = True


def answered(*flags: str) -> Outcome:
    """It is no fault: the answer is whole."""
    fate = Fate("result", flags=flags)
    return Outcome(fate, fate, Exit.OK)


def retried(code: str, kind: str = "transient") -> Outcome:
    """It may go well next time, and is given up after the attempts that are allowed.

    Two of three having failed, nothing is held against `always` until `after` was served, unless it is certain that the
    failure is its own. Retries and new calls go by turns: it is asked twice before `after`, and twice behind it.
    """
    times = 2 if kind == "permanent" else 4
    return Outcome(Fate("result", 2, 2), Fate("error", times, times, kind, code), Exit.SOME_FAILED)


def lasting(code: str, kind: str = "transient") -> Outcome:
    """As `retried`, where the simulator cannot be told to do it only once: too little is known yet to acquit `once`."""
    outcome = retried(code, kind)
    return replace(outcome, once=outcome.always._replace(requests=2, attempts=2))


def unheard(code: str) -> Outcome:
    """The server never reads a byte of anything: that ends the run, and no job is blamed.

    With fewer retries the first jobs are given up before three have failed.
    """
    return replace(UNREACHABLE, stop=f"transient {code}", retries=4)


def unheard_in_time(code: str) -> Outcome:
    """All jobs are sent as often as is allowed: none was done in the time that it is given, which is its own affair."""
    fate = Fate("error", 0, 2, "permanent", code)
    return Outcome(fate, fate, Exit.SOME_FAILED, before=fate, after=fate)


def failed(code: str) -> Outcome:
    """This job will never succeed: it is asked for once."""
    fate = Fate("error", 1, 1, "permanent", code)
    return Outcome(fate, fate, Exit.SOME_FAILED)


def stopped(code: str, how: Exit) -> Outcome:
    """No job can succeed: the first that meets it ends the run, and none is to blame."""
    return Outcome(Fate("none", 1, 0), UNSENT, how, after=UNSENT, stop=f"fatal {code}")


def forbidden(code: str) -> Outcome:
    """It would end the run if it were meant for all; others are served, so it is this job's, and may pass."""
    return retried(code, "fatal")


def told(code: str, hint: float, max_wait: float = 1.0) -> Outcome:
    """The server says to come back later than the run is willing to wait, to this job alone: that is its last word."""
    assert hint > max_wait
    fate = Fate("error", 4, 4, "throttle", code)
    return Outcome(Fate("result", 2, 2), fate, Exit.SOME_FAILED, max_wait=max_wait)


def exhausted(code: str, hint: float, max_wait: float = 1.0) -> Outcome:
    """The same for all but `before`: three of four are not nearly all, so it is the last word to each of them."""
    outcome = told(code, hint, max_wait)
    fate = outcome.always._replace(requests=MANY, attempts=MANY)
    return replace(outcome, once=fate, always=fate, after=fate, retries=0)


def waited(code: str) -> Outcome:
    """The server says wait to this job alone: it holds up no other, and is asked at last when all else has ended."""
    fate = Fate("error", MANY, MANY, "throttle", code)
    return Outcome(Fate("result", 2, 2), fate, Exit.SOME_FAILED, retries=0, max_wait=2.0)


UNREACHABLE: Final = Outcome(UNSENT, UNSENT, Exit.UNAVAILABLE, before=UNSENT, after=UNSENT, stop="connection refused")
STALE: Final = Fate("result", 2, 1)
"""The first time it may be a kept connection that had gone stale: it is sent again, and counts as no attempt."""
HUNG_UP: Final = Outcome(STALE, Fate("error", 3, 2, "transient", "disconnected"), Exit.SOME_FAILED)
HUNG_UP_ONCE: Final = Outcome(STALE, STALE, Exit.OK)
AWAY_NOW_AND_THEN: Final = Outcome(ANSWERED, ANSWERED, Exit.OK, retries=4, max_wait=30.0, is_exact=False)

RESPONSE: Final = frozenset(way for way in ALL if way.path == RESPONSES)
RESPONSES_STREAM: Final = frozenset((Way(RESPONSES, streamed=True),))
PIECES: Final = STREAMS - RESPONSES_STREAM
"""Streams whose second record has content; in `/v1/responses` the first ones only open the answer."""

# fmt: off
OUTCOMES: Final[tuple[tuple[Outcome, frozenset[Way], tuple[str, ...]], ...]] = (
    # oddities, which are no faults
    (answered(), ALL, (
        "do=stale", "do=hangup", "do=close_delimited", "do=comments", "do=wrapped_comments", "do=crlf", "do=cr",
        "do=nospace", "do=empty_data", "do=multiline", "do=bom", "do=no_last_newline", "do=slice tokens=2",
        "do=json_for_sse", "do=stream_unasked", "do=gzip", "header.Content-Encoding=br", "finish=tired",
        "do=null_finish", "do=no_usage", "do=keep_open", "do=extra_after_done", "say=a%00b", "do=buffered",
        "the model loads first", "a silent queue", "prompt_tokens=2", "do=shuffled_index", "served=other", "ttft=0.01",
    )),
    (answered("utf8_replaced"), ALL, ("do=bad_utf8",)),
    (answered("repeats"), ALL, ("do=loop tokens=1000", "do=spaces tokens=1500", "do=big")),
    (answered("length"), ALL - RESPONSE, ("do=length",)),
    (answered("content_filter"), ALL - RESPONSE, ("finish=content_filter",)),
    (answered(), RESPONSE, ("do=length", "finish=content_filter")),  # Ollama calls them completed there
    (answered("input_truncated"), ALL, ("prompt_tokens=256",)),
    (answered("empty"), ALL, ("do=empty",)),
    # nobody there
    (UNREACHABLE, ALL, ("the server is not running",)),
    (AWAY_NOW_AND_THEN, ALL, ("the server goes away again and again",)),
    (HUNG_UP, ALL, ("do=reset_before", "do=close_before", "do=crash")),
    (HUNG_UP_ONCE, ALL, ("do=crash times=1",)),
    # silence
    (unheard("timeout_first_token"), STREAMS, ("the server is frozen", "the server never reads")),
    (unheard_in_time("timeout_total"), ALL - STREAMS, ("the server is frozen", "the server never reads")),
    (retried("timeout_first_token"), STREAMS, ("do=silent", "do=stall_head", "do=pings after=0")),
    (retried("timeout_idle"), PIECES, ("do=stall after=2", "do=pings after=2")),
    (retried("timeout_first_token"), RESPONSES_STREAM, ("do=stall after=2", "do=pings after=2")),
    (retried("timeout_total", "permanent"), ALL - STREAMS, ("do=silent", "do=stall_head", "do=stall after=2")),
    (lasting("timeout_idle"), PIECES, ("delay=60",)),
    (lasting("timeout_first_token"), RESPONSES_STREAM, ("delay=60",)),
    (lasting("timeout_total", "permanent"), WHOLES, ("delay=60",)),
    # answers that are broken off, or none
    (retried("cut"), ALL, ("do=reset after=2", "do=cut after=2")),
    (retried("truncated"), ALL, (
        "do=truncate after=2", "do=truncate,close_delimited after=2", "do=empty_delta after=2", "do=done_false",
    )),
    (retried("truncated"), STREAMS, ("do=empty200",)),
    (retried("malformed"), ALL - STREAMS, ("do=empty200",)),
    (retried("malformed"), STREAMS, ("do=endless_line",)),  # longer than a line may be
    (retried("stream_error"), ALL - STREAMS, ("do=endless_line",)),
    (retried("not_an_llm"), ALL, ("do=html200",)),
    (retried("bad_http"), ALL, ("do=endless_head",)),
    (retried("malformed"), ALL, (
        "do=bomb", "do=missing_vector", "do=nan_vector", "do=null_vector", "do=zero_vector", "do=wrong_dims",
        "do=duplicate_index",
    )),
    # errors of the server's own
    (retried("server_crash"), ALL, (
        "do=embed_crash", "do=runner_stopped", "do=json_error200", "do=error_line after=2", "do=error_line",
        "do=error_field after=2", "do=error_event after=2", "do=runner_crash",
    )),
    (lasting("stream_error"), ALL, ("finish=error",)),
    (retried("stream_error"), ALL, ("do=oops",)),
    (retried("timeout_at_server"), ALL, ("do=request_timeout", "status=409", "status=425")),
    (retried("model_unloaded"), ALL, ("do=unloaded",)),
    (retried("http_204"), ALL, ("do=empty204",)),
    (retried("http_500"), ALL, ("do=empty500",)),
    (retried("http_502"), ALL, ("do=html502",)),
    (retried("http_504"), ALL, ("do=html504",)),
    (retried("http_520"), ALL, ("status=520",)),
    (retried("http_524"), ALL, ("do=cloudflare524",)),
    # the job is at fault
    (failed("bad_request"), ALL, ("do=bad", "do=bad_option", "do=nan_refused", "do=unprocessable", "status=415")),
    (failed("context_overflow"), ALL, ("do=context_overflow",)),
    (failed("too_large"), ALL, ("do=too_large", "status=414")),
    (failed("over_token_limit"), ALL, ("do=over_token_limit",)),
    (failed("empty_prompt"), ALL, ("do=load_done_reason",)),
    # the settings are, or the account
    (forbidden("redirect"), ALL, ("do=redirect", "do=login")),
    (forbidden("unauthorized"), ALL, ("do=unauthorized",)),
    (forbidden("host_refused"), ALL, ("do=forbidden",)),
    (forbidden("payment_required"), ALL, ("do=payment",)),
    (forbidden("quota"), ALL, ("do=insufficient_quota",)),
    (forbidden("model_not_found"), ALL, ("do=model_missing",)),
    (forbidden("endpoint_not_found"), ALL, ("do=path_missing", "do=method")),
    (forbidden("not_offered"), ALL, ("do=no_embeddings",)),
    (forbidden("load_out_of_memory"), ALL, ("do=out_of_memory",)),
    # the server says wait
    (waited("busy"), ALL, ("do=busy", "do=loading")),
    (waited("overloaded"), ALL, ("do=overloaded",)),
    (waited("rate_limited"), ALL, (
        "do=json_throttle200", "do=throttled ", "do=throttled retry_after=0.35 hint=ms",
        "do=throttled header.x-ratelimit-remaining-requests=-1",
        *(f"do=throttled retry_after={text}" for text in ("0", "-5", "nan", "inf", "1e12", "soon")),
    )),
    (told("rate_limited", 0.12, max_wait=0.1), ALL, ("do=throttled retry_after=0.12 hint=go",)),
    (told("payment_required", 3), ALL, ("do=payment retry_after=3",)),
    (told("overloaded", 2), ALL, ("do=overloaded retry_after=2",)),
    (told("rate_limited", 1.2), ALL, ("do=throttled retry_after=1.2 hint=body",)),
    (told("rate_limited", 7), ALL, ("do=throttled retry_after=7", *(
        f"do=throttled retry_after=7 hint={kind}" for kind in ("date", "iso", "epoch", "epoch-ms", "metadata")
    ))),
    (told("rate_limited", 7.66), ALL, ("do=throttled retry_after=7.66 hint=plain",)),
    (exhausted("rate_limited", 60), ALL, ("refused requests count",)),
    (told("rate_limited", 360), ALL, ("do=throttled retry_after=360 hint=go",)),
    (told("rate_limited", 54000), ALL, ("do=throttled retry_after=54000",)),
)
# fmt: on
"""The outcome, the ways on which it is that, and the rows: by directive, or by name where there is none."""


def key(row: Fault) -> str:
    return row.directive or row.name


def outcomes(row: Fault, way: Way) -> Iterator[Outcome]:
    """All that the table says of a fault in one way; it must be one thing."""
    return (outcome for outcome, ways, keys in OUTCOMES if way in ways and key(row) in keys)
