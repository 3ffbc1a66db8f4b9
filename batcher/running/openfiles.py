"""The limit of open files that this process has, which many connections raise: given back when nobody needs it so."""

from __future__ import annotations

import os
import resource
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class _Loan:
    """Runs of this process that may have raised the limit; they may be in several threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    runs: int = 0
    before: int = 0
    raised: int | None = None
    """What it was raised to; another number is somebody else's doing, and stays."""

    def forget(self) -> None:
        """In a process that was forked: the runs of its parent are none of its own."""
        self.lock, self.runs, self.raised = threading.Lock(), 0, None


_LOAN = _Loan()
os.register_at_fork(after_in_child=_LOAN.forget)


@contextmanager
def open_files() -> Iterator[None]:
    """While the block runs the limit may be raised; when the last such block ends, it is what it was."""
    with _LOAN.lock:
        if not _LOAN.runs:
            _LOAN.before, _LOAN.raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0], None
        _LOAN.runs += 1
    try:
        yield
    finally:
        with _LOAN.lock:
            _LOAN.runs -= 1
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            if not _LOAN.runs and soft == _LOAN.raised:
                with suppress(ValueError, OSError):
                    resource.setrlimit(resource.RLIMIT_NOFILE, (_LOAN.before, hard))


def raise_to(files: int) -> None:
    """Have so many files open at once, which the system must allow."""
    with _LOAN.lock:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        _LOAN.raised = files
