"""The live display of a run on a terminal: a line and rows below it, with messages above; elsewhere nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from batcher.view.line import describe, rows
from batcher.view.pace import Pace

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

    from rich.console import RenderableType
    from rich.live import Live

    from batcher.view.snapshot import Snapshot

REDRAW: Final = 0.1
"""Least seconds between two drawings."""
BAR_WIDTH: Final = 24


class Progress:
    """Shows the state on a terminal while its block runs, and takes it away at the end.

    `shown` None means: if the file is a terminal. Elsewhere, and on a terminal that went away, it does nothing. While
    it shows, the terminal is its own: whoever has something to say says it by `above`. What others write to
    `sys.stderr`, such as warnings, appears above it too; a log handler has to ask for `sys.stderr` anew.
    """

    def __init__(self, file: TextIO, total: int | None = None, *, shown: bool | None = None) -> None:
        self.total = total
        self._file = file
        self._shown = file.isatty() if shown is None else shown
        self._live: Live | None = None
        self._pace = Pace()
        self._drawn = -REDRAW

    def __enter__(self) -> Self:
        if self._shown:
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        live, self._live = self._live, None
        if live is not None:
            with suppress(
                OSError, IndexError
            ):  # the terminal was closed: nobody to clean up for; rich may have begun to
                live.stop()

    @property
    def is_shown(self) -> bool:
        """Whether there is a display: not where none is wanted, the cursor cannot be moved, or the terminal is gone."""
        return self._live is not None

    def update(self, snapshot: Snapshot) -> None:
        """Draw the state; call it as often as you like."""
        live = self._live
        if live is None:
            return
        if snapshot.total is None and self.total is not None:
            snapshot = replace(snapshot, total=self.total)
        self._pace.add(snapshot)
        if 0 <= snapshot.elapsed - self._drawn < REDRAW:
            return
        self._drawn = snapshot.elapsed
        try:
            live.update(self._drawing(snapshot), refresh=True)
        except OSError:
            self.__exit__(None, None, None)

    def above(self, text: str) -> bool:
        """Print a text, fit for a terminal, above the display; false if there is none, and nothing was printed."""
        live = self._live
        if live is None:
            return False
        from rich.text import Text

        try:
            live.console.print(Text(text), soft_wrap=True)
        except OSError:
            self.__exit__(None, None, None)
            return False
        return True

    def _start(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._file, force_terminal=True, force_jupyter=False, soft_wrap=False)
        if console.is_dumb_terminal:
            return
        # stdout is left alone: results may be on their way through it
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
        with suppress(OSError):
            self._live.start()

    def _drawing(self, snapshot: Snapshot) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        assert self._live is not None
        width = self._live.console.width
        whole = describe(snapshot, self._pace, with_note=False)
        bar = snapshot.total and len(whole) + BAR_WIDTH + 1 <= width
        words = whole if bar else describe(snapshot, self._pace, width, with_note=False)
        first: RenderableType = Text(words, no_wrap=True, overflow="ellipsis")
        if bar and snapshot.total:
            line = Table.grid(padding=(0, 1))
            line.add_row(ProgressBar(total=snapshot.total, completed=snapshot.done, width=BAR_WIDTH), first)
            first = line
        below = [Text(row, no_wrap=True, overflow="ellipsis") for row in rows(snapshot, width)]
        return Group(first, *below) if below else first
