"""How near `batcher bench` comes to the best fixed number of requests in flight, which every number is tried for.

Three simulated servers (slots, a batch that shares its speed, a limit by the minute) and a real llama.cpp. The grid is
none of batcher's: so many loops ask one server each, all numbers at once where servers only wait, one after the other
on the real one; what counts is the tokens that come in a window in which the server has settled, for the limit its
second minute: an answer that waits for its slot adds nothing while it waits. The ratio is what the grid found for the
knee of `bench`, of the most that it found. Simulated servers need a machine with time to spare: where this process is
late, that is said, and fails. From the real server's windows the seconds are taken in which the thread that computes
was ready and got no core. Exits with 1 if a ratio is below the target.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import aiohttp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a script, as the Makefile does

from bench.pace_real import jobs, threads, waited_for_a_core
from support.commandline import Desk
from support.realserver import MODEL, server_process

from batcher.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TARGET: Final = 0.95
"""Of the best fixed number's tokens a second."""
LEVELS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16)
"""What is tried on simulated servers: what `bench` may try with `--up-to 16`, and all others up to 8."""
REAL: Final = (1, 2, 3, 4, 6, 8)
"""What `bench` may try on the real one with `--up-to 8`."""
ROUNDS: Final = 4
REAL_SECONDS: Final = 20.0
"""How long each step on the real one sends: with fewer answers their lengths decide, and not the server."""
CONTENT: Final = b'"content":"'
EMPTY: Final = b'"content":""'
LOOK: Final = 0.1
LATE: Final = 0.05
"""Seconds by which this process may be late on average; more, and a server that only waits is not what it says."""
PATIENCE: Final = 900.0
"""Seconds for one sweep."""


class Scene(NamedTuple):
    """A simulated server, and the seconds from its start between which the grid counts."""

    name: str
    settings: Mapping[str, Any]
    start: float
    end: float


ANSWER: Final = {"tokens": 5, "sigma": 0.4, "look": "openai"}
SCENES: Final = (
    Scene("6 slots", {**ANSWER, "slots": 6, "token_delay": 0.4}, 5.0, 45.0),
    Scene("a batch of 8", {**ANSWER, "slots": 8, "speed": 4.0, "total_speed": 20.0}, 5.0, 45.0),
    Scene("120 a minute", {**ANSWER, "token_delay": 0.4, "rpm": 120.0}, 60.0, 120.0),
)


@dataclass(slots=True)
class Window:
    """Tokens that come in it, each a record of its own."""

    start: float
    end: float
    tokens: int = 0
    codes: Counter[int] = field(default_factory=Counter)

    def add(self, record: bytes) -> None:
        self.tokens += CONTENT in record and EMPTY not in record and self.start <= time.monotonic() <= self.end


async def loop(
    session: aiohttp.ClientSession, url: str, bodies: Iterator[dict[str, Any]], window: Window, until: float
) -> None:
    """Ask one after the other until a time is over; who is told to wait does."""
    while time.monotonic() < until:
        async with session.post(f"{url}/v1/chat/completions", json=next(bodies)) as answer:
            window.codes[answer.status] += 1
            if answer.status == 200:
                async for record in answer.content:
                    window.add(record)
            else:
                await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))


def bodies(model: str, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {
            "model": model,
            "stream": True,
            "messages": [{"role": "user", "content": row["prompt"]}],
            **{name: value for name, value in row.items() if name in ("max_tokens", "temperature")},
        }


async def ask(url: str, level: int, model: str, rows: Iterator[dict[str, Any]], window: Window) -> None:
    """Have so many in flight at a server until a window is over."""
    asked = bodies(model, rows)
    no_limit = aiohttp.TCPConnector(limit=0, force_close=True)  # llama.cpp closes kept ones when it likes
    async with aiohttp.ClientSession(connector=no_limit) as session:
        await asyncio.gather(*(loop(session, url, asked, window, window.end) for _ in range(level)))


async def cell(scene: Scene, level: int) -> float:
    """Tokens a second of one number in flight at a server of its own."""
    async with Simulator(**scene.settings) as server:
        began = time.monotonic()
        window = Window(began + scene.start, began + scene.end)
        rows = ({"prompt": f"[[sim id=g{number}]]"} for number in count())
        await ask(server.url, level, "simulator", rows, window)
    return window.tokens / (scene.end - scene.start)


async def swept(url: str, model: str, rows: list[dict[str, Any]], *more: str) -> dict[str, Any]:
    """What `batcher bench` says, as a process of its own."""
    with TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        desk.write("jobs.jsonl", *rows)
        command = desk.command("bench", "jobs.jsonl", "--base-url", url, "-m", model, "--json", "-q", *more)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=desk.env, stdout=pipe, stderr=pipe)
        try:
            out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        finally:
            if process.returncode is None:
                process.kill()
    if process.returncode:
        raise RuntimeError(f"bench ended with {process.returncode}: {err.decode()}")
    found: dict[str, Any] = json.loads(out)
    return found


