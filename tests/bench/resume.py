"""The benchmark of taking up a run: the scan of a results file beside reading its lines, and what a real run takes.

Two scans are held against `for line in file: pass`, in alternation and as CPU and wall time: that of a file which an
earlier run sealed, and that by ids, of a file of which nothing is known. Real `batcher run`s over as many finished jobs
and one that is not tell memory and the time to the first request, with the input as it was and with a changed one.
Sizes are settable; 10 M jobs want --line-bytes 200 and 6 GB of disk.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

from bench.process import peak, peak_of

from batcher.inputs.done import DoneIds
from batcher.inputs.formats import parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.ledger import state
from batcher.ledger.disk import BLOCK
from batcher.ledger.recovery import scan
from batcher.ledger.seal import Prefixes
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


def scan_ids(path: Path) -> None:
    with path.open("rb", buffering=BLOCK) as file:
        scan(file, path.stat().st_size, DoneIds())


def scan_sealed(path: Path) -> None:
    with path.open("rb", buffering=BLOCK) as file:
        prefixes = Prefixes()
        prefixes.read_on(file, path.stat().st_size, bool)
    if prefixes.seal is None:
        raise SystemExit("the results of the benchmark cannot be sealed")


def taken(act: Callable[[Path], None], path: Path) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    act(path)
    return time.perf_counter() - wall, time.process_time() - cpu


SIDES: dict[str, Callable[[Path], None]] = {"line by line": read_lines, "sealed": scan_sealed, "by ids": scan_ids}


def measure_run(jobs: Path, results: Path) -> tuple[float, float]:
    """MB, and seconds to the first request, of a `batcher run` that has one job to do."""
    with simulator_thread() as simulator:
        options = ("--base-url", simulator.url, "-m", "simulator", "--no-progress", "-q")
        command = [sys.executable, "-m", "batcher", "run", str(jobs), "-o", str(results), *options]
        first, began = 0.0, time.perf_counter()
        process = subprocess.Popen(peak_of(command), cwd=jobs.parent, stdout=subprocess.PIPE, text=True)
        while process.poll() is None and not first:
            first = time.perf_counter() - began if simulator.tally.counts.total() else 0.0
            time.sleep(0.01)
        out, _ = process.communicate()
        if process.returncode or simulator.tally.counts.total() != 1:
            raise SystemExit(f"the run ended with {process.returncode} after {simulator.tally.counts.total()} requests")
    return peak(out), first


def drop_last(results: Path) -> None:
    """Take out the last result, and have the state file know the rest, as if the run had been stopped before it."""
    path = results.with_suffix(".state.json")
    last, _ = state.read(path)
    with results.open("r+b", buffering=BLOCK) as file:
        file.seek(max(0, results.stat().st_size - BLOCK))
        file.truncate(results.stat().st_size - len(file.readlines()[-1]))
        prefixes = Prefixes()
        prefixes.read_on(file, results.stat().st_size, bool)
    if last is None or last.seal is None or prefixes.seal is None:
        raise SystemExit("the first run left no seal")
    seal = replace(prefixes.seal, alone=last.seal.alone)
    state.write(path, replace(last, seal=seal, synced=seal.size))


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
        size = results.stat().st_size
        turns = [{name: taken(act, results) for name, act in SIDES.items()} for _ in range(arguments.turns)]
        runs = {}
        for what in ("nothing known", "input unchanged", "input changed"):
            if what == "input unchanged":  # the run before met the whole of it
                drop_last(results)
            elif what == "input changed":
                with jobs.open("ab") as file:
                    file.write(b'{"id":"new","prompt":"hello"}\n')
            runs[what] = measure_run(jobs, results)
    print(f"{arguments.jobs:,} results, {size / 1e6:,.0f} MB, {arguments.turns} turns")
    for place, what in ((0, "wall"), (1, "CPU")):
        plain, sealed, ids = (median(turn[side][place] for turn in turns) for side in SIDES)
        over = "" if sealed <= SCAN_TARGET * plain else "  OVER"
        print(
            f"scan, {what}: line by line {plain:.2f} s; sealed {sealed:.2f} s, {sealed / plain:.2f} times "
            f"(≤ {SCAN_TARGET}{over}); by ids {ids:.2f} s, {ids / plain:.2f} times"
        )
    target = next((MEMORY_TARGETS[count] for count in sorted(MEMORY_TARGETS) if arguments.jobs <= count), None)
    for name, (megabytes, seconds) in runs.items():
        verdict = f" (≤ {target:.0f}{'' if megabytes <= target else '  OVER'})" if target else ""
        print(f"a run, {name}: {megabytes:.0f} MB{verdict}, {seconds:.1f} s to its first request")
    return 0


if __name__ == "__main__":
    sys.exit(main())
