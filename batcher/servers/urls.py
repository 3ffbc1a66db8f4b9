"""Finds out which server is meant, from the command line and the environment, and which URL its APIs begin at.

The first that is given counts, and --base-url may be given several times:

    --base-url  >  LLM_ENDPOINT  >  OPENAI_BASE_URL  >  OLLAMA_HOST  >  http://127.0.0.1:11434

A URL in /v1, or one from OPENAI_BASE_URL, speaks the OpenAI API; OLLAMA_HOST and the default speak Ollama's own; for
any other URL, and for OLLAMA_HOST with `/v1`, `Server.api` is `None` and one request to the server decides. One with
`?api-version=…` is Azure's and speaks the OpenAI API. `--dialect` overrides all of this.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batcher.failures import ConfigError, UsageError
from batcher.model import Api, Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DEFAULT_PORT = 11434
DEFAULT_ROOT = f"http://127.0.0.1:{DEFAULT_PORT}"
SCHEME_PORTS = {"http": 80, "https": 443}


def is_loopback(root: str) -> bool:
    """Whether what is sent to a URL stays on this machine: 127.0.0.0/8, ::1 and localhost."""
    host = urlsplit(root).hostname or ""
    if host.removesuffix(".") == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server as it was named: `source` says where, `notes` tell the user what was mended in the URL.

    `root`, `v1` and `query` are those of `Endpoint`; `api` is `None` when one request has to decide.
    """

    root: str
    api: Api | None
    source: str
    v1: str = "/v1"
    notes: tuple[str, ...] = ()
    query: str = ""
    is_guarded: bool = False
    """It wants a key before it says which API it speaks, so that `api` is a guess."""

    @property
    def host(self) -> str:
        return urlsplit(self.root).hostname or ""

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.root)

    @property
    def is_confidential(self) -> bool:
        """Whether nobody on the way can read a key: https, or not leaving this machine."""
        return self.root.startswith("https://") or self.is_loopback

    def endpoint(self, api: Api, headers: Mapping[str, str]) -> Endpoint:
        return Endpoint(root=self.root, api=api, v1=self.v1, headers=headers, query=self.query)


def find_servers(*, base_urls: Sequence[str], dialect: Api | None, environ: Mapping[str, str]) -> list[Server]:
    """Name the servers to talk to, in the order in which they are given; one that is named twice is one server.

    Raises `UsageError` as `find_server` does, and `ConfigError` for URLs that speak different APIs.
    """
    named = [find_server(base_url=url, dialect=dialect, environ=environ) for url in base_urls or (None,)]
    found: dict[tuple[str, str], Server] = {}
    for server in named:
        first = found.setdefault((server.root, server.v1), server)
        if first is not server:
            note = f"{server.source}: {server.root} is named more than once; taken once"
            notes = tuple(dict.fromkeys((*first.notes, note)))
            found[server.root, server.v1] = replace(first, api=first.api or server.api, notes=notes)
    servers = list(found.values())
    one_api(servers)
    return servers


def one_api(servers: Iterable[Server]) -> Api | None:
    """The API that all of them speak, as far as it is known. Raises `ConfigError` if it is not one, naming two."""
    known = {server.api: server for server in servers if server.api is not None}
    if len(known) > 1:
        native, openai = known[Api.NATIVE], known[Api.OPENAI]
        raise ConfigError(
            f"the servers of a run speak one API, and these are of two: {native.root} speaks Ollama's, "
            f"{openai.root} OpenAI's. Say --dialect openai (Ollama speaks that as well), or make two runs"
        )
    return next(iter(known), None)


def find_server(*, base_url: str | None, dialect: Api | None, environ: Mapping[str, str]) -> Server:
    """Name the server to talk to. An empty variable counts as unset.

    Raises `UsageError` for an address that cannot be used; it never repeats a password or a query from it.
    """
    if base_url is not None:
        return _from_url(base_url, "--base-url", dialect)
    if url := environ.get("LLM_ENDPOINT", "").strip():
        return _from_url(url, "LLM_ENDPOINT", dialect)
    if url := environ.get("OPENAI_BASE_URL", "").strip():
        return _from_url(url, "OPENAI_BASE_URL", dialect or Api.OPENAI)
    return _from_ollama_host(environ.get("OLLAMA_HOST", ""), dialect)


