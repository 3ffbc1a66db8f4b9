"""The benchmark of inputs: what a row costs in each format, what memory, and how soon a run over done rows goes on.

All formats hold the same rows. Those that are held against JSONL are so in one go, each side a process of its own, in
alternation. `--beside TREE` takes up a run over rows of which one has changed with another state of the code as well.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

import orjson
import pyarrow as pa
import zstandard
from pyarrow import parquet

from batcher.cli import ALLOCATOR
from batcher.inputs.formats import parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.source import Source
from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from collections.abc import Iterator

READ: Final = """
import re, sys, time
from batcher.inputs.formats import parse_job
from batcher.inputs.formats.defaults import Defaults
from batcher.inputs.formats.rows import values_of
from batcher.options import Options
from batcher.running.wiring import recipe_of, source_for
options = Options(prompt="Classify: {{ prompt }}" if sys.argv[2] == "templates" else None)
source, defaults, count = source_for(sys.argv[1], options), Defaults(model="m", recipe=recipe_of(options)), 0
began = time.process_time()
for line in source.all_lines():
    if sys.argv[2] == "columns":
        values_of(line.data)
    else:
        parse_job(line.data, line.seq, defaults)
    count += 1
peak = re.search(r"VmHWM:\\s+([0-9]+)", open("/proc/self/status").read())[1]  # that of the parent is not in it
print(count, (time.process_time() - began) * 1e6 / count, int(peak) / 1000)
"""
CPU: Final = {"data.csv": 1.3, "data.parquet": 1.3, "data.json": None, "data.jsonl.zst": None}
"""File → the most CPU a row, in times of JSONL's, with the same template or none."""
PLAIN: Final = 2.0
"""The most CPU a row of JSONL with a template that names a column, in times of one without."""
ABOVE: Final = {"data.csv": 40.0, "data.json": 40.0, "data.jsonl.zst": 40.0}
"""File → the most MB above JSONL's peak."""
PARQUET: Final = 150.0
"""The most MB for Parquet, at any size of row groups."""
FIRST: Final = {"data.jsonl": 3.0, "data.parquet": 3.0, "data.csv": 6.0, "data.json": 6.0}
"""File → the most seconds to the first request where a million rows are done and unchanged."""
CHANGED: Final = 0.3
"""Seconds to the first request with one changed row of JSONL, in times of those of the tree beside."""
DEFAULTS: Final = Defaults(model="simulator")


