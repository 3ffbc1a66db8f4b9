"""Processes of a benchmark: on cores of their own, in a clean environment, with their CPU and wall seconds."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.case import HERE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.case import Case

SERVER, CLIENT = 0, 1


@dataclass(frozen=True)
class Ended:
    """A process that has succeeded: CPU seconds, and when it began and ended on the monotonic clock."""

    cpu: float
    began: float
    ended: float

    @property
    def wall(self) -> float:
        return self.ended - self.began


class Process:
    """A client at work. `wait` raises RuntimeError with its words if it fails."""

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        self._log = directory / "client.log"
        self._command = command
        with self._log.open("wb") as output:
            self._began = time.monotonic()
            with _pinned(CLIENT):
                self._process = subprocess.Popen(command, cwd=directory, env=_environ(), stdout=output, stderr=output)

    def wait(self) -> Ended:
        _, status, usage = os.wait4(self._process.pid, 0)
        ended = time.monotonic()
        self._process.returncode = os.waitstatus_to_exitcode(status)
        if self._process.returncode != 0:
            words = self._log.read_text()[-2000:]
            raise RuntimeError(f"{' '.join(self._command)} ended with {self._process.returncode}: {words}")
        return Ended(usage.ru_utime + usage.ru_stime, self._began, ended)

    @property
    def output(self) -> str:
        return self._log.read_text()


@dataclass(frozen=True)
class Seen:
    """What a load server says: CPU seconds in all; since it was last asked, requests and when the first came."""

    cpu: float
    first: float | None
    requests: int


class LoadServer:
    """The load server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.root = f"http://127.0.0.1:{self._line()}"

    def seen(self) -> Seen:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Seen(**json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load server has ended; its error is above")
        return line.strip()


@contextmanager
def load_server(case: Case) -> Iterator[LoadServer]:
    command = [sys.executable, str(HERE / "server.py"), "--words", str(case.words)]
    command += [] if case.step is None else ["--step", str(case.step)]
    command += [] if case.slots is None else ["--slots", str(case.slots)]
    with _pinned(SERVER):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:  # closes its stdin, which ends it, and waits
        yield LoadServer(process)


def run(command: Sequence[str], directory: Path) -> Ended:
    """Run a command to its end."""
    return Process(command, directory).wait()


_WAITER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def peak_of(command: Sequence[str]) -> list[str]:
    """A command that runs this one and ends its output with the most memory it had.

    A small process stands in between: a process that is started has the memory of who starts it in its own peak.
    """
    return [sys.executable, "-c", _WAITER, *command]


def peak(output: str) -> float:
    """MB of 2^20 bytes, from the output of such a command."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KB elsewhere
    return int(output.rsplit(maxsplit=1)[-1]) * unit / 2**20


def cores() -> tuple[int, int] | None:
    """The cores for server and client; None where processes cannot be pinned or there is but one core."""
    if sys.platform == "linux":
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) > 1:
            return allowed[0], allowed[-1]
    return None


@contextmanager
def _pinned(place: int) -> Iterator[None]:
    """Processes started inside run on the server's core or on the client's."""
    chosen = cores()
    if chosen is None or sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {chosen[place]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_file_limit(files: int) -> bool:
    """Let processes that are started from now on open so many files. False if the system does not allow it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < files:
        return False
    if soft < files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return True


def _environ() -> dict[str, str]:
    """The environment without what would change a run."""
    ours = ("BATCHER_", "OPENAI_", "OLLAMA_", "LLM_ENDPOINT", "MODEL", "PYTHONDEVMODE", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
