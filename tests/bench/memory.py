"""How much memory a run takes at its peak, by the number of its jobs: whole answers of a few words."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.answers import V1
from bench.case import Case
from bench.clients import BATCHER
from bench.process import Process, load_server, peak, peak_of
from bench.table import Row, Target

CASE = Case("memory", V1, jobs=0, words=5)
SIZES = (10_000, 200_000)
LARGE = 1_000_000
FIXED = 60.0
"""MB (2^20 bytes) that a run may take whatever its size."""
A_JOB = 24
"""Bytes beside, for the ids."""


def measure(turns: int, sizes: tuple[int, ...]) -> list[Row]:
    """A row a size, and one for what a job adds from the smallest to the largest."""
    taken = {jobs: [_megabytes(CASE.of(jobs)) for _ in range(turns)] for jobs in sizes}
    rows = []
    for jobs, peaks in taken.items():
        allowed = FIXED + jobs * A_JOB / 2**20
        figures = {"batcher": median(peaks), "beside": allowed}
        rows.append(Row(f"memory, {jobs:,} jobs; beside: allowed", "MB", figures, peaks, "MB", Target(allowed)))
    few, many = min(sizes), max(sizes)
    added = [2**20 * (b - a) / (many - few) for a, b in zip(taken[few], taken[many], strict=True)]
    what = f"memory, what a job adds up to {many:,}"
    return [*rows, Row(what, "bytes", {"batcher": median(added)}, added, "bytes", Target(A_JOB))]


def _megabytes(case: Case) -> float:
    """The peak of one run whose results are right."""
    with TemporaryDirectory(prefix="batcher-bench-") as name, load_server(case) as server:
        source, results = Path(name, "jobs.jsonl"), Path(name, "results.jsonl")
        case.write_input(source)
        process = Process(peak_of(BATCHER.command(case, source, results, server.root)), Path(name))
        process.wait()
        case.verify(results)
        return peak(process.output)
