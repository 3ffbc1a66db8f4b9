"""The benchmark of the library: what a job costs a stream beside a run over a file, and what it and `map` keep of one.

Each side is a process of its own on the same load server, one after the other and turn by turn. A run reads and writes
files, a stream does neither; both have the cost of their start taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import tracemalloc
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as `make bench` does

from bench.answers import V1
from bench.case import Case
from bench.process import Process, load_server, peak, peak_of

import batcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

STREAM_AT_MOST: Final = 1.15
MAP_AT_MOST: Final = 1024
"""Bytes of a row, beside the results."""
FLAT_AT_MOST: Final = 60 * 2**20, 24
"""Bytes of a stream whose results are let go, and of each of its jobs (a hash of its id), as of a run."""


class Row(NamedTuple):
    what: str
    value: str
    target: str = ""
    met: bool = True


def jobs_of(path: Path) -> list[dict[str, Any]]:
    with path.open() as file:
        return [json.loads(line) for line in file]


def as_run(path: Path, options: dict[str, Any]) -> None:
    batcher.run(path, path.with_suffix(".results.jsonl"), overwrite=True, **options)


def as_stream(path: Path, options: dict[str, Any], *, source: Callable[[Path], Any] = jobs_of) -> None:
    async def main() -> int:
        async with batcher.stream(source(path), **options) as results:
            ok = 0
            async for result in results:
                ok += result.ok
            return ok

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main())


def generated(path: Path) -> Iterator[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            yield json.loads(line)


def as_generator(path: Path, options: dict[str, Any]) -> None:
    as_stream(path, options, source=generated)


def as_map(path: Path, options: dict[str, Any], **before: Any) -> None:
    """Prints what is kept of a row beside its result, in bytes."""
    rows = [job["messages"][0]["content"] for job in jobs_of(path)]
    batcher.map(rows[:10], **options | before)  # what is imported and made once
    tracemalloc.start()
    results = batcher.map(rows, **options)
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(json.dumps({"peak": peak / len(results), "results": now / len(results)}))


def as_kept(path: Path, options: dict[str, Any]) -> None:
    """As `as_map`, with the results in a file, too."""
    as_map(path, {**options, "output": path.with_suffix(".kept.jsonl")}, output=path.with_suffix(".before.jsonl"))


SIDES: Final = {"run": as_run, "stream": as_stream, "generator": as_generator, "map": as_map, "kept": as_kept}


def side(name: str, path: Path, root: str) -> Process:
    """A side that has ended: with its output, and the CPU it took."""
    return Process(command_of(name, path, root), path.parent)


def command_of(name: str, path: Path, root: str) -> list[str]:
    return [sys.executable, __file__, "--side", name, "--input", str(path), "--root", root]


def cpu(name: str, path: Path, root: str) -> float:
    """Seconds of CPU of a side."""
    return side(name, path, root).wait().cpu


def costs(jobs: int, turns: int) -> list[Row]:
    case = Case("JSON", V1, jobs)
    found: dict[str, list[float]] = {name: [] for name in ("run", "stream", "generator")}
    with tempfile.TemporaryDirectory() as directory, load_server(case) as server:
        large, small = Path(directory) / "large.jsonl", Path(directory) / "small.jsonl"
        case.write_input(large)
        case.of(100).write_input(small)
        for _ in range(turns):
            for name, micros in found.items():
                took = cpu(name, large, server.root) - cpu(name, small, server.root)
                micros.append(took / (jobs - 100) * 1e6)
    rows = [Row("run, a job", f"{median(found['run']):.0f} µs")]
    for name in ("stream", "generator"):
        ratio = median(one / other for one, other in zip(found[name], found["run"], strict=True))
        rows.append(
            Row(
                f"stream of a {'list' if name == 'stream' else name}, a job",
                f"{median(found[name]):.0f} µs, {ratio:.2f} times",
                f"≤ {STREAM_AT_MOST}",
                ratio <= STREAM_AT_MOST,
            )
        )
    return rows


def kept(jobs: int) -> Iterator[Row]:
    case = Case("JSON", V1, jobs)
    with tempfile.TemporaryDirectory() as directory, load_server(case) as server:
        path = Path(directory) / "rows.jsonl"
        case.write_input(path)
        for name, what in (("map", "map"), ("kept", "map with output=")):
            process = side(name, path, server.root)
            process.wait()
            found = json.loads(process.output.splitlines()[-1])
            beside = found["peak"] - found["results"]
            yield Row(
                f"{what} over {jobs:,} texts, beside its results",
                f"{beside:.0f} bytes a row, {found['results']:.0f} a result",
                f"≤ {MAP_AT_MOST}",
                beside <= MAP_AT_MOST,
            )


def flat(jobs: int) -> Row:
    """What a job adds to the peak of a stream."""
    case, peaks = Case("JSON", V1, jobs), []
    with tempfile.TemporaryDirectory() as directory, load_server(case) as server:
        for number in (jobs // 10, jobs):
            path = Path(directory) / f"{number}.jsonl"
            case.of(number).write_input(path)
            process = Process(peak_of(command_of("generator", path, server.root)), path.parent)
            process.wait()
            peaks.append(peak(process.output))
    at_most = (FLAT_AT_MOST[0] + jobs * FLAT_AT_MOST[1]) / 2**20
    return Row(
        f"peak memory of streams, {jobs // 10:,} and {jobs:,} jobs",
        f"{peaks[0]:.1f} and {peaks[1]:.1f} MB",
        f"≤ {at_most:.1f}",
        peaks[1] <= at_most,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="how many jobs, in times of the usual")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", choices=("cost", "kept", "flat"))
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--input", type=Path)
    parser.add_argument("--root")
    said = parser.parse_args()
    if said.side is not None:
        options = {"base_url": f"{said.root}/v1", "model": "m", "concurrency": 64, "stream": False}
        SIDES[said.side](said.input, options)
        return 0
    parts: dict[str, Callable[[], Iterable[Row]]] = {
        "cost": lambda: costs(int(10_000 * said.scale), said.turns),
        "kept": lambda: kept(int(100_000 * said.scale)),
        "flat": lambda: [flat(int(100_000 * said.scale))],
    }
    met = True
    for name, part in parts.items():
        for row in part() if said.only in (None, name) else ():
            print(f"{'' if row.met else 'NOT MET  '}{row.what:60} {row.value:36} {row.target}", flush=True)
            met = met and row.met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
