"""When two names mean one model to Ollama."""

from __future__ import annotations

from functools import lru_cache


def same_model(one: str, other: str) -> bool:
    """Whether two names mean one model to Ollama: `llama3.2` is `Library/Llama3.2:latest`."""
    return one == other or full_name(one) == full_name(other)


@lru_cache(maxsize=256)
def full_name(name: str) -> str:
    """Give a model's name with what Ollama adds: `registry.ollama.ai/library/<model>:latest`, in lower case."""
    path, tag = name.strip().lower().removesuffix(":local"), "latest"
    path = path.partition("://")[2] or path
    if path.rfind(":") > path.rfind("/"):  # else the colon belongs to the registry's port
        path, _, tag = path.rpartition(":")
    parts = path.split("/")
    defaults = ["registry.ollama.ai", "library"]
    return "/".join(defaults[: max(3 - len(parts), 0)] + parts) + f":{tag}"
