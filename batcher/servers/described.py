"""What servers say of themselves once they can be talked to: slots, kind, models, and the only one they have."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import orjson

from batcher.failures import AttemptError, BatcherError, ConfigError, FailureClass, UnavailableError, UsageError
from batcher.figures import AUTO, count
from batcher.model import Api
from batcher.servers import catalogue
from batcher.servers.contact import contact
from batcher.servers.probe import describe, greets_as_ollama
from batcher.servers.settling import unreachable
from batcher.servers.urls import DEFAULT_PORT, is_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from batcher.model import Endpoint, Json
    from batcher.options import Options
    from batcher.servers.catalogue import About
    from batcher.servers.contact import Contact
    from batcher.servers.settling import Told

EMBEDDINGS: Final = "/v1/embeddings"
MODELS_NAMED: Final = 8
SLOTS_TIMEOUT: Final = 2.0
"""Seconds for a server to say how many slots it has; without that the number is found out."""


@asynccontextmanager
async def reached(
    options: Options, environ: Mapping[str, str], told: Told, *, at_once: bool = True
) -> AsyncIterator[Contact]:
    """The servers of a run, found, let in, and asked what it has to know of them. As `contact`, which raises."""
    async with contact(options, environ, told, at_once=at_once) as server:
        await _learn(server, options, told)
        yield server


async def _learn(server: Contact, options: Options, told: Told) -> None:
    """What a run has to know of its servers: how many slots its one server has, if it says so, and what they are."""
    if server.slots is None and options.concurrency == AUTO and len(server.endpoints) == 1:
        server.slots = await _told_slots(server)
        if server.slots is not None:
            told.note(f"{server.roots} has {count(server.slots, 'slots')}, and is given as many requests at once")
    if options.local:
        return
    server.is_ollama = await _is_ollama(server)
    if options.pack is None and (options.embed or options.vectors or options.endpoint == EMBEDDINGS):
        await _learn_of_texts(server, told)


async def _learn_of_texts(server: Contact, told: Told) -> None:
    """What text-embeddings-inference says at `/info`: texts of a request, tokens of a text (router/src/lib.rs)."""
    for endpoint in server.endpoints:
        if endpoint.api is not Api.OPENAI or endpoint.v1 != "/v1" or not endpoint.root.startswith("http://"):
            continue
        info = await _asked(server, endpoint, "/info")
        if (most := catalogue.count(info, "max_client_batch_size")) is not None:
            server.most_texts = min(most, server.most_texts or most)
        longest = catalogue.count(info, "max_input_length")
        if most is not None and longest is not None:
            is_cutting = isinstance(info, dict) and info.get("auto_truncate") is True
            cuts = ", and cuts longer ones without a word" if is_cutting else ""
            told.note(
                f"{endpoint.root} takes {count(most, 'texts')} a request, of {count(longest, 'tokens')} each{cuts}"
            )


async def _is_ollama(server: Contact) -> bool:
    """Whether one of the servers is an Ollama behind `/v1`: asked of those nearby, and of those at its port."""
    for endpoint in server.endpoints:
        is_likely = is_loopback(endpoint.root) or endpoint.root.endswith(f":{DEFAULT_PORT}")
        if endpoint.api is Api.OPENAI and endpoint.v1 == "/v1" and is_likely:
            try:
                if await greets_as_ollama(server.transport, endpoint, timeout=SLOTS_TIMEOUT):
                    return True
            except AttemptError:
                continue
    return False


async def _told_slots(server: Contact) -> int | None:
    """How many slots a llama.cpp server nearby says it has. Others do not know the path, and far ones are not asked."""
    endpoint = server.endpoint
    if endpoint.api is not Api.OPENAI or not is_loopback(endpoint.root):
        return None
    return catalogue.slots(await _asked(server, endpoint, "/props"))


async def _asked(server: Contact, endpoint: Endpoint, path: str) -> Json:
    """What stands at a path that few servers know; None if it is nothing."""
    try:
        reply = await server.transport.request(
            "GET", endpoint.url(path), headers=endpoint.headers, timeout=SLOTS_TIMEOUT
        )
        return orjson.loads(reply.body) if reply.status == 200 else None
    except (AttemptError, orjson.JSONDecodeError):
        return None


async def described(server: Contact, endpoint: Endpoint, wanted: Collection[str] = ()) -> About:
    """What one of the servers says of itself. Raises UnavailableError, AccountError, ConfigError."""
    try:
        return await describe(server.transport, endpoint, wanted=wanted)
    except AttemptError as error:
        words = server.redactor.text(error.failure.message)
        if error.failure.kind is FailureClass.FATAL:
            raise ConfigError(f"{endpoint.root} cannot be used: {words}") from error
        raise UnavailableError(unreachable(endpoint.root, server.source, words)) from error
    except BatcherError as error:  # it quotes the server, which may have quoted the key
        raise type(error)(server.redactor.text(str(error))) from None


async def all_described(server: Contact, wanted: Collection[str] = ()) -> dict[str, About | UnavailableError]:
    """What each of the servers says of itself, by its root; of several, some may be away. Raises as `described`."""
    found: dict[str, About | UnavailableError] = {}
    errors: list[BatcherError] = []
    for endpoint in server.endpoints:
        try:
            found[endpoint.root] = await described(server, endpoint, wanted)
        except UnavailableError as error:
            found[endpoint.root] = error
            errors.append(error)
        except ConfigError as error:
            if not isinstance(error.__cause__, AttemptError):
                raise  # it has answered, and is no such API
            found[endpoint.root] = UnavailableError(str(error))  # others may serve
            errors.append(error)
    if len(errors) == len(found):
        raise errors[0]
    return found


def models_of(found: Mapping[str, About | UnavailableError]) -> list[str]:
    """The names of the models of those that are there, each once."""
    there = [about for about in found.values() if not isinstance(about, UnavailableError)]
    return list(dict.fromkeys(model.name for about in there for model in about.models))


async def only_model(server: Contact, told: Told) -> str:
    """The servers' model, for a run that names none. Raises UsageError unless there is just one."""
    names = models_of(await all_described(server))
    if len(names) != 1:
        more = " …" if len(names) > MODELS_NAMED else ""
        raise UsageError(
            "no model is named: not on the first line, nor with -m, nor in the variable MODEL. "
            f"{server.roots} has {', '.join(names[:MODELS_NAMED]) or 'none'}{more}"
        )
    told.note(f"no model is named; {server.roots} has just one: {names[0]}")
    return names[0]
