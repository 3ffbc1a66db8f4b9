"""batcher runs files of prompts through Ollama or any OpenAI-compatible server.

    summary = batcher.run("jobs.jsonl", "results.jsonl", model="llama3.2")

    async with batcher.stream([{"prompt": "Why is the sky blue?"}], model="llama3.2") as results:
        async for result in results:
            print(result.text)

Names are loaded when they are first used: `import batcher` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.api import run, stream
    from batcher.failures import BatcherError, Failure
    from batcher.model import Job, Result
    from batcher.view.summary import Summary

    __version__: str

__all__ = ["BatcherError", "Failure", "Job", "Result", "Summary", "__version__", "run", "stream"]

_HOMES = {
    "BatcherError": "batcher.failures",
    "Failure": "batcher.failures",
    "Job": "batcher.model",
    "Result": "batcher.model",
    "Summary": "batcher.view.summary",
    "run": "batcher.api",
    "stream": "batcher.api",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("batcher")
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'batcher' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
