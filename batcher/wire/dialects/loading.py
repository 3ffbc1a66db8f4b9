"""What makes Ollama load a model anew: another model, or the same one with other load options.

Source: Ollama api/types.go (`Runner`), server/sched.go (`needsReload`). A load takes seconds to minutes, and whatever
else is asked of that model waits. Paths under `/v1` say none of these options, and load with the server's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from batcher import codec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.model import Job, Json

LOAD_OPTIONS: Final = frozenset(
    {"num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict"}
)

SHIFT: Final = "shift"
"""A field of the body beside the options, with the same effect."""


def group_of(job: Job, path: str) -> str:
    """What must be loaded for a job: jobs of one group can follow each other without a load between them."""
    return (job.model or "").removesuffix(":latest") + load_options(job, path)


def load_options(job: Job, path: str) -> str:
    """The options that count when the model is loaded, as canonical JSON; "" if the server's own hold."""
    if not path.startswith("/api/"):
        return ""
    options, body = options_of(job), job.extra if job.body is None else job.body
    if SHIFT not in body and LOAD_OPTIONS.isdisjoint(options):
        return ""
    said = {key: value for key, value in options.items() if key in LOAD_OPTIONS and value is not None}
    if SHIFT in body:
        said[SHIFT] = body[SHIFT]
    return codec.dumps(said, option=orjson.OPT_SORT_KEYS).decode() if said else ""


def options_of(job: Job) -> Mapping[str, Json]:
    """Ollama's options as they are sent: those in a line's own body, or in its `params`, hold over all others."""
    own = (job.extra if job.body is None else job.body).get("options")
    return own if isinstance(own, dict) else job.options


class Contexts:
    """Notices jobs of one model that ask for different contexts, for one note a run."""

    def __init__(self) -> None:
        self._first: dict[str | None, Json] = {}
        self._said = False

    def note(self, job: Job, path: str) -> str | None:
        """The note, at the first job that differs from those before it; `None` otherwise."""
        if self._said or not path.startswith("/api/"):
            return None
        asked = options_of(job).get("num_ctx")
        first = self._first.setdefault(job.model, asked)
        if first == asked:
            return None
        self._said = True
        had, has = ("the server's own" if value is None else str(value) for value in (first, asked))
        return (
            f"jobs for {job.model or 'one model'} ask for different num_ctx ({had}, and {has} in line {job.seq + 1}): "
            "Ollama loads the model anew at each change; --option num_ctx=… gives the same to all lines that say none"
        )
