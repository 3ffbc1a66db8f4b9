"""Why a run ended before its work was done, in words for people."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from batcher.failures import (
    AccountError,
    BatcherError,
    ConfigError,
    Exit,
    Failure,
    FailureClass,
    Scope,
    UnavailableError,
)
from batcher.figures import count, money, span
from batcher.model import Api

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batcher.options import Options
    from batcher.policy.scheduler import Scheduler
    from batcher.view.summary import Summary

EARLY: Final = ("max_duration", "max_errors", "max_cost")
"""What ends a run early, unless all was done by then."""


def stops(scheduler: Scheduler, redact: Callable[[str], str]) -> tuple[Failure | None, list[Failure]]:
    """What ended the run early, and what the server does not have: each in words for people, without keys."""
    why = scheduler.stop_failure
    lacks = {
        Scope.PATH: "the server does not offer {} (choose with --endpoint, --base-url or --dialect); it says: {}",
        Scope.MODEL: "the server cannot serve the model {} (see batcher models, -m and --alias{pull}); it says: {}",
        Scope.MODEL_ON_PATH: "the server cannot serve the model {} (see batcher check, -m and --alias); it says: {}",
    }
    refused = [
        replace(
            failure, message=lacks[scope].format(name, redact(failure.message), pull=_pull(scheduler, name, failure))
        )
        for (scope, name), failure in scheduler.refused.items()
    ]
    patience = scheduler.lanes[0].breaker.patience
    return why and _dated(replace(why, message=redact(why.message)), patience), refused


def _pull(scheduler: Scheduler, name: str, failure: Failure) -> str:
    """How to get a model that an Ollama does not have."""
    is_ollama = any(lane.endpoint.api is Api.NATIVE for lane in scheduler.lanes) or "try pulling" in failure.message
    return f", or: ollama pull {name}" if failure.code == "model_not_found" and is_ollama else ""


def _dated(why: Failure, patience: float) -> Failure:
    """Add to what ended the run when to come back, if the server has said so."""
    wait = why.retry_after
    if why.exit is not Exit.STOPPED or not wait:
        return why
    if wait > patience:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + wait))
        words = f"it asks to wait {span(wait)}, which is longer than --max-wait: come back after {when}"
    elif why.kind is FailureClass.THROTTLE:
        words = "it has asked to wait again and again, for longer than --max-wait"
    else:  # Google says beside a day's limit when a minute's is over
        return replace(why, retry_after=None)
    return replace(why, message=f"{why.message}; {words}")


def too_much(options: Options, summary: Summary) -> Failure | None:
    """Why the run ends before its work is done: too many of its jobs failed, or it has cost too much."""
    failed = summary.failed
    return too_many(options, failed, summary.ok + failed) or too_dear(options, summary.cost)


def too_many(options: Options, failed: int, finished: int) -> Failure | None:
    """Why the run ends, if more of the jobs that finished in it have failed than `--max-errors` puts up with."""
    bound = options.max_errors
    if bound is None or not bound.exceeded(failed, finished):
        return None
    words = f"--max-errors {bound}: {count(failed)} of {count(finished, 'jobs')} that ended in this run have failed"
    return Failure(FailureClass.FATAL, "max_errors", words, exit=Exit.STOPPED)


def too_dear(options: Options, cost: float | None) -> Failure | None:
    """Why the run ends, if its answers have cost what `--max-cost` allows; those in flight come on top."""
    if options.max_cost is None or cost is None or cost < options.max_cost:
        return None
    words = f"--max-cost {options.max_cost:g}: the answers of this run have cost {money(cost)}"
    return Failure(FailureClass.FATAL, "max_cost", words, exit=Exit.STOPPED)


def error_of(failure: Failure) -> BatcherError:
    """What is raised for a failure that ended a run."""
    kinds = (UnavailableError, AccountError, ConfigError)
    error = next((kind for kind in kinds if kind.exit == failure.exit), BatcherError)(failure.message)
    error.exit = failure.exit
    return error


async def stop_when_gone(gone: Callable[[], Awaitable[str]], stop: Callable[[Failure], object]) -> None:
    """The local server cannot come back: end the run instead of waiting for it."""
    words = await gone()
    message = f"the embedded server died; its last words: {words or '(none)'}"
    stop(Failure(FailureClass.CONNECTION, "local_server_died", message, exit=Exit.UNAVAILABLE))
