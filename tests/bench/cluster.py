"""What a run costs whose requests are made by workers: its own process, and all together, beside one process.

Needs an environment that has Ray: `make bench-ray`. Server, run and workers share all cores.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script

from bench import family
from bench.answers import NATIVE, V1
from bench.case import Case
from bench.clients import BATCHER
from bench.process import load_server

ENGINE: Final = ("--engine", "ray", "--workers", "2")
CASES: Final = (
    (Case("SSE, each its own packet", V1, 256, stream=True, words=200, step=0.005, in_flight=64), 0.15),
    (Case("NDJSON, each its own packet", NATIVE, 256, stream=True, words=200, step=0.005, in_flight=64), 0.15),
    (Case("whole answer, /v1, 256 in flight", V1, 12000, in_flight=256), 0.7),
    (Case("whole answer, native, 256 in flight", NATIVE, 12000, in_flight=256), 0.7),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    failed = False
    print(f"{'case':38} {'alone':>9} {'driver':>9} {'all':>9}   driver/alone (most)   alone/all")
    for case, most in CASES:
        if args.only not in case.name:
            continue
        sized = case.of(max(2, round(case.jobs * args.scale)))
        alone, driver, everybody = _measure(sized, args.turns)
        failed |= driver / alone > most
        print(
            f"{case.name:38} {alone:7.1f}µs {driver:7.1f}µs {everybody:7.1f}µs   {driver / alone:6.2f} ({most:g})"
            f"   {alone / everybody:6.2f} (≥ 0.5)   a {case.unit}",
            flush=True,
        )
    return failed


def _measure(case: Case, turns: int) -> tuple[float, float, float]:
    """µs of CPU a unit: of one process, of the run's with workers, of all processes with workers."""
    alone, driver, everybody = [], [], []
    with load_server(case) as server:
        for _ in range(turns):
            one, one_base = _run(case, server.root), _run(case.of(1), server.root)
            many, many_base = _run(case, server.root, *ENGINE), _run(case.of(1), server.root, *ENGINE)
            units = (case.units - case.of(1).units) / 1e6
            alone.append((one.own - one_base.own) / units)
            driver.append((many.own - many_base.own) / units)
            everybody.append((many.all - many_base.all) / units)
    return median(alone), median(driver), median(everybody)


def _run(case: Case, root: str, *more: str) -> family.Taken:
    with TemporaryDirectory(prefix="batcher-bench-") as made:
        source, results = Path(made, "jobs.jsonl"), Path(made, "results.jsonl")
        case.write_input(source)
        command = BATCHER.command(case, source, results, root)
        start = command.index("run")
        taken = family.run([*command[start:], *more], Path(made))
        case.verify(results)
    return taken


if __name__ == "__main__":
    sys.exit(main())
