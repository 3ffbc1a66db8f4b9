"""Reads a file that lies elsewhere on where its connection broke, a few times; never on in another file of its name."""

from __future__ import annotations

import io
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

PAUSES: Final = (0.5, 2.0, 8.0)
"""Seconds before it is tried again, as long as nothing comes."""
_SKIPPED: Final = 1 << 20


class Steady(io.RawIOBase):
    """A file as `opened` gives it anew; `checked` raises if it is another one by now.

    Where a file cannot be read from the midst of it, what was read before is read again and passed over. Raises what
    the last try raised.
    """

    def __init__(self, opened: Callable[[], Any], checked: Callable[[], object]) -> None:
        super().__init__()
        self._opened, self._checked = opened, checked
        self._file = opened()
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place}.get(whence)
        self._place = (int(self._file.size) if base is None else base) + offset
        self._file.seek(self._place)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        piece = self._read(len(buffer))
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def _read(self, size: int) -> bytes:
        for pause in PAUSES:
            try:
                piece: bytes = self._file.read(size)
            except Exception:  # noqa: BLE001 - each store has errors of its own; the last try raises it
                time.sleep(pause)
                self._again()
            else:
                return piece
        last: bytes = self._file.read(size)
        return last

    def _again(self) -> None:
        """Have the file at the place where reading it broke off."""
        try:
            file = self._opened()
        except Exception:  # noqa: BLE001 - the next read raises, and is the next try
            return
        self._checked()
        self._file.close()
        self._file = file
        with suppress(ValueError, OSError, NotImplementedError):
            file.seek(self._place)
            return
        left = self._place
        try:
            while left and (skipped := file.read(min(left, _SKIPPED))):
                left -= len(skipped)
        except Exception:  # noqa: BLE001 - as above
            self._file.close()
