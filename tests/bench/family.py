"""What a process and all that it starts take of the CPU, each by itself, as /proc tells it while they live."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

EVERY: Final = 0.1
"""Seconds from one look to the next: what a process took since the last one before its end is not seen."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_OWN: Final = """
import resource, sys
from batcher.cli import main
try:
    main()
finally:
    own = resource.getrusage(resource.RUSAGE_SELF)
    print("own", own.ru_utime + own.ru_stime, file=sys.stderr)
"""


@dataclass(frozen=True)
class Taken:
    """CPU seconds: of the run's own process, with all threads, and of all together."""

    own: float
    all: float
    wall: float


def run(arguments: Sequence[str], directory: Path) -> Taken:
    """Run `batcher ARGUMENTS` to its end. Raises RuntimeError if it fails."""
    log = directory / "client.log"
    began = time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen([sys.executable, "-c", _OWN, *arguments], cwd=directory, stdout=output, stderr=output)
    seen: dict[int, float] = {}
    over = Event()
    watcher = Thread(target=_watch, args=(child.pid, seen, over))
    watcher.start()
    code = child.wait()
    over.set()
    watcher.join()
    words = log.read_text()
    if code:
        raise RuntimeError(f"batcher {' '.join(arguments)} ended with {code}: {words[-2000:]}")
    own = float(words.rsplit(maxsplit=1)[-1])
    others = sum(taken for pid, taken in seen.items() if pid != child.pid)
    return Taken(own, own + others, time.monotonic() - began)


def named(root: int, words: str) -> list[int]:
    """The descendants of a process whose command lines begin so, the oldest first."""
    parents, _ = _processes()
    return sorted(pid for pid in parents if _descends(pid, root, parents) and _command(pid).startswith(words.encode()))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _processes() -> tuple[dict[int, int], dict[int, float]]:
    """The parent of each process, and the CPU seconds that it has taken."""
    parents: dict[int, int] = {}
    taken: dict[int, float] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
            taken[int(entry.name)] = (int(fields[11]) + int(fields[12])) / _TICKS
    return parents, taken


def _watch(root: int, seen: dict[int, float], over: Event) -> None:
    while not over.wait(EVERY):
        parents, taken = _processes()
        for pid, used in taken.items():
            if pid in seen or _descends(pid, root, parents):
                seen[pid] = used


def _descends(pid: int, root: int, parents: dict[int, int]) -> bool:
    while pid and pid != root:
        pid = parents.get(pid, 0)
    return pid == root
