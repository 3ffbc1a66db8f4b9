"""On a terminal: the live line, and nothing in it or beside it that a server or a model could command it with."""

from __future__ import annotations

import os
import pty
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from support.commandline import names, prompts, running

from batcher.simulator import simulator_thread

if TYPE_CHECKING:
    from support.commandline import Desk

pytestmark = pytest.mark.slow

OURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\[\?25[lh]")
"""What the live line itself needs: colours, cursor movement, hiding the cursor."""
HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x1b[2J\x9b2J\x90+q\x9c\u202egnp.exe\x00\x08\rover"
LEFT = "redgnp.exeover"


def on_a_terminal(desk: Desk, *args: str) -> tuple[int, str]:
    """The exit code, and all that the terminal was sent on stderr."""
    terminal, ours = pty.openpty()
    with running(desk.start(*args, stderr=ours, env={"TERM": "xterm-256color"})) as process:
        os.close(ours)
        pieces = []
        try:
            while piece := os.read(terminal, 65536):
                pieces.append(piece)
        except OSError:  # how Linux says that the other side is closed
            pass
        finally:
            os.close(terminal)
        code = process.wait(20)
    return code, b"".join(pieces).decode()


def test_a_live_line_is_shown_while_it_runs(desk: Desk) -> None:
    """Counts grow on the line, it goes at the end, and the sums stand below what was there."""
    desk.write("jobs.jsonl", *prompts(names(30), "ttft=0.1"))
    with simulator_thread() as sim:
        args = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url, "-c", "3")
        code, shown = on_a_terminal(desk, *args)
        assert code == 0
        assert re.search(r"[1-9]\d?/30 \d+%", shown)
        assert "3 in flight" in shown
        assert "jobs/s" in shown
        assert shown.rstrip().splitlines()[-1].startswith("results")
        for silent in ("--no-progress", "-q"):
            _, plain = on_a_terminal(desk, *args, silent, "--overwrite")
            assert "\x1b" not in plain
            assert "in flight" not in plain
    assert desk.ids() == names(30)


def test_no_live_line_where_there_is_no_terminal(desk: Desk) -> None:
    """A log file gets sentences; --progress asks for the line all the same."""
    desk.write("jobs.jsonl", *prompts(names(4), "ttft=0.2"))
    with simulator_thread() as sim:
        args = ("run", "jobs.jsonl", "-o", "results.jsonl", "-m", "simulator", "--base-url", sim.url, "--overwrite")
        assert "\x1b" not in desk.run(*args).err
        assert "in flight" in desk.run(*args, "--progress", env={"TERM": "xterm"}).err


@pytest.mark.parametrize("progress", ["--progress", "--no-progress"])
def test_hostile_words_do_not_reach_the_terminal_raw(desk: Desk, progress: str) -> None:
    """Answers, ids, error words and model names are shown without a control character of theirs."""
    desk.write(
        "jobs.jsonl",
        {"id": f"i{HOSTILE}", "prompt": f"[[sim say={quote(HOSTILE)}]]"},
        {"id": "bad", "prompt": f"[[sim do=bad message={quote(HOSTILE)}]]"},
        {"id": "model", "model": f"m{HOSTILE}", "prompt": "Hi"},
        {"id": "key", "prompt": "Hi", f"k{HOSTILE}": 1},
        {"id": "url", "url": f"/v1/{HOSTILE}", "prompt": "Hi"},
    )
    with simulator_thread() as sim:
        server = ("--base-url", sim.url, "-m", "simulator")
        runs = [
            on_a_terminal(desk, "run", "jobs.jsonl", "-o", "results.jsonl", "-v", progress, *server),
            on_a_terminal(desk, "run", f"no{HOSTILE.replace(chr(0), '')}.jsonl", "-o", "other.results.jsonl", *server),
        ]
        looked = desk.run("check", "jobs.jsonl", *server)
    assert [code for code, _ in runs] == [78, 65]
    shown = OURS.sub("", "".join(text for _, text in runs)) + looked.out + looked.err
    assert LEFT in shown
    assert set(re.findall(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e]", shown)) == set()
    assert "owned" not in shown
    assert "\x1b[31m" not in runs[0][1].replace("\x1b[31m━", "")
    assert desk.lines()[0]["text"] == HOSTILE  # kept as it is where it is data
