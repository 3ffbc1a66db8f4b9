"""stdin and stdout, and what is said where: results to stdout, sentences to stderr."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from support.commandline import ended, names, prompts, read_lines, running, until

from batcher.simulator import simulator_thread, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk

    from batcher.simulator import BackgroundSimulator

pytestmark = pytest.mark.slow


@pytest.fixture
def sim() -> Iterator[BackgroundSimulator]:
    with simulator_thread() as simulator:
        yield simulator


def jsonl(*lines: dict[str, str]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_jobs_come_in_and_results_go_out_by_pipes(desk: Desk, sim: BackgroundSimulator) -> None:
    """`run - -o -` writes results and nothing else to stdout; failures go to --errors."""
    wanted = names(20)
    lines = [*prompts(wanted), *prompts(["bad"], "do=bad")]
    args = ("run", "-", "-o", "-", "-m", "simulator", "--base-url", sim.url, "--errors", "errors.jsonl")
    ran = desk.run(*args, stdin=jsonl(*lines))
    assert ran.code == 3
    assert sorted(line["id"] for line in read_lines(ran.out)) == wanted
    assert desk.errors("errors.jsonl") == {"bad": "bad_request"}
    assert "20 of 21 jobs done" in ran.err


def test_answers_come_while_the_writer_still_writes(desk: Desk, sim: BackgroundSimulator) -> None:
    """A pipe that stays open holds nothing up: each line is answered before the next is written, packs too."""
    args = ("run", "-", "-o", "-", "-m", "simulator", "--base-url", sim.url, "--pack", "8")
    with running(desk.start(*args, stdin=subprocess.PIPE)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for name in names(3):
            for line in (*prompts([name]), {"id": f"v{name}", "input": "some text"}):
                process.stdin.write(jsonl(line))
                process.stdin.flush()
                assert json.loads(process.stdout.readline())["id"] == line["id"]
        assert process.poll() is None
        assert ended(process).code == 0


def test_a_pipe_full_of_short_lines_does_not_get_stuck(desk: Desk, sim: BackgroundSimulator) -> None:
    """More lines in one read than are held at a time: all are taken in, none is lost."""
    count = 4700
    reader, writer = os.pipe()
    assert os.write(writer, b'{"text":"a"}\n' * count) == 13 * count  # what a pipe holds, and one read takes
    os.close(writer)
    with (
        (desk.path / "many.jsonl").open("w") as results,
        running(
            desk.start(
                *("run", "-", "-o", "-", "-m", "simulator", "--base-url", sim.url, "--pack", "64", "-q"),
                stdin=reader,
                stdout=results,
            )
        ) as process,
    ):
        os.close(reader)
        assert ended(process).code == 0
    lines = (desk.path / "many.jsonl").read_text().splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == len(lines) == count


def test_results_of_a_pipe_can_be_resumed(desk: Desk, sim: BackgroundSimulator) -> None:
    """Into a file, what is done is skipped also when the input comes from a pipe; a changed job is refused (65)."""
    args = ("run", "-", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url)
    assert desk.run(*args, stdin=jsonl(*prompts(["a", "b"]))).code == 0
    assert desk.run(*args, stdin=jsonl(*prompts(["a", "b", "c"]))).code == 0
    assert sim.counts == {"a": 1, "b": 1, "c": 1}
    ran = desk.run(*args, stdin=jsonl(*prompts(["a"]), {"id": "b", "prompt": "changed"}))
    assert ran.code == 65
    assert "line 2 (id 'b')" in ran.err
    assert sim.counts.total() == 3


def test_a_dry_run_sends_nothing(desk: Desk, sim: BackgroundSimulator) -> None:
    """It prints the first requests as they would go, says which lines would be refused, and writes no file."""
    path = desk.write("jobs.jsonl", *prompts(["a"], "tokens=3"), {"id": "x", "promt": "?"}, *prompts(["b", "c", "d"]))
    ran = desk.call("run", "jobs.jsonl", "--dry-run", "--base-url", f"{sim.url}/v1", "-m", "simulator")
    assert ran.code == 0
    assert ran.out.count(f"POST {sim.url}/v1/chat/completions") == 3
    assert '"model": "simulator"' in ran.out
    assert "line 2 would be refused" in ran.err
    assert sim.tally.connections == 0
    assert list(desk.path.iterdir()) == [path]
    piped = desk.run("run", "-", "-o", "-", "--dry-run", "-m", "simulator", stdin=jsonl(*prompts(["a"])))
    assert (piped.code, piped.out.count("POST http://127.0.0.1:11434/api/generate")) == (0, 1)


def test_how_much_is_said(desk: Desk, sim: BackgroundSimulator) -> None:
    """-q says nothing of a success and all of a failure; -v shows each answer; the default sums up."""
    desk.write("jobs.jsonl", *prompts(["good"]))
    run = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url, "--overwrite")
    assert desk.call(*run, "-q") == (0, "", "")
    assert "\nbatcher: good  " in desk.call(*run, "-v").err
    assert text("good")[:20] in desk.call(*run, "-v").err
    usual = desk.call(*run).err
    assert text("good")[:20] not in usual
    assert "1 of 1 job done" in usual
    desk.write("jobs.jsonl", *prompts(["bad"], "do=bad"))
    quiet = desk.call(*run, "-q")
    assert quiet.code == 3
    assert "1 failed" in quiet.err


def test_the_summary_for_programs(desk: Desk, sim: BackgroundSimulator) -> None:
    """--summary-json is whole JSON whose counts agree with the files, written also when jobs failed."""
    good = names(5)
    desk.write("jobs.jsonl", *prompts(good), *prompts(["bad"], "do=bad"), *prompts(["again"], "do=empty500 times=1"))
    args = ("--summary-json", "sums.json", "--base-url", sim.url)
    ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", *args)
    sums = json.loads((desk.path / "sums.json").read_bytes())
    assert ran.code == sums["exit_code"] == 3
    assert (
        sums["jobs"].items()
        >= {
            "total": 7,
            "ok": 6,
            "skipped": 0,
            "failed": 1,
            "invalid": 0,
            "pending": 0,
            "duplicates": 0,
        }.items()
    )  # fmt: skip - a table
    assert (sums["attempts"], sums["retries"]) == (sim.counts.total(), 1)
    assert sums["tokens"]["completion"] == sum(line["usage"]["completion_tokens"] for line in desk.lines())
    assert sums["failures"]["bad_request"]["count"] == 1
    assert sums["stop"] is None


@pytest.mark.parametrize("look", ["native", "openai"])
def test_the_whole_response_is_there_on_request(desk: Desk, look: str) -> None:
    """--raw adds the response object as if it had not been streamed; the rest of the line is the same."""
    desk.write("jobs.jsonl", *prompts(["q"]))
    with simulator_thread(look=look) as sim:
        args = ("--base-url", sim.url, "-m", "simulator", "-q")
        for name, extra in (("raw", ("--raw",)), ("whole", ("--raw", "--no-stream")), ("plain", ())):
            assert desk.call("run", "jobs.jsonl", "-o", f"{name}.results.jsonl", *args, *extra).code == 0
    [raw], [whole], [plain] = (desk.lines(f"{name}.results.jsonl") for name in ("raw", "whole", "plain"))
    assert set(raw) - set(plain) == {"raw"}
    assert set(raw["raw"]) == set(whole["raw"])
    kept = raw["raw"]["response"] if look == "native" else raw["raw"]["choices"][0]["message"]["content"]
    assert kept == plain["text"] == text("q")


def test_doubtful_answers_fail_on_request(desk: Desk, sim: BackgroundSimulator) -> None:
    """A flag on the line as a rule; an error line with the partial text, and no second try, with --fail-on."""
    desk.write(
        "jobs.jsonl", *prompts(["cut"], "do=length"), *prompts(["none"], "do=empty"), *prompts(["good"], "tokens=3")
    )
    prices = ("--price-in", "1e6", "--price-out", "2e6")
    run = ("run", "jobs.jsonl", "-m", "simulator", "--base-url", sim.url, *prices, "-o")
    flagged = desk.call(*run, "flagged.results.jsonl")
    assert flagged.code == 0
    assert "flags" in flagged.err
    flags = {line["id"]: line.get("flags") for line in desk.lines("flagged.results.jsonl")}
    assert flags == {"cut": ["length"], "none": ["empty"], "good": None}
    failed = desk.call(*run, "failed.results.jsonl", "--fail-on", "length,empty", "--summary-json", "sums.json")
    assert failed.code == 3
    assert desk.errors("failed.results.errors.jsonl") == {"cut": "length", "none": "empty"}
    partial = {line["id"]: line.get("partial") for line in desk.lines("failed.results.errors.jsonl")}
    assert partial == {"cut": text("cut"), "none": None}
    assert sim.counts["cut"] == 2
    usages = {line["id"]: line["usage"] for line in desk.lines("flagged.results.jsonl")}
    assert {line["id"]: line["usage"] for line in desk.lines("failed.results.errors.jsonl")} | {
        line["id"]: line["usage"] for line in desk.lines("failed.results.jsonl")
    } == usages
    told = {name: sum(usage.get(f"{name}_tokens", 0) for usage in usages.values()) for name in ("prompt", "completion")}
    for sums in (
        json.loads((desk.path / "sums.json").read_text()),
        json.loads(desk.call("stats", "failed.results.jsonl", "--json", *prices).out),
    ):
        assert {name: sums["tokens"][name] for name in told} == told
        assert (sums["cost"], sums["unpriced"]) == (told["prompt"] + 2 * told["completion"], 0)
    assert desk.call("stats", "failed.results.jsonl", "-o", "rows.csv", *prices).code == 0
    rows = (desk.path / "rows.csv").read_text().splitlines()
    assert sum(float(row["cost"]) for row in csv.DictReader(rows)) == pytest.approx(sums["cost"])


def test_the_reader_may_be_slow(desk: Desk, sim: BackgroundSimulator) -> None:
    """A stdout that is full holds the run back instead of filling memory or losing lines."""
    wanted = names(300)
    desk.write("jobs.jsonl", *prompts(wanted, "tokens=300"))
    args = ("run", "jobs.jsonl", "-o", "-", "-m", "simulator", "--base-url", sim.url, "-q", "-c", "2")
    with running(desk.start(*args)) as process:
        until(lambda: sim.tally.answered.total() >= 5)
        ran = ended(process)
    assert ran.code == 0
    assert sorted(line["id"] for line in read_lines(ran.out)) == wanted
