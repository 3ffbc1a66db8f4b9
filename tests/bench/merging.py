"""The benchmark of `batcher merge`: parts of a million results of 1 kB, in the order in which they came, made one file.

A real process: seconds of CPU, and peak memory beside that of a tenth of them.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

from bench.process import peak, peak_of
from bench.resume import DEFAULTS, TEXT

from batcher.inputs.formats import parse_job
from batcher.inputs.shard import Shard
from batcher.ledger import state
from batcher.ledger.disk import BLOCK

NEAR: Final = 512
"""Results are out of order by so many, as those of as many in flight are."""


def write_parts(where: Path, jobs: int, parts: int, line_bytes: int) -> None:
    """An input of so many jobs, and the results of each part, with their state files."""
    fill = TEXT * (line_bytes // len(TEXT) + 1)
    shards = [Shard(number + 1, parts) for number in range(parts)]
    files = [(where / f"out-{shard.label}.jsonl").open("wb", buffering=BLOCK) for shard in shards]
    waiting: list[list[bytes]] = [[] for _ in shards]
    dice = random.Random(1)
    with (where / "jobs.in").open("wb", buffering=BLOCK) as asked:
        for seq in range(jobs):
            line = b'{"id":"job-%08d","prompt":"hello"}' % seq
            asked.write(line + b"\n")
            job = parse_job(line, seq, DEFAULTS)
            head = f'{{"id":"{job.id}","seq":{seq},"hash":"{job.hash}","text":"'
            number = next(number for number, shard in enumerate(shards) if shard.has(job.id))
            waiting[number].append(f'{head}{fill[: max(line_bytes - len(head) - 3, 0)].rstrip(chr(92))}"}}\n'.encode())
            if len(waiting[number]) > NEAR:
                files[number].write(waiting[number].pop(dice.randrange(NEAR)))
    told = state.State(status=state.Status.COMPLETE, run=state.parameters(DEFAULTS))
    for file, left, shard in zip(files, waiting, shards, strict=True):
        file.write(b"".join(left))
        file.close()
        state.write(where / f"out-{shard.label}.state.json", told)


def merged(where: Path, jobs: int, parts: int, line_bytes: int) -> tuple[float, float]:
    """Seconds of CPU and MB of one merge."""
    write_parts(where, jobs, parts, line_bytes)
    command = [sys.executable, "-m", "batcher", "merge", "out-*.jsonl", "-o", "all.jsonl", "--input", "jobs.in"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(peak_of([*command, "--input-format", "jsonl"]), cwd=where, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, peak(done.stdout.decode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--line-bytes", type=int, default=1000)
    chosen = parser.parse_args()
    print("| results | parts | seconds of CPU | peak memory |\n|--:|--:|--:|--:|")
    before = memory = 0.0
    for jobs in (chosen.jobs // 10, chosen.jobs):
        with tempfile.TemporaryDirectory() as where:
            seconds, memory = merged(Path(where), jobs, chosen.parts, chosen.line_bytes)
        print(f"| {jobs:,} | {chosen.parts} | {seconds:.1f} | {memory:.0f} MB |", flush=True)
        before = before or memory
    print(f"\n{(memory - before) * 1e6 / (chosen.jobs * 0.9):.0f} bytes a result")


if __name__ == "__main__":
    main()
