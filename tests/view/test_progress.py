"""The live line: what it says, how speed is measured, and that it stays out of everything but a terminal."""

from __future__ import annotations

import io
import math
import os
import pty
import select
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from batcher.view.line import QUIET, SERVERS, describe, rows, state
from batcher.view.pace import APART, WINDOW, Pace
from batcher.view.progress import REDRAW, Progress
from batcher.view.snapshot import ServerNow, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


def pace_of(*snapshots: Snapshot) -> Pace:
    pace = Pace()
    for snapshot in snapshots:
        pace.add(snapshot)
    return pace


def test_state() -> None:
    """Asked once, the line tells the speed of the whole run, and what is parked."""
    snapshot = Snapshot(elapsed=20.0, ok=30, failed=10, skipped=60, in_flight=4, parked=3, tokens=800, total=200)
    assert state(snapshot) == (
        "100/200 50% · 10 failed · 4 in flight · 3 parked · 2.00 jobs/s · 40.0 tok/s · 20 s · ETA 50 s"
    )
    assert (
        state(Snapshot(elapsed=0.0, note="waiting for the server"))
        == "0 done · waiting for the server · 0 in flight · 0.0 s"
    )


@pytest.mark.parametrize(
    ("cost", "unpriced", "words"), [(None, 0, ""), (0.5, 0, "cost 0.50"), (0.0, 3, "+ 3 unpriced")]
)
def test_the_line_tells_a_cost_that_is_not_all(cost: float | None, unpriced: int, words: str) -> None:
    """Answers whose price is not known are said beside it."""
    line = state(Snapshot(elapsed=1.0, cost=cost, unpriced=unpriced))
    assert words in line
    assert ("unpriced" in line) == bool(unpriced)
    assert ("cost" in line) == (cost is not None)


def test_line() -> None:
    """The line says how far, what failed, what is awaited, and how fast."""
    first = Snapshot(elapsed=0.0, skipped=1000, total=10_000)
    last = Snapshot(
        elapsed=10.0, ok=196, failed=4, skipped=1000, in_flight=16, tokens=8120, total=10_000, note="waiting for server"
    )
    assert describe(last, pace_of(first, last)) == (
        "1,200/10,000 12% · 4 failed · waiting for server · 16 in flight · 20.0 jobs/s · 812 tok/s · 10 s · ETA 7m 20s"
    )


@pytest.mark.parametrize(
    ("snapshot", "line"),
    [
        (Snapshot(elapsed=0.0), "0 done · 0 in flight · 0.0 s"),
        (Snapshot(elapsed=65.0, ok=3, in_flight=2), "3 done · 2 in flight · 1m 05s"),
        (Snapshot(elapsed=1.0, total=0), "0/0 100% · 0 in flight · 1.0 s"),
        (Snapshot(elapsed=1.0, ok=999, total=1000), "999/1,000 99% · 0 in flight · 1.0 s"),
        (Snapshot(elapsed=1.0, ok=7, total=5), "7/5 100% · 0 in flight · 1.0 s"),
    ],
)
def test_line_with_little_to_say(snapshot: Snapshot, line: str) -> None:
    """What is not known is left out; a share is never rounded up to all."""
    assert describe(snapshot, pace_of(snapshot)) == line


@pytest.mark.parametrize("width", [120, 80, 60, 40, 26])
@pytest.mark.parametrize("note", ["", "waiting for http://127.0.0.1:11434: connection refused"])
def test_a_narrow_line_keeps_the_eta(width: int, note: str) -> None:
    """What matters least goes first; how far and how long yet stay to the last."""
    last = Snapshot(elapsed=10.0, ok=196, failed=4, in_flight=16, allowed=64, tokens=8120, total=10_000, note=note)
    line = describe(last, pace_of(Snapshot(elapsed=0.0), last), width)
    assert len(line) <= width
    assert line.startswith("200/10,000 2%")
    assert line.endswith("ETA 8m 10s")
    assert ("16/64 in flight" in line) == (width >= (80 if note else 60))
    assert ("waiting for ht" in line) == (bool(note) and width >= 60)


def test_hostile_note() -> None:
    """A server's words cannot command the terminal."""
    line = describe(Snapshot(elapsed=0.0, note="refused\x1b[2J\x1b]0;x\x07\n\rby [red]server[/red]"), Pace())
    assert line.isprintable()
    assert "by [red]server[/red]" in line


def test_pace_is_of_late() -> None:
    """Speed is measured over the last seconds: what was fast before a pause is not fast now."""
    pace = pace_of(*(Snapshot(elapsed=float(t), ok=100 * t, tokens=1000 * t, total=10_000) for t in range(51)))
    assert (pace.jobs, pace.tokens, pace.remaining()) == (100.0, 1000.0, 50.0)
    for t in range(51, 51 + int(WINDOW)):
        pace.add(Snapshot(elapsed=float(t), ok=5000, tokens=50_000, total=10_000))
    assert (pace.jobs, pace.tokens, pace.remaining()) == (0.0, 0.0, None)


