"""The benchmark of tables: rows a second and memory of `export`, and what a table at a run's end takes.

Each table is made by a process of its own. Memory a row is what a larger table takes more, of rows that are alike.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import orjson

from batcher.cli import ALLOCATOR

EXPORT: Final = """
import json, re, sys, time
from contextlib import ExitStack
from batcher.inputs.source import Source
from batcher.outputs.export import Export, export
from batcher.outputs.taken import Taken
import pyarrow.parquet
results, source, output, form = sys.argv[1:]
began, cpu = time.perf_counter(), time.process_time()
with open(results, "rb") as file:
    rows = export(Export(form=form, output=output), file, None, Taken(source=Source(source))).rows
took, cpu = time.perf_counter() - began, time.process_time() - cpu
peak = int(re.search(r"VmHWM:\\s+([0-9]+)", open("/proc/self/status").read())[1])
print(json.dumps([rows, took, cpu, peak]))
"""
RATE: Final = 100_000
"""Rows a second of Parquet that are wanted."""
BYTES: Final = 16
"""The most memory that a row takes, in bytes."""
AT_THE_END: Final = 2.0
"""The most seconds for the table of 100,000 rows."""
FORMS: Final = ("parquet", "arrow", "csv", "json", "sqlite")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--forms", nargs="*", default=["parquet"], choices=FORMS)
    args = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        small = write(directory / "small", args.rows // 10)
        large = write(directory / "large", args.rows)
        for form in args.forms:
            _, took, cpu, before = export(small, form)
            print(f"{form}: {args.rows // 10:,} rows in {took:.2f} s (CPU {cpu:.2f} s)")
            if form == "parquet" and args.rows == 1_000_000:
                missed += took > AT_THE_END
            rows, took, cpu, peak = export(large, form)
            more = (peak - before) * 1024 / (rows * 0.9)
            print(
                f"{form}: {rows:,} rows in {took:.2f} s: {rows / took:,.0f} rows/s, {rows / cpu:,.0f} a second of CPU"
            )
            print(f"{form}: at most {peak / 1000:.0f} MB; {more:.1f} bytes a row beside what {args.rows // 10:,} take")
            missed += form == "parquet" and (rows / took < RATE) + (more > BYTES)
    return int(missed > 0)


def write(directory: Path, count: int) -> Path:
    """An input, and results of 1 kB in the order in which 50 at a time may finish."""
    directory.mkdir()
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randrange(3, 9))) for _ in range(3000)]
    texts = [" ".join(chance.choices(words, k=95)) for _ in range(2000)]
    with (directory / "rows.jsonl").open("wb", buffering=1 << 20) as rows:
        for n in range(count):
            row = {"id": n, "prompt": f"Classify: {texts[n % 2000][:100]}", "label": "good", "stars": n % 5, "x": n / 7}
            rows.write(orjson.dumps(row) + b"\n")
    timing = {"started_at": "2026-11-22T20:11:03.120Z", "waited_s": 0.0, "ttft_s": 0.211, "itl_p50_s": 0.012}
    timing |= {"itl_p95_s": 0.02, "total_s": 0.3, "tokens_per_s": 83.333333}
    with (directory / "results.jsonl").open("wb", buffering=1 << 20) as results:
        for start in range(0, count, 50):
            for n in chance.sample(range(start, min(start + 50, count)), min(50, count - start)):
                line = {"id": str(n), "seq": n, "hash": f"{n:016x}", "model": "llama3.2", "endpoint": "/api/chat"}
                line |= {"text": texts[n * 7 % 2000], "finish_reason": "stop"}
                line |= {"usage": {"prompt_tokens": 31, "completion_tokens": 120}, "timing": timing}
                results.write(orjson.dumps(line | {"attempts": 1, "server": "http://127.0.0.1:11434"}) + b"\n")
    return directory


def export(directory: Path, form: str) -> tuple[int, float, float, int]:
    """(rows, seconds, seconds of CPU, most KB) of a process that makes a table."""
    output = f"sqlite:{directory / 'out.db'}" if form == "sqlite" else str(directory / f"out.{form}")
    command = [sys.executable, "-c", EXPORT, directory / "results.jsonl", directory / "rows.jsonl", output, form]
    environ = {**os.environ, **dict([ALLOCATOR])}  # as the command has it
    done = subprocess.run([*map(str, command)], capture_output=True, check=True, env=environ)
    rows, took, cpu, peak = orjson.loads(done.stdout)
    return rows, took, cpu, peak


if __name__ == "__main__":
    sys.exit(main())
