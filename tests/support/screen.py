"""A terminal for a process of its own: what its screen shows, at every moment and at the end."""

from __future__ import annotations

import os
import pty
import termios
from typing import TYPE_CHECKING, NamedTuple

import pyte
from support.commandline import WAIT, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk


class Shown(NamedTuple):
    """How the process ended, its screen after each piece of output, and all rows at the end, those scrolled off too."""

    code: int
    moments: list[list[str]]
    rows: list[str]


def on_a_screen(desk: Desk, *args: str, columns: int = 100, lines: int = 30, **settings: object) -> Shown:
    """Run `batcher ARGS` with stderr (and what `settings` name) on a terminal of this size."""
    terminal, ours = pty.openpty()
    termios.tcsetwinsize(ours, (lines, columns))
    screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=1.0)
    stream = pyte.ByteStream(screen)
    env = {"TERM": "xterm-256color", "COLUMNS": str(columns)}
    both = dict.fromkeys(settings, ours)
    moments = []
    with running(desk.start(*args, stderr=ours, env=env, **both)) as process:
        os.close(ours)
        for piece in _pieces(terminal):
            stream.feed(piece)
            moments.append([row.rstrip() for row in screen.display])
        code = process.wait(WAIT)
    scrolled = ["".join(row[place].data for place in range(columns)).rstrip() for row in screen.history.top]
    return Shown(code, moments, scrolled + [row.rstrip() for row in screen.display])


def _pieces(terminal: int) -> Iterator[bytes]:
    try:
        while piece := os.read(terminal, 65536):
            yield piece
    except OSError:  # how Linux says that the other side is closed
        pass
    finally:
        os.close(terminal)
