"""A terminal for a process of its own: what its screen shows, at every moment and at the end."""

from __future__ import annotations

import os
import pty
import termios
from typing import TYPE_CHECKING, Final, NamedTuple

import pyte
from support.commandline import WAIT, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.commandline import Desk


RESIZED_AFTER: Final = 10
"""Pieces of output, before which the terminal has its first size."""


class Shown(NamedTuple):
    """How the process ended, its screen after each piece of output, and all rows at the end, those scrolled off too."""

    code: int
    moments: list[list[str]]
    rows: list[str]
    raw: str = ""
    """All that was sent to it."""


def on_a_screen(
    desk: Desk, *args: str, columns: int = 100, lines: int = 30, resized_to: int | None = None, **settings: object
) -> Shown:
    """Run `batcher ARGS` with stderr (and what `settings` name) on a terminal of this size.

    It is `resized_to` so many columns after its tenth piece of output.
    """
    terminal, ours = pty.openpty()
    termios.tcsetwinsize(ours, (lines, columns))
    screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=1.0)
    stream = pyte.ByteStream(screen)
    env = {"TERM": "xterm-256color"} | {name: desk.env[name] for name in ("TERM",) if name in desk.env}
    desk.env.pop("COLUMNS", None)  # it would stand above the terminal's own
    both = dict.fromkeys(settings, ours)
    moments: list[list[str]] = []
    sent = b""
    with running(desk.start(*args, stderr=ours, env=env, **both)) as process:
        os.close(ours)
        for piece in _pieces(terminal):
            sent += piece
            stream.feed(piece)
            moments.append([row.rstrip() for row in screen.display])
            if resized_to is not None and len(moments) == RESIZED_AFTER:
                termios.tcsetwinsize(terminal, (lines, resized_to))
                screen.resize(lines, resized_to)
        code = process.wait(WAIT)
    scrolled = ["".join(row[place].data for place in range(columns)).rstrip() for row in screen.history.top]
    return Shown(code, moments, scrolled + [row.rstrip() for row in screen.display], sent.decode(errors="replace"))


def _pieces(terminal: int) -> Iterator[bytes]:
    try:
        while piece := os.read(terminal, 65536):
            yield piece
    except OSError:  # how Linux says that the other side is closed
        pass
    finally:
        os.close(terminal)
