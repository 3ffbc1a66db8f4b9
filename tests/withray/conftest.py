"""What the tests with a real Ray share: a desk whose Ray keeps its files apart, and a look at processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import pytest
from support.commandline import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 60.0
collect_ignore_glob = [] if find_spec("ray") is not None else ["test_*.py"]


class RayDesk(Desk):
    """A desk with a directory for Ray's sessions, whose paths must be short: sockets lie there."""

    def __init__(self, path: Path, sessions: Path) -> None:
        super().__init__(path)
        self.sessions = sessions
        self.env |= {"RAY_TMPDIR": str(sessions), "HOME": str(sessions)}

    def pids(self, words: str = "") -> list[int]:
        """The processes of this desk's Ray, and of runs here, whose command lines have these words."""
        return [pid for pid, line in commands() if words in line and self._is_ours(pid, line)]

    def workers(self) -> list[int]:
        return self.pids("ray::Actor")

    def start_aloud(self, *args: str | Path, **settings: Any) -> subprocess.Popen[str]:
        """Start a command whose words are read while it runs, by `said`."""
        with (self.path / "said").open("w") as file:
            return self.start(*args, stderr=file, **settings)

    def said(self) -> str:
        return (self.path / "said").read_text()

    def children(self, of: int) -> list[int]:
        return [pid for pid, _ in commands() if parent(pid) == of]

    def _is_ours(self, pid: int, line: str) -> bool:
        if str(self.sessions) in line or str(self.path) in line:
            return True
        try:
            return f"RAY_TMPDIR={self.sessions}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def commands() -> list[tuple[int, str]]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = Path(entry.path, "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if line.strip():
                found.append((int(entry.name), line))
    return found


def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[RayDesk]:
    sessions = Path(mkdtemp(prefix="br-"))
    made = RayDesk(tmp_path, sessions)
    try:
        yield made
    finally:
        for pid in made.pids():
            subprocess.run(["kill", "-9", str(pid)], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(sessions, ignore_errors=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts the simulator as a process of its own, so that nothing of a test's loop slows it; gives its URL."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> str:
        command = [sys.executable, "-m", "batcher", "simulate", "--port", "0", "--look", "openai", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        while "http://" not in (line := process.stdout.readline()):
            assert line, "the simulator has ended"
        return line.strip()

    yield start
    for process in started:
        process.terminate()
        process.communicate()