SOME = 300
"""Jobs of the inputs below."""


@pytest.mark.parametrize(
    ("seconds", "ok", "wait", "held", "most", "eta"),
    [
        (10, 100, 0.0, 0.0, math.inf, 20.0),  # nothing holds it
        (20, 100, 38.0, 10.0, math.inf, 58.0),  # 10 s of work, then a wait of which 38 s are left
        (48, 100, 10.0, 38.0, math.inf, 30.0),  # the same, later: the pace is that of the work
        (100, 100, 10.0, 90.0, math.inf, 30.0),  # and when all of the window was waiting
        (10, 100, 0.0, 0.0, 5.0, 40.0),  # a rate limit allows half of that
        (10, 10, 54.0, 8.0, 10 / 60, 1740.0),  # ten a minute, the first ten gone
        (10, 100, math.inf, 5.0, math.inf, None),  # a server that is away: nobody knows
        (10, 0, 0.0, 0.0, math.inf, None),
        (10, 0, 20.0, 10.0, math.inf, None),
    ],
)
def test_a_known_wait_is_in_the_eta(
    *, seconds: int, ok: int, wait: float, held: float, most: float, eta: float | None
) -> None:
    """What is left takes as long as it does while requests may go, after the wait, and no limit lets it be sooner."""
    pace = Pace()
    worked = seconds - held
    for t in range(seconds + 1):
        share = min(1.0, t / worked) if worked else 0.0
        now = Snapshot(
            elapsed=float(t), ok=round(ok * share), total=SOME, wait=wait, held=max(0.0, t - worked), most=most
        )
        pace.add(now)
    found = pace.remaining()
    assert found == (None if eta is None else pytest.approx(eta, rel=0.02))


def test_what_is_asked_again_late_is_in_the_eta() -> None:
    """It cannot be done sooner, however fast the others are."""
    assert pace_of(Snapshot(elapsed=0.0), Snapshot(elapsed=10.0, ok=90, total=100, least=300.0)).remaining() == 300.0


def test_a_step_back_is_no_speed() -> None:
    """Pieces of an answer that broke off are gone, and the speed is no less than none."""
    assert pace_of(Snapshot(elapsed=0.0, tokens=500), Snapshot(elapsed=1.0, tokens=20)).tokens == 0.0


def test_rows_below_the_line() -> None:
    """What is waited for, why jobs fail, and each of several servers; nothing where there is nothing to say."""
    assert rows(Snapshot(elapsed=1.0, ok=3), 80) == []
    servers = tuple(ServerNow(server=f"http://host-{n}", ok=n, in_flight=1, allowed=2) for n in range(SERVERS + 3))
    shown = Snapshot(elapsed=9.0, failed=1, newest="bad: no\x1b[2J", note="rate limit: 38 s", servers=servers[:2])
    assert rows(shown, 80) == [
        "  waiting: rate limit: 38 s",
        "  failed: bad: no",
        "  http://host-0 · 0 done · 1/2 in flight",
        "  http://host-1 · 1 done · 1/2 in flight",
    ]
    assert rows(shown, 20)[0] == "  waiting: rate lim…"
    assert rows(Snapshot(elapsed=9.0, servers=servers), 80)[-1] == "  and 3 servers more"


def test_a_slow_server_and_a_silent_one() -> None:
    """Where nothing has come for a while that is told; what is known to be waited for says more."""
    assert rows(Snapshot(elapsed=9.0, in_flight=2, quiet=QUIET + 1), 80) == ["  nothing has come for 4.0 s"]
    assert rows(Snapshot(elapsed=9.0, in_flight=2, quiet=QUIET / 2), 80) == []
    assert rows(Snapshot(elapsed=9.0, quiet=60.0, note="rate limit: 38 s"), 80) == ["  waiting: rate limit: 38 s"]


def test_pace_before_it_is_known() -> None:
    """One look is no speed, two at the same moment are none either, and jobs done before the run are no speed."""
    assert (Pace().jobs, Pace().remaining()) == (0.0, None)
    assert pace_of(Snapshot(elapsed=1.0, ok=5)).jobs == 0.0
    assert pace_of(Snapshot(elapsed=1.0, ok=5), Snapshot(elapsed=1.0, ok=9)).jobs == 0.0
    assert pace_of(Snapshot(elapsed=0.0), Snapshot(elapsed=1.0, skipped=50)).jobs == 0.0


