"""What a run costs whose requests are made by workers: its own process, and all together, beside one process.

And what kills of workers cost, and what a second worker with a model of its own brings. Needs an environment that has
Ray: `make bench-ray`. Server, run and workers share all cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script

from bench import family
from bench.answers import NATIVE, V1
from bench.case import Case
from bench.clients import BATCHER
from bench.process import load_server

ENGINE: Final = ("--engine", "ray", "--workers", "2")
LONGEST: Final = 280.0
"""Seconds for the run whose workers are killed."""
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
    if args.only in "kills":
        failed |= not kills(max(200, round(20_000 * args.scale)))
    if args.only in "local":
        failed |= not local(max(20, round(120 * args.scale)))
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


def kills(jobs: int) -> bool:
    """Kill a worker again and again, 30 times in 20,000 jobs; count what is lost, and what is asked twice."""
    case = Case("kills", V1, jobs, stream=True, words=20, step=0.05, in_flight=256)
    wanted = max(2, round(30 * jobs / 20_000))
    killed: list[int] = []
    with load_server(case) as server, TemporaryDirectory(prefix="batcher-bench-") as made:
        source, results = Path(made, "jobs.jsonl"), Path(made, "results.jsonl")
        case.write_input(source)
        command = [*BATCHER.command(case, source, results, server.root), "--engine", "ray", "--workers", "3"]
        command.remove("--quiet")
        server.seen()
        began = time.monotonic()
        run = subprocess.Popen(command, cwd=made, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        done = 0
        while run.poll() is None and time.monotonic() < began + LONGEST:
            time.sleep(0.2)
            done = results.read_bytes().count(b"\n") if results.exists() else 0
            workers = family.named(run.pid, "ray::Actor")
            if len(killed) < wanted * done / jobs / 0.9 and len(workers) > 1 and len(killed) < wanted:
                os.kill(workers[0], signal.SIGKILL)
                killed.append(workers[0])
        run.kill()
        words = run.communicate()[1]
        case.verify(results)  # each job has one line with what the server sent
        asked = server.seen().requests
        flown = sum(map(int, re.findall(r"its (\d+) calls? (?:is|are) sent again", words)))
        within = time.monotonic() - began
    print(
        f"kills of workers: {len(killed)} in {jobs} jobs: 0 lost, 0 twice; "
        f"{asked - jobs} sent again, of {flown} that were in flight on them; {within:.0f} s"
    )
    return len(killed) == wanted and asked - jobs <= flown


def local(jobs: int) -> bool:
    """Jobs a second of two workers, each with a model of one thread, beside one."""
    speeds: list[float] = []
    for workers in (1, 2):
        with TemporaryDirectory(prefix="batcher-bench-") as made:
            lines = (f'{{"id":"{n}","prompt":"Tell me of {n}.","max_tokens":48,"seed":1}}\n' for n in range(jobs))
            Path(made, "jobs.jsonl").write_text("".join(lines))
            options = (
                "--local",
                "--slots",
                "2",
                "--engine",
                "ray",
                "--workers",
                str(workers),
                "--no-progress",
                "--quiet",
            )
            family.run(["run", "jobs.jsonl", "-o", "results.jsonl", *options], Path(made))
            ended = [json.loads(line) for line in Path(made, "results.jsonl").read_text().splitlines()]
        tokens = sum(line["usage"]["completion_tokens"] for line in ended)
        spans = [_span(line["timing"]) for line in ended]
        speeds.append(tokens / (max(end for _, end in spans) - min(start for start, _ in spans)))
    one, two = speeds
    print(f"--local, one thread a worker: {one:.0f} and {two:.0f} tokens/s, {two / one:.2f} (≥ 1.7)")
    return two >= 1.7 * one


def _span(timing: dict[str, Any]) -> tuple[float, float]:
    """From when to when an answer was waited for."""
    start = datetime.fromisoformat(timing["started_at"]).timestamp()
    return start, start + timing["total_s"]


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
