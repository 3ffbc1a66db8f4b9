"""Who has a results file: the process with its lock, as the system says, and since when, as the state file does."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import Final

from batcher.failures import OutputError
from batcher.ledger.lock import is_locked
from batcher.ledger.names import state_path
from batcher.ledger.state import Status, read
from batcher.opening import open_regular

LOCKS: Final = Path("/proc/locks")
"""Linux's list of locks: `1: FLOCK ADVISORY WRITE PID MAJOR:MINOR:INODE 0 EOF`."""


def holder(results: Path) -> str:
    """Say which process has a results file and since when, as far as that can be told; "" if nothing can."""
    state = None
    with suppress(OutputError):
        state, _ = read(state_path(results))
    pid = _by_the_system(results)
    report = state.report if state is not None and state.status is Status.RUNNING else {}
    if pid is None and report.get("host") == gethostname():
        pid = report.get("pid")
    parts = [
        f"process {pid}" if pid is not None else "",
        f"on {report['host']}" if report.get("host") not in (None, gethostname()) else "",
        f"since {since}" if (since := _local(report.get("started_at"))) and report.get("pid") in (pid, None) else "",
    ]
    return " ".join(part for part in parts if part)


def is_held(results: Path) -> bool:
    """Whether a run has the file just now."""
    try:
        with os.fdopen(open_regular(results, follow=True), "rb") as file:
            return is_locked(file)
    except OSError:
        return False


def _by_the_system(path: Path) -> int | None:
    try:
        inode = path.stat().st_ino
        lines = LOCKS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.replace("->", "").split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            return int(fields[4]) if fields[4].isdecimal() and int(fields[4]) > 0 else None
    return None


def _local(moment: object) -> str:
    """A moment of the state file in this place's time."""
    if not isinstance(moment, str):
        return ""
    with suppress(ValueError):
        return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return ""
