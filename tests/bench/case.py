"""What is measured: one kind of answer, the commands of both sides, and the proof that their output is right."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.server import NATIVE, V1, text

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
IN_FLIGHT = 64
STEP = 0.002
"""Seconds between two records of a stream where each is a write of its own: 32,000 records a second in all."""


@dataclass(frozen=True)
class Case:
    """One kind of answer. A streamed answer has one record a word."""

    name: str
    path: str
    stream: bool
    jobs: int
    words: int = 200
    step: float | None = None
    """Seconds between records that are written one by one; None: the server writes all of them at once."""

    @property
    def unit(self) -> str:
        return "record" if self.stream else "job"

    @property
    def units_per_job(self) -> int:
        return self.words if self.stream else 1

    def of(self, jobs: int) -> Case:
        return replace(self, jobs=jobs)

    def write_input(self, path: Path) -> None:
        path.write_text("".join(f"{json.dumps(job)}\n" for job in self._job_lines()))

    def _job_lines(self) -> Iterator[dict[str, object]]:
        for number in range(self.jobs):
            prompt = (
                f"Job {number}: say in plain words what the quick brown fox did, and why the dog was lazy about it."
            )
            yield {"id": f"job-{number}", "messages": [{"role": "user", "content": prompt}]}

    def batcher(self, source: Path, results: Path, root: str) -> list[str]:
        server = [f"{root}/v1"] if self.path == V1 else [root, "--dialect", "native"]
        command = [sys.executable, "-m", "batcher", "run", str(source), "-o", str(results), "--base-url", *server]
        command += ["-m", "m", "-c", str(IN_FLIGHT), "--no-progress", "--quiet"]
        return command if self.stream else [*command, "--no-stream"]

    def bare(self, source: Path, results: Path, root: str) -> list[str]:
        command = [sys.executable, str(HERE / "bare.py"), str(source), str(results), root + self.path]
        command += ["--concurrency", str(IN_FLIGHT)]
        return [*command, "--stream"] if self.stream else command

    def verify(self, results: Path) -> None:
        """Raise ValueError unless every job has one line with the whole text."""
        lines = [json.loads(line) for line in results.read_bytes().splitlines()]
        wanted = {f"job-{number}" for number in range(self.jobs)}
        if len(lines) != self.jobs or {line["id"] for line in lines} != wanted:
            raise ValueError(f"{self.name}: {results} has {len(lines)} lines, or other ids, for {self.jobs} jobs")
        expected = text(self.words)
        wrong = next((line for line in lines if line["text"] != expected), None)
        if wrong is not None:
            raise ValueError(f"{self.name}: the text of {wrong['id']} in {results} is not what the server sent")


def cases(scale: float = 1.0) -> list[Case]:
    """All of them; `scale` shrinks or stretches the numbers of jobs."""
    whole, coalesced, single = (max(2, round(jobs * scale)) for jobs in (6000, 1000, 300))
    return [
        Case("whole answer, /v1", V1, stream=False, jobs=whole, words=75),
        Case("whole answer, native", NATIVE, stream=False, jobs=whole, words=75),
        Case("SSE, coalesced", V1, stream=True, jobs=coalesced),
        Case("SSE, one write a record", V1, stream=True, jobs=single, step=STEP),
        Case("NDJSON, coalesced", NATIVE, stream=True, jobs=coalesced),
        Case("NDJSON, one write a record", NATIVE, stream=True, jobs=single, step=STEP),
    ]
