"""What a run over an input would meet: which lines would be refused, which models and endpoints it needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.failures import LineError
from batcher.inputs.done import DoneIds
from batcher.inputs.intake import Intake
from batcher.model import Kind
from batcher.wire.dialects import call_for
from batcher.wire.dialects.loading import Contexts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from batcher.inputs.formats import Line, Parser
    from batcher.inputs.formats.defaults import Defaults
    from batcher.inputs.selection import Selection
    from batcher.model import Api, Job, Json
    from batcher.outcome import Result

SHOWN = 10
"""Refused lines that are kept; the rest are counted."""
_KINDS = {Kind.EMBED: "embedding", Kind.IMAGE: "image"}


@dataclass(slots=True)
class Checkup:
    """The sums over an input. `refused` holds (line number from 1, code, message)."""

    where: Callable[[int], object] = field(default=lambda seq: f"line {seq + 1}")
    """In which place of the inputs a row stands."""
    jobs: int = 0
    refused_count: int = 0
    duplicates: int = 0
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    models: Counter[str] = field(default_factory=Counter)
    paths: Counter[str] = field(default_factory=Counter)
    needs: dict[str, Counter[str]] = field(default_factory=dict)
    """Model → what it has to be able to do, in Ollama's words, for how many jobs."""
    notes: list[str] = field(default_factory=list)
    """What will cost a run time."""
    damage: list[str] = field(default_factory=list)
    """What could not be read of the inputs."""

    def read(
        self,
        lines: Iterable[Line | None],
        api: Api,
        *,
        parse: Parser,
        defaults: Defaults,
        at_most: int | None = None,
        selection: Selection | None = None,
        needs_model: bool = True,
    ) -> None:
        """Read every line as a run would, encode it for the API, and send nothing."""
        intake = Intake(
            parse,
            defaults,
            finished=DoneIds(),
            reject=self._refuse_line,
            at_most=at_most,
            selection=selection,
            needs_model=needs_model,
        )
        contexts = Contexts()
        for job in intake.jobs(lines):
            if job is not None:
                self._take(job, api, contexts)
        self.duplicates = intake.duplicates

    def _take(self, job: Job, api: Api, contexts: Contexts) -> None:
        try:
            call = call_for((job,), api, stream=True)
        except LineError as error:
            self._refuse(job.seq, error.code, error.message)
            return
        self.jobs += 1
        self.paths[call.path] += 1
        if differing := contexts.note(job, call.path):
            self.notes.append(differing)
        model = job.model or (job.body or {}).get("model")
        if isinstance(model, str):
            self.models[model] += 1
            self.needs.setdefault(model, Counter()).update(_needs(job))

    def _refuse_line(self, result: Result) -> None:
        assert result.failure is not None
        self._refuse(result.seq, result.failure.code, result.failure.message)

    def _refuse(self, seq: int, code: str, message: str) -> None:
        self.refused_count += 1
        if len(self.refused) < SHOWN:
            self.refused.append((seq + 1, code, message))


def _needs(job: Job) -> list[str]:
    """The capabilities that a job asks of its model, as Ollama calls them."""
    body = job.body or {}
    found = [_KINDS.get(job.kind, "completion")]
    if job.tools or body.get("tools"):
        found.append("tools")
    if job.images or _shows_images(body.get("messages") or job.content):
        found.append("vision")
    if any(_thinks(value) for value in (job.params.get("think"), *map(body.get, ("think", "reasoning_effort")))):
        found.append("thinking")
    if job.params.get("suffix") or body.get("suffix"):
        found.append("insert")
    return found


def _thinks(value: Json) -> bool:
    """Whether a request asks for thinking; Ollama takes "none" for any model."""
    return bool(value) and value != "none"


def _shows_images(messages: Json) -> bool:
    """Whether a conversation has a picture in it, in Ollama's form or in OpenAI's."""
    parts = [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
    return any(
        part.get("images")
        or any(isinstance(piece, dict) and piece.get("type") == "image_url" for piece in _list(part.get("content")))
        for part in parts
    )


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