def _from_url(text: str, source: str, api: Api | None) -> Server:
    text, query = _without_query(_unquoted(text), source)
    _refuse_secrets(text, source)
    if query and AZURE_QUERY.search(query):
        api = api or Api.OPENAI
    notes: list[str] = []
    scheme, rest = _split_scheme(text, source, notes)
    authority, _, path = rest.partition("/")
    origin = _strict_origin(scheme, authority, text, source)
    path, api = _without_call(re.sub("/+", "/", f"/{path}").rstrip("/"), api, source, notes)
    path, v1, api = _join(path, api, source, notes)
    return Server(root=origin + path, v1=v1, api=api, source=source, notes=tuple(notes), query=query)


QUERY = re.compile(r"[A-Za-z][\w.-]{0,30}=[\w.,:+-]{0,24}")
AZURE_QUERY = re.compile(r"[?&]api-version=", re.IGNORECASE)
SECRET = re.compile(r"key|token|secret|sig|pass|pwd|auth|cred|code|jwt|session", re.IGNORECASE)
"""What names of parameters have in them whose values are keys."""


def _without_query(text: str, source: str) -> tuple[str, str]:
    """Split off a query that every request is to carry, such as Azure's `?api-version=…`; "" if there is none.

    Raises `UsageError` for one that may hold a key, without repeating it: by its name, or as it is long.
    """
    url, mark, query = text.partition("?")
    parts = [part for part in query.split("&") if part]
    if any(QUERY.fullmatch(part) is None or SECRET.search(part.partition("=")[0]) for part in parts):
        raise UsageError(
            f"{source}: what follows the '?' may hold a key, and is no place for one; a short NAME=VALUE such as "
            "api-version=2024-10-21 may stand there. Put the key into a variable and name it with --api-key-env or "
            "--header-env"
        )
    return url, mark + "&".join(parts) if parts else ""


def _split_scheme(text: str, source: str, notes: list[str]) -> tuple[str, str]:
    scheme, separator, rest = text.partition("://")
    if separator:
        if scheme.lower() in SCHEME_PORTS:
            return scheme.lower(), rest
        raise UsageError(f"{source}: {scheme}:// is no web address; write http://… or https://…")
    authority, slash, path = text.partition("/")
    host, _ = _split_port(authority)
    if host.lower() != "localhost" and _address(host) is None:
        # Guessing http for a name could send prompts in the clear, guessing https could fail for no visible reason.
        raise UsageError(f"{source}: {text!r} does not say how to connect; begin it with http:// or https://")
    if authority == host and ":" in host:
        authority = f"[{host}]"
    notes.append(f"{source}: no http:// or https:// in {text!r}; taken as http://{authority}{slash}{path}")
    return "http", f"{authority}{slash}{path}"


