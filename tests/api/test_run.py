"""Files of jobs from Python, on a simulated server."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import anyio
import pytest
from support.commandline import Desk, names, prompts

import batcher
from batcher.failures import InputError, UnavailableError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from batcher.simulator import BackgroundSimulator

pytestmark = pytest.mark.usefixtures("sim")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def test_run_returns_the_sums(desk: Desk, sim: BackgroundSimulator) -> None:
    """Done, failed and repeated jobs are counted, the lines are in the files, and a second run resumes."""
    wanted = names(10)
    jobs = desk.write("jobs.jsonl", *prompts(wanted), *prompts(["bad"], "do=bad"), *prompts(wanted[:1]))
    before = [signal.getsignal(number) for number in SIGNALS]
    summary = batcher.run(jobs, desk.path / "results.jsonl", concurrency=3)
    assert isinstance(summary, batcher.Summary)
    assert (summary.ok, summary.failed, summary.duplicates, summary.exit_code()) == (10, 1, 1, 3)
    assert desk.ids() == wanted
    assert desk.errors() == {"bad": "bad_request"}
    assert sim.peak_in_flight <= 3
    again = batcher.run(str(jobs), str(desk.path / "results.jsonl"))
    assert (again.ok, again.skipped, again.failed) == (0, 10, 1)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_run_raises_what_the_caller_has_to_know(desk: Desk, sim: BackgroundSimulator) -> None:
    """Wrong options, inputs and servers are exceptions of their own, alone and not in groups."""
    jobs = desk.write("jobs.jsonl", *prompts(["q"]))
    out = desk.path / "results.jsonl"
    with pytest.raises(UsageError, match="did you mean 'concurrency'"):
        batcher.run(jobs, out, concurency=3)  # type: ignore[call-arg]  # as type checkers say
    with pytest.raises(UsageError, match="concurrency must be at least 1"):
        batcher.run(jobs, out, concurrency=0)
    with pytest.raises(UsageError, match='"temperature" must be a number'):
        batcher.run(jobs, out, params={"temperature": "hot"})
    with pytest.raises(InputError, match="does not exist"):
        batcher.run(desk.path / "nothing.jsonl", out)
    assert batcher.run(jobs, out).ok == 1
    desk.write("jobs.jsonl", {"id": "q", "prompt": "changed"})
    with pytest.raises(InputError, match=r"line 1 \(id 'q'\)"):
        batcher.run(jobs, out)
    sim.kill()
    with pytest.raises(UnavailableError, match="no answer from"):
        batcher.run(jobs, out, base_url=sim.url, max_wait=0.0)
    assert issubclass(UsageError, batcher.BatcherError)


def test_rows_and_templates_from_python(sim: BackgroundSimulator, tmp_path: Path) -> None:
    """What the command can be told of rows, a program can."""
    desk = Desk(tmp_path)
    desk.write("rows.jsonl", {"text": "one"}, {"text": "two"}, {"text": "one"})
    summary = batcher.run(
        tmp_path / "rows.jsonl",
        tmp_path / "results.jsonl",
        prompt="Say {{ text }}",
        repeat=2,
        shard="1/1",
        done_from=[],
        dedupe=True,
    )
    assert (summary.ok, sim.tally.paths["/api/generate"]) == (6, 4)

    async def main() -> list[tuple[bool, str]]:
        async with batcher.stream([{"text": "x"}, {"txt": "x"}], prompt="Say {{ text }}") as results:
            return [(result.ok, result.failure.code if result.failure else "") async for result in results]

    assert sorted(anyio.run(main)) == [(False, "template_column"), (True, "")]
