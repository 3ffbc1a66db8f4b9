"""Reads an open file with a place of its own in it, so that several may read at once."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from batcher.failures import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


class Window(io.RawIOBase):
    """A file of its own for whoever reads; it closes the descriptor where it `owns` it. Raises InputError where reading
    breaks off.
    """

    def __init__(self, fd: int, start: int, name: str, checkpoint: Callable[[], object], *, owns: bool = False) -> None:
        super().__init__()
        self._fd = fd
        self._owns = owns
        self._place = self._start = start
        self._name = name
        self._checkpoint = checkpoint

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._start, os.SEEK_CUR: self._place, os.SEEK_END: os.fstat(self._fd).st_size}[whence]
        self._place = base + offset
        return self._place - self._start

    def tell(self) -> int:
        return self._place - self._start

    def close(self) -> None:
        if self._owns and not self.closed:
            os.close(self._fd)
        super().close()

    def readinto(self, buffer: Any) -> int:
        self._checkpoint()
        try:
            count = os.preadv(self._fd, [buffer], self._place)
        except OSError as error:
            raise InputError(f"{self._name}: the input broke off: {error.strerror}") from error
        self._place += count
        return count
