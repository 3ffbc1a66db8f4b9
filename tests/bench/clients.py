"""The clients that are measured, and how each is told to do the jobs of a case."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bench.answers import NATIVE
from bench.case import HERE

if TYPE_CHECKING:
    from bench.case import Case


class Client(Protocol):
    """Something that turns jobs into results."""

    @property
    def name(self) -> str: ...

    def command(self, case: Case, source: Path, results: Path, root: str) -> list[str]: ...


def batcher() -> list[str]:
    """The command as it is installed beside this interpreter."""
    script = Path(sys.executable).with_name("batcher")
    return [str(script)] if script.exists() else [sys.executable, "-m", "batcher"]


def server_options(case: Case, root: str) -> list[str]:
    server = [root, "--dialect", "native"] if case.path == NATIVE else [f"{root}/v1"]
    return ["--base-url", *server, "-m", "m"]


@dataclass(frozen=True)
class Batcher:
    """The whole product."""

    name: str = "batcher"

    def command(self, case: Case, source: Path, results: Path, root: str) -> list[str]:
        command = [*batcher(), "run", str(source), "-o", str(results), *server_options(case, root)]
        command += ["-c", str(case.in_flight or "auto"), "--no-progress", "--quiet", "--pack", str(case.pack)]
        return command if case.stream else [*command, "--no-stream"]


@dataclass(frozen=True)
class Script:
    """A script with the arguments that `bare.py` has, run by an interpreter of its own."""

    name: str
    path: Path
    flags: tuple[str, ...] = ()
    python: str = sys.executable

    def command(self, case: Case, source: Path, results: Path, root: str) -> list[str]:
        command = [self.python, str(self.path), str(source), str(results), root + case.path, *self.flags]
        command += ["--concurrency", str(case.in_flight), "--pack", str(case.pack)]
        return [*command, "--stream"] if case.stream else command


BATCHER = Batcher()
PLAIN = Script("plain", HERE / "bare.py")
BEST = Script("best", HERE / "bare.py", flags=("--best",))
