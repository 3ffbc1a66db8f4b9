"""Results that nobody sees before the last one is there (`--atomic`).

The run works on OUT.part, as on any results file, and OUT.part becomes OUT in one step when every job has a result.
Until then an OUT that is there stays as it is, locked against other runs; its results are not asked for again, for
OUT.part begins as a copy of it. A run that stops leaves OUT.part to the next one.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batcher.failures import LockedError, OutputError, OutputIOError
from batcher.ledger import disk
from batcher.ledger.lock import complaint, open_locked
from batcher.ledger.names import part_path
from batcher.ledger.recovery import identify, unmarked
from batcher.opening import real

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batcher.ledger.ledger import Ledger


@dataclass(slots=True)
class Publication:
    """One run's way to OUT: `open` first, then `publish` or not, `close` last, after the ledger is closed."""

    out: Path
    follow: bool = True
    """The path was typed, and may be a link."""
    part: Path = field(init=False)
    _held: int | None = field(default=None, init=False)
    """The OUT that is there, locked; None if there was none."""
    _copied: bool = field(default=False, init=False)
    """OUT.part began as a copy of OUT, with nothing in it to mend."""
    _ledger: Ledger | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.out = real(self.out, follow=self.follow)  # what is replaced is the file, not a link to it
        self.part = part_path(self.out)

    def open(self, opener: Callable[[Path], Ledger], *, overwrite: bool = False) -> Ledger:
        """Lock OUT if it is there, copy it where no OUT.part waits to be taken up, and open OUT.part by `opener`.

        Raises `LockedError` (75) if another run has either of them, `OutputError` (73) if OUT cannot be replaced,
        `OutputIOError` (74) if it cannot be copied, and what `opener` raises.
        """
        if os.path.lexists(self.out):
            self._held = open_locked(self.out)
        copied = self._held is not None and not overwrite and self._copy(self._held)
        overtaken = self._held is not None and not overwrite and not copied and self._is_newer(self._held)
        try:
            ledger = opener(self.part)
        except OutputError as error:
            if not copied:
                raise
            self.part.unlink(missing_ok=True)
            # The copy is gone, and was never the user's: what is wrong is wrong with OUT.
            raise type(error)(str(error).replace(str(self.part), str(self.out))) from error
        if not self._out_is_ours():
            ledger.close()
            raise LockedError(f"{self.out}: another run has just put its results here; run again")
        if overtaken:
            self._adopt(ledger)
        self._copied = copied and ledger.repaired is None
        self._ledger = ledger
        return ledger

    def publish(self) -> bool:
        """Give OUT.part the name OUT, on the disk; false, and nothing happens, if it is a mere copy of OUT.

        Raises `OutputIOError` if that fails, or if OUT is not what it was when the run began. OUT.part is kept then,
        unless it is OUT by then, and only the directory cannot be synced.
        """
        assert self._ledger is not None
        if self._is_copy():
            return False
        if not self._out_is_ours():
            raise OutputIOError(
                f"{self.out}: something else wrote or removed this file meanwhile; the results of this run are "
                f"complete in {self.part}. Run again to put them in its place"
            )
        try:
            self._ledger.replace(self._rename)
        except OSError as error:
            raise OutputIOError(
                complaint(self.out, f"cannot be put in place; all results are safe in {self.part}", error)
            ) from error
        try:
            disk.sync_directory(self.out.parent)
        except OSError as error:
            raise OutputIOError(complaint(self.out, f"has all results, but {disk.NOT_SYNCED}", error)) from error
        return True

    def close(self) -> None:
        """Let OUT go; an OUT.part that holds no more than OUT goes."""
        if self._is_copy():
            self.part.unlink(missing_ok=True)
        if self._held is not None:
            fd, self._held = self._held, None
            os.close(fd)

    def _copy(self, source: int) -> bool:
        """Begin OUT.part with what OUT holds, unless a run that stopped left one; it is there whole or not at all."""
        if self.part.exists() and self.part.stat().st_size:
            return False
        try:
            with disk.replacing(self.part) as fd:
                disk.copy(source, fd, 0, os.fstat(source).st_size)
            disk.let_go(fd)
        except OSError as error:
            raise OutputIOError(complaint(self.part, f"cannot be made as a copy of {self.out}", error)) from error
        return True

    def _is_newer(self, out: int) -> bool:
        """Whether a plain run has written to OUT since OUT.part was."""
        return os.fstat(out).st_mtime_ns > self.part.stat().st_mtime_ns

    def _adopt(self, ledger: Ledger) -> None:
        """Add the results that OUT has and OUT.part has not: OUT.part is to take its place, and they are paid for."""
        try:
            assert self._held is not None
            with open(self._held, "rb", buffering=disk.BLOCK, closefd=False) as file:
                file.seek(0)
                for line in file:
                    ident, digest = (_text(part) for part in identify(line) or (None, None))
                    if ident is not None and ident not in ledger:
                        ledger.append([(ident, digest or "", unmarked(line).removesuffix(b"\n") + b"\n")])
        except OSError as error:
            ledger.close()
            raise OutputIOError(complaint(self.out, "cannot be read back", error)) from error
        ledger.prefixes.forget()  # these lines are of whatever input the plain run had

    def _rename(self, fd: int, part: Path) -> tuple[int, Path]:
        if self._held is not None:
            os.fchmod(fd, stat.S_IMODE(os.fstat(self._held).st_mode))
        part.rename(self.out)
        return fd, self.out

    def _out_is_ours(self) -> bool:
        """OUT is the file that we hold, or there is none, as when the run began."""
        if self._held is None:
            return not os.path.lexists(self.out)
        return disk.is_at(self._held, self.out)

    def _is_copy(self) -> bool:
        return self._copied and self._ledger is not None and not self._ledger.changed


def _text(part: str | bytes | None) -> str | None:
    return part.decode() if isinstance(part, bytes) else part
