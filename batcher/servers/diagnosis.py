"""What is wrong with a server, its key or its models, in words for people: the same for every command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batcher.model import Api
from batcher.servers.catalogue import OLLAMA
from batcher.servers.keys import KEY_HEADERS

if TYPE_CHECKING:
    from batcher.model import Endpoint
    from batcher.servers.catalogue import About

MODELS_NAMED: Final = 8
"""Models of a server that a sentence names."""


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


def model_missing(name: str, near: str | None, about: About, where: str = "the server") -> str:
    """A model that a server does not have: what it has, and what may have been meant."""
    names = [model.name for model in about.models]
    more = f" and {len(names) - MODELS_NAMED} more" if len(names) > MODELS_NAMED else ""
    there = ", ".join(names[:MODELS_NAMED]) + more if names else "no models"
    meant = f"; did you mean {near}?" if near else ";"
    pull = f", or: ollama pull {name}" if about.kind == OLLAMA else ""
    return f"{name} is not on {where}, which has {there}{meant} Use -m or --alias {name}=MODEL{pull}"
