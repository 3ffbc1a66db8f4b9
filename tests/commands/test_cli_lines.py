"""Bad lines: each is one error line with its number, and never the end of the run."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.commandline import PROJECT, names, prompts

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from support.commandline import Desk

pytestmark = pytest.mark.slow

BROKEN = {
    2: "input_invalid",
    3: "input_invalid",
    4: "input_encoding",
    5: "input_invalid",
    6: "empty_prompt",
    7: "empty_prompt",
    8: "empty_prompt",
    9: "input_invalid",
    10: "input_invalid",
    11: "input_invalid",
    12: "input_invalid",
    13: "unknown_endpoint",
    14: "image_missing",
    15: "image_outside",
}


def test_the_broken_sample(desk: Desk) -> None:
    """Every bad line of jobs/broken.jsonl is told by its number and code, and the good ones are answered."""
    with simulator_thread() as sim:
        args = ("--base-url", sim.url, "-m", "simulator")
        ran = desk.call("run", PROJECT / "jobs/broken.jsonl", "-o", "results.jsonl", *args)
        assert sim.counts.total() == 2
    assert ran.code == 3
    assert desk.ids() == ["good-1", "good-2"]
    assert {line["line"]: line["error"]["code"] for line in desk.lines("results.errors.jsonl")} == BROKEN
    assert {line["id"] for line in desk.lines("results.errors.jsonl")} >= {"empty", "typo", "nowhere", "outside"}
    assert "14 failed" in ran.err
    assert "mend the 14 lines" in ran.err


def test_odd_but_good_lines(desk: Desk) -> None:
    """A byte order mark, CR LF, blank lines, no last newline, numbers as ids, lone surrogates and U+2028 are fine."""
    path = desk.path / "jobs.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"id":"bom","prompt":"Hi"}\r\n\r\n   \n'
        b'{"id":7,"prompt":"Hi"}\n'
        b'{"id":"lone","prompt":"half \\ud83d a pair"}\n'
        b'{"id":"sep\xe2\x80\xa8arator","prompt":"a\xe2\x80\xa8b"}\n'
        b'{"id":"meta","prompt":"Hi","meta":{"deep":[1,{"a":null}]}}'
    )
    with simulator_thread() as sim:
        args = ("--base-url", sim.url, "-m", "simulator")
        for _ in range(2):
            ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", *args)
            assert ran.code == 0, ran.err
        assert sim.counts.total() == 5
    lines = {line["id"]: line for line in desk.lines()}
    assert {name: line["seq"] for name, line in lines.items()} == {
        "bom": 0,
        "7": 3,
        "lone": 4,
        "sep\u2028arator": 5,
        "meta": 6,
    }  # fmt: skip - a table
    assert lines["meta"]["meta"] == {"deep": [1, {"a": None}]}


def test_lines_without_any_model(desk: Desk) -> None:
    """They are refused by line, in words that say the three ways to name one; the others run."""
    desk.write("jobs.jsonl", {"id": "has", "prompt": "Hi", "model": "simulator"}, {"id": "lacks", "prompt": "Hi"})
    with simulator_thread() as sim:
        ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url)
    assert ran.code == 3
    assert desk.ids() == ["has"]
    assert desk.errors() == {"lacks": "no_model"}
    message = desk.lines("results.errors.jsonl")[0]["error"]["message"]
    assert all(way in message for way in ("on the line", "-m", "MODEL"))


def test_a_file_of_nothing_but_the_same_mistake_stops(desk: Desk) -> None:
    """When the first twenty answers are the same refusal the mistake is in the settings: stop, and leave the rest."""
    wanted = names(200)
    desk.write("jobs.jsonl", *prompts(wanted, "do=bad"))
    with simulator_thread() as sim:
        ran = desk.call(
            *("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator", "-c", "2")
        )
        assert 20 <= sim.counts.total() <= 22
    assert ran.code == 78
    assert "top_logprobs must be between 0 and 20" in ran.err


def test_an_empty_input_is_done(desk: Desk) -> None:
    """No jobs is no failure, and no server is needed to say so of what is there."""
    desk.write("jobs.jsonl")
    with simulator_thread() as sim:
        ran = desk.call("run", "jobs.jsonl", "-o", "results.jsonl", "--base-url", sim.url, "-m", "simulator")
    assert ran.code == 0
    assert "0 of 0 jobs done" in ran.err


def test_help_and_version_are_cheap(desk: Desk) -> None:
    """`python -m batcher --help`, and that of each command, loads neither the network nor tables nor an extra."""
    heavy = {"aiohttp", "rich", "xllamacpp", "uvloop", "dotenv", "batcher.running.engine", "batcher.simulator"}
    for args in (("--help",), ("--version",), ("run", "--help"), ("check", "-h"), ("models", "--help")):
        process = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "batcher", *args],
            cwd=desk.path,
            env=desk.env,
            capture_output=True,
            text=True,
            check=True,
        )  # fmt: skip - two lines
        loaded = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
        assert "batcher.cli" in loaded
        assert loaded & heavy == set()
        assert "batcher" in process.stdout


@pytest.mark.parametrize("said", [None, "mimalloc"])
def test_arrow_keeps_no_pool_of_its_own_unless_it_is_said(desk: Desk, said: str | None) -> None:
    process = subprocess.run(
        [
            sys.executable,
            "-c",
            (
                "import contextlib; from batcher import cli\n"
                "with contextlib.suppress(SystemExit): cli.main()\n"
                "import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
            ),
            "--version",
        ],
        cwd=desk.path,
        env=desk.env | ({"ARROW_DEFAULT_MEMORY_POOL": said} if said else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.endswith(f"\n{said or 'system'}\n")
