"""batcher asks models about files and rows, through Ollama or any OpenAI-compatible server.

    summary = batcher.run("jobs.jsonl", "results.jsonl", model="llama3.2")

    results = batcher.map(["Great!", "Never again."], prompt="Good or bad? {{ text }}", model="llama3.2")

    async with batcher.stream(rows, prompt="Good or bad? {{ text }}", model="llama3.2") as results:
        async for result in results:
            print(result.row, result.text)

Names are loaded when they are first used: `import batcher` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batcher.api.client import Client
    from batcher.api.functions import aembed, amap, arun, embed, map, run, stream  # noqa: A004 - what it is
    from batcher.api.result import FailedRowError, Result
    from batcher.api.stream import Stream
    from batcher.failures import BatcherError, Failure
    from batcher.model import Job
    from batcher.view.snapshot import Snapshot as Progress
    from batcher.view.summary import Summary

    __version__: str

__all__ = [
    "BatcherError",
    "Client",
    "FailedRowError",
    "Failure",
    "Job",
    "Progress",
    "Result",
    "Stream",
    "Summary",
    "__version__",
    "aembed",
    "amap",
    "arun",
    "embed",
    "map",
    "run",
    "stream",
]

_FUNCTIONS = "batcher.api.functions"
_HOMES = {
    "__version__": ("batcher.model", "VERSION"),
    "BatcherError": ("batcher.failures", "BatcherError"),
    "Client": ("batcher.api.client", "Client"),
    "FailedRowError": ("batcher.api.result", "FailedRowError"),
    "Failure": ("batcher.failures", "Failure"),
    "Job": ("batcher.model", "Job"),
    "Progress": ("batcher.view.snapshot", "Snapshot"),
    "Result": ("batcher.api.result", "Result"),
    "Stream": ("batcher.api.stream", "Stream"),
    "Summary": ("batcher.view.summary", "Summary"),
    **{name: (_FUNCTIONS, name) for name in ("aembed", "amap", "arun", "embed", "map", "run", "stream")},
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from importlib import import_module

        module, attribute = _HOMES[name]
        return getattr(import_module(module), attribute)
    raise AttributeError(f"module 'batcher' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