def test_pace_in_little_memory() -> None:
    """However often it is shown a run, it keeps no more than the window holds."""
    pace = pace_of(*(Snapshot(elapsed=n / 1000, ok=n) for n in range(60_000)))
    assert len(pace._seen) <= 2 * WINDOW / APART + 2
    assert pace.jobs == pytest.approx(1000.0)


def test_silent_off_a_terminal() -> None:
    """In a file or a pipe nothing appears, and the library that draws is not even loaded."""
    program = (
        "import io, sys; from batcher.view.progress import Progress; from batcher.view.snapshot import Snapshot\n"
        "file = io.StringIO()\n"
        "with Progress(file, 10) as progress: progress.update(Snapshot(elapsed=1.0, ok=5))\n"
        "assert not file.getvalue(); assert 'rich' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    file = io.StringIO()
    with Progress(file, shown=False) as progress:
        progress.update(Snapshot(elapsed=1.0))
    assert file.getvalue() == ""


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, TextIO]]:
    """A terminal of 120 columns: the end a person looks at, and the file a program writes to."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    screen, side = pty.openpty()
    termios.tcsetwinsize(side, (24, 120))
    with os.fdopen(side, "w", encoding="utf-8") as file:
        yield screen, file
    os.close(screen)


def _read(screen: int) -> str:
    """All that was drawn: a terminal hands it over in pieces."""
    drawn = b""
    while select.select([screen], [], [], 0.2)[0]:
        drawn += os.read(screen, 65536)
    return drawn.decode()


def test_drawn_on_a_terminal(terminal: tuple[int, TextIO], capfd: pytest.CaptureFixture[str]) -> None:
    """On a terminal the line appears, follows the run, and is gone at the end; standard output is left alone."""
    screen, file = terminal
    stdout = sys.stdout
    with Progress(file, 10) as progress:
        assert sys.stdout is stdout
        progress.update(Snapshot(elapsed=1.0, ok=3, note="waiting for server"))
        progress.update(Snapshot(elapsed=1.0 + REDRAW / 2, ok=4))
        progress.update(Snapshot(elapsed=2.0, ok=5))
    file.flush()
    drawn = _read(screen)
    assert "3/10 30% · 0 in flight" in drawn
    assert "waiting: waiting for server" in drawn
    assert "4/10" not in drawn
    assert "5/10 50%" in drawn
    assert drawn.index("5/10") < drawn.rindex("\x1b[2K")
    assert capfd.readouterr().out == ""


def test_a_narrow_terminal(terminal: tuple[int, TextIO]) -> None:
    """On 80 columns the bar makes room for the end of the line."""
    screen, file = terminal
    termios.tcsetwinsize(screen, (24, 80))
    with Progress(file, 10_000) as progress:
        progress.update(Snapshot(elapsed=0.0))
        progress.update(Snapshot(elapsed=10.0, ok=1996, failed=4, in_flight=16, allowed=64, parked=12, tokens=81200))
    file.flush()
    assert "ETA 40 s" in _read(screen)


def test_terminal_without_total(terminal: tuple[int, TextIO]) -> None:
    """A run of unknown length is drawn without a bar."""
    screen, file = terminal
    with Progress(file) as progress:
        progress.update(Snapshot(elapsed=1.0, ok=3))
    file.flush()
    drawn = _read(screen)
    assert "3 done · 0 in flight" in drawn
    assert "━" not in drawn


def test_dumb_terminal(terminal: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot move its cursor gets no live line."""
    monkeypatch.setenv("TERM", "dumb")
    screen, file = terminal
    with Progress(file, 10) as progress:
        progress.update(Snapshot(elapsed=1.0, ok=3))
    file.flush()
    os.set_blocking(screen, False)
    with pytest.raises(BlockingIOError):
        os.read(screen, 1)


def test_terminal_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the terminal is closed in mid-run, the run goes on without a line, and standard error is what it was."""
    monkeypatch.setenv("TERM", "xterm")
    screen, side = pty.openpty()
    stderr = sys.stderr
    file = os.fdopen(os.dup(side), "w", buffering=1, encoding="utf-8")
    with Progress(file, 10) as progress:
        progress.update(Snapshot(elapsed=1.0, ok=3))
        os.close(screen)
        for n in range(2, 6):
            progress.update(Snapshot(elapsed=float(n), ok=n))
    assert sys.stderr is stderr
    os.close(side)
    with pytest.raises(OSError, match="Input/output error"):
        file.close()


def test_a_notebook_is_written_to_as_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernel's stderr shows the line; widgets of rich's own would warn that they are not installed."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    file = io.StringIO()
    with Progress(file, shown=True) as progress:
        progress.update(Snapshot(elapsed=1.0, ok=3, total=5))
    assert "3/5 60%" in file.getvalue()
