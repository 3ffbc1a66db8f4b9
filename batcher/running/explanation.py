"""Says why a server ended a run in the words of `batcher check`: asks it once more what it is and what it has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio

from batcher.failures import BatcherError, Exit, FailureClass, Scope, UnavailableError
from batcher.redaction import printable
from batcher.servers.catalogue import missing
from batcher.servers.described import described
from batcher.servers.diagnosis import key_refused, model_missing
from batcher.servers.settling import unreachable

if TYPE_CHECKING:
    from batcher.failures import Failure
    from batcher.policy.scheduler import Scheduler
    from batcher.servers.catalogue import About
    from batcher.servers.contact import Contact
    from batcher.view.summary import Summary

WITHIN: Final = 3.0
"""Seconds for an answer to that: what the run met is told all the same."""
MOST: Final = 4
"""Models and paths that are looked at."""
OTHER_API: Final = ("endpoint_not_found", "not_offered", "not_an_llm", "redirect")
"""Refusals of what is no server of models, or has them elsewhere."""
WORDS: Final = 200


async def explain(summary: Summary, scheduler: Scheduler, server: Contact) -> None:
    """Put what is wrong in the place of what was answered, where that can be told: of a key, a model, an address."""
    stop = summary.stop
    if stop is not None:
        summary.stop = replace(stop, message=_of_stop(stop, server))
    is_elsewhere = stop is not None and stop.code in OTHER_API
    if not (summary.refused or is_elsewhere) or summary.signal is not None:
        return
    about: About | BatcherError | None = None
    with anyio.move_on_after(WITHIN):
        names = [name for scope, name in scheduler.refused if scope is Scope.MODEL]
        try:
            about = await described(server, server.endpoint, names[:MOST])
        except BatcherError as error:
            about = error
    if stop is not None and is_elsewhere:
        summary.stop = replace(stop, message=_of_address(stop, about) or stop.message)
    refused = zip(scheduler.refused.items(), summary.refused, strict=True)
    summary.refused = [
        replace(told, message=_of_refusal(scope, name, why, about) or told.message)
        for ((scope, name), why), told in refused
    ]


def _of_stop(stop: Failure, server: Contact) -> str:
    if stop.code == "unauthorized" and stop.status is not None:
        words = printable(stop.message, WORDS)
        return key_refused(server.endpoint, f"{stop.status} ({words})" if words else f"{stop.status}")
    if stop.kind is FailureClass.CONNECTION and stop.exit is Exit.UNAVAILABLE and stop.code != "local_server_died":
        return unreachable(server.roots, server.source, stop.message)
    return stop.message


def _of_refusal(scope: Scope, name: str, why: Failure, about: About | BatcherError | None) -> str | None:
    if isinstance(about, BatcherError):
        return _of_address(why, about)
    if about is None or scope is not Scope.MODEL or why.code != "model_not_found":
        return None
    for wanted, near in missing([name], about):
        return model_missing(wanted, near, about)
    return None


def _of_address(why: Failure, about: About | BatcherError | None) -> str | None:
    """What the address should look like, where it is that of something else."""
    is_elsewhere = isinstance(about, BatcherError) and not isinstance(about, UnavailableError)
    return str(about) if is_elsewhere and why.code in OTHER_API else None