def rows(count: int, size: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghijklmnop", k=chance.randrange(3, 9))) for _ in range(3000)]
    for number in range(count):
        text = " ".join(chance.choices(words, k=size // 6))[: size - 70]
        said = f'{text}, said "no",\nand went' if number % 4 == 0 else text
        yield {"id": f"row-{number:08d}", "prompt": said, "label": "positive", "number": number}


def write(directory: Path, count: int, size: int) -> None:
    """The same rows in all formats."""
    batch: list[dict[str, Any]] = []
    tables: dict[str, parquet.ParquetWriter] = {}
    with (
        (directory / "data.jsonl").open("wb", buffering=1 << 20) as lines,
        (directory / "data.json").open("wb", buffering=1 << 20) as array,
        (directory / "data.csv").open("w", buffering=1 << 20, newline="") as cells,
        (directory / "data.jsonl.zst").open("wb") as packed,
        zstandard.ZstdCompressor().stream_writer(packed) as packer,
    ):
        writer = csv.writer(cells)
        for number, row in enumerate(rows(count, size)):
            line = orjson.dumps(row)
            lines.write(line + b"\n")
            packer.write(line + b"\n")
            array.write((b", " if number else b"[") + line)
            if not number:
                writer.writerow(row)
            writer.writerow(row.values())
            batch.append(row)
            if len(batch) == 50_000 or number == count - 1:
                table = pa.Table.from_pylist(batch)
                for name in ("data.parquet", "whole.parquet"):
                    if name not in tables:
                        tables[name] = parquet.ParquetWriter(directory / name, table.schema)
                    if name == "data.parquet":
                        tables[name].write_table(table)
                    else:  # one row group for all of them
                        tables[name].write_batch(table.combine_chunks().to_batches()[0], row_group_size=1 << 40)
                batch.clear()
        array.write(b"]")
    for open_table in tables.values():
        open_table.close()


def read(path: Path, how: str) -> tuple[float, float]:
    """µs of CPU a row, and MB at the peak."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path), how],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
        env=os.environ | dict([ALLOCATOR]),
    )
    _, micros, megabytes = map(float, done.stdout.split())
    return micros, megabytes


def write_results(source: Path, results: Path, size: int) -> None:
    """Results of all rows but the last."""
    with results.open("wb", buffering=1 << 20) as file:
        held = b""
        for line in Source(str(source)).all_lines():
            file.write(held)
            assert line.data is not None
            job = parse_job(line.data, line.seq, DEFAULTS)
            head = f'{{"id":"{job.id}","seq":{line.seq},"hash":"{job.hash}","text":"'
            held = f'{head}{"x" * (size - len(head) - 3)}"}}\n'.encode()


def first_request(source: Path, results: Path, tree: Path | None = None, *more: str) -> tuple[float, float]:
    """Seconds to the first request of a run with one job to do, and of CPU of all of it."""
    main = "from batcher.cli import main; main()"
    start = f"import sys; sys.path.insert(0, {str(tree)!r}); sys.argv[0] = 'batcher'; {main}" if tree else main
    with simulator_thread() as simulator:
        options = ("--base-url", simulator.url, "-m", "simulator", "--no-progress", "-q", *more)
        command = [sys.executable, "-c", start, "run", str(source), "-o", str(results), *options]
        first, began, spent = 0.0, time.perf_counter(), cpu()
        process = subprocess.Popen(command, cwd=source.parent)
        while process.poll() is None and not first:
            first = time.perf_counter() - began if simulator.tally.counts.total() else 0.0
            time.sleep(0.01)
        process.communicate()
        if process.returncode:
            raise SystemExit(f"the run over {source.name} ended with {process.returncode}")
    return first, cpu() - spent


def cpu() -> float:
    """Seconds of CPU of all processes that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def without_last(results: Path, saved: Path) -> None:
    """Put the results and the state of a finished run back, but for the last result."""
    state = results.with_suffix(".state.json")
    if not saved.exists():
        saved.write_bytes(state.read_bytes())
    state.write_bytes(saved.read_bytes())
    size = orjson.loads(saved.read_bytes())["seal"]["size"]
    os.truncate(results, size)


def prepare(source: Path, results: Path, saved: Path, size: int) -> None:
    """Have a run stopped just before its last job: sealed, its input known."""
    write_results(source, results, size)
    first_request(source, results, None, "--max-errors", "0")
    state = orjson.loads(results.with_suffix(".state.json").read_bytes())
    assert state["seal"] is not None
    with results.open("rb") as file:
        file.seek(max(0, state["seal"]["size"] - (1 << 20)))
        last = file.read().splitlines(keepends=True)[-1]
    # the seal of all but the last line: the checksum is taken anew
    from batcher.ledger.seal import Prefixes

    os.truncate(results, state["seal"]["size"] - len(last))
    with results.open("rb") as file:
        prefixes = Prefixes()
        prefixes.read_on(file, results.stat().st_size, bool)
    assert prefixes.seal is not None
    state["seal"] = {"size": prefixes.seal.size, "crc": prefixes.seal.crc, "alone": state["seal"]["alone"]}
    state["synced"] = prefixes.seal.size
    saved.write_bytes(orjson.dumps(state))


def verdict(value: float, most: float | None) -> str:
    return "" if most is None else f" (≤ {most:g}{'' if value <= most else '  OVER'})"


def reading(directory: Path, turns: int) -> None:
    pairs = [
        (read(directory / "data.jsonl", "jobs"), read(directory / "data.jsonl", "templates")) for _ in range(turns)
    ]
    ratio = median(other[0] / own[0] for own, other in pairs)
    print(f"templates: JSONL {ratio:.2f} times JSONL without one{verdict(ratio, PLAIN)}")
    for how in ("columns", "jobs", "templates"):
        plain = [read(directory / "data.jsonl", how) for _ in range(turns)]
        print(f"{how}: JSONL {median(cpu for cpu, _ in plain):.1f} µs a row, {max(mb for _, mb in plain):.0f} MB")
        for name in (*CPU, "whole.parquet"):
            found = [(read(directory / "data.jsonl", how), read(directory / name, how)) for _ in range(turns)]
            ratio = median(other[0] / own[0] for own, other in found)
            above = max(other[1] - own[1] for own, other in found)
            most = max(other[1] for _, other in found)
            cpu = verdict(ratio, CPU.get(name)) if how != "columns" else ""
            limit = verdict(most, PARQUET) if "parquet" in name else verdict(above, ABOVE.get(name))
            print(f"{how}: {name} {ratio:.2f} times{cpu}, {most:.0f} MB, {above:+.0f} MB{limit}")


def taking_up(directory: Path, turns: int, size: int, beside: Path | None) -> None:
    results, saved = directory / "results.jsonl", directory / "saved.json"
    for name, most in FIRST.items():
        source = directory / name
        prepare(source, results, saved, size)
        found = []
        for _ in range(turns):
            without_last(results, saved)
            found.append(first_request(source, results))
        seconds = median(first for first, _ in found)
        spent = median(spent for _, spent in found)
        print(f"unchanged: {name} {seconds:.1f} s to the first request{verdict(seconds, most)}, {spent:.1f} s of CPU")
        if name == "data.jsonl":
            changed(source, results, saved, turns, beside)


def changed(source: Path, results: Path, saved: Path, turns: int, beside: Path | None) -> None:
    before = source.stat()
    with source.open("r+b") as file:
        file.seek(before.st_size // 2)
        file.readline()
        place = file.tell() + len(b'{"id":"')
        file.seek(place)
        old = file.read(1)
        file.seek(place)
        file.write(b"R")
    found: dict[Path | None, list[tuple[float, float]]] = {None: []}
    trees = [None, beside] if beside else [None]
    for _ in range(turns):
        for tree in trees:
            without_last(results, saved)
            found.setdefault(tree, []).append(first_request(source, results, tree))
    for which, what in enumerate(("s to the first request", "s of CPU")):
        own = [pair[which] for pair in found[None]]
        print(f"one row changed: {median(own):.1f} {what}")
        if beside:
            other = [pair[which] for pair in found[beside]]
            ratio = median(new / old for new, old in zip(own, other, strict=True))
            said = f"{median(other):.1f} {what}{verdict(ratio, CHANGED)}"
            print(f"one row changed: {ratio:.2f} times the tree beside, {said}")
    with source.open("r+b") as file:
        file.seek(place)
        file.write(old)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--row-bytes", type=int, default=1000)
    parser.add_argument("--result-bytes", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", choices=["reading", "taking-up"])
    parser.add_argument("--beside", type=Path, help="a tree of another state of the code")
    parser.add_argument("--directory", type=Path, help="where the files go for the time being")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
        directory = Path(name)
        write(directory, arguments.rows, arguments.row_bytes)
        if arguments.only != "taking-up":
            reading(directory, arguments.turns)
        if arguments.only != "reading":
            taking_up(directory, arguments.turns, arguments.result_bytes, arguments.beside)
    return 0


if __name__ == "__main__":
    sys.exit(main())
