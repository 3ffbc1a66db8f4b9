"""`batcher simulate` serves, says where it is and what it has seen, and is described as it is."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.commandline import Desk, running

from batcher.commands.simulate import command, report
from batcher.simulator import Tally
from batcher.simulator.__main__ import parser
from batcher.simulator.behaviours import WIRE_FAULTS, Behaviour
from batcher.simulator.chance import PASSING
from batcher.simulator.notation import HINTS
from batcher.simulator.refusals import REFUSALS

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "simulator.md").read_text()


def table(heading: str) -> list[str]:
    """The names in the first column of the tables under a heading."""
    under = DOCUMENT.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [
        name for row in re.findall(r"^\| (`[^|]*) \|", under, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    ]


def names(options: Iterator[str]) -> set[str]:
    return {option for option in options if option.startswith("--")} - {"--help"}


def test_the_document_lists_what_there_is() -> None:
    """Each option, fault, refusal, key of a directive and notation of a hint is described, and no other."""
    options = names(option for param in command.params for option in param.opts)
    assert {option.split()[0] for option in table("Options") if option.startswith("--")} == options
    assert table("Faults") == list(WIRE_FAULTS)
    assert table("Refusals") == list(REFUSALS)
    assert set(table("Directives")) == {found.name for found in fields(Behaviour)} - {"headers"} | {"header.NAME"}
    assert {kind for kind in HINTS if f"`{kind}`" not in DOCUMENT} == set()
    assert {name for name in PASSING if f"`{name}`" not in DOCUMENT} == set()


def test_both_command_lines_have_the_same_options() -> None:
    """What `python -m batcher.simulator` can be told is what people can tell it, but for what tests alone need."""
    theirs = names(option for action in parser()._actions for option in action.option_strings)
    assert theirs - names(option for param in command.params for option in param.opts) == {"--prose", "--keep"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--fault", "nope=1%"), "'nope' is neither a fault nor an HTTP status"),
        (("--fault", "503=200%"), "'200%' is no share of requests"),
        (("--load", "soon"), "'soon' is no duration"),
        (("--fail", "60%", "--fault", "503=50%"), "more than 100%"),
        (("--down-every", "5s"), "--down-every must be longer than --down-for"),
        (("--default", "do=typo"), "unknown fault typo"),
    ],
)
def test_nonsense_is_a_usage_error(desk: Desk, args: tuple[str, ...], words: str) -> None:
    """The message says what is wrong with it."""
    ran = desk.call("simulate", *args)
    assert (ran.code, ran.out) == (2, "")
    assert words in " ".join(ran.err.split())


@pytest.mark.slow
def test_a_run_can_be_tried_on_it(desk: Desk) -> None:
    """It prints its URL and a command that works on it; Ctrl-C is its ordinary end, and then it says what it saw."""
    desk.write("jobs.jsonl", *({"id": f"q{number}", "prompt": f"question {number}"} for number in range(20)))
    settings = ("--slots", "2", "--fault", "reset=20%", "--tokens", "12")
    with running(desk.start("simulate", *settings)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        said = process.stderr.readline() + process.stderr.readline()
        assert f"-m simulator --base-url {url}" in said
        ran = desk.run(
            "run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", url, "-c", "4", "-q"
        )
        process.send_signal(signal.SIGINT)
        report_lines = process.stderr.read()
        assert process.wait(10) == 0
    assert ran.code == 0, ran.err
    assert all(len(line["text"].split()) == 12 for line in desk.lines())
    assert "for 20 prompts" in report_lines
    assert re.search(r"wasted +\d+ answers: \d+ broken off by a fault", report_lines)
    assert "loads    1 simulator:latest" in report_lines


@pytest.mark.slow
def test_a_taken_port_is_said_so(desk: Desk) -> None:
    """It ends with 78 and no traceback."""
    with running(desk.start("simulate", stdin=subprocess.PIPE)) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip().rpartition(":")[2]
        ran = desk.run("simulate", "--port", port)
        process.terminate()
    assert ran.code == 78
    assert f"cannot listen on port {port}" in ran.err


def test_the_report_tells_what_was_seen() -> None:
    """Numbers for people, and no line about what did not happen."""
    tally = Tally(
        counts=Counter(a=3, b=1),
        answered=Counter(a=2, b=1),
        dropped=Counter(a=1),
        refused=Counter(throttled=1200, busy=1),
        loads=Counter({"m:latest": 2}),
        generated=1500,
        outages=1,
        peak_in_flight=64,
        peak_in_service=4,
        peak_waiting=60,
    )
    assert report(tally) == [
        "requests 4 for 2 prompts; 2 requests were repeats, of 1 prompt",
        "answered 3 (1,500 tokens generated)",
        "wasted   2 answers: 1 dropped by the client, 1 answered again",
        "refused  1,200 throttled, 1 busy",
        "at most  64 in flight, 4 in service, 60 waiting",
        "loads    2 m:latest",
        "away     1 time",
    ]
    assert report(Tally()) == [
        *(
            "requests 0 for 0 prompts",
            "answered 0 (0 tokens generated)",
            "at most  0 in flight, 0 in service, 0 waiting",
        )
    ]
