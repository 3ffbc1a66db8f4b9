"""The benchmark of taking up a run: the scan of a results file beside reading its lines, and the memory of a process.

The scan is held against `for line in file: pass`, in alternation and as CPU and wall time; the memory is the peak of a
real `batcher run` over as many finished jobs and one that is not. Sizes are settable; 10 M jobs want --line-bytes 200
and 6 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

from batcher.disk import BLOCK
from batcher.done import Done
from batcher.formats import parse_job
from batcher.formats.defaults import Defaults
from batcher.recovery import scan
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Callable

SCAN_TARGET = 2.5
"""Time of the scan over that of reading line by line."""
MEMORY_TARGETS = {1_000_000: 100.0, 10_000_000: 350.0}
"""MB of resident memory by number of results."""
DEFAULTS = Defaults(model="simulator")
TEXT = 'some words, an \\"escaped\\" one, and a {brace} or two; '


def write_files(jobs: Path, results: Path, count: int, line_bytes: int) -> None:
    """`count` jobs with results of `line_bytes` each, and one job without."""
    fill = TEXT * (line_bytes // len(TEXT) + 1)
    with jobs.open("wb", buffering=BLOCK) as asked, results.open("wb", buffering=BLOCK) as answered:
        for seq in range(count + 1):
            line = b'{"id":"job-%08d","prompt":"hello"}' % seq
            asked.write(line + b"\n")
            if seq < count:
                head = f'{{"id":"job-{seq:08d}","seq":{seq},"hash":"{parse_job(line, seq, DEFAULTS).hash}","text":"'
                text = fill[: max(line_bytes - len(head) - 3, 0)]
                answered.write(f'{head}{text.rstrip(chr(92))}"}}\n'.encode())


def read_lines(path: Path) -> None:
    with path.open("rb") as file:
        for _ in file:
            pass


def scan_results(path: Path) -> None:
    with path.open("rb", buffering=BLOCK) as file:
        scan(file, path.stat().st_size, Done())


def taken(act: Callable[[Path], None], path: Path) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    act(path)
    return time.perf_counter() - wall, time.process_time() - cpu


def peak_of_a_run(jobs: Path, results: Path) -> tuple[float, float]:
    """MB and seconds of a `batcher run` that has one job to do."""
    with simulator_thread() as simulator:
        options = ("--base-url", simulator.url, "-m", "simulator", "--no-progress", "-q")
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "batcher", "run", str(jobs), "-o", str(results), *options], cwd=jobs.parent
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode or simulator.tally.counts.total() != 1:
            raise SystemExit(f"the run ended with {process.returncode} after {simulator.tally.counts.total()} requests")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KB elsewhere
    return usage.ru_maxrss * unit / 2**20, time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="results in the file")
    parser.add_argument("--line-bytes", type=int, default=1000, help="bytes of a result line")
    parser.add_argument("--turns", type=int, default=3, help="how often each side reads")
    parser.add_argument("--directory", type=Path, help="where the files go for the time being")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        jobs, results = Path(name, "jobs.jsonl"), Path(name, "results.jsonl")
        write_files(jobs, results, arguments.jobs, arguments.line_bytes)
        turns = [(taken(read_lines, results), taken(scan_results, results)) for _ in range(arguments.turns)]
        megabytes, seconds = peak_of_a_run(jobs, results)
        size = results.stat().st_size
    print(f"{arguments.jobs:,} results, {size / 1e6:,.0f} MB, {arguments.turns} turns")
    for place, what in ((0, "wall"), (1, "CPU")):
        plain, ours = (median(turn[side][place] for turn in turns) for side in (0, 1))
        over = "" if ours <= SCAN_TARGET * plain else "  OVER"
        print(
            f"scan, {what}: {ours:.2f} s, line by line {plain:.2f} s: {ours / plain:.2f} times (≤ {SCAN_TARGET}{over})"
        )
    target = next((MEMORY_TARGETS[count] for count in sorted(MEMORY_TARGETS) if arguments.jobs <= count), None)
    verdict = f" (≤ {target:.0f}{'' if megabytes <= target else '  OVER'})" if target else ""
    print(f"a run that takes it up: {megabytes:.0f} MB{verdict}, {seconds:.1f} s to its end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
