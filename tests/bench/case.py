"""What is measured: one kind of answer, the jobs that ask for it, and the proof that what was written is right."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.answers import EMBEDDINGS, NATIVE, V1, prompt, text, vector

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
IN_FLIGHT = 64
STEP = 0.005
"""Seconds between two records of a stream where each is a write of its own: 12,800 records a second in all."""


@dataclass(frozen=True)
class Case:
    """One kind of answer. A streamed answer has one record a word."""

    name: str
    path: str
    jobs: int
    stream: bool = False
    words: int = 75
    step: float | None = None
    """Seconds between records that are written one by one; None: the server writes all of them at once."""
    slots: int | None = None
    """How many streams the server serves at a time; None: all."""
    in_flight: int | None = IN_FLIGHT
    """None: batcher finds out."""
    pack: int = 1
    """Texts in one request for embeddings."""
    at_most: float | None = None
    """The target: CPU of batcher over that of the plain loop."""

    @property
    def unit(self) -> str:
        if self.path == EMBEDDINGS:
            return "text"
        return "record" if self.stream else "job"

    @property
    def units(self) -> int:
        return self.jobs * self.words if self.stream else self.jobs

    def of(self, jobs: int) -> Case:
        return replace(self, jobs=jobs)

    def write_input(self, path: Path) -> None:
        with path.open("w") as file:
            file.writelines(f"{json.dumps(job)}\n" for job in self._job_lines())

    def _job_lines(self) -> Iterator[dict[str, object]]:
        for number in range(self.jobs):
            asked = prompt(number)
            messages = [{"role": "user", "content": asked}]
            yield {"id": f"job-{number}"} | ({"input": asked} if self.path == EMBEDDINGS else {"messages": messages})

    def verify(self, results: Path) -> None:
        """Raise ValueError unless every job has one line with all that the server sent."""
        seen = bytearray(self.jobs)
        expected = text(self.words)
        with results.open("rb") as lines:
            for line in lines:
                result = json.loads(line)
                number = int(result["id"].removeprefix("job-"))
                if number >= self.jobs or seen[number]:
                    raise ValueError(f"{self.name}: {results} has {result['id']} twice, or it is no job")
                seen[number] = True
                if not self._right(result, number, expected):
                    raise ValueError(f"{self.name}: {result['id']} in {results} is not what the server sent")
        if not all(seen):
            raise ValueError(f"{self.name}: {results} has {sum(seen)} of {self.jobs} jobs")

    def _right(self, result: dict[str, Any], number: int, expected: str) -> bool:
        if self.path == EMBEDDINGS:
            return bool(result["embedding"] == vector(number))
        return bool(result["text"] == expected)


def cases(scale: float = 1.0) -> list[Case]:
    """Those that are held against the bare loops; `scale` shrinks or stretches the numbers of jobs."""
    whole, coalesced, single, texts = (max(2, round(jobs * scale)) for jobs in (6000, 1000, 192, 6400))
    streams = partial(Case, stream=True, words=200)
    return [
        Case("whole answer, /v1", V1, whole, at_most=1.0),
        Case("whole answer, native", NATIVE, whole, at_most=1.0),
        streams("SSE, coalesced", V1, coalesced, at_most=1.3),
        streams("NDJSON, coalesced", NATIVE, coalesced, at_most=1.3),
        streams("SSE, each its own packet", V1, single, step=STEP, at_most=1.2),
        streams("NDJSON, each its own packet", NATIVE, single, step=STEP, at_most=1.2),
        Case("embeddings, 64 a request", EMBEDDINGS, texts, in_flight=8, pack=64),
    ]
