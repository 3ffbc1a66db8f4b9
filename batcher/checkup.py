"""What a run over an input would meet: which lines would be refused, which models and endpoints it needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.dialects import call_for
from batcher.done import Done
from batcher.failures import LineError
from batcher.intake import Intake

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batcher.formats import Line, Parser
    from batcher.formats.defaults import Defaults
    from batcher.model import Api, Job, Result

SHOWN = 10
"""Refused lines that are kept; the rest are counted."""


@dataclass(slots=True)
class Checkup:
    """The sums over an input. `refused` holds (line number from 1, code, message)."""

    jobs: int = 0
    refused_count: int = 0
    duplicates: int = 0
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    models: Counter[str] = field(default_factory=Counter)
    paths: Counter[str] = field(default_factory=Counter)

    def read(
        self,
        lines: Iterable[Line | None],
        api: Api,
        *,
        parse: Parser,
        defaults: Defaults,
        limit: int | None = None,
        needs_model: bool = True,
    ) -> None:
        """Read every line as a run would, encode it for the API, and send nothing."""
        intake = Intake(parse, defaults, Done(), self._refuse_line, limit=limit, needs_model=needs_model)
        for job in intake.jobs(lines):
            if job is not None:
                self._take(job, api)
        self.duplicates = intake.duplicates

    def _take(self, job: Job, api: Api) -> None:
        try:
            call = call_for((job,), api, stream=True)
        except LineError as error:
            self._refuse(job.seq, error.code, error.message)
            return
        self.jobs += 1
        self.paths[call.path] += 1
        model = job.model or (job.body or {}).get("model")
        if isinstance(model, str):
            self.models[model] += 1

    def _refuse_line(self, result: Result) -> None:
        assert result.failure is not None
        self._refuse(result.seq, result.failure.code, result.failure.message)

    def _refuse(self, seq: int, code: str, message: str) -> None:
        self.refused_count += 1
        if len(self.refused) < SHOWN:
            self.refused.append((seq + 1, code, message))
