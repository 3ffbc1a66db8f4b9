"""Has Ray start workers, by a process of its own: this one imports no Ray, and none of its threads or signals.

    here: Foreman                       child: python -P -m batcher.exchange.cluster.foreman
        stdin, a line of JSON  ───────→  where Ray is, then errands and dismissals
        stdin, its end         ───────→  end all workers, and leave
        a line of JSON         ←───────  stdout: that Ray is there, that it is not, that a worker died
        the last few lines     ←───────  stderr: Ray's own words

What Ray inherits of this process's environment are the names below and no other: keys live there. A foreman that dies
is followed by another; Ray ends the workers of one that is gone.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
from anyio import CancelScope

from batcher.failures import ConfigError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from batcher.exchange.cluster.errand import Errand

STARTS_S: Final = 60.0
"""Within which a Ray must be there that is started on this machine; that takes some seconds."""
ANSWERS_S: Final = 20.0
"""Within which one must answer that runs already."""
LEAVES_S: Final = 10.0
"""For ending all workers, and a Ray that was started for this run."""
PAUSES: Final = (0.0, 1.0, 4.0, 15.0, 30.0)
"""Seconds before another foreman follows so many who died one after the other."""
LOG_LINES: Final = 12
WORDS: Final = 2000
"""Characters of a line of the log that are kept, of its end."""
READ: Final = 1 << 16
_NAMES: Final = frozenset(
    {"PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR"}
)
_PREFIXES: Final = ("LC_", "PYTHON", "RAY_", "OMP_", "GGML_", "CUDA_", "NVIDIA_", "HIP_", "ROCR_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where Ray is, and what each worker gets of it. Without an address it is started here for the run."""

    address: str | None = None
    cpus: float = 1.0
    resources: Mapping[str, float] = field(default_factory=dict)
    size: int = 1

    @property
    def name(self) -> str:
        return f"Ray at {self.address}" if self.address else "Ray on this machine"


@dataclass(slots=True, repr=False)
class Foreman:
    """The `Placement` by Ray."""

    site: Site
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    lacks: str = field(default="", init=False)
    """As in `Placement`: what a worker asks for that no machine of a cluster has; one may join that has it."""
    _gone: Callable[[int, str], None] = field(init=False)
    _child: Process | None = None
    _placed: dict[int, Errand] = field(default_factory=dict)
    _log: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))
    _reader: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def open(self, gone: Callable[[int, str], None], broken: Callable[[Exception], None]) -> AsyncIterator[str]:
        """As in `Placement`. Raises UnavailableError if Ray cannot be reached, ConfigError if it is not installed, and
        where this machine, on which one is started, lacks what a worker asks for.
        """
        self._gone = gone
        keeper: asyncio.Task[None] | None = None
        try:
            address = await self._start()
            keeper = asyncio.create_task(self._keep(broken))
            yield address
        finally:
            with CancelScope(shield=True):  # nobody is left behind by a run that is cut short
                if keeper is not None:
                    keeper.cancel()
                    await asyncio.wait((keeper,))
                await self._end()

    def place(self, errand: Errand) -> None:
        self._placed[errand.number] = errand
        self._say(_said(errand))

    def dismiss(self, number: int) -> None:
        if self._placed.pop(number, None) is not None:
            self._say({"dismiss": number})

    def _say(self, what: Mapping[str, Any]) -> None:
        if self._child is not None and self._child.stdin is not None and not self._child.stdin.is_closing():
            self._child.stdin.write(orjson.dumps(what) + b"\n")

    async def _start(self) -> str:
        """Start a foreman, and give the address of this machine once he has Ray."""
        self._child = await create_subprocess_exec(
            *(sys.executable, "-P", "-m", "batcher.exchange.cluster.foreman"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=inherited(self.environ),
            start_new_session=True,  # Ctrl-C is for the run, which drains through its workers
        )
        self._reader = asyncio.create_task(self._read_log(self._child))
        self._say(
            {
                "address": self.site.address,
                "cpus": self.site.cpus,
                "resources": dict(self.site.resources),
                "size": self.site.size,
            }
        )
        within = STARTS_S if self.site.address is None else ANSWERS_S
        try:
            told = await asyncio.wait_for(self._hear(self._child), within)
        except TimeoutError:
            self._child.kill()  # nobody is placed yet
            raise UnavailableError(f"{self.site.name} did not answer as Ray does within {within:g} s") from None
        if told is None:
            await self._reader
            words = "; ".join(self._log) or "it said nothing"
            raise UnavailableError(f"{self.site.name} could not be reached: {words}")
        if "missing" in told:
            raise ConfigError("--engine ray needs Ray, which is not installed: run `pip install 'batcher[ray]'`")
        if "failed" in told:
            raise UnavailableError(f"{self.site.name} could not be reached: {told['failed']}")
        self.lacks = told["lacks"]
        if self.lacks and self.site.address is None:
            raise ConfigError(f"no worker can be started on this machine: {self.lacks}")
        return str(told["ready"])

    async def _keep(self, broken: Callable[[Exception], None]) -> None:
        try:
            await self._listen()
        except Exception as error:  # noqa: BLE001 - nobody awaits this task while the run goes on
            broken(error)

    async def _listen(self) -> None:
        """Listen to the foreman; where he dies another one follows, who starts all workers anew."""
        deaths = 0
        while True:
            assert self._child is not None
            while (told := await self._hear(self._child)) is not None:
                deaths = 0
                if "refused" in told:
                    raise ConfigError(f"Ray cannot give a worker what it is to have: {told['refused']}")
                self._gone(told["gone"], told["words"])
                self.dismiss(told["gone"])  # one whose work has ended keeps what it got of its machine until then
            await self._end()
            while True:
                await asyncio.sleep(PAUSES[min(deaths, len(PAUSES) - 1)])
                deaths += 1
                try:
                    await self._start()
                except UnavailableError:
                    await self._end()
                else:
                    break
            lost, self._placed = self._placed, {}
            for number in lost:
                self._gone(number, "Ray is gone from under it")

    async def _hear(self, child: Process) -> dict[str, Any] | None:
        """What the foreman says next; None if he is gone."""
        assert child.stdout is not None
        while True:
            with suppress(ValueError):  # a line that is too long, or none of the foreman's: the next one may be
                line = await child.stdout.readline()
                return dict(orjson.loads(line)) if line.endswith(b"\n") else None

    async def _read_log(self, child: Process) -> None:
        assert child.stderr is not None
        rest = b""
        while data := await child.stderr.read(READ):  # whatever it is: who is not read any more stands still
            *lines, rest = (rest + data).split(b"\n")
            self._log.extend(_told(line) for line in lines)
            rest = rest[-WORDS:]
        if rest:
            self._log.append(_told(rest))

    async def _end(self) -> None:
        """Have the foreman leave, and all whom he has placed."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), LEAVES_S)
        except TimeoutError:
            child.kill()
            await child.wait()
        if self._reader is not None:
            self._reader.cancel()


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """What Ray and all that it starts on this machine get of an environment."""
    return {name: value for name, value in environ.items() if name in _NAMES or name.startswith(_PREFIXES)}


def _told(line: bytes) -> str:
    return line[-WORDS:].decode(errors="replace").strip()


def _said(errand: Errand) -> Mapping[str, Any]:
    where = {"host": errand.host, "port": errand.port, "number": errand.number}
    return {"place": {**where, "secret": errand.secret.reveal()}}
