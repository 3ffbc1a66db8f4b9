"""From options to a server that can be talked to: which one, by which key, in which API; the local one is started."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio

from batcher.failures import AttemptError, BatcherError, FailureClass, UnavailableError, UsageError
from batcher.figures import count
from batcher.keys import Credentials, headers_for
from batcher.model import Api
from batcher.redaction import Redactor
from batcher.servers import find_server
from batcher.watchdog import now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping

    from batcher.catalogue import About
    from batcher.local import LocalServer
    from batcher.model import Endpoint
    from batcher.options import Options
    from batcher.servers import Server
    from batcher.transport import Transport

FIRST_PATIENCE = 15.0
PATIENCE = 3600.0
PROBE_PAUSE = 0.5
MODELS_NAMED = 8


class Told(Protocol):
    """Whoever is told what happens, in sentences for people."""

    def note(self, message: str) -> None: ...


@dataclass(slots=True)
class Contact:
    """A server found and let in. `model` is its only model, where that is known without asking."""

    endpoint: Endpoint
    transport: Transport
    redactor: Redactor
    source: str
    model: str | None = None
    gone: Callable[[], Awaitable[str]] | None = None
    """Returns when the local server has died, with its last words; None for servers that are not ours."""


@asynccontextmanager
async def contact(options: Options, environ: Mapping[str, str], told: Told) -> AsyncIterator[Contact]:
    """Find the server, start it if it is the local one, and learn which API it speaks.

    Raises ConfigError, UsageError, and UnavailableError if nobody answers in time and the answer is needed.
    """
    from batcher.transport import Transport

    async with AsyncExitStack() as stack:
        local = None
        if options.local:
            local = await stack.enter_async_context(_local(options, told))
            server = replace(find_server(base_url=local.url, dialect=Api.OPENAI, environ={}), source="--local")
        else:
            server = find_server(base_url=options.base_url, dialect=options.dialect, environ=environ)
        for note in server.notes:
            told.note(note)
        transport = await stack.enter_async_context(
            Transport(
                connect_timeout=options.connect_timeout,
                ca_file=str(options.ca_file) if options.ca_file else None,
                trust_env=options.trust_env,
            )
        )
        if server.api is None:
            server = replace(server, api=await _ask(transport, server, options, told))
        credentials = (
            Credentials()
            if local is not None
            else headers_for(
                server,
                environ=environ,
                key_env=options.api_key_env,
                key_file=str(options.api_key_file) if options.api_key_file else None,
                header_env=list(options.header_env.items()),
                allow_insecure=options.allow_insecure,
            )
        )
        for note in credentials.notes:
            told.note(note)
        endpoint = server.endpoint(server.api or Api.OPENAI, credentials.headers)
        found = Contact(endpoint, transport, Redactor(credentials.secrets), server.source)
        if local is not None:
            found.model, found.gone = local.model_name, partial(_last_words, local)
        yield found


@asynccontextmanager
async def _local(options: Options, told: Told) -> AsyncIterator[LocalServer]:
    from batcher.local import LocalServer

    path = options.local if isinstance(options.local, Path) else None
    slots = options.slots or options.concurrency
    told.note(f"starting the embedded llama.cpp server with {count(slots, 'slots')} …")
    async with LocalServer(path, slots=slots) as local:
        told.note(f"{local.model_name} is ready at {local.url}")
        yield local


async def _last_words(local: LocalServer) -> str:
    await local.wait()
    return local.last_words


async def _ask(transport: Transport, server: Server, options: Options, told: Told) -> Api:
    """One GET decides which API an undetermined server speaks; a server that is not there yet is waited for."""
    from batcher.probe import identify

    deadline = now() + (options.max_wait if options.max_wait is not None else FIRST_PATIENCE)
    said = False
    while True:
        try:
            return await identify(transport, server)
        except AttemptError as error:
            if error.failure.kind is not FailureClass.CONNECTION or now() >= deadline:
                raise UnavailableError(unreachable(server.root, server.source, error.failure.message)) from error
            if not said:
                told.note(f"waiting for {server.root}: {error.failure.message}")
                said = True
        await anyio.sleep(min(PROBE_PAUSE, max(0.0, deadline - now())))


def unreachable(root: str, source: str, words: str) -> str:
    """What to tell a user whose server does not answer."""
    return (
        f"no answer from {root} (from {source}): {words}. Start the server, name another one with --base-url, "
        "or run the embedded one with --local"
    )


async def described(server: Contact, wanted: Collection[str] = ()) -> About:
    """What the server says of itself. Raises UnavailableError, AccountError, ConfigError."""
    from batcher.probe import describe

    try:
        return await describe(server.transport, server.endpoint, wanted=wanted)
    except AttemptError as error:
        words = server.redactor.text(error.failure.message)
        raise UnavailableError(unreachable(server.endpoint.root, server.source, words)) from error
    except BatcherError as error:  # it quotes the server, which may have quoted the key
        raise type(error)(server.redactor.text(str(error))) from None


async def only_model(server: Contact, told: Told) -> str:
    """The server's model, for a run that names none. Raises UsageError unless the server has just one."""
    about = await described(server)
    names = [model.name for model in about.models]
    if len(names) != 1:
        has = (
            f"has {', '.join(names[:MODELS_NAMED])}{' …' if len(names) > MODELS_NAMED else ''}" if names else "has none"
        )
        raise UsageError(
            f"no model is named: not on the first line, nor with -m, nor in the variable MODEL. {about.kind} at "
            f"{server.endpoint.root} {has}"
        )
    told.note(f"no model is named; {about.kind} at {server.endpoint.root} has just one: {names[0]}")
    return names[0]
