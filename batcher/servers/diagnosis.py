"""Says what is wrong with a server, its key or its models, and what to try: the same for every command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import orjson

from batcher.failures import AccountError, AttemptError, ConfigError, Failure, FailureClass
from batcher.model import Api
from batcher.redaction import printable
from batcher.servers import catalogue
from batcher.servers.keys import KEY_HEADERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.model import Endpoint
    from batcher.servers.catalogue import About

LONGEST_WORDS = 300
"""Cells of a server's own words in a message."""

MODELS_NAMED = 8
"""Models of a server that a sentence names."""

AWAY = frozenset({429, 502, 503, 504})
"""Statuses by which a proxy says that the server is not there, or a server that it is still loading."""

GUARDED = frozenset({401, 403})
"""Statuses by which a server says that it wants a key, or another one."""


class Answer(Protocol):
    """What a requester gives back. Header names are in lower case."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


def _is_web_page(answer: Answer) -> bool:
    return "html" in answer.headers.get("content-type", "") or answer.body.lstrip()[:1] == b"<"


def _words(answer: Answer) -> str:
    """Give the server's own words in brackets for a message, or nothing if it had none."""
    if _is_web_page(answer):
        return " (a web page)"
    words = answer.body.decode("utf-8", "replace").strip()
    try:
        error = orjson.loads(answer.body).get("error")
        words = (error if isinstance(error, str) else catalogue.text(error, "message")) or words
    except (orjson.JSONDecodeError, AttributeError):  # AttributeError: JSON, and not an object
        pass
    words = printable(words[: 8 * LONGEST_WORDS], LONGEST_WORDS)
    return f" ({words})" if words else ""


def away(url: str, answer: Answer) -> AttemptError:
    message = f"{url} answers {answer.status}{_words(answer)}"
    return AttemptError(Failure(FailureClass.CONNECTION, "unavailable", message, status=answer.status))


def refused(endpoint: Endpoint, answer: Answer) -> AccountError:
    return AccountError(key_refused(endpoint, f"{answer.status}{_words(answer)}"))


def key_refused(endpoint: Endpoint, said: str) -> str:
    """Who does not let us in; `said` is what it answers: `401 (no such key)`."""
    variable = "OLLAMA_API_KEY" if endpoint.api is Api.NATIVE else "OPENAI_API_KEY"
    if any(name.lower() in KEY_HEADERS for name in endpoint.headers):
        return (
            f"{endpoint.root} refuses the key: it answers {said}. Check that the key is for this server, still valid "
            f"and allowed to do this; it comes from --api-key-env, --api-key-file, --header-env or {variable}"
        )
    return (
        f"{endpoint.root} wants a key and none was sent: it answers {said}. Set {variable}, or say where the key is "
        "with --api-key-env, --api-key-file or --header-env"
    )


def guarded(root: str) -> str:
    """Nobody knows yet which API it speaks, and it says so to none without its key."""
    return (
        f"{root} wants a key before it says which API it speaks, and is asked as an OpenAI-compatible server (with "
        "OPENAI_API_KEY); if it is an Ollama, say --dialect native, and its key with OLLAMA_API_KEY"
    )


def model_missing(name: str, near: str | None, about: About, where: str = "the server") -> str:
    """A model that a server does not have: what it has, and what may have been meant."""
    names = [model.name for model in about.models]
    more = f" and {len(names) - MODELS_NAMED} more" if len(names) > MODELS_NAMED else ""
    there = ", ".join(names[:MODELS_NAMED]) + more if names else "no models"
    meant = f"; did you mean {near}?" if near else "."
    pull = f", or: ollama pull {name}" if about.kind == catalogue.OLLAMA else ""
    return f"{name} is not on {where}, which has {there}{meant} Use -m or --alias {name}=MODEL{pull}"


def not_an_api(endpoint: Endpoint, url: str, answer: Answer) -> ConfigError:
    api = "Ollama's API" if endpoint.api is Api.NATIVE else "an OpenAI-compatible API"
    return ConfigError(
        f"{endpoint.root} does not speak {api}: {url} answers {answer.status}{_words(answer)}. "
        f"{_hint(endpoint, answer)}"
    )


def _hint(endpoint: Endpoint, answer: Answer) -> str:
    """Say what to try: the typical mistakes, the surest first."""
    if 300 <= answer.status < 400:
        return f"Redirects are not followed; give the address it sends to as --base-url{_target(answer)}"
    if endpoint.api is Api.NATIVE:
        return "If the server speaks the OpenAI API, say --dialect openai or give a --base-url that ends in /v1"
    if "/v1" in endpoint.root:
        return f"Is the /v1 there twice? Give a --base-url that ends before {endpoint.v1 or '/models'}"
    if not endpoint.v1:
        return "The URL is used as it is; should it end in /v1?"
    if urlsplit(endpoint.root).path:
        return "/v1 was added to the path; if the API begins without it, say --dialect openai"
    return "Check host and port; a --base-url is usually http://host:port/v1, or http://host:11434 for Ollama"


def _target(answer: Answer) -> str:
    """Give where a redirect leads, without a query or a password, which are not for messages."""
    try:
        place = urlsplit(answer.headers.get("location", ""))
    except ValueError:
        return ""
    host = place.netloc.rpartition("@")[2]
    return printable(f": {place.scheme}://{host}{place.path}", LONGEST_WORDS) if host else ""
