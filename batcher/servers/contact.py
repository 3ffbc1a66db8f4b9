"""From options to servers that can be talked to: which, by which keys, in which API; the local one is started."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread
from anyio.from_thread import check_cancelled

from batcher.failures import BatcherError
from batcher.figures import AUTO, count
from batcher.model import Api
from batcher.redaction import Redactor
from batcher.servers.keys import Credentials, headers_for, read_key
from batcher.servers.settling import LEAST_WAIT, guesses, settled
from batcher.servers.surroundings import login_for, proxy_for
from batcher.servers.urls import find_server, find_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from batcher.model import Endpoint
    from batcher.options import Options
    from batcher.redaction import Secret
    from batcher.servers.local import LocalServer
    from batcher.servers.settling import Told
    from batcher.servers.urls import Server
    from batcher.wire.transport import Transport

LOCAL_SLOTS = 4
UNKNOWN = "http://127.0.0.1:9/v1"
"""What stands for the address of a local server that does not run yet: nothing is sent there."""


@dataclass(slots=True)
class Contact:
    """Servers found and let in, all of one API. `model` is their only model, where that is known without asking."""

    endpoints: tuple[Endpoint, ...]
    transport: Transport
    redactor: Redactor
    source: str
    model: str | None = None
    slots: int | None = None
    """How many requests the server works on at once, where that is known: of the local one, or as one nearby says."""
    most_texts: int | None = None
    """How many texts to embed a request may have, where a server says so."""
    is_ollama: bool = False
    """One of them is an Ollama that is spoken to by `/v1`."""
    renew: Callable[[Endpoint], Endpoint | None] | None = None
    """Returns an endpoint with the key that its file holds now, if it is another; None where keys come from no file."""
    begin: Callable[[], Awaitable[None]] | None = None
    """Starts the local server, which has no address before; None once it runs, and for servers that are not ours."""
    gone: Callable[[], Awaitable[str]] | None = None
    """Returns when the local server has died, with its last words; None before it runs, and for servers that are not
    ours."""

    @property
    def endpoint(self) -> Endpoint:
        """The first of them: what holds for it holds for all but the address."""
        return self.endpoints[0]

    @property
    def roots(self) -> str:
        """The servers by name, for a sentence."""
        return ", ".join(endpoint.root for endpoint in self.endpoints)


def load() -> None:
    """Import what talks to servers, which takes a while: whoever would not do that in the midst of a loop calls it.

    So does a library, in whose process others may have TLS made by aiohttp.
    """
    import batcher.wire.transport  # noqa: F401 - see above


def _transport() -> type[Transport]:
    """What talks to servers, in a process of our own unless `load` was called or aiohttp was there."""
    from batcher.wire.trust import unread

    with unread():
        from batcher.wire.transport import Transport
    return Transport


@asynccontextmanager
async def contact(
    options: Options, environ: Mapping[str, str], told: Told, *, at_once: bool = True
) -> AsyncIterator[Contact]:
    """Find the servers, start the local one if it is meant, and learn which API they speak.

    Not `at_once`: the local one is started by `Contact.begin`, by who has something to ask. Raises UsageError,
    ConfigError, also where the certificate of each server is not trusted, and UnavailableError if nobody answers in
    time and the answer is needed.
    """
    async with AsyncExitStack() as stack:
        local = None
        if options.local:
            local = _local(options)
            await local.locate()
            servers = [_server_of(local)] if options.engine is None else _servers_of_workers(local, options)
        else:
            servers = find_servers(base_urls=options.base_url, dialect=options.dialect, environ=environ)
        for note in dict.fromkeys(note for server in servers for note in server.notes):
            told.note(note)
        proxies = _proxies(servers, options, environ) if options.trust_env else {}
        transport = await stack.enter_async_context(
            _transport()(
                connect_timeout=_within(options.connect_timeout, options.max_wait),
                secure=any(url.lower().startswith("https:") for url in _spoken_to(servers, proxies)),
                ca_file=str(options.ca_file) if options.ca_file else None,
                proxies={root: url for root, (url, _) in proxies.items() if url},
            )
        )
        secrets: list[Secret] = []
        read = cache(partial(read_key, checkpoint=check_cancelled))
        keys_for = partial(_all_keys, options=options, environ=environ, read=read, secrets=secrets)
        servers = await settled(transport, servers, options, told, keys_for)
        if local is not None:
            keys = [_key_of(local)] * len(servers)
            secrets.append(local.key)
        else:
            keys = await keys_for(servers)
        guessed = guesses(servers, keys, environ)
        for note in dict.fromkeys([*guessed, *(note for credentials in keys for note in credentials.notes)]):
            told.note(note)
        found = Contact(
            endpoints=tuple(
                server.endpoint(server.api or Api.OPENAI, credentials.headers)
                for server, credentials in zip(servers, keys, strict=True)
            ),
            transport=transport,
            redactor=Redactor([*secrets, *(secret for _, hidden in proxies.values() for secret in hidden)]),
            source=servers[0].source,
        )
        if local is None and options.api_key_file is not None:
            by_root = {server.root: server for server in servers}
            found.renew = lambda endpoint: _renewed(endpoint, by_root[endpoint.root], options, environ, found.redactor)
        if local is not None:
            found.model, found.slots = local.model_name, local.slots
            if options.engine is None:
                found.begin = partial(_begin, found, local, stack, told)
                if at_once:
                    await found.begin()
        yield found


def _spoken_to(servers: list[Server], proxies: dict[str, tuple[str, tuple[Secret, ...]]]) -> Iterator[str]:
    """The URLs that connections go to: those of servers, and of the proxies before them."""
    yield from (server.root for server in servers)
    yield from (proxy for proxy, _ in proxies.values())


def _proxies(
    servers: list[Server], options: Options, environ: Mapping[str, str]
) -> dict[str, tuple[str, tuple[Secret, ...]]]:
    """Server → the URL of its proxy, and what is secret in it."""
    return {server.root: proxy_for(server, environ, allow_insecure=options.allow_insecure) for server in servers}


async def _all_keys(
    servers: list[Server],
    options: Options,
    environ: Mapping[str, str],
    read: Callable[[Path], bytes],
    secrets: list[Secret],
) -> list[Credentials]:
    """The keys for each server, which are added to all `secrets`. A file that has to be waited for holds nobody up."""

    def collect() -> list[Credentials]:
        return [_keys(server, options, environ, read) for server in servers]

    found = await to_thread.run_sync(collect) if options.api_key_file is not None else collect()
    secrets.extend(secret for credentials in found for secret in credentials.secrets)
    return found


def _keys(
    server: Server, options: Options, environ: Mapping[str, str], read: Callable[[Path], bytes] = read_key
) -> Credentials:
    """The keys for one server, each bound to its origin."""
    notes: list[str] = []
    login = login_for(server, environ, notes) if options.trust_env else None
    found = headers_for(
        server,
        environ=environ,
        key_env=options.api_key_env,
        key_file=str(options.api_key_file) if options.api_key_file else None,
        header_env=list(options.header_env.items()),
        allow_insecure=options.allow_insecure,
        login=login,
        read=read,
    )
    found.notes.extend(notes)
    return found


def _key_of(local: LocalServer) -> Credentials:
    """What the local server wants of those who started it; nobody else has it."""
    return Credentials(headers={"Authorization": f"Bearer {local.key.reveal()}"}, secrets=[local.key])


def _renewed(
    endpoint: Endpoint, server: Server, options: Options, environ: Mapping[str, str], redactor: Redactor
) -> Endpoint | None:
    """The endpoint with the key that its file holds now; None if it is the same, or cannot be read."""
    if options.api_key_file is None or not options.api_key_file.expanduser().is_file():
        return None  # a pipe says its key once
    try:
        credentials = _keys(server, options, environ)
    except BatcherError:
        return None  # whoever writes it may be half-way through
    if credentials.headers == endpoint.headers:
        return None
    redactor.add(credentials.secrets)
    return replace(endpoint, headers=credentials.headers)


def _local(options: Options) -> LocalServer:
    """The local server that is meant, which does not run yet."""
    from batcher.servers.local import LocalServer

    return LocalServer(options.local if isinstance(options.local, Path) else None, slots=_slots(options))


def _server_of(local: LocalServer) -> Server:
    """The local server as others are; before it runs its address leads nowhere."""
    return replace(find_server(base_url=local.url or UNKNOWN, dialect=Api.OPENAI, environ={}), source="--local")


def _servers_of_workers(local: LocalServer, options: Options) -> list[Server]:
    """One for each worker, who starts it where he is: they are known by names, and to nobody else by an address."""
    return [replace(_server_of(local), root=f"http://worker-{place + 1}") for place in range(options.places)]


async def _begin(found: Contact, local: LocalServer, stack: AsyncExitStack, told: Told) -> None:
    """Start the local server until the stack is left, and let it be known where it is. Raises ConfigError."""
    told.note(f"starting the embedded llama.cpp server with {count(local.slots, 'slots')} …")
    await stack.enter_async_context(local)
    told.note(f"{local.model_name} is ready at {local.url}")
    found.endpoints = (_server_of(local).endpoint(Api.OPENAI, found.endpoint.headers),)
    found.begin, found.gone = None, partial(_last_words, local)


def _slots(options: Options) -> int:
    """Slots of the local server. With `auto` a few: each takes its share of the memory for context."""
    return options.slots or (LOCAL_SLOTS if options.concurrency == AUTO else options.concurrency.most)


async def _last_words(local: LocalServer) -> str:
    await local.wait()
    return local.last_words


def _within(timeout: float, patience: float | None) -> float:
    """A timeout in seconds that leaves time for a second try, for one who waits no longer than that altogether."""
    return timeout if patience is None else min(timeout, max(patience / 2, LEAST_WAIT))