def _strict_origin(scheme: str, authority: str, text: str, source: str) -> str:
    try:
        parts = urlsplit(f"{scheme}://{authority}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"{source}: {text!r} is no address: {error}") from None
    if not host or port == 0:
        raise UsageError(f"{source}: {text!r} names no {'port' if host else 'host'} to connect to")
    _check_host(host, text, source)
    return _origin(scheme, host, port)


OPENAI_CALL = re.compile(r"/chat/completions$|(?<=/v1)/(?:completions|embeddings|responses|models|images/generations)$")
NATIVE_CALL = re.compile(r"/api(?:/(?:chat|generate|embed|embeddings|tags|version|ps|show))?$")


def _without_call(path: str, api: Api | None, source: str, notes: list[str]) -> tuple[str, Api | None]:
    """Drop the path of a single call, which people copy from examples."""
    call = OPENAI_CALL.search(path)
    if call:
        api = api or Api.OPENAI
    elif api is not Api.OPENAI:  # /api is a base of its own on some OpenAI-compatible servers, such as Open WebUI
        call = NATIVE_CALL.search(path)
    if not call:
        return path, api
    notes.append(f"{source}: {call[0]} dropped; a base URL ends before the path of a call")
    return path[: call.start()], api


VERSIONED = re.compile(r"/v\d\w*(?:/openai)?$|/openai/deployments/[^/]+$")


def _join(path: str, api: Api | None, source: str, notes: list[str]) -> tuple[str, str, Api | None]:
    """Split a path into what belongs to the root and what stands in place of `/v1`; settle the API if the path does."""
    prefix = re.sub("(?:/v1)+$", "", path)
    if prefix != path:
        if path != f"{prefix}/v1":
            notes.append(f"{source}: /v1 stood there more than once; taken as {prefix}/v1")
        return prefix, "/v1", api or Api.OPENAI
    if api is None and VERSIONED.search(path):  # no Ollama stands below /v1beta/openai or /v4
        api = Api.OPENAI
    if api is Api.OPENAI and path:
        return path, "", api  # as the OpenAI SDKs use it: /chat/completions is appended as it is
    return path, "/v1", api


def _from_ollama_host(text: str, api: Api | None) -> Server:
    """Read OLLAMA_HOST as Ollama does (`Host` in its envconfig/config.go): a bad port is the default port.

    One that ends in `/v1`, which Ollama would put before its own paths, means the server above it; who answers there
    says which API it speaks.
    """
    source = "OLLAMA_HOST"
    text = _unquoted(text)
    if not text:
        return Server(root=DEFAULT_ROOT, api=api or Api.NATIVE, source="default")
    _refuse_secrets(text, source)
    if text == "ollama.com":
        text = "https://ollama.com"
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    if scheme not in SCHEME_PORTS:
        raise UsageError(f"{source}: {scheme}:// is no web address; write http://… or https://…")
    authority, _, path = rest.partition("/")
    host, port = _split_port(authority)
    host = host.lower() or "127.0.0.1"
    _check_host(host, text, source)
    default = SCHEME_PORTS[scheme] if separator else DEFAULT_PORT
    number = int(port) if re.fullmatch(r"\+?[0-9]{1,9}", port) else -1
    origin = _origin(scheme, host, number if 0 <= number <= 0xFFFF else default)
    path = path.strip("/")
    notes: tuple[str, ...] = ()
    if path == "v1" or path.endswith("/v1"):
        path = path[:-2].rstrip("/")
        notes = (f"{source}: /v1 dropped; it is no part of an Ollama's address",)
    elif api is None:
        api = Api.NATIVE
    return Server(root=f"{origin}/{path}" if path else origin, api=api, source=source, notes=notes)


def _unquoted(text: str) -> str:
    return text.strip().strip("\"'")


def _refuse_secrets(text: str, source: str) -> None:
    """Raise `UsageError` for what may hold a key or a password, without repeating it."""
    if "@" in text:
        raise UsageError(
            f"{source}: there is an '@' in the URL; a user name or password does not belong there. "
            "Put the key into a variable and name it with --api-key-env or --header-env"
        )
    if "?" in text or "#" in text:
        raise UsageError(
            f"{source}: this URL may have no query ('?') and no fragment ('#'). "
            "If there is a key in it, put that into a variable and name it with --api-key-env or --header-env"
        )
    if re.search(r"[\x00-\x20\x7f-\xa0]", text):
        raise UsageError(f"{source}: there are spaces or control characters in the URL; remove them")
    if not text:
        raise UsageError(f"{source} is empty; give the URL of a server, such as {DEFAULT_ROOT}")


def _split_port(authority: str) -> tuple[str, str]:
    """Split into host (without brackets) and port ("" if there is none); a bare IPv6 address is all host."""
    match = re.fullmatch(r"\[([^\[\]]*)\]:([^:]*)|([^:\[\]]*):([^:]*)", authority)
    if not match:
        return authority.removeprefix("[").removesuffix("]"), ""
    return match[1] or match[3] or "", match[2] or match[4] or ""


def _check_host(host: str, text: str, source: str) -> None:
    """Raise `UsageError` for a host that another parser of URLs might read as a different one."""
    if not re.fullmatch(r"[\w.-]+", host) and _address(host) is None:
        raise UsageError(f"{source}: {text!r} is no address; write it as http://host:port")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _origin(scheme: str, host: str, port: int | None) -> str:
    """Write scheme, host and port as a URL; an address that servers listen on becomes one to connect to."""
    address = _address(host)
    if address is not None and address.is_unspecified:
        host = "127.0.0.1" if isinstance(address, ipaddress.IPv4Address) else "::1"
    if ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}" if port in {None, SCHEME_PORTS[scheme]} else f"{scheme}://{host}:{port}"
