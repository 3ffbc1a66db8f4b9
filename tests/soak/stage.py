"""The soak at work: a server that is killed and revived, a client that is killed and goes on, until all is done."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from soak.faults import Faults
from soak.gauge import MB, Life, look
from soak.journal import Journal, What
from support.commandline import WAIT, Desk

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random
    from types import TracebackType

TICK: Final = 0.05
LOOK_EVERY: Final = 1.0
TELL_EVERY: Final = 10.0
SPREAD: Final = (0.5, 1.5)
"""Kills and restarts come at this many times their interval: never in step with anything."""
STALL: Final = "5s"
"""The client's timeouts for the faults that are silence."""
_BLOCK: Final = 1 << 20
_SCRIPT: Final = Path(__file__).with_name("server.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done. Times in seconds."""

    jobs: int = 1_000_000
    kill_every: float = 60.0
    restart_every: float = 120.0
    faults: float = 0.02
    seed: int = 0
    concurrency: int = 16
    seconds: float = 3600.0
    """Then it ends, done or not."""
    calm: float = 0.4
    """The last part of the jobs, which one life of the client does: there its memory is measured."""
    token_delay: float = 0.0


@dataclass(slots=True)
class Stage:
    """One soak. Use as a context manager, which leaves no process behind."""

    place: Path
    plan: Plan
    rng: Random
    tell: Callable[[str], None]
    lives: list[Life] = field(default_factory=list)
    kills: int = 0
    restarts: int = 0
    done: int = 0
    """Whole lines of the results file."""
    elapsed: float = 0.0
    code: int | None = None
    """With what the client ended by itself."""
    words: str = ""
    """What it said then."""
    faults: Faults = field(init=False)
    _desk: Desk = field(init=False)
    _journal: Journal = field(init=False)
    _server: subprocess.Popen[str] | None = None
    _client: subprocess.Popen[str] | None = None
    _url: str = ""
    _read: int = 0

    def __post_init__(self) -> None:
        self.faults = Faults(self.plan.seed, self.plan.faults)
        self._desk = Desk(self.place)
        with self.input.open("wb") as file:
            file.writelines(self.faults.line(number) for number in range(self.plan.jobs))

    @property
    def input(self) -> Path:
        return self.place / "jobs.jsonl"

    @property
    def results(self) -> Path:
        return self.place / "results.jsonl"

    @property
    def journal(self) -> Path:
        return self.place / "journal"

    def __enter__(self) -> Self:
        self._journal = Journal(self.journal)
        self._start_server()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (self._client, self._server):
            if process is not None:
                process.kill()
                process.communicate()
        self._journal.close()

    def run(self) -> None:
        """Do it: at its end all is done, or the client has given up, or the time is over."""
        began = now = time.monotonic()
        next_look, next_tell = now, now + TELL_EVERY
        told, told_at = 0, now
        restart_at = now + self._interval(self.plan.restart_every)
        kill_at: float | None = None
        while self.code is None and now - began < self.plan.seconds:
            if self._client is None:
                self._start_client(now)
                kill_at = None
            if now >= next_look:
                next_look = now + LOOK_EVERY
                if self._look(now) and kill_at is None:  # from its first result on, so that each life brings some
                    kill_at = now + self._interval(self.plan.kill_every)
            if now >= next_tell:
                self._say(now - began, (self.done - told) / (now - told_at))
                next_tell, told, told_at = now + TELL_EVERY, self.done, now
            if now >= restart_at:
                self._restart_server()
                restart_at = now + self._interval(self.plan.restart_every)
            if kill_at is not None and not self.lives[-1].calm and (now >= kill_at or self._is_late):
                self._kill_client()
            time.sleep(TICK)
            self._reap()
            now = time.monotonic()
        self._count()
        self.elapsed = now - began

    @property
    def _is_late(self) -> bool:
        """Whether what is left is for the life that is left alone."""
        return self.done >= self.plan.jobs * (1 - self.plan.calm)

    def _interval(self, every: float) -> float:
        return every * self.rng.uniform(*SPREAD)

    def _start_server(self) -> None:
        port = self._url.rpartition(":")[2] or "0"
        options = ("--port", port, "--journal", str(self.journal), "--token-delay", str(self.plan.token_delay))
        pipe = subprocess.PIPE
        self._server = subprocess.Popen([sys.executable, str(_SCRIPT), *options], stdin=pipe, stdout=pipe, text=True)
        if not self._url:
            assert self._server.stdout is not None
            self._url = self._server.stdout.readline().strip()

    def _restart_server(self) -> None:
        """As an update or a crash does: what is in flight is broken off, the port is the same."""
        assert self._server is not None
        self._server.kill()
        self._server.communicate()
        self.restarts += 1
        self._start_server()

    def _start_client(self, now: float) -> None:
        life = Life(now, calm=self._is_late)
        if life.calm:
            # Without it nothing is known but the results: the client reads and compares the whole input before it
            # sends anything, and what it has to remember of each job is in its memory before the measuring begins.
            self.results.with_suffix(".state.json").unlink(missing_ok=True)
        self.lives.append(life)
        self._journal.write(What.CLIENT)
        with self._log.open("wb") as log:
            self._client = self._desk.start(*self._arguments, stdout=log, stderr=log)

    @property
    def _log(self) -> Path:
        return self.place / "client.log"

    @property
    def _arguments(self) -> tuple[str, ...]:
        return (
            *("run", str(self.input), "-o", str(self.results), "-q", "--no-progress", "--durability", "batch"),
            *("--base-url", self._url, "--dialect", "native", "-m", "simulator", "-c", str(self.plan.concurrency)),
            *("--first-token-timeout", STALL, "--idle-timeout", STALL),
        )

    def _kill_client(self) -> None:
        assert self._client is not None
        self._client.kill()
        self._client.communicate()
        if self._client.returncode == -signal.SIGKILL:
            self.kills += 1
            self._client = None
            self._count()
            self._let_the_server_notice()

    def _let_the_server_notice(self) -> None:
        """Have it read all that the dead client had sent: an answer to whoever comes later tells that it has."""
        with contextlib.suppress(OSError):  # it is away itself, and what it was sent went with it
            for _ in range(2):
                urllib.request.urlopen(f"{self._url}/api/version", timeout=WAIT).close()

    def _reap(self) -> None:
        """Notice that a process has ended by itself."""
        assert self._server is not None
        if self._server.poll() is not None:
            raise RuntimeError(f"the server ended with {self._server.returncode}")
        if self._client is not None and self._client.poll() is not None:
            self.code = self._client.returncode
            self.words = self._log.read_text().strip()
            self._client = None

    def _look(self, now: float) -> bool:
        """Take a sample of the client; false if it has not brought anything yet."""
        before = self.done
        self._count()
        life = self.lives[-1]
        if not life.samples and self.done == before:
            return False
        if self._client is not None and (sample := look(self._client.pid, now, self.done)) is not None:
            life.samples.append(sample)
        return True

    def _count(self) -> None:
        """Count the whole lines that are new in the results file."""
        if not self.results.exists():
            return
        with self.results.open("rb") as file:
            file.seek(self._read)
            while block := file.read(_BLOCK):
                end = block.rfind(b"\n") + 1
                self.done += block.count(b"\n")
                self._read += end
                file.seek(self._read)
                if not end:
                    break

    def _say(self, elapsed: float, rate: float) -> None:
        samples = self.lives[-1].samples
        takes = f"{samples[-1].rss / MB:6.1f} MB  {samples[-1].files:3} open files" if samples else "starting"
        self.tell(
            f"{elapsed:6.0f} s  {self.done:9,} jobs  {rate:6,.0f}/s  {takes}  {self.kills} kills  "
            f"{self.restarts} restarts{'  (left alone)' if self.lives[-1].calm else ''}"
        )
