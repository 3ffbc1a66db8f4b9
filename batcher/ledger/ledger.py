"""The results file: who may write it, what is in it already, and how a line gets in for good.

    open     lock, scan, repair          one writer; after it the file holds whole results only
    append   one write a group           a line is in the file whole or not at all, and an id has one line at most
    sync     fdatasync                   what was appended survives a power cut as well

The file itself is the only record of what is done: two files cannot be committed together, so a journal beside it
would be ahead of the results or behind them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Final, Self, TypeAlias

from batcher.failures import OutputIOError
from batcher.ledger import disk, state
from batcher.ledger.closing import Closing
from batcher.ledger.fresh import keep_from_merges
from batcher.ledger.lock import complaint, open_locked
from batcher.ledger.names import quarantine_path, state_path
from batcher.ledger.neighbours import take_up, unfit
from batcher.ledger.recovery import Readback, scan
from batcher.ledger.repair import renew
from batcher.opening import UnfitError, real

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from batcher.inputs.done import DoneIds
    from batcher.ledger.lines import Entry
    from batcher.ledger.seal import Prefixes, Seal
    from batcher.ledger.state import State
    from batcher.ledger.stream import StreamLedger
    from batcher.model import Json

_PIECE: Final = 1 << 16
"""Bytes that are read at a time to find the end of a line."""

AnyLedger: TypeAlias = "Ledger | StreamLedger"
"""Where results go; both are asked and told the same."""


class Ledger(Closing):
    """A results file open for appending, locked against other runs until it is closed.

    Not for two threads, save that `sync` may run in another one while lines are appended. `refused` counts lines that
    were not written because their id has one; `end` and `synced` are bytes: what is in the file, and how much of that
    is known to be on the disk. After a failed sync the next run has to distrust what comes after it.
    `changed`: it may hold something else than when it was opened. `before` is the state that the last run left.
    `placed` is called with the id of each line that is in, and where it begins.
    `sync_before` is called before a sync: what lines name has to be on the disk before them.
    `stale`: what it holds is to be overwritten, and that has not begun; `emptied` is called when it does.
    """

    waits = False
    """Whether a write may have to wait for someone, as on a pipe; then it is not for the event loop."""

    def __init__(self, back: Readback, before: State | None = None, *, stale: bool = False) -> None:
        self.path = back.path
        self.repaired = back.repaired
        self.before = before
        self.prefixes: Prefixes = back.prefixes
        self.synced_seal: Seal | None = self.prefixes.seal
        self.refused = 0
        self.end = self.synced = 0 if stale else os.fstat(back.fd).st_size
        self.stale = stale
        self.emptied: Callable[[], object] = bool
        self.changed = self.withdrawn = False
        self.placed: Callable[[str, int], object] | None = None
        self.sync_before: Callable[[], object] = bool
        self._fd = back.fd
        self._done = back.done
        self._unread = back.unread
        self._fault: OutputIOError | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        overwrite: bool = False,
        follow: bool = True,
        fingerprint: Mapping[str, Json] | None = None,
        checkpoint: Callable[[], object] = bool,
    ) -> Self:
        """Create or reopen a results file, lock it, mend it, and read what is done, or have `overwrite` await `empty`.

        `fingerprint` is that of the input: if the last run had the same, its seal tells what is done, and if that was
        of the same kind, what was. `checkpoint` is called now and then; what it raises ends the reading. What a failed
        sync left in doubt is written anew.
        `follow`: the path was typed, and may be a link.
        Raises `LockedError` (75) if another run has it, `OutputError` (73) if it cannot be created, written or locked
        or holds something else than results, `OutputIOError` (74) if it cannot be read or mended.
        """
        path = real(path, follow=follow)  # a repair replaces the file, and must not replace a link to it
        is_new = not os.path.lexists(path)
        back = Readback(open_locked(path), path)
        try:
            keep_from_merges(path, back.fd, is_new=is_new)
            take_up(path)
            before, _ = state.read(state_path(path))
            if not overwrite:
                seal = before.seal_for(fingerprint) if before and fingerprint else None
                if before is not None and before.input != fingerprint:
                    back.keep_order()
                back.read(quarantine_path(path), seal, checkpoint)
                if before is not None and before.untrusted is not None:
                    back.fd = renew(back.fd, path)
            disk.sync_directory(path.parent)
            return cls(back, before, stale=overwrite)
        except BaseException as error:
            os.close(back.fd)
            if isinstance(error, UnfitError):
                raise unfit(error) from error
            if isinstance(error, OSError):
                raise OutputIOError(complaint(path, "cannot be read back and mended", error)) from error
            raise

    @property
    def done(self) -> DoneIds:
        """What is known of each id; whoever reads the input notes in it what he meets. `prefixes` may know of more."""
        return self._done

    def read_ids(self, checkpoint: Callable[[], object] = bool) -> None:
        """Have all ids in `done`, those too that opening the file did not need. Raises `OutputIOError`."""
        if not self._unread:
            return
        try:
            with self.reading() as file:
                scan(file, self._unread, self._done, checkpoint)
        except OSError as error:
            raise OutputIOError(complaint(self.path, "cannot be read back", error)) from error
        self._unread = 0

    def get(self, ident: str) -> str | None:
        """Give the hash of the request an id has a result for; "" if unknown, `None` if there is no result."""
        if ident not in self._done and not self._done.seen(ident):  # one that was met is none of those passed over
            self.read_ids()
        return self._done.get(ident)

    def __contains__(self, ident: str) -> bool:
        return self.get(ident) is not None

    def __len__(self) -> int:
        return len(self._done) + (len(self.prefixes.lines) if self._unread else 0)

    def reading(self, buffering: int = disk.BLOCK) -> BinaryIO:
        """Give what is in the file from its start, to one reader at a time; it is not the file's name that is asked."""
        file = open(self._fd, "rb", buffering=buffering, closefd=False)  # noqa: SIM115 - a descriptor, and closed by who asks
        file.seek(0)
        return file

    def append(self, lines: Sequence[Entry]) -> int:
        """Write whole lines in one go and return how many; a line for an id that has one is refused.

        Raises `OutputIOError` if the file does not take them all. The lines that fit whole are in, and their ids are
        in `self`; the rest is cut off again and may be appended later. The `OSError` is the cause.
        """
        self._check_sound()
        if self.stale and lines:
            self.empty()
        fresh = [line for line in lines if self._done.add(line[0], line[1])]
        self.refused += len(lines) - len(fresh)
        data = b"".join([line[2] for line in fresh])
        self.changed = self.changed or bool(fresh)
        try:
            disk.write_all(self._fd, data)
        except OSError as error:
            self._roll_back(fresh)
            raise OutputIOError(
                complaint(self.path, f"cannot be written; {len(self)} results are safe in it", error)
            ) from error
        if self.placed is not None:
            self._tell_places(fresh, self.placed)
        self.end += len(data)
        self.prefixes.add([line[2] for line in fresh])
        return len(fresh)

    def line_at(self, offset: int) -> bytes:
        """Read the line that begins there. Raises `OutputIOError`."""
        pieces: list[bytes] = []
        try:
            while (piece := os.pread(self._fd, _PIECE, offset)) and b"\n" not in piece:
                pieces.append(piece)
                offset += len(piece)
        except OSError as error:
            raise OutputIOError(complaint(self.path, "cannot be read back", error)) from error
        return b"".join([*pieces, piece.partition(b"\n")[0]])

    def empty(self) -> None:
        """Let go of what is to be overwritten, if it is still there; `append` does so before its first line.

        Until then an `overwrite` has cost nothing. Raises `OutputIOError`.
        """
        if not self.stale:
            return
        try:
            os.ftruncate(self._fd, 0)
            disk.sync(self._fd)
        except OSError as error:
            self._fault = OutputIOError(complaint(self.path, "cannot be emptied", error))
            raise self._fault from error
        self.stale, self.changed = False, True
        self.emptied()

    def sync(self) -> None:
        """Wait until all that was appended before this call is on the disk.

        Raises `OutputIOError` if it is not, or if the file was moved, deleted or cut short behind our back. Either
        way no later call succeeds: after a failed sync the kernel may call the lost pages clean.
        """
        self._check_sound()
        seal, end = self.prefixes.seal, self.end
        try:
            if end > self.synced:
                self.sync_before()
                disk.sync(self._fd)
        except OutputIOError as error:
            self._fault = error
            raise
        except OSError as error:
            self._fault = OutputIOError(complaint(self.path, f"is safe only up to byte {self.synced}", error))
            raise self._fault from error
        self._check_place(end)
        self.synced, self.synced_seal = end, seal

    def check(self) -> None:
        """Raise what `sync` would raise of a file that was moved, deleted or cut short; waits for no disk."""
        self._check_sound()
        self._check_place(self.end)

    def replace(self, make: Callable[[int, Path], tuple[int, Path]]) -> None:
        """Sync, and go on with the file and the name that `make` gives for the ones it gets.

        The new file holds the same results and the lock. Raises what `make` raises, and then nothing has changed; or
        `OutputIOError` if the new file is in its place, and may not last: nothing more is written then.
        """
        self.sync()
        self.changed = True
        try:
            self._fd, self.path = make(self._fd, self.path)
        except OSError as error:
            if disk.is_at(self._fd, self.path):
                raise
            self._fault = OutputIOError(f"{self.path}: {error.strerror or error}")
            raise self._fault from error
        self.end = self.synced = os.fstat(self._fd).st_size
        self.prefixes.forget()
        self.synced_seal = None

    def close(self) -> None:
        """Sync, and let the lock go; raises as `sync` does, and a second call does nothing."""
        if self._fd < 0:
            return
        try:
            if self._fault is None:
                self.sync()
        finally:
            fd, self._fd = self._fd, -1
            disk.let_go(fd)

    def withdraw(self, *beside: Path) -> None:
        """Take the file away if nothing is in it, with those beside it, and close it: nothing stays of a run that
        could not start, and it is `withdrawn`.

        It is gone before its lock is, and who waits for that looks whether it is still there.
        """
        if self._fd < 0 or os.fstat(self._fd).st_size or not disk.is_at(self._fd, self.path):
            return
        with suppress(OSError):
            for path in beside:
                path.unlink(missing_ok=True)
            self.path.unlink()
            self._fd, fd = -1, self._fd
            self.withdrawn = True
            os.close(fd)

    def _tell_places(self, lines: Sequence[Entry], placed: Callable[[str, int], object]) -> None:
        offset = self.end
        for ident, _, data in lines:
            placed(ident, offset)
            offset += len(data)

    def _check_sound(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _check_place(self, end: int) -> None:
        try:
            fault = disk.displaced(self._fd, self.path, end)
        except OSError as error:
            self._fault = OutputIOError(complaint(self.path, "cannot be looked at any more", error))
            raise self._fault from error
        if fault:
            self._fault = OutputIOError(f"{self.path}: {fault}")
            raise self._fault

    def _roll_back(self, lines: Sequence[Entry]) -> None:
        """Keep the lines that got in whole, cut off the one that did not, and forget it and those after it."""
        try:
            room = os.fstat(self._fd).st_size - self.end
            for ident, _, data in lines:
                room -= len(data)
                if room < 0:
                    self._done.discard(ident)
                else:
                    if self.placed is not None:
                        self.placed(ident, self.end)
                    self.end += len(data)
                    self.prefixes.add([data])
            os.ftruncate(self._fd, self.end)
        except OSError as error:
            # the next line would be glued to half a line: no more of them; the next run cuts it off
            self._fault = OutputIOError(complaint(self.path, "ends in half a line that cannot be cut off", error))
