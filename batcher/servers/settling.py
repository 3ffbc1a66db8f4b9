"""Which API each server speaks: those of which it is not known are asked, and waited for."""

from __future__ import annotations

import math
from dataclasses import replace
from time import monotonic as now
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from batcher.failures import AttemptError, ConfigError, Failure, FailureClass, UnavailableError
from batcher.figures import span
from batcher.model import Api
from batcher.redaction import Redactor
from batcher.servers.keys import Credentials
from batcher.servers.urls import one_api

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from batcher.options import Options
    from batcher.servers.urls import Server
    from batcher.wire.transport import Transport

FIRST_PATIENCE: Final = 15.0
"""Seconds that servers are waited for of which nobody has answered yet, where it is not said how long."""
PATIENCE: Final = 3600.0
"""Seconds that one is waited for that has answered before."""
PROBE_PAUSE: Final = 0.5
LEAST_WAIT = 1.0
"""Seconds that a server has for an answer, though nobody wants to wait."""


class Told(Protocol):
    """Whoever is told what happens, in sentences for people."""

    def note(self, message: str) -> None: ...


async def settled(
    transport: Transport,
    servers: list[Server],
    options: Options,
    told: Told,
    keys_for: Callable[[list[Server]], Awaitable[list[Credentials]]],
) -> list[Server]:
    """Ask the servers whose API is not known yet. While nobody knows, they are waited for.

    Who wants a key first is asked with one that may be meant for it, and else taken for an OpenAI-compatible server.
    One that is not there while others are is taken to speak as they do, and is used when it comes.
    """
    deadline = now() + (options.max_wait if options.max_wait is not None else FIRST_PATIENCE)
    said = False
    while any(server.api is None for server in servers):
        unknown = [server for server in servers if server.api is None]
        within = math.inf if options.max_wait is None else max(deadline - now(), LEAST_WAIT)
        answers = await _ask(transport, {server.root: Credentials() for server in unknown}, within)
        if guarded := [server for server in unknown if answers[server.root] is None]:
            keys = zip(guarded, await keys_for(guarded), strict=True)
            again = {server.root: credentials for server, credentials in keys if credentials.headers}
            answers |= await _ask(transport, again, within)
        servers = [_told_apart(server, answers[server.root]) if server.api is None else server for server in servers]
        failures = {root: answer.failure for root, answer in answers.items() if isinstance(answer, AttemptError)}
        wrong = {root: failure.message for root, failure in failures.items() if failure.kind is FailureClass.FATAL}
        away = {root: failure for root, failure in failures.items() if root not in wrong}
        api = one_api(servers)
        if api is not None:
            for root, words in wrong.items():
                told.note(f"{root} cannot be used: {words}. The others begin")
            for root, failure in away.items():
                told.note(f"{root} is not there ({failure.message}); the others begin, and it is used when it comes")
            return [replace(server, api=server.api or api) for server in servers]
        if wrong and not away:
            raise ConfigError(_cannot_be_used(wrong))
        failure = next(iter(away.values()))
        if all(failure.kind is not FailureClass.CONNECTION for failure in away.values()) or now() >= deadline:
            raise UnavailableError(unreachable(", ".join(away), servers[0].source, failure.message))
        if not said:
            if wrong:
                told.note(_cannot_be_used(wrong))
            told.note(f"waiting for {', '.join(away)}: {failure.message}")
            said = True
        await anyio.sleep(min(PROBE_PAUSE, max(0.0, deadline - now())))
    return servers


def _told_apart(server: Server, answer: Api | AttemptError | None) -> Server:
    """The server with the API that it speaks, as far as its answer tells."""
    if isinstance(answer, AttemptError):
        return server
    return replace(server, api=answer or Api.OPENAI, is_guarded=answer is None)


def guesses(servers: list[Server], keys: list[Credentials], environ: Mapping[str, str]) -> Iterator[str]:
    """What to say of servers whose API was guessed, where the guess may well be wrong: there is no key for it."""
    from batcher.servers import diagnosis

    for server, credentials in zip(servers, keys, strict=True):
        if server.is_guarded and (not credentials.headers or environ.get("OLLAMA_API_KEY", "").strip()):
            yield diagnosis.guarded(server.root)


def _cannot_be_used(wrong: Mapping[str, str]) -> str:
    """Which servers are there, and not to be used as things are set, each with its reason."""
    return "; ".join(f"{root} cannot be used: {words}" for root, words in wrong.items())


async def _ask(
    transport: Transport, roots: Mapping[str, Credentials], within: float
) -> dict[str, Api | AttemptError | None]:
    """One GET to each, all at once, decides which API they speak; None: they want a key first.

    Who says nothing `within` so many seconds is away.
    """
    from batcher.servers.probe import identify

    silent = Failure(FailureClass.CONNECTION, "connect_timeout", f"it said nothing for {span(within)}")
    answers: dict[str, Api | AttemptError | None] = {root: AttemptError(silent) for root in roots}

    async def ask(root: str, by: Credentials) -> None:
        try:
            answers[root] = await identify(transport, root, by.headers)
        except AttemptError as error:
            words = Redactor(by.secrets).text(error.failure.message)
            answers[root] = AttemptError(replace(error.failure, message=words))

    with anyio.move_on_after(within):
        async with anyio.create_task_group() as group:
            for root, by in roots.items():
                group.start_soon(ask, root, by)
    return answers


def unreachable(root: str, source: str, words: str) -> str:
    """What to tell a user whose server does not answer."""
    return (
        f"no answer from {root} (from {source}): {words}. Start the server, name another one with --base-url, "
        "or run the embedded one with --local"
    )
