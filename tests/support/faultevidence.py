"""Keeps what a cell of the fault matrix would be judged by if it ended as none should: failed attempts, complaints."""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from unittest import mock

from batcher.policy.judge import Judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.model import Call
    from batcher.outcome import Attempt
    from batcher.policy.judge import Verdict
    from batcher.policy.lane import Lane
    from batcher.simulator import BackgroundSimulator


class _Heard(threading.local):
    """What was heard of the cell that a thread plays."""

    def __init__(self) -> None:
        self.failures: list[str] = []


_HEARD: Final = _Heard()
_COMPLAINTS: Final[deque[str]] = deque(maxlen=20)
"""The last that event loops have logged, whichever."""


class _Complaints(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _COMPLAINTS.append(f"{record.getMessage()}: {record.exc_info[1]!r}" if record.exc_info else record.getMessage())


@contextmanager
def listening() -> Iterator[None]:
    """Keep how attempts fail, and what event loops complain of."""
    failed = Judge.failed

    def heard(judge: Judge, lane: Lane, call: Call, attempt: Attempt, *times: float) -> Verdict:
        _HEARD.failures.append(f"{call.jobs[0].id} after {times[1] - times[0]:.3f} s: {attempt.failure}")
        return failed(judge, lane, call, attempt, *times)

    complaints, log = _Complaints(), logging.getLogger("asyncio")
    log.addHandler(complaints)
    try:
        with mock.patch.object(Judge, "failed", heard):
            yield
    finally:
        log.removeHandler(complaints)


def begin() -> None:
    """This thread plays another cell."""
    _HEARD.failures.clear()


def evidence(sim: BackgroundSimulator) -> str:
    """What is known of the cell of this thread, beside its outcome."""
    tally = sim.tally
    counts = f"{tally.connections} connections, {tally.aborted} broken off, asked {dict(tally.paths)}"
    return f"failed: {_HEARD.failures}; the server had {counts}; event loops said: {[*_COMPLAINTS]}"