async def simulated(scene: Scene, seconds: float) -> tuple[dict[str, Any], dict[int, float]]:
    """The sweep and the grid of a simulated server, at once, as all only wait."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Simulator(**scene.settings))
        rows = [{"id": f"b{number}", "prompt": f"[[sim id=b{number}]]"} for number in range(4000)]
        args = ("--up-to", str(LEVELS[-1]), "--seconds", f"{seconds}s")
        sweep = asyncio.create_task(swept(f"{server.url}/v1", "simulator", rows, *args))
        rates = await asyncio.gather(*(cell(scene, level) for level in LEVELS))
        return await sweep, dict(zip(LEVELS, rates, strict=True))


async def real(seconds: float) -> tuple[dict[str, Any], dict[int, float]]:
    """The sweep and then the grid of a real server, as each of them takes all that it has."""
    with server_process() as (url, pid):
        found = await swept(url, MODEL, jobs(600), "--up-to", str(REAL[-1]), "--seconds", f"{seconds}s")
        rates: dict[int, list[float]] = {level: [] for level in REAL}
        rows = iter(jobs(20_000)[1000:])
        for turn in range(ROUNDS):
            for level in REAL[:: 1 if turn % 2 else -1]:
                began = time.monotonic()
                window = Window(began + 1, began + 1 + seconds)
                before = threads(pid)
                await ask(url.removesuffix("/v1"), level, MODEL, rows, window)
                all_of_it = time.monotonic() - began
                hindered = waited_for_a_core(before, threads(pid)) * seconds / all_of_it
                rates[level].append(window.tokens / (seconds - hindered))
    return found, {level: sum(each) / len(each) for level, each in rates.items()}


def told(name: str, found: dict[str, Any], grid: dict[int, float]) -> float:
    """Print what was found; the ratio."""
    best = max(grid, key=lambda level: grid[level])
    ratio = grid[found["knee"]] / grid[best]
    levels = " ".join(f"{level}:{rate:.1f}" for level, rate in grid.items())
    steps = " ".join(f"{step['concurrency']}:{step['tokens_per_s'] or 0:.1f}" for step in found["steps"])
    missed = "  MISSED" if ratio < TARGET else ""
    print(
        f"{name:14} knee {found['knee']:3}  {grid[found['knee']]:7.1f} tokens/s  best {best:3} {grid[best]:7.1f}  "
        f"ratio {ratio:.3f}{missed}   {found['config']!r}\n{'':14} grid {levels}\n{'':14} steps {steps}",
        flush=True,
    )
    return ratio


async def watch(late: list[float]) -> None:
    """How much later than it should this process runs."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(LOOK)
        late.append(time.monotonic() - began - LOOK)


async def all_of(only: str, seconds: float) -> list[float]:
    wanted = [scene for scene in SCENES if only in scene.name]
    late: list[float] = [0.0]
    watching = asyncio.create_task(watch(late))
    results = await asyncio.gather(*(simulated(scene, seconds) for scene in wanted))
    watching.cancel()
    ratios = [told(scene.name, *result) for scene, result in zip(wanted, results, strict=True)]
    if (mean := sum(late) / len(late)) > LATE:
        print(f"{'':14} BUSY: this process was {mean:.3f} s late on average, so these figures say little", flush=True)
        ratios.append(0.0)
    if only in "llama.cpp":
        try:
            ratios.append(told("llama.cpp", *await real(REAL_SECONDS * seconds / 12)))
        except RuntimeError as error:  # where others have the cores no answer comes within a step
            print(f"llama.cpp      NOT MEASURED: {error}", flush=True)
            ratios.append(0.0)
    return ratios


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="servers whose name contains this")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long each step of a sweep sends")
    arguments = parser.parse_args()
    ratios = asyncio.run(all_of(arguments.only, arguments.seconds))
    return 0 if ratios and min(ratios) >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
